"""The trials of a search as parallel coordinates."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_sweep.figures.labels import ON_LINES, headline, legend, one_line
from mnist_sweep.figures.style import GREY, WIDTH, styled
from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.error_scale import SCALE
from mnist_sweep.report.analysis.parallel import NO_VALUE, ParallelInfo, ParallelRow

UNFINISHED = "#CCCCCC"


@styled
def parallel(search: ParallelInfo, title: str) -> Figure:
    """A row for each parameter, a line down through all rows for each trial.

    A trial that was not completed is grey, the best is dark and bold.
    """
    rows = search.rows()
    figure = Figure(figsize=(WIDTH, 1.5 + 0.4 * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        _draw_row(axes, number, row)
    places = np.array([row.places for row in rows])
    results = places[-1]
    mappable = ScalarMappable(Normalize(0, 1), "viridis" if search.minimize else "viridis_r")
    order = search.worst_first()  # the best on top
    for trial in order:
        is_done, is_last = not np.isnan(results[trial]), trial == order[-1]
        axes.plot(
            places[:, trial],
            range(len(rows)),
            color=mappable.to_rgba(results[trial]) if is_done else UNFINISHED,
            linewidth=2.4 if is_done and is_last else 1.3 if is_done else 0.7,
            zorder=3 if is_done else 1,
        )
    axes.set_xlim(-0.05, NO_VALUE + 0.05)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [one_line(row.name, 32) for row in rows])
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    num_completed = int((~np.isnan(results)).sum())
    if num_completed:
        ticks = rows[-1].ticks
        bar = figure.colorbar(mappable, ax=axes, shrink=0.5, aspect=30, pad=0.01)
        bar.set_ticks(list(ticks.values()), labels=list(ticks))
        name = search.objective
        bar.set_label(f"{name}, %{SCALE}" if is_accuracy(name) else name)
        bar.outline.set_visible(False)
    headline(figure, title)
    shades = [mappable.get_cmap()(value) for value in (0.1, 0.5, 0.9)]
    label = f"{num_completed} completed"
    keys: list[Any] = [tuple(Line2D([], [], color=shade, label=label) for shade in shades)]
    if num_completed < len(results):
        label = f"{len(results) - num_completed} pruned"
        keys.append(Line2D([], [], color=UNFINISHED, linewidth=0.7, label=label))
    legend(figure, keys)
    return figure


def _draw_row(axes: Axes, number: int, row: ParallelRow) -> None:
    """The line that the trials cross, and its ticks."""
    axes.plot([0, 1], [number, number], color=GREY, linewidth=0.9, zorder=2)
    for text, place in row.ticks.items():
        axes.plot([place, place], [number - 0.07, number + 0.07], color=GREY, lw=0.9, zorder=2)
        axes.text(
            place,
            number + 0.13,
            one_line(text, 16),
            ha="center",
            va="top",
            fontsize=7.5,
            zorder=5,
            bbox=ON_LINES,
        )
