"""Two configurations against each other, in sentences: over seeds, and net against net."""

import math
from collections.abc import Callable, Iterator

import pandas as pd

from mnist_sweep.errors import UserError
from mnist_sweep.intervals import NO_SPREAD
from mnist_sweep.report.analysis.leaderboard import METRICS
from mnist_sweep.report.analysis.statistics import Difference, mcnemar, paired, unpaired

SIGNIFICANT = 0.05

Names = tuple[str, str]
"""What the two are called."""


def over_seeds(first: pd.DataFrame, second: pd.DataFrame, names: Names) -> list[str]:
    """A sentence for each metric. first, second: completed runs, seed as index."""
    sentences = []
    for metric in METRICS:
        a, b = first[metric].dropna(), second[metric].dropna()
        common = a.index.intersection(b.index)
        seeds = f"{len(common)} common seed{'s' * (len(common) != 1)}"
        if len(common) > 1:
            said = sentence(paired(a[common].tolist(), b[common].tolist()), names, seeds)
        elif min(len(a), len(b)) > 1:
            sample = f"{len(a)} and {len(b)} runs with {seeds}, so not paired"
            said = sentence(unpaired(a.tolist(), b.tolist()), names, sample)
        elif len(a) or len(b):
            said = f"nothing can be said from {seeds}: train both with the same two seeds or more"
        else:
            continue
        sentences.append(f"{metric:<9} {said}")
    return sentences


def on_predictions(
    first: pd.DataFrame,
    second: pd.DataFrame,
    names: Names,
    predictions: Callable[[str], pd.DataFrame],
) -> Iterator[str]:
    """A sentence for each common seed; a run whose net or data are gone is passed over, named.

    first, second: completed runs, seed as index. predictions: run id -> columns image, label and
    prediction; raises UserError where they cannot be had.
    """
    common = sorted(first.index.intersection(second.index))
    if not common:
        yield "no common seed, so no pair of nets to test"
    tested = 0
    for seed in common:
        try:
            a, b = (predictions(runs.run_id[seed]) for runs in (first, second))
            both = a.merge(b, on=["image", "label"], suffixes=("_a", "_b"))
            if not len(a) == len(b) == len(both):
                raise UserError("the two runs were not tested on the same images")
            right_a, right_b = both.prediction_a == both.label, both.prediction_b == both.label
            said = mcnemar_sentence(
                int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()), names
            )
            tested += 1
        except UserError as error:
            said = f"not tested: {error}"
        yield f"seed {seed}: {said}"
    if tested > 1:
        yield "(Of many such tests one in twenty shows a difference where there is none.)"


def sentence(difference: Difference, names: Names, sample: str) -> str:
    """A difference of accuracies. sample: such as "5 common seeds"."""
    points = 100 * difference.mean
    better = names[0] if points > 0 else names[1]
    if math.isnan(difference.p):
        if difference.n < 2:
            return f"nothing can be said from {sample}: at least two runs of each are needed"
        if abs(difference.mean) < NO_SPREAD:
            return f"no difference shown: exactly equal on {sample}"
        return (
            f"{better} is ahead by {abs(points):.2f} points on each of {sample}; "
            "without any spread no test applies"
        )
    size = f"{abs(points):.2f} ± {100 * difference.half_width:.2f} points"
    tested = f"({sample}, {_p(difference.p)})"
    if difference.p >= SIGNIFICANT:
        return f"no difference shown: {size} {tested}"
    return f"{better} is better by {size} {tested}"


def mcnemar_sentence(only_first: int, only_second: int, names: Names) -> str:
    p = mcnemar(only_first, only_second)
    counts = (
        f"{names[0]} alone is right on {only_first} images, {names[1]} alone on {only_second} "
        f"({_p(p)})"
    )
    if p >= SIGNIFICANT:
        return f"no difference shown: {counts}"
    return f"{names[0] if only_first > only_second else names[1]} is better: {counts}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
