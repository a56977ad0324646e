"""Axes of accuracies, epochs and sizes: their scales, limits and ticks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mnist_sweep.report.analysis.error_scale import LEAST_ERROR, from_percent, to_percent

TICKS = [
    [0, 50, 90, 99, 99.9, 100],
    [20, 80, 95, 98, 99.5, 99.8],
    [40, 60, 70, 85, 97, 98.5, 99.2, 99.3, 99.4, 99.6, 99.7],
    [*range(98), *(tenth / 10 for tenth in range(980, 1000))],
    [twentieth / 20 for twentieth in range(2000)],
    [hundredth / 100 for hundredth in range(10000)],
]
"""Percent; those that a reader likes best first."""
ENOUGH_TICKS = 6
TICK_GAP = 0.085
"""Share of the axis."""


def epoch_axis(axes: Axes, epochs: int) -> None:
    """From 1 on, with whole numbers."""
    pad = 0.04 * max(epochs - 1, 1)
    axes.set_xlim(1 - pad, epochs + pad)
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    step = next(step for step in steps if epochs <= 9 * step)
    axes.xaxis.set_major_locator(FixedLocator(sorted({1, *range(step, epochs + 1, step)})))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("epoch")


def accuracy_axis(axis: Axis, percents: Sequence[float] | np.ndarray, headroom: float = 0) -> None:
    """A y axis on the scale of errors, with limits that take in all of these values.

    An early epoch does not flatten the later ones. Its label is to end in SCALE.
    """
    axis.axes.set_yscale("function", functions=(from_percent, to_percent))
    values = numbers(percents)
    values = values[~np.isnan(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 100.0)
    bottom, top = float(from_percent(low)), float(from_percent(high))
    pad = max(0.06 * (top - bottom), 0.02)
    bottom, top = bottom - pad, top + pad + headroom * (top - bottom)
    gap = TICK_GAP * (top - bottom)
    low, high = max(to_percent(bottom), -1.0), min(to_percent(top), 100 + LEAST_ERROR / 3)
    axis.axes.set_ylim(low, high)
    ticks: dict[float, float] = {}
    for level in TICKS:
        for tick in level if len(ticks) < ENOUGH_TICKS else []:
            place = float(from_percent(tick))
            is_free = all(abs(place - other) > gap for other in ticks.values())
            if low <= tick <= high and is_free:
                ticks[tick] = place
    axis.set_major_locator(FixedLocator(sorted(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def without_outliers(accs: Sequence[float]) -> float:
    """The lowest accuracy worth showing: without the lowest twentieth (two at least), if these
    would take more than a third of the axis."""
    places = np.sort(from_percent(100 * np.asarray(accs)))
    few = max(2, len(places) // 20)
    if len(places) < 4 * few or places[few] - places[0] < (places[-1] - places[0]) / 3:
        return min(accs)
    return float(np.sort(accs)[few])


def log_limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max(0.06 * (high - low), 0.02)
    return 10 ** (low - pad), 10 ** (high + pad)


def plain_log_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Ticks as plain numbers, at 1, 2 and 5 times the powers of ten, or evenly in a short range."""
    low, high = limits
    ticks = [t for t in LogLocator(subs=(1, 2, 5)).tick_values(low, high) if low <= t <= high]
    if len(ticks) > 9:
        ticks = [t for t in LogLocator().tick_values(low, high) if low <= t <= high]
    if len(ticks) < 3:
        ticks = [t for t in MaxNLocator(6).tick_values(low, high) if low <= t <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        FuncFormatter(
            lambda value, _: (
                f"{value / 1e6:g} M"
                if value >= 1e6
                else f"{value:,.0f}"
                if value >= 10
                else f"{value:.3g}"
            )
        )
    )


def numbers(values: Any) -> np.ndarray:
    """None and infinities as NaN."""
    array = np.array([np.nan if value is None else value for value in values], dtype=float)
    array[~np.isfinite(array)] = np.nan
    return array
