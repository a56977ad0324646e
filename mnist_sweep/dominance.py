"""What beats what where several objectives count."""

import numpy as np


def non_dominated(values: np.ndarray) -> np.ndarray:
    """values: (N, objectives), more is better. -> (N,): whether no other row is as good in all and
    better in one. A row with a NaN is not among them and beats none."""
    found = np.zeros(len(values), dtype=bool)
    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    rows = rows[np.lexsort(-values[rows].T)]  # what dominates a row stands before it
    while len(rows):
        best, left = values[rows[0]], values[rows]
        found[rows[(left == best).all(axis=1)]] = True
        rows = rows[(left > best).any(axis=1)]
    return found
