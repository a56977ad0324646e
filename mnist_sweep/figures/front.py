"""Score against cost, with the front drawn and named."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from mnist_sweep.figures.axes import accuracy_axis, log_limits, plain_log_ticks
from mnist_sweep.figures.labels import headline, legend, one_line, wrapped
from mnist_sweep.figures.saving import boxes_for_unknown_glyphs
from mnist_sweep.figures.style import BLUE, GREY, ORANGE, SKY, WIDTH, styled


@dataclass(frozen=True)
class FrontPanel:
    """Configurations that may be compared. points: columns label, cost, mean and sd of the score
    (fractions of 1; sd NaN for a single run), on_front. records: as of
    `report.front.known_records`."""

    title: str
    score: str
    points: pd.DataFrame
    records: pd.DataFrame | None = None


@styled
def front(panels: Sequence[FrontPanel], cost: str, title: str) -> Figure:
    """Score against cost, a panel for each track; the configurations on the front are named."""
    figure = Figure(figsize=(WIDTH, 1.1 + 3.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)
    left, right = log_limits(
        [
            size
            for panel in panels
            for sizes in (panel.points["cost"], _sizes(panel.records))
            for size in sizes
        ]
    )
    keys: dict[str, Any] = {}
    for axes, panel in zip(grid.flat, panels, strict=True):
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        keys |= _draw_front(axes, panel)
        axes.set_ylabel(f"{panel.score}, %")
        axes.set_title(wrapped(panel.title, 90), fontsize=9.5, fontweight="normal")
    plain_log_ticks(grid.flat[-1].xaxis, (left, right))
    grid.flat[-1].set_xlabel(cost)
    headline(figure, title)
    legend(figure, list(keys.values()))
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    with boxes_for_unknown_glyphs():
        figure.draw_without_rendering()  # where things lie is known only then
        for axes, panel in zip(grid.flat, panels, strict=True):
            chosen = panel.points[panel.points["on_front"]].sort_values("cost")
            anchors = [(c, 100 * m) for c, m in zip(chosen["cost"], chosen["mean"], strict=True)]
            names = [one_line(label, 36) for label in chosen["label"]]
            _name_points(axes, renderer, anchors, names)
    return figure


def _draw_front(axes: Axes, panel: FrontPanel) -> dict[str, Any]:
    """Returns the entries of the legend."""
    points, keys = panel.points, {}
    cost, mean, sd = (points[name].to_numpy(float) for name in ("cost", "mean", "sd"))
    shown = [100 * mean]
    on_front = points["on_front"].to_numpy(bool)
    for chosen, color, name in ((~on_front, SKY, "dominated"), (on_front, BLUE, "on the front")):
        if not chosen.any():
            continue
        keys[name] = axes.plot(
            cost[chosen],
            100 * mean[chosen],
            "o",
            color=color,
            markersize=6 if name == "on the front" else 4.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=name,
            zorder=3,
        )[0]
        repeated = chosen & ~np.isnan(sd)
        if repeated.any():
            low, high = 100 * (mean - sd)[repeated], np.minimum(100 * (mean + sd)[repeated], 100)
            axes.vlines(cost[repeated], low, high, color=color, linewidth=1.8, zorder=2.5)
            keys["sd"] = Line2D([], [], color=BLUE, marker="|", linestyle="", label="± sd of seeds")
            shown += [low, high]
    order = np.argsort(cost[on_front], kind="stable")
    steps = cost[on_front][order], 100 * mean[on_front][order]
    right = axes.get_xlim()[1]
    # On to the edge: a larger net has to beat the best so far.
    axes.plot(
        [*steps[0], right],
        [*steps[1], steps[1][-1]],
        drawstyle="steps-post",
        color="#8FBFDD",
        linewidth=1.3,
        zorder=2,
        label="front",
    )
    if panel.records is not None:
        shown.append(_draw_records(axes, panel.records, keys))
    accuracy_axis(axes.yaxis, np.concatenate(shown), headroom=0.1)
    return keys


def _draw_records(axes: Axes, records: pd.DataFrame, keys: dict[str, Any]) -> np.ndarray:
    """Returns their accuracies in percent."""
    forms = {
        "credible": (ORANGE, ORANGE, "known record, credible"),
        "claim": ("none", GREY, "claim: peak picked on test"),
    }
    for kind, (fill, color, said) in forms.items():
        chosen = records[records["kind"] == kind]
        if len(chosen):
            keys[kind] = axes.plot(
                _sizes(chosen),
                100 * chosen["test_acc"].to_numpy(float),
                "D",
                markersize=6.5,
                color=color,
                markerfacecolor=fill,
                label=said,
                zorder=2.8,
            )[0]
    return 100 * records["test_acc"].to_numpy(float)


def _sizes(records: pd.DataFrame | None) -> np.ndarray:
    """Parameters; the limit of its class for a record whose size is not told."""
    if records is None:
        return np.array([])
    return records["num_params"].fillna(records["max_params"]).to_numpy(float)


def _name_points(
    axes: Axes,
    renderer: RendererAgg,
    anchors: Sequence[tuple[float, float]],
    names: Sequence[str],
) -> None:
    """Writes the names beside their points where they cover no point and no other name.

    Up and left of a point on a front there is no other point, so that is tried first. A name for
    which there is no place is left out.
    """
    inside = axes.get_window_extent()
    unit = axes.figure.dpi / 72
    taken = []
    for line in axes.lines:
        if line.get_linestyle() == "None":
            for x, y in axes.transData.transform(np.column_stack(line.get_data())):
                taken.append(Bbox.from_bounds(x - 4 * unit, y - 4 * unit, 8 * unit, 8 * unit))
    for bars in axes.collections:
        for path in bars.get_paths():
            taken.append(Bbox(axes.transData.transform(path.vertices)).padded(unit))
    for anchor, name in zip(anchors, names, strict=True):
        text = axes.annotate(
            name,
            anchor,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8.5,
            path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")],
            zorder=4,
        )
        text.set_in_layout(False)
        for dx, dy, ha in PLACES:
            text.set_horizontalalignment(ha)
            text.set_position((dx, dy))
            box = text.get_window_extent(renderer)
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1
            if fits and inside.y0 <= box.y0 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.remove()
            continue
        if math.hypot(dx, dy) > NEAR:
            leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0}
            axes.annotate("", anchor, (dx, dy), textcoords="offset points", arrowprops=leader)


NEAR = 12
"""Points; a name farther away has a line to its point."""

PLACES: list[tuple[float, float, Literal["left", "right"]]] = [
    *((-4, 4 + 10 * step, "right") for step in range(4)),
    *((6, 5 + 10 * step, "left") for step in range(2)),
    *((6, -11 - 10 * step, "left") for step in range(3)),
    *((-24, 4 + 10 * step, "right") for step in range(5)),
]
"""Offsets in points and alignment, the best first."""
