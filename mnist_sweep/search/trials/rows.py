"""A search's rows in the results tables: of trained runs in both, of rejected points in its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mnist_sweep.paths import RESULTS_TABLE
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.points.candidate import Candidate
from mnist_sweep.search.trials.records import Records

MOST_WAITING = 100
"""Rows of rejected points that are written together: each write waits for the disk."""


class Rows:
    """The main table, and the one in the sweep's directory.

    Raises:
        UserError: a table cannot be written, or is another kind of table.
    """

    def __init__(self, main_table: Path, records: Records) -> None:
        self.records = records
        self.own = ResultsTable(records.layout.sweep_dir / RESULTS_TABLE)
        self.tables = (ResultsTable(main_table), self.own)
        self.waiting: list[RunRecord] = []
        for table in self.tables:
            table.check(records.columns)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other controller is in here: what a trial's end is, in study, rows and result.json, is
        settled by one at a time."""
        with self.own.locked():
            yield

    def append(self, records: Sequence[RunRecord], *, replace: bool) -> None:
        """Rows of trained runs. replace: in the place of older rows of the same runs."""
        for table in self.tables:
            table.extend(records, replace=replace)

    def reject(self, trial: int, candidate: Candidate, reason: str) -> None:
        """The row of a rejected point, which `flush` writes."""
        self.waiting.append(self.records.rejected(trial, candidate, reason))

    @property
    def is_full(self) -> bool:
        """Whether there is enough for a `flush`."""
        return len(self.waiting) >= MOST_WAITING

    def flush(self) -> None:
        if self.waiting:
            self.own.extend(self.waiting)
            self.waiting = []

    def written(self) -> set[str]:
        """Run ids in the search's own table."""
        return {row["run_id"] for row in self.own.rows()}
