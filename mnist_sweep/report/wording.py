"""Numbers and missing values as a reader likes them."""

import math
from typing import Any

import pandas as pd


def counted(number: int, noun: str) -> str:
    """`1 run`, `2,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def number_or_none(value: Any, digits: int = 4) -> float | None:
    """Rounded; None for what is missing or no number, so that it is null in JSON."""
    if pd.isna(value) or not math.isfinite(value):
        return None
    return round(float(value), digits)


def percent(value: float) -> str:
    """A fraction of 1, without the sign; "" for a missing one."""
    return "" if pd.isna(value) else f"{100 * value:.2f}"


def span(low: float, high: float) -> str:
    """Of two fractions of 1, in percent; "" where one is missing."""
    return "" if pd.isna(low) or pd.isna(high) else f"{percent(low)} to {percent(high)}"


def or_empty(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def statuses(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """Each status and how many runs have it, the most frequent first."""
    return [(str(status), int(number)) for status, number in runs.status.value_counts().items()]
