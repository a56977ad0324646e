"""Pictures: each function takes plain data and returns a matplotlib Figure; `save` writes it.

No pyplot, hence no state: the same data give the same bytes. Accuracies come as fractions of 1 and
are shown in percent. No text is read as mathematics, whatever dollar signs it has.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import patheffects, style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from PIL import Image

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics

# Okabe and Ito's colours, which the colour-blind can tell apart.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, PALE = "#56B4E9", "#CC79A7", "#B9D4E6"
INK, GREY, LIGHT = "#222222", "#767676", "#D9D9D9"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)

WIDTH = 8.0
"""Inches; two dots a pixel where a page shows the picture 800 pixels wide."""

STYLE: dict[str, Any] = {
    "figure.dpi": 200,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "mnist_sweep",
}
styled = style.context(["default", STYLE])
"""Decorates what makes a picture. Nothing of the user's matplotlibrc has a say."""

MOST_MISTAKES = 40
MISTAKES_A_ROW = 10

ERRORS = LinearSegmentedColormap.from_list("errors", ["#FFFFFF", "#FBD3B8", VERMILION])


@styled
def confusion_matrix(counts: np.ndarray, title: str) -> Figure:
    """counts: (C, C) of images, rows are labels, columns predictions.

    Colour is for mistakes alone: the right answers, a thousand times as many, would hide them. On
    the right is each label's accuracy.
    """
    counts = np.asarray(counts)
    classes = len(counts)
    mistakes = counts.astype(float)
    np.fill_diagonal(mistakes, np.nan)
    figure = Figure(figsize=(6.4, 5.9), layout="constrained")
    axes = figure.subplots()
    most = np.nanmax(mistakes) if classes > 1 else 0
    axes.imshow(mistakes, cmap=ERRORS, vmin=0, vmax=max(most, 1))
    for label in range(classes):
        for prediction in range(classes):
            count = counts[label, prediction]
            right = label == prediction
            is_dark = not right and count > 0.7 * most
            if count or right:
                axes.text(
                    prediction,
                    label,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    color="white" if is_dark else GREY if right else INK,
                    fontsize=8.5 if right else 9.5,
                    fontweight="normal" if right else "bold",
                )
        images = counts[label].sum()
        acc = f"{100 * counts[label, label] / images:.2f} %" if images else "none"
        axes.text(classes - 0.3, label, acc, va="center", fontsize=9)
    axes.text(classes - 0.3, -0.75, "accuracy", va="center", fontsize=9, color=GREY)
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(False)
    axes.grid(True, which="minor")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title(_wrapped(title, 55), pad=20)
    return figure


@styled
def misclassified(
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    predictions: Sequence[int] | np.ndarray,
    confidences: Sequence[float] | np.ndarray,
    title: str,
) -> Figure:
    """images: (N, H, W) uint8; the first 40 are shown, in their order. confidences: 0..1."""
    shown = min(len(images), MOST_MISTAKES)
    rows = max(1, -(-shown // MISTAKES_A_ROW))
    figure = Figure(figsize=(WIDTH, 0.75 + 1.12 * rows), dpi=150, layout="constrained")
    axes = figure.subplots()
    _prepare_tiles(axes, MISTAKES_A_ROW, rows, CAPTION)
    for number in range(shown):
        row, column = divmod(number, MISTAKES_A_ROW)
        _draw_tile(axes, images[number], column, row * (1 + CAPTION))
        axes.text(
            column + TILE / 2,
            row * (1 + CAPTION) - 0.06,
            f"{labels[number]} as {predictions[number]}\n{100 * confidences[number]:.0f} %",
            ha="center",
            va="bottom",
            fontsize=9,
        )
    if not shown:
        axes.text(MISTAKES_A_ROW / 2, 0.5, "none: every image is right", ha="center")
    some = f"; {shown} of {len(images):,} are shown" if shown < len(images) else ""
    axes.set_xlabel(
        f"label as prediction, and the net's confidence in the prediction{some}",
        fontsize=9,
        color=GREY,
    )
    _headline(figure, title)
    return figure


TILE = 0.9
"""Side of an image where the next one begins at 1."""
CAPTION = 0.45
"""Height of two lines above an image, in the same unit."""


def _prepare_tiles(axes: Axes, columns: int, rows: int, caption: float = 0) -> None:
    """Room for images in rows, without ticks; y goes down."""
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, columns)
    axes.set_ylim(rows * (1 + caption) - caption, -caption - 0.02)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _draw_tile(axes: Axes, image: np.ndarray, x: float, y: float) -> None:
    """Black on white, every pixel a square."""
    tile = AxesImage(
        axes,
        cmap="gray_r",
        norm=Normalize(0, 255),
        interpolation="nearest",
        extent=(x, x + TILE, y + TILE, y),
    )
    tile.set_data(image)
    axes.add_image(tile)
    axes.add_patch(Rectangle((x, y), TILE, TILE, fill=False, edgecolor=LIGHT, linewidth=0.6))


def _headline(figure: Figure, title: str) -> None:
    """The title of a figure of several panels."""
    figure.suptitle(_wrapped(title, 78), x=0.01, ha="left", fontsize=11, fontweight="bold")


def _wrapped(title: str, width: int) -> str:
    """At most two lines of so many characters."""
    return textwrap.fill(title, width, max_lines=2, placeholder=" …")


# Curves against the epoch

MANY_RUNS = len(COLORS)
BEST_SHOWN = 5
"""Of more runs than there are colours, so many are told apart; the others are grey."""


@styled
def curves(histories: Mapping[str, Sequence[EpochMetrics]], title: str) -> Figure:
    """Accuracy and loss of each epoch. histories: label -> a run's epochs.

    Of one run the splits have colours; of several the runs. Training figures are dashed.
    """
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    named = list(histories)
    if len(named) > MANY_RUNS:
        named = sorted(named, key=lambda label: -_last_acc(histories[label]))[:BEST_SHOWN]
    colors = dict(zip(named, COLORS, strict=False))
    accs: list[float] = []
    # The named ones last, on top.
    for label in sorted(histories, key=lambda label: label in colors):
        history = histories[label]
        epochs = [metrics.epoch for metrics in history]
        for split, line in SPLITS.items():
            color = line["color"] if len(histories) == 1 else colors.get(label, LIGHT)
            if label not in colors and split == "train":
                continue
            form = {**line, "color": color, "marker": "o" if len(epochs) < 3 else None}
            if label not in colors:
                form["linewidth"] = 0.8
            acc = _numbers(getattr(metrics, f"{split}_acc") for metrics in history) * 100
            loss = _numbers(getattr(metrics, f"{split}_loss") for metrics in history)
            accs += list(acc)
            if not np.isnan(acc).all():
                left.plot(epochs, acc, label=f"{label} {split}", markersize=4, **form)
            if not np.isnan(loss).all():
                right.plot(epochs, loss, label=f"{label} {split}", markersize=4, **form)
    _accuracy_axis(left.yaxis, accs)
    right.set_yscale("log", nonpositive="clip")
    _plain_log_ticks(right.yaxis, right.get_ylim())
    left.set_title("accuracy, %", fontsize=9.5, fontweight="normal")
    right.set_title("loss, nats", fontsize=9.5, fontweight="normal")
    for axes in (left, right):
        _epoch_axis(axes, max(metrics.epoch for h in histories.values() for metrics in h))
    _headline(figure, title)
    _legend(figure, _curve_keys(histories, colors))
    return figure


SPLITS: dict[str, dict[str, Any]] = {
    "train": {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 1.2},
    "val": {"color": BLUE, "linestyle": "-"},
    "test": {"color": VERMILION, "linestyle": (0, (6, 1, 1, 1))},
}


def _last_acc(history: Sequence[EpochMetrics]) -> float:
    """What runs are compared by: validation, else test, else training."""
    last = history[-1]
    accs = [acc for acc in (last.val_acc, last.test_acc, last.train_acc) if acc is not None]
    return accs[0] if math.isfinite(accs[0]) else -math.inf


def _curve_keys(
    histories: Mapping[str, Sequence[EpochMetrics]], colors: Mapping[str, str]
) -> list[Line2D]:
    measured = [
        split
        for split in SPLITS
        if any(getattr(m, f"{split}_acc") is not None for h in histories.values() for m in h)
    ]
    said = {"train": "train (augmented, with dropout)", "val": "validation", "test": "test"}
    if len(histories) == 1:
        return [Line2D([], [], label=said[split], **SPLITS[split]) for split in measured]
    runs = [Line2D([], [], color=c, label=one_line(label, 40)) for label, c in colors.items()]
    others = len(histories) - len(colors)
    if others:
        runs.append(Line2D([], [], color=LIGHT, label=f"{others:,} others, without train"))
    lines = [
        Line2D([], [], label=said[split], **{**SPLITS[split], "color": INK}) for split in measured
    ]
    return [*runs, *lines]


@dataclass(frozen=True)
class TrialCurve:
    """A trial's run. label: short; val_acc: of epochs 1, 2, ..., fractions of 1."""

    label: str
    status: str
    val_acc: Sequence[float]


@styled
def pruned(trials: Sequence[TrialCurve], title: str) -> Figure:
    """Validation accuracy of all trials against the epoch; pruned ones end where they were pruned.

    The best is the completed one with the highest last value.
    """
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    # NaN is no accuracy, and its trial none to be the best.
    completed = [t for t in trials if t.status == "completed" and math.isfinite(t.val_acc[-1])]
    best = max(completed, key=lambda trial: trial.val_acc[-1], default=None)
    kinds: dict[str, list[TrialCurve]] = {"pruned": [], "others": [], "completed": [], "best": []}
    for trial in trials:
        kind = trial.status if trial.status in kinds else "others"
        kinds["best" if trial is best else kind].append(trial)
    forms: dict[str, dict[str, Any]] = {
        "pruned": {"color": "#A8A8A8", "linewidth": 0.9, "marker": "x", "markersize": 4.5},
        "others": {"color": PURPLE, "linewidth": 0.9, "marker": "s", "markersize": 3.5},
        "completed": {"color": SKY, "linewidth": 1.4, "marker": "o", "markersize": 3.5},
        "best": {"color": VERMILION, "linewidth": 2.6, "marker": "o", "markersize": 5},
    }
    keys = []
    for kind, form in forms.items():
        for trial in kinds[kind]:
            epochs = range(1, len(trial.val_acc) + 1)
            # The mark is where the trial ended.
            axes.plot(epochs, _numbers(trial.val_acc) * 100, markevery=[-1], **form)
        if kinds[kind]:
            said = f"{len(kinds[kind])} {kind}"
            if kind == "best" and best is not None:
                said = f"best: {one_line(best.label, 40)}, {100 * best.val_acc[-1]:.2f} %"
            elif kind == "completed":
                said = f"{len(kinds[kind])} more completed"
            elif kind == "others":
                said = f"{len(kinds[kind])} ended otherwise"
            keys.append(Line2D([], [], label=said, **form))
    floor = _without_outliers([np.nanmin(trial.val_acc) for trial in trials])
    accs = [acc for trial in trials for acc in trial.val_acc]
    _accuracy_axis(axes.yaxis, [100 * acc for acc in accs if acc >= floor])
    below = [trial for trial in trials if np.nanmin(trial.val_acc) < floor]
    if below:
        lowest_at = [int(np.nanargmin(trial.val_acc)) + 1 for trial in below]
        [mark] = axes.plot(
            lowest_at, [0.02] * len(below), "v", color=INK, transform=axes.get_xaxis_transform()
        )
        lowest = sorted(100 * np.nanmin(trial.val_acc) for trial in below)
        shown = ", ".join(f"{acc:.1f}" for acc in lowest[:3]) + (", …" if len(below) > 3 else "")
        mark.set_label(f"{len(below)} below what is shown ({shown} %)")
        keys.append(mark)
    axes.set_ylabel("validation accuracy, %")
    _epoch_axis(axes, max(len(trial.val_acc) for trial in trials))
    _headline(figure, title)
    _legend(figure, keys)
    return figure


# The front


@dataclass(frozen=True)
class FrontPanel:
    """Configurations that may be compared. points: columns label, cost, mean and sd of the score
    (fractions of 1; sd NaN for a single run), on_front. records: as of `front.known_records`."""

    title: str
    score: str
    points: pd.DataFrame
    records: pd.DataFrame | None = None


@styled
def front(panels: Sequence[FrontPanel], cost: str, title: str) -> Figure:
    """Score against cost, a panel for each track; the configurations on the front are named."""
    figure = Figure(figsize=(WIDTH, 1.1 + 3.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)
    left, right = _log_limits(
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
        axes.set_title(_wrapped(panel.title, 90), fontsize=9.5, fontweight="normal")
    _plain_log_ticks(grid.flat[-1].xaxis, (left, right))
    grid.flat[-1].set_xlabel(cost)
    _headline(figure, title)
    _legend(figure, list(keys.values()))
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    with _boxes_for_unknown_glyphs():
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
    _accuracy_axis(axes.yaxis, np.concatenate(shown), headroom=0.1)
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


# Searches


@dataclass(frozen=True)
class ParallelAxis:
    """A parameter. values: of each trial, None where it has none. Categorical ones have choices, in
    their order; numbers the range in which they were searched, and whether by their logarithm."""

    name: str
    values: Sequence[Any]
    choices: Sequence[Any] | None = None
    low: float = 0.0
    high: float = 1.0
    log: bool = False


@styled
def parallel(
    parameters: Sequence[ParallelAxis],
    objective: str,
    values: Sequence[float | None],
    title: str,
    *,
    minimize: bool = False,
) -> Figure:
    """A row for each parameter, a line down through all rows for each trial.

    values: the objective's (accuracies as fractions of 1); None for a trial that was not completed,
    which is grey. The best is dark and bold.
    """
    is_acc = objective.endswith("_acc")
    final = _numbers(values) * (100 if is_acc else 1)
    known = final[~np.isnan(final)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    rows = [*parameters, ParallelAxis(objective, list(final), low=low, high=high)]
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
    _headline(figure, title)
    keys = [Line2D([], [], color=BLUE, label=f"{len(known)} completed")]
    if len(known) < len(final):
        label = f"{len(final) - len(known)} pruned"
        keys.append(Line2D([], [], color="#CCCCCC", linewidth=1, label=label))
    _legend(figure, keys)
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
        place = (scale(_numbers(axis.values)) - float(scale(axis.low))) / span
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


@styled
def importance(
    importances: Mapping[str, float], chance: Mapping[str, float], title: str, note: str
) -> Figure:
    """Bars, the most important on top. importances: parameter -> share of 1; chance: what it would
    exceed in one of twenty cases if the parameter had no effect. note: how it was reckoned."""
    names = sorted(importances, key=lambda name: (-importances[name], name))
    figure = Figure(figsize=(WIDTH, 2.0 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots()
    shares = [100 * importances[name] for name in names]
    shown = [100 * chance[name] for name in names]
    above = [share > by_chance for share, by_chance in zip(shares, shown, strict=True)]
    colors = [BLUE if is_above else PALE for is_above in above]
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
    _headline(figure, title)
    marks = [
        Line2D([], [], color=BLUE, linewidth=6, label="above chance"),
        Line2D([], [], color=PALE, linewidth=6, label="not above chance"),
        Line2D([], [], color=INK, marker="|", markersize=9, linestyle="", label="chance, 95 %"),
    ]
    _legend(figure, marks, note)
    return figure


@styled
def augmentation(rows: Mapping[str, np.ndarray], title: str) -> Figure:
    """rows: name -> (draws, N, H, W) uint8, N the same for all; a line of images for each draw."""
    lines = [(name, images) for name, draws in rows.items() for images in draws]
    columns = max(len(images) for _, images in lines)
    figure = Figure(figsize=(WIDTH, 0.5 + 0.66 * len(lines)), layout="compressed")
    axes = figure.subplots()
    _prepare_tiles(axes, columns, len(lines))
    starts = {name: row for row, (name, _) in reversed(list(enumerate(lines)))}
    for row, (_, images) in enumerate(lines):
        for column, image in enumerate(images):
            _draw_tile(axes, image, column, row)
    labels = [textwrap.fill(name, 16, max_lines=2, placeholder=" …") for name in starts]
    axes.set_yticks([row + TILE / 2 for row in starts.values()], labels)
    axes.tick_params(length=0)
    _headline(figure, title)
    return figure


# Axes, legends, text

LEAST_ERROR = 0.01
"""Percent: one image in 10,000. Added to each error, so that 100 % has a place."""

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


def _epoch_axis(axes: Axes, epochs: int) -> None:
    """From 1 on, with whole numbers."""
    pad = 0.04 * max(epochs - 1, 1)
    axes.set_xlim(1 - pad, epochs + pad)
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    step = next(step for step in steps if epochs <= 9 * step)
    axes.xaxis.set_major_locator(FixedLocator(sorted({1, *range(step, epochs + 1, step)})))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("epoch")


def _accuracy_axis(axis: Axis, percents: Sequence[float] | np.ndarray, headroom: float = 0) -> None:
    """A y axis that is logarithmic in the error, with limits that take in all of these values.

    So 98 to 99 % is as far as 99 to 99.5 %, and an early epoch does not flatten the later ones.
    """
    axis.axes.set_yscale("function", functions=(_from_percent, _to_percent))
    values = _numbers(percents)
    values = values[~np.isnan(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 100.0)
    bottom, top = float(_from_percent(low)), float(_from_percent(high))
    pad = max(0.06 * (top - bottom), 0.02)
    bottom, top = bottom - pad, top + pad + headroom * (top - bottom)
    gap = TICK_GAP * (top - bottom)
    low, high = max(_to_percent(bottom), -1.0), min(_to_percent(top), 100 + LEAST_ERROR / 3)
    axis.axes.set_ylim(low, high)
    ticks: dict[float, float] = {}
    for level in TICKS:
        for tick in level if len(ticks) < ENOUGH_TICKS else []:
            place = float(_from_percent(tick))
            is_free = all(abs(place - other) > gap for other in ticks.values())
            if low <= tick <= high and is_free:
                ticks[tick] = place
    axis.set_major_locator(FixedLocator(sorted(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _without_outliers(accs: Sequence[float]) -> float:
    """The lowest accuracy worth showing: without the lowest twentieth (two at least), if these
    would take more than a third of the axis."""
    places = np.sort(_from_percent(100 * np.asarray(accs)))
    few = max(2, len(places) // 20)
    if len(places) < 4 * few or places[few] - places[0] < (places[-1] - places[0]) / 3:
        return min(accs)
    return float(np.sort(accs)[few])


def _from_percent(percent: Any) -> Any:
    return -np.log10(np.maximum(100 + LEAST_ERROR - np.asarray(percent, float), LEAST_ERROR / 10))


def _to_percent(place: Any) -> Any:
    return 100 + LEAST_ERROR - 10.0 ** -np.asarray(place, float)


def _log_limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max(0.06 * (high - low), 0.02)
    return 10 ** (low - pad), 10 ** (high + pad)


def _plain_log_ticks(axis: Axis, limits: tuple[float, float]) -> None:
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


def _legend(figure: Figure, keys: Sequence[Any], note: str | None = None) -> None:
    """Below the axes, where it covers nothing; the note above it."""
    longest = max((len(str(key.get_label())) for key in keys), default=0)
    columns = max(1, min(4, len(keys), int(100 / (longest + 7))))
    figure.legend(
        handles=list(keys),
        loc="outside lower center",
        ncols=columns,
        title=note and textwrap.fill(note, 112, max_lines=5, placeholder=" …"),
        title_fontproperties={"size": 8.5},
    )


def _numbers(values: Any) -> np.ndarray:
    """None and infinities as NaN."""
    array = np.array([np.nan if value is None else value for value in values], dtype=float)
    array[~np.isfinite(array)] = np.nan
    return array


def one_line(text: str, longest: int) -> str:
    """Text on one line of at most so many characters, cut in its middle."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    head = longest // 2
    return f"{line[:head].rstrip()}…{line[head + 1 - longest :].lstrip()}"


@styled
def save(figure: Figure, path: Path) -> None:
    """Writes a picture; the same bytes for the same data, hence no date.

    Raises:
        UserError: the name ends neither in .png nor in .svg, or the file cannot be written.
    """
    form = check_suffix(path)
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[form]
    picture = io.BytesIO()
    with _boxes_for_unknown_glyphs():
        figure.savefig(picture, format=form, metadata=metadata)
    if form == "png":  # in 256 colours it has less than half the bytes
        drawn = Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture = io.BytesIO()
        drawn.save(picture, "png", optimize=True)
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise UserError(
            f"-o {path} cannot be written ({error.strerror}): name a file that can"
        ) from error


@contextmanager
def _boxes_for_unknown_glyphs() -> Iterator[None]:
    """Signs that the font lacks are drawn as boxes, without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def check_suffix(path: Path) -> str:
    """
    Raises:
        UserError: the name ends neither in .png nor in .svg.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise UserError(f"-o {path}: a picture is a .png or a .svg; end the name in one of these")
    return form
