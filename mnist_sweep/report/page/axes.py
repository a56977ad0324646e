"""Axes of the page's plots, in the form that plotly takes.

Accuracies are on a scale of errors, as in the PNGs: a logarithmic axis of 1 - accuracy, turned
round, labelled with accuracies in percent. It tells 99.5 from 99.7 and still has room for 90.
matplotlib takes such a scale as a function; plotly has none of the kind, so values are placed here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Axis = dict[str, Any]


@dataclass(frozen=True)
class AccuracyAxis:
    axis: Axis
    floor: float
    """The least error that has a place: 100 % is drawn there."""

    def place(self, accuracy: float | None) -> float | None:
        """accuracy: a fraction of 1."""
        return None if accuracy is None else _rounded(max(1 - accuracy, self.floor))


def accuracy_axis(accuracies: Iterable[float | None], title: str) -> AccuracyAxis:
    """With room for all of these, fractions of 1."""
    known = [a for a in accuracies if a is not None and math.isfinite(a)]
    errors = [1 - a for a in known if 1 - a > 1e-9]
    floor = max(min(errors) / 2 if errors else 1e-4, 1e-6)
    places = [max(1 - a, floor) for a in known]
    bottom, top = 1.0, 1e-3
    if places:
        margin = max((max(places) / min(places)) ** 0.06, 1.02)
        bottom, top = max(places) * margin, min(places) / margin
    ticks = log_ticks(max(top, floor * 1.01), min(bottom, 1))
    labels = [f"{100 * (1 - error):.4f}".rstrip("0").rstrip(".") for error in ticks]
    if places and min(places) <= floor:
        ticks.append(floor)
        labels.append("100")
    axis = {
        "type": "log",
        "range": [_rounded(math.log10(bottom)), _rounded(math.log10(top))],
        "tickvals": ticks,
        "ticktext": labels,
        "title": {"text": title},
    }
    return AccuracyAxis(axis, floor)


def size_axis(sizes: Sequence[int], title: str) -> Axis:
    """Logarithmic, with room for all of these."""
    smallest, largest = (min(sizes), max(sizes)) if sizes else (1, 10)
    margin = max((largest / smallest) ** 0.05, 1.01)
    low, high = smallest / margin, largest * margin
    ticks = log_ticks(low, high)
    return {
        "type": "log",
        "title": {"text": title},
        "range": [_rounded(math.log10(low)), _rounded(math.log10(high))],
        "tickvals": ticks,
        "ticktext": [f"{tick:,.3f}".rstrip("0").rstrip(".") for tick in ticks],
    }


def epoch_axis(last: int) -> Axis:
    axis = {"title": {"text": "epoch"}, "range": [0.6, last + max(0.4, last / 50)]}
    few = {"dtick": 1, "tick0": 1} if last < 15 else {}
    return {**axis, "tickformat": "d", **few}


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, enough to read a logarithmic axis by."""
    ticks: list[float] = []
    for mantissas in MANTISSAS:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [_rounded(mantissa * 10.0**power) for power in powers for mantissa in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            break
    return ticks


MANTISSAS: list[list[float]] = [
    [1],
    [1, 2, 5],
    [1, 1.5, 2, 3, 4, 5, 7],
    *([1 + n * step for n in range(round(9 / step))] for step in (0.2, 0.05, 0.01)),
]
"""Of the ticks; those that a reader likes best first."""


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
