"""Where the runs of a table lie now, if they still do."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pandas as pd

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.runs.lookup import in_its_place
from mnist_sweep.runs.saved import SavedRun

MOST_TRIED = 20  # of runs that may be gone, to find one that is here


@dataclass
class RunFolders:
    """Where the runs of a table lie now, if they still do."""

    runs: pd.DataFrame
    found: dict[str, SavedRun | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recorded = dict(zip(self.runs.run_id, self.runs.run_dir.fillna(""), strict=True))
        self.tables = [Path(source) for source in self.runs.attrs.get("sources", [])]

    def run(self, run_id: str) -> SavedRun | None:
        """The run in its directory, which is looked for where its row says and near the tables."""
        if run_id not in self.found:
            self.found[run_id] = next(self._candidates(run_id), None)
        return self.found[run_id]

    def first(self, run_ids: Iterable[str]) -> SavedRun | None:
        """The first of these that is here."""
        tried = islice(run_ids, MOST_TRIED)
        return next((run for run_id in tried if (run := self.run(run_id)) is not None), None)

    def _candidates(self, run_id: str) -> Iterator[SavedRun]:
        recorded = self.recorded.get(run_id, "")
        if not recorded:
            return
        for table in self.tables:
            with suppress(UserError):
                if (run := in_its_place(run_id, recorded, table)) is not None:
                    yield run

    def history(self, run_id: str) -> list[EpochMetrics]:
        """Empty where the run or its history is gone or damaged."""
        run = self.run(run_id)
        try:
            return run.history() if run is not None else []
        except UserError:
            return []
