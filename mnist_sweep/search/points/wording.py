"""How a search's keys and values are written: as overrides, and in what is said of wrong ones."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from mnist_sweep.errors import UserError


def bare_key(override: str) -> str:
    """The key that an override, or a parameter named as in one, is about: `optimizer.lr` of
    `++optimizer.lr=0.1`."""
    return override.partition("=")[0].lstrip("+~")


def override_of(key: str, value: Any) -> str:
    """An entry of `hydra.sweeper.params` as an override.

    Raises:
        UserError: the value is a list or has keys of its own, which is no value to search or fix.
    """
    if isinstance(value, list):
        values = ", ".join(map(_as_written, value))
        raise UserError(
            f"hydra.sweeper.params: {key}=[{values}] is one value, a list, and not several to "
            f"search: write {key}: choice({values}); a value that is a list belongs outside params"
        )
    if isinstance(value, Mapping):
        inner = next(iter(value), "key")
        raise UserError(
            f"hydra.sweeper.params: {key} has keys of its own ({', '.join(map(str, value))}): "
            f"write dotted ones, such as {key}.{inner}: choice(...)"
        )
    return f"{key}={_as_written(value)}"


def _as_written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_as_written, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_ends(override: str, distribution: BaseDistribution) -> None:
    """
    Raises:
        UserError: it is a range or an interval that has a single value, which is seldom meant, or
            no end.
    """
    if isinstance(distribution, CategoricalDistribution):
        return
    if isinstance(distribution, FloatDistribution):
        for end in (distribution.low, distribution.high):
            if not isfinite(end):
                raise UserError(f"{override}: its end {end} is no finite number: give one that is")
    if not distribution.single():
        return
    value, step = getattr(distribution, "low", None), getattr(distribution, "step", None)
    if step is None or "interval" in override:
        remedy = f"write {value} alone to fix it, or two ends that differ"
    else:
        remedy = (
            f"a range leaves its end out, and its step, {step} here, is 1 where none is given; "
            "give a smaller step or a later end, or use interval(...)"
        )
    raise UserError(f"{override}: has one value, {value}, so nothing to search: {remedy}")


def shown(distribution: BaseDistribution) -> str:
    """In a line: `sgd, adamw`, `0.001 to 0.1 (log)`, `1 to 9 by 2`."""
    match distribution:
        case CategoricalDistribution():
            return ", ".join(map(_as_written, distribution.choices))
        case FloatDistribution() | IntDistribution():
            by = "" if distribution.step in (None, 1) else f" by {distribution.step:g}"
            log = " (log)" if distribution.log else ""
            return f"{distribution.low:g} to {distribution.high:g}{by}{log}"
    return str(distribution)


def whole_numbers_of(key: str, distribution: FloatDistribution) -> str:
    """What to write where a key takes whole numbers alone."""
    low, high = int(distribution.low), int(distribution.high)
    whole = f"int(interval({low}, {high}))"
    if distribution.log:
        whole = f"tag(log, {whole})"
    return f"use '{key}={whole}' or '{key}=range({low}, {high + 1})'"
