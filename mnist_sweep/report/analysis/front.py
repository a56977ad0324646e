"""The front: configurations that no other one beats with fewer parameters or MACs; known records.

The records are published figures on MNIST's 10,000 test images, from known_records.csv beside this
file: the best that we know of under each limit of parameters.
"""

from pathlib import Path

import numpy as np
import pandas as pd

KNOWN_RECORDS = Path(__file__).with_name("known_records.csv")


def front(
    points: pd.DataFrame, cost: str = "num_params", score: str = "val_acc_mean"
) -> "pd.Series[bool]":
    """Which points no other one dominates, by costing no more, scoring no less, and one of the two
    better.

    cost, score: columns; of the first less is better, of the second more. Equal points are on the
    front together; a point without a cost or a score is not on it.
    """
    costs, scores = (points[name].astype("float64").to_numpy() for name in (cost, score))
    return pd.Series(non_dominated(np.column_stack([-costs, scores])), index=points.index)


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


def known_records() -> pd.DataFrame:
    """Columns max_params (the limit), num_params (missing where it is not told), test_acc (a
    fraction of 1), kind ("credible", or "claim" for a peak that was picked on test), note."""
    text = {"kind": "string", "note": "string"}
    return pd.read_csv(KNOWN_RECORDS, dtype={"max_params": "Int64", "num_params": "Int64", **text})
