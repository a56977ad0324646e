"""A search under way, as another process sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study

from mnist_sweep.report.read.study import of_last_command, opened_study
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.study.attributes import POINTS
from mnist_sweep.search.study.leases import Leases

LEASE_S = 60.0
"""Where the last command on it left no `hydra.sweeper.lease_s`."""


@dataclass(frozen=True)
class Search:
    folder: Path
    study: Study
    leases: Leases
    """As one sees them who has none."""
    n_trials: int | None
    """That the last command on it wants; None where it left nothing."""

    @property
    def objectives(self) -> Objectives:
        directions = tuple(direction.name.lower() for direction in self.study.directions)
        names = tuple(self.study.metric_names or ["value"] * len(directions))
        return Objectives(names, directions)  # type: ignore[arg-type]


@contextmanager
def opened_search(folder: Path, url: str | None, *, to_write: bool = False) -> Iterator[Search]:
    """url: of the storage, if it is not in the folder.

    Raises:
        UserError: there is no study, or it cannot be reached.
    """
    n_trials, lease_s = (of_last_command(folder, key) for key in ("n_trials", "lease_s"))
    with opened_study(folder, url, to_write=to_write) as study:
        if n_trials is None:  # every point of a grid
            n_trials = study.user_attrs.get(POINTS)
        yield Search(folder, study, Leases(study, float(lease_s or LEASE_S)), n_trials)
