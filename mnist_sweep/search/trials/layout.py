"""Where in a sweep's directory the runs of each trial lie."""

import logging
from dataclasses import dataclass
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULT
from mnist_sweep.runs.record import RunRecord, read_result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """A run directory for each trial or, with several seeds, for each of them."""

    sweep_dir: Path
    seeds: tuple[int, ...]
    """That every configuration is trained with, in this order."""

    def subdir(self, trial: int, seed: int) -> str:
        """Of the sweep's directory."""
        return str(trial) if len(self.seeds) == 1 else f"{trial}/seed_{seed}"

    def run_dir(self, trial: int, seed: int) -> Path:
        return self.sweep_dir / self.subdir(trial, seed)

    def is_begun(self, trial: int) -> bool:
        return any(self.run_dir(trial, seed).exists() for seed in self.seeds)

    def check_own(self, study: str) -> None:
        """For a study that is new: its trials would take the places of these runs.

        Raises:
            UserError: runs of another sweep lie here.
        """
        folders = (folder for folder in self.sweep_dir.glob("*") if folder.name.isdecimal())
        for path in (path for folder in folders for path in folder.rglob(RESULT)):
            record = read_result(path.parent)
            if record.study != study:
                whose = f"study {record.study}" if record.study else "another sweep"
                raise UserError(
                    f"hydra.sweep.dir={self.sweep_dir} holds runs of {whose} ({path.parent}): "
                    "give this search another hydra.sweep.dir or hydra.sweeper.study_name; a run "
                    f"that was cut short goes on by resume={path.parent}"
                )

    def results(self, trial: int) -> dict[int, RunRecord]:
        """Seed -> the record of its run, of those that left one. A damaged one is as good as none:
        the run is trained again."""
        found: dict[int, RunRecord] = {}
        for seed in self.seeds:
            run_dir = self.run_dir(trial, seed)
            if (run_dir / RESULT).exists():
                try:
                    found[seed] = read_result(run_dir)
                except UserError as error:
                    log.warning(
                        "%s cannot be read (%r): as if it were not there",
                        run_dir / RESULT,
                        error.__cause__,
                    )
        return found
