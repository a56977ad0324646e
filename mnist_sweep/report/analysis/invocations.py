"""What was typed to make runs: of sweeps the sweep's command, of single runs each one's own."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.paths import RUN_HYDRA, SWEEP_CONFIG
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.report.wording import counted
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.vault import as_shown

MOST_INVOCATIONS = 12
MOST_COMPARED = 1_000  # runs of a search, to see what it chose
MOST_ALONE = 3  # of runs that belong to no sweep that is here

VARIED_BY_THE_SEARCH = {"seed", "trainer.epochs"}
"""Of replicates and rungs, not part of a space unless `hydra.sweeper.params` has them."""


@dataclass(frozen=True)
class Invocation:
    made: str
    """Which runs it made, with a remark on where it is from if it was not recorded as it stands."""
    command: str


@dataclass(frozen=True)
class Invocations:
    """The sweeps with most runs first."""

    shown: tuple[Invocation, ...]
    left_out: int
    """Runs whose invocation is not among these."""


def invocations(runs: pd.DataFrame, folders: RunFolders) -> Invocations:
    parent = runs.run_dir.str.rpartition("/")[0].fillna("")
    sweep = runs.study.fillna(parent)  # a search's runs may lie deeper, a folder for each trial
    found: list[Invocation] = []
    left_out = 0
    for name, number in sweep[sweep != ""].value_counts().items():
        if len(found) >= MOST_INVOCATIONS:
            left_out += int(number)
            continue
        group = runs[sweep == name]
        command, remark = _of_sweep(group, folders)
        if command:
            found.append(Invocation(f"{name}: {counted(len(group), 'run')}{remark}", command))
            continue
        alone = group.head(MOST_ALONE)
        lines = zip(alone.run_id, alone.overrides.fillna(""), strict=True)
        found += [
            Invocation(
                f"{name}: run {place} of {len(group):,}",
                f"{surroundings_of(run_id, folders).command} {line}".strip(),
            )
            for place, (run_id, line) in enumerate(lines, start=1)
        ]
        left_out += len(group) - len(alone)
    return Invocations(tuple(found), left_out)


def _of_sweep(group: pd.DataFrame, folders: RunFolders) -> tuple[str, str]:
    """The command, and a remark on where it is from; both empty for runs of no known sweep."""
    run = folders.first(group.run_id)
    if run is None:
        return "", ""
    above = [folder / SWEEP_CONFIG for folder in run.run_dir.parents[:2]]  # of a replicate, too
    recorded = next(filter(None, map(config_or_empty, above)), OmegaConf.create())
    hydra = recorded or config_or_empty(run.run_dir / RUN_HYDRA)
    if OmegaConf.select(hydra, "hydra.mode") != "MULTIRUN":
        return "", ""
    task, own = _as_typed(hydra, "task"), _as_typed(hydra, "hydra")
    own = [o for o in own if not o.startswith(("hydra.mode=", "hydra.searchpath="))]
    remark = ""
    if not recorded:  # a search of an older version, or one whose folder is incomplete
        trained = group[group.run_dir.notna()].head(MOST_COMPARED)
        common = set.intersection(*map(_overrides, trained.overrides.fillna("")))
        chosen = {override.partition("=")[0] for override in task if override not in common}
        listed = {str(key) for key in OmegaConf.select(hydra, "hydra.sweeper.params") or ()}
        task = [o for o in task if o.partition("=")[0] not in chosen | listed]
        remark = " (put together from its runs, without what the search chose"
        besides = chosen - listed - VARIED_BY_THE_SEARCH
        remark += f"; it was told to search {', '.join(sorted(besides))})" if besides else ")"
    command = Surroundings.recorded(run.run_dir).command
    return f"{command} -m {shlex.join([*task, *own])}", remark


def _as_typed(config: DictConfig, kind: str) -> list[str]:
    """Overrides, with what they take from the environment as it stands: it may be a password."""
    node = OmegaConf.select(config, f"hydra.overrides.{kind}")
    found = OmegaConf.to_container(node, resolve=False) if node is not None else []
    return [as_shown(str(override)) for override in found or ()]


def all_surroundings(runs: pd.DataFrame, folders: RunFolders) -> dict[str, Surroundings]:
    """Run id -> its surroundings, where they are more than what every run has."""
    usual = Surroundings()
    found = {run_id: surroundings_of(run_id, folders) for run_id in runs.run_id.dropna()}
    return {run_id: own for run_id, own in found.items() if own != usual}


def surroundings_of(run_id: str, folders: RunFolders) -> Surroundings:
    """The default where the run's directory is gone."""
    run = folders.run(run_id)
    return Surroundings.recorded(run.run_dir) if run is not None else Surroundings()


def _overrides(line: str) -> set[str]:
    try:
        return set(shlex.split(line))
    except ValueError:  # no line of a shell, so not as a run writes it
        return set(line.split())


def config_or_empty(path: Path) -> DictConfig:
    """Empty where there is none, or none that can be read."""
    try:
        config = OmegaConf.load(path)
    except Exception:  # yaml, omegaconf, encoding: each raises its own
        return OmegaConf.create()
    return config if isinstance(config, DictConfig) else OmegaConf.create()
