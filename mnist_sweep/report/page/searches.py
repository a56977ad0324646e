"""What the page says of sweeps: their commands; of searches: the best trials, what mattered, who
worked when."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.front import non_dominated
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.report.wording import counted, duration, number_or_none, statuses, text

MOST_TRIALS = 15  # of a front
MOST_BARS = 3_000  # of a timeline

PAUSE_S = 10.0
"""A time longer than this without any run is not the workers'."""
MOST_COMMANDS = 12
MOST_COMPARED = 1_000  # runs of a search, to see what it chose
MOST_ALONE = 3  # commands of runs that belong to no sweep that is here

HYDRA = Path(".hydra") / "hydra.yaml"

VARIED_BY_THE_SEARCH = {"seed", "trainer.epochs"}
"""Of replicates and rungs, not part of a space unless `hydra.sweeper.params` has them."""


# Commands


def commands(runs: pd.DataFrame, folders: RunFolders) -> tuple[list[dict[str, str]], str]:
    """What was typed: of sweeps the sweep's command, of single runs each one's own."""
    parent = runs.run_dir.str.rpartition("/")[0].fillna("")
    sweep = runs.study.fillna(parent)  # a search's runs may lie deeper, a folder for each trial
    found: list[dict[str, str]] = []
    left_out = 0
    for name, number in sweep[sweep != ""].value_counts().items():
        if len(found) >= MOST_COMMANDS:
            left_out += int(number)
            continue
        group = runs[sweep == name]
        command, how = _sweep_command(group, folders)
        if command:
            found.append(
                {"words": f"{name}: {counted(len(group), 'run')}{how}", "command": command}
            )
            continue
        alone = group.overrides.fillna("").head(MOST_ALONE).tolist()
        for place, overrides in enumerate(alone, start=1):
            words = f"{name}: run {place} of {len(group):,}"
            found.append({"words": words, "command": f"python -m mnist_sweep {overrides}".strip()})
        left_out += len(group) - len(alone)
    more = (
        f"{counted(left_out, 'run')} more: each run’s panel has its own command."
        if left_out
        else ""
    )
    return found, more


def _sweep_command(group: pd.DataFrame, folders: RunFolders) -> tuple[str, str]:
    """The command, and a remark on where it is from; both empty for runs of no known sweep."""
    run = folders.first(group.run_id)
    if run is None:
        return "", ""
    above = [folder / "multirun.yaml" for folder in run.run_dir.parents[:2]]  # of a replicate, too
    typed = next(filter(None, map(_yaml, above)), OmegaConf.create())
    hydra = typed or _yaml(run.run_dir / HYDRA)
    if OmegaConf.select(hydra, "hydra.mode") != "MULTIRUN":
        return "", ""
    task = list(OmegaConf.select(hydra, "hydra.overrides.task", default=[]))
    own = [
        str(override)
        for override in OmegaConf.select(hydra, "hydra.overrides.hydra", default=[])
        if override != "hydra.mode=MULTIRUN"
    ]
    how = ""
    if not typed:  # a search of an older version, or one whose folder is incomplete
        trained = group[group.run_dir.notna()].head(MOST_COMPARED)
        common = set.intersection(*map(_overrides, trained.overrides.fillna("")))
        chosen = {override.partition("=")[0] for override in task if override not in common}
        listed = {str(key) for key in OmegaConf.select(hydra, "hydra.sweeper.params") or ()}
        task = [o for o in task if o.partition("=")[0] not in chosen | listed]
        how = " (put together from its runs, without what the search chose"
        besides = chosen - listed - VARIED_BY_THE_SEARCH
        how += f"; it was told to search {', '.join(sorted(besides))})" if besides else ")"
    return f"python -m mnist_sweep -m {shlex.join([*task, *own])}", how


def _overrides(line: str) -> set[str]:
    try:
        return set(shlex.split(line))
    except ValueError:  # no line of a shell, so not as a run writes it
        return set(line.split())


def _yaml(path: Path) -> DictConfig:
    """Empty where there is none, or none that can be read."""
    try:
        config = OmegaConf.load(path)
    except Exception:  # yaml, omegaconf, encoding: each raises its own
        return OmegaConf.create()
    return config if isinstance(config, DictConfig) else OmegaConf.create()


# Searches


def searches(runs: pd.DataFrame, folders: RunFolders) -> Iterator[dict[str, Any]]:
    """Each study among the runs, the largest first."""
    for name in runs.study.value_counts().index:
        trials = runs[runs.study == name]
        hydra = _hydra_of_one(trials, folders)
        objectives = _objectives(hydra)
        counts = ", ".join(f"{number:,} {status}" for status, number in statuses(trials))
        importance, words = _importance(trials, next(iter(objectives)), folders)
        yield {
            "name": str(name),
            "words": f"{counted(trials.trial.nunique(), 'trial')}: {counts}.",
            "objectives": list(objectives),
            "best": _best_trials(trials, objectives),
            "importance": importance,
            "importance_words": words,
            **_timeline(trials),
        }


def _hydra_of_one(runs: pd.DataFrame, folders: RunFolders) -> DictConfig:
    """Hydra's own config of the first of these runs that is here; empty if none is."""
    run = folders.first(runs.run_id)
    return _yaml(run.run_dir / HYDRA) if run is not None else OmegaConf.create()


def _objectives(hydra: DictConfig) -> dict[str, str]:
    """Objective -> maximize or minimize."""
    names = OmegaConf.select(hydra, "hydra.sweeper.objective", default="val_acc")
    directions = OmegaConf.select(hydra, "hydra.sweeper.direction", default="maximize")
    listed = [[word] if isinstance(word, str) else word for word in (names, directions)]
    return {str(name): str(direction) for name, direction in zip(*listed, strict=False)}


def _best_trials(trials: pd.DataFrame, objectives: Mapping[str, str]) -> dict[str, Any] | None:
    """Of one objective the best completed trial and its command, of several those on the front.
    What counts is the mean over a trial's replicates. None if no trial is completed."""
    names = [name for name in objectives if name in trials]
    completed = trials[(trials.status == "completed") & trials.trial.notna()]
    completed = completed[completed[names].notna().all(axis=1)]
    if completed.empty or not names:
        return None
    values = completed.groupby("trial")[names].mean().astype("float64")
    first = completed.drop_duplicates("trial").set_index("trial")
    signs = [1 if objectives[name] == "maximize" else -1 for name in names]
    best = values[non_dominated(values.to_numpy() * signs)]
    best = best.sort_values(names, ascending=[sign < 0 for sign in signs])
    lines = [
        {
            "trial": trial,
            "id": first.run_id[trial],
            "num_params": number_or_none(first.num_params[trial]),
            "values": dict(zip(names, row, strict=True)),
        }
        for trial, row in zip(best.index, best.to_numpy().tolist(), strict=True)
    ]
    if len(names) == 1:
        lines = lines[:1]
    goals = " and ".join(f"{name} ({objectives[name]})" for name in names)
    return {
        "words": f"By {goals}, of {counted(len(values), 'completed trial')}. The best of many "
        "flatters itself: its own figure is likely to be worse with another seed.",
        "lines": lines[:MOST_TRIALS],
        "more": max(0, len(lines) - MOST_TRIALS),
        "with_size": "num_params" not in names,
        "command": f"python -m mnist_sweep {text(first.overrides[best.index[0]])}".strip()
        if len(names) == 1
        else None,
    }


def _importance(
    trials: pd.DataFrame, objective: str, folders: RunFolders
) -> tuple[list[dict[str, Any]], str]:
    """Parameters and their shares, and words on how that was reckoned, or why it was not."""
    run = folders.first(trials.run_id)
    if run is None:
        return [], "The search’s directory is not here, so it cannot be told."
    # Here, so that a page without a search to explain imports no optuna.
    from mnist_sweep.paths import JOURNAL
    from mnist_sweep.report.analysis.importance import importances
    from mnist_sweep.report.read.study import read_study

    folder = next((f for f in run.run_dir.parents if (f / JOURNAL).is_file()), None)
    if folder is None:
        return [], f"The study is not in the search’s directory ({JOURNAL}), so it cannot be told."
    try:
        study = read_study(folder, None)
        found = importances(study, study.objective(objective))
    except UserError as error:
        return [], f"It cannot be told: {error}."
    shares = [
        {"name": name, "share": number_or_none(share), "chance": number_or_none(found.chance[name])}
        for name, share in found.shares.items()
    ]
    return shares, f"For {objective}. {found.note}"


def _timeline(trials: pd.DataFrame) -> dict[str, Any]:
    """Runs as bars in as few lanes as hold them, which are the workers if all were busy."""
    timed = trials[trials.started.notna() & trials.seconds.notna()].sort_values("started")
    if len(timed) < 2:
        return {"timeline": None, "timeline_words": ""}
    latest = timed.tail(MOST_BARS)
    seconds = latest.seconds.to_numpy(dtype=float)
    start, lane = _lanes(latest.started.astype("int64").to_numpy() / 1e6, seconds)
    order = np.argsort(start)
    ends = np.maximum.accumulate((start + seconds)[order])
    pauses = (start[order][1:] - ends[:-1]).clip(min=0)
    pauses = pauses[pauses > PAUSE_S]  # nobody was at work: the search was gone on with later
    span = float(ends[-1] - start.min() - pauses.sum())
    workers = max(lane) + 1
    last = f", the last of {len(timed):,}," if len(latest) < len(timed) else ""
    last += f" (without {counted(len(pauses), 'pause')} between)" if len(pauses) else ""
    busy = seconds.sum() / (span * workers)
    words = (
        f"{counted(len(latest), 'run')}{last} in {duration(span)}, up to "
        f"{counted(workers, 'worker')} at once, which were busy {busy:.0%} of that time. "
        "A bar is a run, its length the seconds of its last process."
    )
    trial = latest.trial.astype("string").fillna("?")
    return {
        "timeline_words": words,
        "timeline": {
            "start": [round(value, 1) for value in start],
            "seconds": [round(value, 1) for value in seconds],
            "lane": lane,
            "status": latest.status.tolist(),
            "id": latest.run_id.tolist(),
            "name": ("trial " + trial).tolist(),
        },
    }


def _lanes(started: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The first lane that is free, for each run in the order of their starts, and when it began.

    Starts are known to the second. A run that seems to begin within the last second of the one
    before it in the lane followed it.
    """
    free_from: list[float] = []
    begun, lanes = [], []
    for start, length in zip(started, seconds, strict=True):
        lane = next((n for n, free in enumerate(free_from) if free < start + 1), len(free_from))
        begin = max(start, *free_from[lane : lane + 1]) if lane < len(free_from) else start
        free_from[lane : lane + 1] = [begin + length]
        begun.append(begin)
        lanes.append(lane)
    return np.array(begun), lanes
