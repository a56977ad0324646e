"""Where a run comes from: its code, its machine, its configuration's names."""

import platform
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mnist_sweep import __version__
from mnist_sweep.config import unchecked
from mnist_sweep.paths import PACKAGE
from mnist_sweep.runs.record import RunName, RunRecord
from mnist_sweep.sources import name_of, of_config, of_package, package_name


@dataclass(frozen=True)
class Code:
    """What a run is made with, but for its configuration and what is installed."""

    name: str
    """Short; of the sources of this package and of the user's own modules."""
    package: str
    """Of the sources of this package alone."""
    commit: str | None
    """Of this package's checkout; None where it is none."""
    is_changed: bool | None
    """Whether there were edits since the commit."""

    def __str__(self) -> str:
        changed = " (changed)" if self.is_changed else ""
        commit = "" if self.commit is None else f", commit {self.commit[:10]}{changed}"
        return f"code {self.name}{commit}"


def code_of(config: Any) -> Code:
    """Of what runs of this config (of plain values) are made with here and now."""
    commit, is_changed = git_state()
    name = name_of({**of_package(), **of_config(config)})
    return Code(name, package_name(), commit, is_changed)


@dataclass(frozen=True)
class TrialInfo:
    """Where in a search a run belongs."""

    study: str
    trial: int
    rung: int | None
    code: Code
    """That the search was begun with."""
    earlier: Path | None = None
    """Run directory of an attempt that was cut short, whose checkpoint is gone on from."""
    name: RunName | None = None
    """That the search gives the run, wherever its worker has it; None: that of its directory."""


def new_record(
    config: Mapping[str, Any],
    choices: Mapping[str, Any],
    overrides: str,
    run_dir: Path,
    info: TrialInfo | None = None,
) -> RunRecord:
    """The row of a run that has not begun. choices: of the groups, as Hydra has them."""
    settings = unchecked(config)
    code = code_of(config) if info is None else info.code
    given = None if info is None else info.name
    name = given or RunName.of(run_dir)
    return RunRecord(
        run_id=name.run_id,
        status="failed",
        groups=_group_choices(config, choices),
        seed=settings.seed,
        epochs=settings.trainer.epochs,
        batch_size=settings.trainer.batch_size,
        lr=config["optimizer"].get("lr"),
        mnist_sweep_version=__version__,
        torch_version=torch.__version__,
        python_version=platform.python_version(),
        git_commit=code.commit,
        git_dirty=code.is_changed,
        code=code.name,
        overrides=overrides,
        run_dir=name.run_dir,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        study=None if info is None else info.study,
        trial=None if info is None else info.trial,
        rung=None if info is None else info.rung,
    )


def _group_choices(config: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, str | None]:
    """The config groups in their order, Hydra's own left out; several choices joined by '+'."""
    named: dict[str, str | None] = {}
    for group, choice in reversed(list(choices.items())):  # Hydra has the last group first
        if not group.startswith("hydra/") and group != "logger":  # it is no part of the result
            named[group] = choice
    # Hydra does not list a group of which several are chosen.
    named.setdefault("augmentation", "+".join(map(str, config["augmentation"])))
    return named


def peak_rss_mb() -> float:
    """Of this process since it started, in units of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent's peak towards getrusage's
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of this code and whether it was changed since; None where it is no checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        commit, _, dirty = git(
            "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
        ).partition("-")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit, bool(dirty)
