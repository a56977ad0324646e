"""What may be said of accuracies over seeds: summaries, intervals, tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # the leaderboard's; scipy.stats takes a second to import

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
    summary = summarize(np.subtract(first, second).tolist())
    if summary.n < 2 or summary.sd < NO_SPREAD:
        return Difference(summary.mean, math.nan, math.nan, summary.n)
    from scipy.stats import ttest_rel  # late, as binomtest below

    return _tested(summary.mean, ttest_rel(first, second), confidence, summary.n)


def unpaired(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> Difference:
    """Welch's t-test, for runs without common seeds."""
    a, b = summarize(first), summarize(second)
    mean, n = a.mean - b.mean, a.n + b.n
    if min(a.n, b.n) < 2 or math.hypot(a.sd / math.sqrt(a.n), b.sd / math.sqrt(b.n)) < NO_SPREAD:
        return Difference(mean, math.nan, math.nan, n)
    from scipy.stats import ttest_ind

    return _tested(mean, ttest_ind(first, second, equal_var=False), confidence, n)


def _tested(mean: float, test: Any, confidence: float, n: int) -> Difference:
    """test: a result of scipy's t-tests."""
    ends = test.confidence_interval(confidence)
    return Difference(mean, float(ends.high - ends.low) / 2, float(test.pvalue), n)


def mcnemar(only_first: int, only_second: int) -> float:
    """p of McNemar's exact test: two nets, and on how many images only one of them is right."""
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
