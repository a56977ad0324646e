"""The values of a search's trials in their order, and the best so far."""

from dataclasses import dataclass

import pandas as pd

ENDED = ("completed", "pruned")


@dataclass(frozen=True)
class HistoryPoint:
    trial: int
    run_id: str
    """Of its first run."""
    status: str
    value: float
    """The mean over the trial's replicates; of a pruned trial where it was pruned."""


@dataclass(frozen=True)
class SearchHistory:
    objective: str
    points: tuple[HistoryPoint, ...]
    """In the order in which the trials began."""
    best: tuple[tuple[int, float], ...]
    """Trial and value of each one completed, with all seeds, that was better than all those before
    it."""


def search_history(runs: pd.DataFrame, objective: str, direction: str) -> SearchHistory | None:
    """runs: of one search. None if no trial of it has a value."""
    if objective not in runs:
        return None
    known = runs[runs.status.isin(ENDED) & runs.trial.notna() & runs[objective].notna()]
    if known.empty:
        return None
    trials = known.groupby("trial")
    values = trials[objective].mean().astype("float64")
    points = tuple(
        HistoryPoint(int(trial), str(run_id), str(status), float(value))
        for trial, run_id, status, value in zip(
            values.index, trials.run_id.first(), trials.status.first(), values, strict=True
        )
    )
    sign = 1 if direction == "maximize" else -1
    seeds = known[known.status == "completed"].groupby("trial").size()
    whole = set(seeds[seeds == seeds.max()].index)  # in a race others have fewer, and cannot win
    best: list[tuple[int, float]] = []
    for point in points:
        if point.trial in whole and (not best or sign * (point.value - best[-1][1]) > 0):
            best.append((point.trial, point.value))
    return SearchHistory(objective, points, tuple(best))
