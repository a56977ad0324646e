"""What beats what where several objectives count."""

from bisect import bisect_right

import numpy as np

FEW = 4096
"""Comparisons of two points that are sooner made all at once than avoided."""


def non_dominated(values: np.ndarray) -> np.ndarray:
    """values: (N, objectives), more is better. -> (N,): whether no other row is as good in all and
    better in one. A row with a NaN is not among them and beats none."""
    found = np.zeros(len(values), dtype=bool)
    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    rows = rows[np.lexsort(-values[rows].T[::-1])]  # what dominates a row stands before it
    ordered = values[rows]
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)  # of those with the same values
    found[rows] = _front(ordered[is_first])[np.cumsum(is_first) - 1]
    return found


def ranks(values: np.ndarray) -> np.ndarray:
    """values: (N, objectives), more is better, no NaN. -> (N,): 0 of rows that no other one
    dominates, 1 of those that only these do, and so on."""
    if values.shape[1] == 2:
        return _ranks_of_two(values)
    found = np.zeros(len(values), dtype=int)
    left = np.arange(len(values))
    while len(left):
        left = left[~non_dominated(values[left])]
        found[left] += 1
    return found


def _ranks_of_two(values: np.ndarray) -> np.ndarray:
    """In falling order of the first objective a row is dominated by some of a rank where the best
    second objective of that rank is as good as its own (Jensen 2003): N log(N)."""
    found = np.zeros(len(values), dtype=int)
    worst_first: list[float] = []  # less the best second objective of each rank
    row_before, rank = None, 0
    for place in np.lexsort(-values.T[::-1]).tolist():
        row = values[place].tolist()
        if row != row_before:
            rank = bisect_right(worst_first, -row[1])
            worst_first[rank : rank + 1] = [-row[1]]
        found[place], row_before = rank, row
    return found


def _front(points: np.ndarray) -> np.ndarray:
    """(N, objectives) -> (N,): whether none before it is as good in all. In falling order of the
    first objective, of equals of the second and so on, and no two are the same.

    Each half for itself, then the lower one against the upper (Kung, Luccio and Preparata 1975),
    since thousands of points may be on a front: N log(N)^2 for three objectives.
    """
    if len(points) ** 2 <= FEW:
        as_good = (points >= points[:, None]).all(axis=2).sum(axis=1)
        alone: np.ndarray = as_good == 1  # which is itself
        return alone
    half = len(points) // 2
    upper, lower = _front(points[:half]), _front(points[half:])
    lower[lower] = ~_beaten(points[half:][lower, 1:], points[:half][upper, 1:])
    return np.concatenate([upper, lower])


def _beaten(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(L, objectives), (H, objectives) -> (L,): whether some row of `high` is as good in all."""
    if len(low) * len(high) <= FEW or low.shape[1] == 0:
        beaten: np.ndarray = (high >= low[:, None]).all(axis=2).sum(axis=1) > 0
    elif low.shape[1] == 1:
        beaten = low[:, 0] <= high[:, 0].max()
    elif low.shape[1] == 2:
        high = high[np.argsort(high[:, 0])]
        best_from = np.maximum.accumulate(high[::-1, 1])[::-1]
        place = np.searchsorted(high[:, 0], low[:, 0])
        beaten = (place < len(high)) & (low[:, 1] <= best_from[np.minimum(place, len(high) - 1)])
    else:
        beaten = _beaten_by_halves(low, high)
    return beaten


def _beaten_by_halves(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Split by the first objective: what is better there need not be compared in it."""
    levels = np.unique(np.concatenate([low[:, 0], high[:, 0]]))
    if len(levels) == 1:
        return _beaten(low[:, 1:], high[:, 1:])
    middle = levels[len(levels) // 2]
    is_upper, upper = low[:, 0] >= middle, high[:, 0] >= middle
    beaten = np.empty(len(low), dtype=bool)
    beaten[is_upper] = _beaten(low[is_upper], high[upper])
    beaten[~is_upper] = _beaten(low[~is_upper], high[~upper])
    beaten[~is_upper] |= _beaten(low[~is_upper][:, 1:], high[upper][:, 1:])
    return beaten
