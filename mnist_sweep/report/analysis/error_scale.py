"""The scale on which accuracies are drawn: logarithmic in the error.

So 98 to 99 % is as far as 99 to 99.5 %.
"""

from typing import Any

import numpy as np

LEAST_ERROR = 0.01
"""Percent: one image in 10,000. Added to each error, so that 100 % has a place."""

SCALE = " (on a scale of errors)"
"""What the name of an axis with that scale ends in."""


def from_percent(percent: Any) -> Any:
    return -np.log10(np.maximum(100 + LEAST_ERROR - np.asarray(percent, float), LEAST_ERROR / 10))


def to_percent(place: Any) -> Any:
    return 100 + LEAST_ERROR - 10.0 ** -np.asarray(place, float)
