"""What a page is made from, watched: whether it has changed, and whether a search is at work."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_sweep.errors import UserError
from mnist_sweep.paths import HISTORY, JOURNAL, MAIN_TABLE, MULTIRUN
from mnist_sweep.report.read.reaching import Search, opened_search
from mnist_sweep.report.read.study import searches_below
from mnist_sweep.runs.tables import find_tables
from mnist_sweep.search.study.leases import Leases


class Watched:
    """The tables of these sources, and the searches in them that have their study beside them; of a
    table that is no search's own, the searches in multirun."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = [Path(source) for source in sources or (MAIN_TABLE,)]
        self.journals: dict[Path, tuple[int, int]] = {}
        """Search -> its journal's size and time, when it was read."""
        self.leases: dict[Path, Leases] = {}
        """The same ones for as long as it is watched: one who is silent for long is gone."""
        self.trials: dict[Path, _Trials] = {}

    def look(self) -> tuple[Any, ...]:
        """What is another when there is something new."""
        tables = [table for source in self.sources for table in find_tables(source)]
        for folder in self._searches(tables):
            journal = _stamp(folder / JOURNAL)
            if journal is not None and self.journals.get(folder) != journal:
                self._read(folder)
                self.journals[folder] = journal
        known = self.trials.values()
        epochs = [_stamp(path) for trials in known for path in trials.histories()]
        return (*map(_stamp, tables), *(trials.counts for trials in known), *epochs)

    def is_at_work(self) -> bool:
        """Whether anybody is, on any of the searches, as they were when they were looked at."""
        return any(leases.at_work() for leases in self.leases.values())

    @property
    def searches(self) -> list[Path]:
        """That were found."""
        return list(self.leases)

    def _searches(self, tables: Sequence[Path]) -> Iterator[Path]:
        folders = [source for source in self.sources if source.is_dir()]
        folders += [table.parent for table in tables if (table.parent / JOURNAL).is_file()]
        for folder in dict.fromkeys(folders or [MULTIRUN]):
            yield from searches_below(folder)

    def _read(self, folder: Path) -> None:
        try:
            with opened_search(folder, None) as search:
                leases = self.leases.setdefault(folder, search.leases)
                leases.study = search.study
                self.trials[folder] = _Trials.of(search)
        except UserError:  # it is just being begun
            pass


@dataclass(frozen=True)
class _Trials:
    counts: tuple[tuple[str, int], ...]
    """Of each state."""
    running: tuple[Path, ...]
    """Directories of those that run."""

    @classmethod
    def of(cls, search: Search) -> "_Trials":
        trials = search.study.get_trials(deepcopy=False)
        counts = Counter(trial.state.name for trial in trials)
        running = (trial.number for trial in trials if trial.state.name == "RUNNING")
        folders = (search.folder / str(number) for number in running)
        return cls(tuple(sorted(counts.items())), tuple(folders))

    def histories(self) -> Iterator[Path]:
        """Where their epochs are written, so far."""
        for folder in self.running:
            yield from folder.rglob(HISTORY)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Of a file, as long as it is there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
