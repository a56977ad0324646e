"""The front: configurations that no other one beats with fewer parameters or MACs; known records.

The records are published figures on MNIST's 10,000 test images, from known_records.csv beside this
file: the best that we know of under each limit of parameters.
"""

from pathlib import Path

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
    costs, scores = points[cost].astype("float64"), points[score].astype("float64")
    known = costs.notna() & scores.notna()
    best_at = scores[known].groupby(costs[known]).max()  # in the order of the cost
    best_below = best_at.cummax().shift()
    dominated = (scores < costs.map(best_at)) | (scores <= costs.map(best_below))
    return known & ~dominated


def known_records() -> pd.DataFrame:
    """Columns max_params (the limit), num_params (missing where it is not told), test_acc (a
    fraction of 1), kind ("credible", or "claim" for a peak that was picked on test), note."""
    text = {"kind": "string", "note": "string"}
    return pd.read_csv(KNOWN_RECORDS, dtype={"max_params": "Int64", "num_params": "Int64", **text})
