"""Score against cost, with the front drawn and named."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from mnist_sweep.figures.axes import accuracy_axis, log_limits, numbers, plain_log_ticks
from mnist_sweep.figures.labels import ON_LINES, headline, legend, one_line, wrapped
from mnist_sweep.figures.saving import boxes_for_unknown_glyphs
from mnist_sweep.figures.style import BLUE, GREY, ORANGE, SKY, WIDTH, styled
from mnist_sweep.report.analysis.error_scale import SCALE
from mnist_sweep.report.analysis.front import FrontInfo, KnownRecord


@styled
def front(tracks: Sequence[FrontInfo], title: str, cost: str) -> Figure:
    """Score against cost, a panel for each track; the configurations on the front and the known
    records are named.

    cost: what all tracks' cost is called.
    """
    figure = Figure(figsize=(WIDTH, 1.1 + 3.5 * len(tracks)), layout="constrained")
    grid = figure.subplots(len(tracks), 1, squeeze=False, sharex=True)
    left, right = log_limits(
        [
            *(point.cost for track in tracks for point in track.drawn(track.score)),
            *(record.size for track in tracks for record in track.records_beside(track.score)),
        ]
    )
    keys: dict[str, Any] = {}
    for axes, track in zip(grid.flat, tracks, strict=True):
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        keys |= _draw_track(axes, track)
        axes.set_ylabel(f"{track.score}, %{SCALE}")
        axes.set_title(wrapped(track.title, 90), fontsize=9.5, fontweight="normal")
    plain_log_ticks(grid.flat[-1].xaxis, (left, right))
    grid.flat[-1].set_xlabel(cost)
    headline(figure, title)
    legend(figure, list(keys.values()))
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    with boxes_for_unknown_glyphs():
        figure.draw_without_rendering()  # where things lie is known only then
        for axes, track in zip(grid.flat, tracks, strict=True):
            named = [
                *(
                    (one_line(point.label, 36), point.cost, point.scores[track.score].mean)
                    for point in track.front(track.score)
                ),
                *(
                    (record.name, record.size, record.test_acc)
                    for record in track.records_beside(track.score)
                ),
            ]
            anchors = [(cost, 100 * mean) for _, cost, mean in named]
            _name_points(axes, renderer, anchors, [name for name, _, _ in named])
    return figure


def _draw_track(axes: Axes, track: FrontInfo) -> dict[str, Any]:
    """Returns the entries of the legend."""
    points, keys = track.drawn(track.score), {}
    scores = [point.scores[track.score] for point in points]
    cost = numbers(point.cost for point in points)
    mean, sd = numbers(score.mean for score in scores), numbers(score.sd for score in scores)
    shown = [100 * mean]
    on_front = np.array([score.on_front for score in scores])
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
    if records := track.records_beside(track.score):
        shown.append(_draw_records(axes, records, keys))
    accuracy_axis(axes.yaxis, np.concatenate(shown), headroom=0.1)
    return keys


def _draw_records(axes: Axes, records: Sequence[KnownRecord], keys: dict[str, Any]) -> np.ndarray:
    """Returns their accuracies in percent."""
    forms = {
        "credible": (ORANGE, ORANGE, "known record, credible"),
        "claim": ("none", GREY, "claim: peak picked on test"),
    }
    for kind, (fill, color, said) in forms.items():
        chosen = [record for record in records if record.kind == kind]
        if chosen:
            keys[kind] = axes.plot(
                [record.size for record in chosen],
                [100 * record.test_acc for record in chosen],
                "D",
                markersize=6.5,
                color=color,
                markerfacecolor=fill,
                label=said,
                zorder=2.8,
            )[0]
    return np.array([100 * record.test_acc for record in records])


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
    boxes = []
    for line in axes.lines:
        if line.get_linestyle() == "None":
            for x, y in axes.transData.transform(np.column_stack(line.get_data())):
                boxes.append(Bbox.from_bounds(x - 4 * unit, y - 4 * unit, 8 * unit, 8 * unit))
    for bars in axes.collections:
        for path in bars.get_paths():
            boxes.append(Bbox(axes.transData.transform(path.vertices)).padded(unit))
    taken = np.array([box.extents for box in boxes]).reshape(-1, 4)
    taken = np.unique(taken.round(), axis=0)  # thousands may lie on each other
    text = None
    for anchor, name in zip(anchors, names, strict=True):
        # The one for which there was no place is used again: there may be thousands.
        text = text or _name(axes)
        text.set_text(name)
        text.xy = anchor
        box = text.get_window_extent(renderer)
        places = np.array([_moved(box, unit, *place) for place in PLACES])
        around = np.array([[*places[:, :2].min(axis=0), *places[:, 2:].max(axis=0)]])
        near = taken[_overlap(around, taken)[0]]
        is_free = _are_within(places, inside) & ~_overlap(places, near).any(axis=1)
        if not is_free.any():
            continue
        chosen = int(is_free.argmax())
        taken = np.vstack([taken, places[chosen]])
        dx, dy, ha = PLACES[chosen]
        text.set_horizontalalignment(ha)
        text.set_position((dx, dy))
        text = None
        if math.hypot(dx, dy) > NEAR:
            leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0}
            axes.annotate("", anchor, (dx, dy), textcoords="offset points", arrowprops=leader)
    if text is not None:
        text.remove()


def _name(axes: Axes) -> Annotation:
    text = axes.annotate(
        "",
        (0, 0),
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=8.5,
        bbox=ON_LINES,
        zorder=4,
    )
    text.set_in_layout(False)
    return text


def _moved(box: Bbox, unit: float, dx: float, dy: float, ha: str) -> np.ndarray:
    """The box of a name that began at its point, in another place. -> (left, bottom, right, top)"""
    left = dx * unit - (box.width if ha == "right" else 0)
    return np.array(box.extents) + [left, dy * unit, left, dy * unit]


def _are_within(boxes: np.ndarray, frame: Bbox) -> np.ndarray:
    """(N, 4) -> (N,)"""
    low, high = np.array(frame.min), np.array(frame.max)
    return np.asarray(((low <= boxes[:, :2]) & (boxes[:, 2:] <= high)).all(axis=1))


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) -> (N, M)"""
    left, bottom, right, top = boxes.T[..., None]
    reach = (left <= others[:, 2]) & (others[:, 0] <= right)
    return np.asarray(reach & (bottom <= others[:, 3]) & (others[:, 1] <= top))


NEAR = 12
"""Points; a name farther away has a line to its point."""

PLACES: list[tuple[float, float, Literal["left", "right"]]] = [
    *((-4, 4 + 10 * step, "right") for step in range(4)),
    *((6, 5 + 10 * step, "left") for step in range(2)),
    *((6, -11 - 10 * step, "left") for step in range(3)),
    *((-24, 4 + 10 * step, "right") for step in range(5)),
]
"""Offsets in points and alignment, the best first."""
