"""What may be said of accuracies over seeds, taken for independent and near normal: intervals and
tests."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # for the leaderboard: scipy.stats takes a second to import

CONFIDENCE = 0.95

NO_SPREAD = 1e-12
"""Accuracies are multiples of 1 / images; a spread below this is rounding."""


def half_width(sd: ArrayLike, n: ArrayLike) -> NDArray[Any]:
    """Half of Student's t interval of a mean; NaN where n < 2 or nothing varies. Takes arrays."""
    n, sd = np.asarray(n, dtype=float), np.asarray(sd, dtype=float)
    freedom = np.where((n > 1) & (sd > NO_SPREAD), n - 1, np.nan)
    return np.asarray(stdtrit(freedom, (1 + CONFIDENCE) / 2) * sd / np.sqrt(n))


@dataclass(frozen=True)
class Difference:
    """Of means, first less second, in fractions of 1. NaN: the data cannot say."""

    mean: float
    half_width: float
    p: float
    n: int
    """Of pairs; of runs in all for the unpaired test."""


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Student's t-test on pairs, such as two configurations under the same seeds."""
    differences = np.subtract(first, second)
    mean, n = float(differences.mean()), len(differences)
    if n < 2 or differences.std(ddof=1) < NO_SPREAD:
        return Difference(mean, math.nan, math.nan, n)
    from scipy.stats import ttest_rel  # only where two are compared, as below

    return _tested(mean, ttest_rel(first, second), n)


def unpaired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Welch's t-test, for runs without common seeds."""
    mean, n = float(np.mean(first) - np.mean(second)), len(first) + len(second)
    both = (first, second)
    if min(map(len, both)) < 2 or max(np.std(runs, ddof=1) for runs in both) < NO_SPREAD:
        return Difference(mean, math.nan, math.nan, n)
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():  # of one whose accuracies are all equal, which is no harm
        warnings.filterwarnings("ignore", "Precision loss")
        return _tested(mean, ttest_ind(first, second, equal_var=False), n)


def _tested(mean: float, test: Any, n: int) -> Difference:
    """test: a result of scipy's t-tests."""
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(mean, float(high - low) / 2, float(test.pvalue), n)


def mcnemar(only_first: int, only_second: int) -> float:
    """p of McNemar's exact test: two nets, and on how many images only one of them is right."""
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
