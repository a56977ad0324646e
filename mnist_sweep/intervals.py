"""How far off a mean over seeds may be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95

NO_SPREAD = 1e-12
"""Accuracies are multiples of 1 / images; a spread below this is rounding."""


def half_width(sd: ArrayLike, n: ArrayLike) -> NDArray[Any]:
    """Half of Student's t interval of a mean; NaN where n < 2 or nothing varies. Takes arrays."""
    from scipy.special import stdtrit  # late, as it takes a moment; scipy.stats takes a second

    n, sd = np.asarray(n, dtype=float), np.asarray(sd, dtype=float)
    freedom = np.where((n > 1) & (sd > NO_SPREAD), n - 1, np.nan)
    return np.asarray(stdtrit(freedom, (1 + CONFIDENCE) / 2) * sd / np.sqrt(n))


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Of the mean of these; None where there is one alone, or nothing varies."""
    mean = float(np.mean(values))
    half = float(half_width(np.std(values, ddof=1), len(values))) if len(values) > 1 else np.nan
    return None if np.isnan(half) else (mean - half, mean + half)
