"""What may be said of accuracies over seeds: summaries, intervals, two tests, and their words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import

SIGNIFICANT = 0.05

NO_SPREAD = 1e-12
"""Accuracies are multiples of 1 / images; a spread below this is rounding."""


@dataclass(frozen=True)
class Summary:
    """sd is the sample's, NaN for n = 1; low and high are NaN where there is no spread to go by."""

    n: int
    mean: float
    sd: float
    low: float
    high: float
    min: float
    max: float


def summarize(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Student's t interval of the mean. The values are taken for independent and near normal."""
    array = np.asarray(values, dtype=float)
    n, mean = len(array), float(array.mean())
    sd = float(array.std(ddof=1)) if n > 1 else math.nan
    half = float(half_width(sd, n, confidence))
    return Summary(n, mean, sd, mean - half, mean + half, float(array.min()), float(array.max()))


def half_width(sd: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> NDArray[Any]:
    """Half of the t interval of a mean; NaN where n < 2 or nothing varies. Takes arrays."""
    n, sd = np.asarray(n, dtype=float), np.asarray(sd, dtype=float)
    freedom = np.where((n > 1) & (sd > NO_SPREAD), n - 1, np.nan)
    return np.asarray(stdtrit(freedom, (1 + confidence) / 2) * sd / np.sqrt(n))


@dataclass(frozen=True)
class Difference:
    """Of means, first less second, in fractions of 1. NaN: the data cannot say."""

    mean: float
    half_width: float
    p: float
    n: int
    """Of pairs; of runs in all for the unpaired test."""


def paired(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Difference:
    """Student's t-test on pairs, such as two configurations under the same seeds."""
    summary = summarize(np.subtract(first, second).tolist(), confidence)
    if summary.n < 2 or summary.sd < NO_SPREAD:
        return Difference(summary.mean, math.nan, math.nan, summary.n)
    t = summary.mean / (summary.sd / math.sqrt(summary.n))
    p = 2 * float(stdtr(summary.n - 1, -abs(t)))
    return Difference(summary.mean, summary.high - summary.mean, p, summary.n)


def unpaired(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> Difference:
    """Welch's t-test, for runs without common seeds."""
    a, b = summarize(first), summarize(second)
    mean, n = a.mean - b.mean, a.n + b.n
    parts = np.array([a.sd**2 / a.n, b.sd**2 / b.n])
    error = math.sqrt(parts.sum())
    if min(a.n, b.n) < 2 or error < NO_SPREAD:
        return Difference(mean, math.nan, math.nan, n)
    freedom = parts.sum() ** 2 / (parts**2 / [a.n - 1, b.n - 1]).sum()
    p = 2 * float(stdtr(freedom, -abs(mean / error)))
    return Difference(mean, float(stdtrit(freedom, (1 + confidence) / 2)) * error, p, n)


def mcnemar(only_first: int, only_second: int) -> float:
    """p of McNemar's exact test: two nets, and on how many images only one of them is right."""
    from scipy.stats import binomtest  # late: see above

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def words(difference: Difference, names: tuple[str, str], sample: str) -> str:
    """A difference of accuracies as a sentence. sample: such as "5 common seeds"."""
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
    tested = f"({sample}, {p_words(difference.p)})"
    if difference.p >= SIGNIFICANT:
        return f"no difference shown: {size} {tested}"
    return f"{better} is better by {size} {tested}"


def mcnemar_words(only_first: int, only_second: int, names: tuple[str, str]) -> str:
    p = mcnemar(only_first, only_second)
    counts = (
        f"{names[0]} alone is right on {only_first} images, {names[1]} alone on {only_second} "
        f"({p_words(p)})"
    )
    if p >= SIGNIFICANT:
        return f"no difference shown: {counts}"
    return f"{names[0] if only_first > only_second else names[1]} is better: {counts}"


def p_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
