"""What beats what where several objectives count."""

import numpy as np


def non_dominated(values: np.ndarray) -> np.ndarray:
    """values: (N, objectives), more is better. -> (N,): whether no other row is as good in all and
    better in one. A row with a NaN is not among them and beats none."""
    found = np.zeros(len(values), dtype=bool)
    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    rows = rows[np.lexsort(-values[rows].T[::-1])]  # what dominates a row stands before it
    if values.shape[1] == 2:
        found[rows[_best_so_far(*values[rows].T)]] = True
        return found
    while len(rows):
        best, left = values[rows[0]], values[rows]
        found[rows[(left == best).all(axis=1)]] = True
        rows = rows[(left > best).any(axis=1)]
    return found


def _best_so_far(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,), (N,) -> (N,): of points in falling order of first and then second, those that have more
    of second than all that have more of first, and no less than those that have as much of it.

    One pass, since thousands of points may be on a front.
    """
    is_start = np.ones(len(first), dtype=bool)
    is_start[1:] = first[1:] != first[:-1]
    starts = np.maximum.accumulate(np.where(is_start, np.arange(len(first)), 0))
    most_before = np.maximum.accumulate(second)[starts - 1]
    is_best: np.ndarray = (second == second[starts]) & ((starts == 0) | (second > most_before))
    return is_best
