"""The trials of a search as parallel coordinates."""

from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from mnist_sweep.figures.axes import numbers
from mnist_sweep.figures.labels import headline, legend, one_line
from mnist_sweep.figures.style import BLUE, GREY, WIDTH, styled
from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.parallel import ParallelAxis, ParallelInfo


@styled
def parallel(search: ParallelInfo, title: str) -> Figure:
    """A row for each parameter, a line down through all rows for each trial.

    A trial that was not completed is grey, the best is dark and bold.
    """
    objective, minimize = search.objective, search.minimize
    is_acc = is_accuracy(objective)
    final = numbers(search.values) * (100 if is_acc else 1)
    known = final[~np.isnan(final)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    rows = [*search.axes, ParallelAxis(objective, list(final), low=low, high=high)]
    figure = Figure(figsize=(WIDTH, 1.5 + 0.4 * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = np.array(
        [_draw_parallel_axis(axes, row, axis, final) for row, axis in enumerate(rows)]
    )
    mappable = ScalarMappable(Normalize(low, high), "viridis" if minimize else "viridis_r")
    # Trials that were not completed lie below, the best on top.
    goodness = np.where(np.isnan(final), -np.inf, -final if minimize else final)
    order = np.argsort(goodness, kind="stable")
    for trial in order:
        is_done, is_last = not np.isnan(final[trial]), trial == order[-1]
        axes.plot(
            places[:, trial],
            range(len(rows)),
            color=mappable.to_rgba(final[trial]) if is_done else "#DDDDDD",
            linewidth=2.4 if is_done and is_last else 1.3 if is_done else 0.7,
            zorder=3 if is_done else 1,
        )
    axes.set_xlim(-0.05, NO_VALUE + 0.05)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [one_line(axis.name, 32) for axis in rows])
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if len(known):
        bar = figure.colorbar(mappable, ax=axes, shrink=0.5, aspect=30, pad=0.01)
        bar.set_label(f"{objective}, %" if is_acc else objective)
        bar.outline.set_visible(False)
    headline(figure, title)
    keys = [Line2D([], [], color=BLUE, label=f"{len(known)} completed")]
    if len(known) < len(final):
        label = f"{len(final) - len(known)} pruned"
        keys.append(Line2D([], [], color="#CCCCCC", linewidth=1, label=label))
    legend(figure, keys)
    return figure


NO_VALUE = 1.12
"""Where on its row a trial is that does not have the parameter."""


def _draw_parallel_axis(
    axes: Axes, row: int, axis: ParallelAxis, objective: np.ndarray
) -> np.ndarray:
    """Draws a row and its ticks; returns where each trial is on it, 0..1.

    objective: its values, by which trials of the same choice lie side by side.
    """
    axes.plot([0, 1], [row, row], color=GREY, linewidth=0.9, zorder=2)
    if axis.choices is not None:
        ends = max(1, len(axis.choices) - 1)
        where = {_key(choice): index / ends for index, choice in enumerate(axis.choices)}
        ticks = {str(choice): where[_key(choice)] for choice in axis.choices}
        place = np.array([np.nan if v is None else where[_key(v)] for v in axis.values])
        ranks = np.argsort(np.argsort(objective, kind="stable"), kind="stable")
        place += SIDE_BY_SIDE * (ranks / max(1, len(ranks) - 1) - 0.5)
    else:
        scale = np.log if axis.log else np.asarray
        is_whole = all(float(end).is_integer() for end in (axis.low, axis.high))
        span = float(scale(axis.high)) - float(scale(axis.low)) or 1.0
        place = (scale(numbers(axis.values)) - float(scale(axis.low))) / span
        wanted = (
            LogLocator(subs=(1, 2, 5)).tick_values(axis.low, axis.high)
            if axis.log
            else MaxNLocator(4, integer=is_whole).tick_values(axis.low, axis.high)
        )
        ticks = {}
        for tick in (axis.low, axis.high, *wanted):
            at = (float(scale(tick)) - float(scale(axis.low))) / span
            if 0 <= at <= 1 and all(abs(at - other) > 0.1 for other in ticks.values()):
                ticks[f"{tick:,.0f}" if float(tick).is_integer() else f"{tick:.4g}"] = at
    missing = np.array([value is None for value in axis.values])
    if missing.any():
        ticks["none"] = NO_VALUE
        place[missing] = NO_VALUE
    for text, at in ticks.items():
        axes.plot([at, at], [row - 0.07, row + 0.07], color=GREY, linewidth=0.9, zorder=2)
        axes.text(
            at,
            row + 0.13,
            one_line(text, 16),
            ha="center",
            va="top",
            fontsize=7.5,
            zorder=5,
            path_effects=[patheffects.withStroke(linewidth=2.2, foreground="white")],
        )
    return place


SIDE_BY_SIDE = 0.02
"""Width of the strand of trials with the same choice; they would all be one line."""


def _key(value: Any) -> str:
    """1 and True are different choices."""
    return repr(value)
