"""Whether a configuration is worth another seed: it is while it can still be the winner.

A race (Maron and Moore 1994; for configurations Birattari et al. 2002, Hutter et al. 2009) against
the best configuration that has all its seeds. All are trained with the same seeds, so the two are
compared seed by seed. The test is Student's, one-sided; what it takes for noise is pooled over
configurations, since that of two or three seeds of one says little. It is held after each seed but
the last, and the best one is the luckiest of all that have all seeds, so each test has the level
`ALPHA` / (tests * rivals) (Bonferroni). With normal noise, alike in all that are near the best, the
truly best configuration is so dropped with a probability of at most `ALPHA`;
benchmarks/racing.py confirms that, and says what other tests would cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from mnist_sweep.intervals import NO_SPREAD

ALPHA = 0.05
"""Probability with which a race may drop the truly best configuration."""

Values = Sequence[float]
"""Of one configuration, more is better: one a seed, in the order that all configurations share."""


@dataclass(frozen=True)
class Lag:
    """By how much a configuration is behind the best one."""

    best: int
    """Place of that one among the rivals."""
    mean: float
    """Of the seeds that both have, the best one's less its own."""
    bound: float
    """What `mean` would have to exceed to be no chance; NaN where noise is not known yet."""

    @property
    def is_out(self) -> bool:
        """Whether it can no longer be the winner."""
        return self.mean > self.bound


def lag(values: Values, rivals: Sequence[Values], num_seeds: int) -> Lag | None:
    """Of a configuration that has not yet all of the `num_seeds` seeds; None where no rival has.

    rivals: all that have ended, be it before their last seed.
    """
    whole = [place for place, rival in enumerate(rivals) if len(rival) == num_seeds]
    if not whole:
        return None
    best = max(whole, key=lambda place: _mean(rivals[place]))
    n = len(values)
    mean = _mean(rivals[best][:n]) - _mean(values)
    sd, freedom = noise([*_better_half(rivals), values])
    if freedom == 0 or sd < NO_SPREAD:
        return Lag(best, mean, math.nan)
    level = ALPHA / ((num_seeds - 1) * len(whole))
    return Lag(best, mean, float(stdtrit(freedom, 1 - level)) * sd * math.sqrt(2 / n))


def _better_half(rivals: Sequence[Values]) -> list[Values]:
    """Of those with several seeds: bad configurations vary more."""
    several = sorted((rival for rival in rivals if len(rival) > 1), key=_mean, reverse=True)
    return several[: (len(several) + 1) // 2]


def _mean(values: Values) -> float:
    return sum(values) / len(values)


def noise(groups: Sequence[Values]) -> tuple[float, int]:
    """The standard deviation of what neither the configuration nor the seed explains, by an
    additive model of both; and its degrees of freedom, 0 where it is not known."""
    several = [group for group in groups if len(group) > 1]
    num_seeds = max(map(len, several), default=0)
    centered, columns = [np.empty(0)], [np.empty((0, num_seeds))]
    for n in range(2, num_seeds + 1):  # those with so many seeds, each less its own mean
        of_n = np.array([group for group in several if len(group) == n]).reshape(-1, n)
        centered.append((of_n - of_n.mean(axis=1, keepdims=True)).ravel())
        seeds = np.eye(n, num_seeds)
        columns.append(np.tile(seeds - seeds.mean(axis=0), (len(of_n), 1)))
    values, design = np.concatenate(centered), np.concatenate(columns)
    effects, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(values) - len(several) - int(rank)
    if freedom == 0:
        return math.nan, 0
    return math.sqrt(float(((values - design @ effects) ** 2).sum()) / freedom), freedom
