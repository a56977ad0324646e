"""The curves of runs: of each ranking its best and its pruned runs, which are seen together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.report.analysis.failures import NOT_SCORED
from mnist_sweep.report.analysis.tracks import TRACK, track_name
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.report.wording import or_empty

CURVES = ("val_acc", "train_acc", "test_acc", "val_acc_raw", "val_loss", "train_loss", "test_loss")
"""The measures of an epoch that have a curve, the most telling first."""

BEST_CURVES = 8  # colours that can be told apart
MOST_CURVES = 150  # of ranked runs, as many of pruned ones, as many of those that broke


@dataclass(frozen=True)
class RunCurve:
    """Accuracies are fractions of 1, losses in nats."""

    run_id: str
    name: str
    """What to call it beside others."""
    epoch: tuple[int, ...]
    metrics: Mapping[str, tuple[float | None, ...]]
    """Of CURVES those that were measured: a value for each of `epoch`."""


@dataclass(frozen=True)
class CurvesInfo:
    """Of one ranking."""

    title: str
    best: tuple[RunCurve, ...]
    """The first run of each of the best configurations, the best first."""
    pruned: tuple[RunCurve, ...]
    num_pruned: int
    """All that there are, those without a curve too."""

    @property
    def metrics(self) -> list[str]:
        """What any of the curves has."""
        curves = [*self.best, *self.pruned]
        return [name for name in CURVES if any(name in curve.metrics for curve in curves)]


@dataclass(frozen=True)
class AllCurves:
    """rankings: those that have curves, and tracks of nothing but pruned runs. of: run id -> curve,
    also of runs that no ranking shows."""

    rankings: tuple[CurvesInfo, ...]
    of: Mapping[str, RunCurve]


def run_curve(run_id: str, name: str, history: Sequence[EpochMetrics]) -> RunCurve:
    values = {metric: tuple(getattr(epoch, metric) for epoch in history) for metric in CURVES}
    measured = {
        metric: curve
        for metric, curve in values.items()
        if any(value is not None for value in curve)
    }
    return RunCurve(run_id, name, tuple(epoch.epoch for epoch in history), measured)


def all_curves(
    runs: pd.DataFrame, tracks: Sequence[pd.DataFrame], folders: RunFolders
) -> AllCurves:
    """tracks: of the leaderboard of these runs, the lines of each."""
    seeds = dict(zip(runs.run_id.tolist(), runs.seed.tolist(), strict=True))
    ranked = _curves_of(
        {
            run_id: f"{label}, seed {seeds[run_id]}" if n > 1 else label
            # What is plotted comes first: there is no room for all.
            for most, runs_of_each in ((BEST_CURVES, 1), (MOST_CURVES, None))
            for lines in tracks
            for label, n, run_ids in _heads(lines, most)
            for run_id in run_ids[:runs_of_each]
        },
        folders,
    )
    pruned = _curves_of(_names(runs[runs.status == "pruned"]), folders)
    broken = _curves_of(_names(runs[runs.status.isin(NOT_SCORED)]), folders)
    rankings = _rankings(runs, tracks, ranked, pruned)
    return AllCurves(tuple(rankings), {**ranked, **pruned, **broken})


def _heads(lines: pd.DataFrame, most: int) -> Iterator[tuple[str, int, list[str]]]:
    head = lines.head(most)
    return zip(head.label, head.n, head.run_ids, strict=True)


def _names(runs: pd.DataFrame) -> dict[str, str]:
    """Run id -> what to call it: a search's trial by its number."""
    columns = runs.run_id, runs.study, runs.trial
    return {
        run_id: run_id if pd.isna(trial) else f"{or_empty(study)} #{trial}"
        for run_id, study, trial in zip(*columns, strict=True)
    }


def _curves_of(names: Mapping[str, str], folders: RunFolders) -> dict[str, RunCurve]:
    """Run id -> curve, of the first runs that have one."""
    found: dict[str, RunCurve] = {}
    for run_id, name in islice(names.items(), 2 * MOST_CURVES):
        history = folders.history(run_id)
        if history and len(found) < MOST_CURVES:
            found[run_id] = run_curve(run_id, name, history)
    return found


def _rankings(
    runs: pd.DataFrame,
    tracks: Sequence[pd.DataFrame],
    ranked: Mapping[str, RunCurve],
    pruned: Mapping[str, RunCurve],
) -> Iterator[CurvesInfo]:
    """ranked, pruned: run id -> curve."""
    track = runs.groupby(TRACK, dropna=False, sort=False).ngroup()
    rows = runs.assign(_track=track).set_index("run_id")
    best_of: dict[Any, list[str]] = {
        rows["_track"][lines.run_ids.iloc[0][0]]: [
            ids[0] for ids in lines.run_ids.head(BEST_CURVES) if ids[0] in ranked
        ]
        for lines in tracks
    }
    pruned_of = rows[rows.status == "pruned"].groupby("_track").groups
    for number in dict.fromkeys([*best_of, *pruned_of]):
        best, all_pruned = best_of.get(number, []), list(pruned_of.get(number, []))
        grey = [run_id for run_id in all_pruned if run_id in pruned]
        if best or grey:
            yield CurvesInfo(
                title=track_name(rows.loc[(best or grey)[0]]),
                best=tuple(ranked[run_id] for run_id in best),
                pruned=tuple(pruned[run_id] for run_id in grey),
                num_pruned=len(all_pruned),
            )
