"""Whether accuracies over seeds differ: tests, which take them for independent and near normal."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_sweep.intervals import CONFIDENCE, NO_SPREAD


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
