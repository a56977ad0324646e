"""Which parameters of a search mattered: bars beside what chance gives."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_sweep.figures.labels import headline, legend, one_line
from mnist_sweep.figures.style import BLUE, INK, PALE, WIDTH, styled
from mnist_sweep.report.analysis.importance import Importances


@styled
def importance(found: Importances, title: str) -> Figure:
    """Bars, the most important on top."""
    names = list(found.shares)
    figure = Figure(figsize=(WIDTH, 2.0 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots()
    shares = [100 * found.shares[name] for name in names]
    shown = [100 * found.chance[name] for name in names]
    colors = [BLUE if found.is_above_chance(name) else PALE for name in names]
    axes.barh(range(len(names)), shares, color=colors, height=0.66)
    axes.vlines(
        shown, np.arange(len(names)) - 0.4, np.arange(len(names)) + 0.4, color=INK, linewidth=1.4
    )
    axes.set_yticks(range(len(names)), [one_line(name, 40) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1.08 * max([*shares, *shown, 1.0]))
    axes.set_xlabel("importance, % of the total")
    headline(figure, title)
    marks = [
        Line2D([], [], color=BLUE, linewidth=6, label="above chance"),
        Line2D([], [], color=PALE, linewidth=6, label="not above chance"),
        Line2D([], [], color=INK, marker="|", markersize=9, linestyle="", label="chance, 95 %"),
    ]
    legend(figure, marks, found.note)
    return figure
