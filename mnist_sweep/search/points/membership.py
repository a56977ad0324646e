"""Which value of a parameter is meant by one that was written elsewhere."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from mnist_sweep.search.optuna_private import contains


def value_in(distribution: BaseDistribution, value: Any) -> Any:
    """The distribution's own one: 3 is 3.0, and choices are text where a command line gave them.

    Raises:
        ValueError: it has none that is the same; the text says which it has.
    """
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            if _plain(choice) == _plain(value):
                return choice
        raise ValueError(f"it is one of {', '.join(map(str, distribution.choices))}")
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        is_int = isinstance(distribution, IntDistribution)
        number = int(value) if is_int else float(value)
        if number == value and contains(distribution, number):
            return number
    step = distribution.step
    steps = "" if step in (None, 1) else f" in steps of {step:g}"
    whole = "whole numbers " if isinstance(distribution, IntDistribution) else ""
    raise ValueError(
        f"it is searched over {whole}from {distribution.low:g} to {distribution.high:g}{steps}"
    )


def _plain(value: Any) -> str:
    """The same for the same value, be it typed or as it is written in an override."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(str, value)) + "]"
    if isinstance(value, Mapping):  # several choices of a group
        return "[" + ",".join(map(str, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = "".join(str(value).split())
    if text.lower() in ("true", "false", "null"):
        return text.lower()
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text
