"""A search under way, as another process sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.study import Study

from mnist_sweep.report.read.study import last_command, objective_names, of_command, opened_study
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
    command: DictConfig
    """`hydra.sweeper` of the last one on it; empty where that left nothing."""

    def of_last_command(self, key: str) -> Any:
        """Of its `hydra.sweeper`; None where it left none."""
        return of_command(self.command, key)

    @property
    def n_trials(self) -> int | None:
        """That the last command wants."""
        found: int | None = self.of_last_command("n_trials")
        return self.study.user_attrs.get(POINTS) if found is None else found  # of a grid

    @property
    def objectives(self) -> Objectives:
        directions = tuple(direction.name.lower() for direction in self.study.directions)
        names = tuple(self.study.metric_names or objective_names(self.study))
        return Objectives(names, directions)  # type: ignore[arg-type]


@contextmanager
def opened_search(folder: Path, url: str | None, *, to_write: bool = False) -> Iterator[Search]:
    """url: of the storage, if it is not in the folder.

    Raises:
        UserError: there is no study, or it cannot be reached.
    """
    command = last_command(folder)
    lease_s = float(of_command(command, "lease_s") or LEASE_S)
    with opened_study(folder, url, command, to_write=to_write) as study:
        yield Search(folder, study, Leases(study, lease_s), command)
