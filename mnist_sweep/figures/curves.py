"""The curves of runs: accuracy and loss against the epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_sweep.figures.axes import accuracy_axis, epoch_axis, numbers, plain_log_ticks
from mnist_sweep.figures.labels import headline, legend, one_line
from mnist_sweep.figures.style import (
    BLUE,
    COLORS,
    GREY,
    INK,
    LIGHT,
    VERMILION,
    WIDTH,
    styled,
)
from mnist_sweep.report.analysis.curves import RunCurve
from mnist_sweep.report.analysis.error_scale import SCALE

MANY_RUNS = len(COLORS)
BEST_SHOWN = 5
"""Of more runs than there are colours, so many are told apart; the others are grey."""


@styled
def curves(runs: Sequence[RunCurve], title: str) -> Figure:
    """Accuracy and loss of each epoch; their names tell the runs apart.

    Of one run the splits have colours; of several the runs. Training figures are dashed.
    """
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    named = list(runs)
    if len(named) > MANY_RUNS:
        named = sorted(named, key=lambda run: -_last_acc(run))[:BEST_SHOWN]
    colors = dict(zip((run.name for run in named), COLORS, strict=False))
    accs: list[float] = []
    # The named ones last, on top.
    for run in sorted(runs, key=lambda run: run.name in colors):
        for split, line in SPLITS.items():
            color = line["color"] if len(runs) == 1 else colors.get(run.name, LIGHT)
            if run.name not in colors and split == "train":
                continue
            form = {**line, "color": color, "marker": "o" if len(run.epoch) < 3 else None}
            if run.name not in colors:
                form["linewidth"] = 0.8
            acc = numbers(run.metrics.get(f"{split}_acc", ())) * 100
            loss = numbers(run.metrics.get(f"{split}_loss", ()))
            accs += list(acc)
            if not np.isnan(acc).all():
                left.plot(run.epoch, acc, label=f"{run.name} {split}", markersize=4, **form)
            if not np.isnan(loss).all():
                right.plot(run.epoch, loss, label=f"{run.name} {split}", markersize=4, **form)
    accuracy_axis(left.yaxis, accs)
    right.set_yscale("log", nonpositive="clip")
    plain_log_ticks(right.yaxis, right.get_ylim())
    left.set_title(f"accuracy, %{SCALE}", fontsize=9.5, fontweight="normal")
    right.set_title("loss, nats", fontsize=9.5, fontweight="normal")
    for axes in (left, right):
        epoch_axis(axes, max(epoch for run in runs for epoch in run.epoch))
    headline(figure, title)
    legend(figure, _curve_keys(runs, colors))
    return figure


SPLITS: dict[str, dict[str, Any]] = {
    "train": {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 1.2},
    "val": {"color": BLUE, "linestyle": "-"},
    "test": {"color": VERMILION, "linestyle": (0, (6, 1, 1, 1))},
}


def _last_acc(run: RunCurve) -> float:
    """What runs are compared by: validation, else test, else training."""
    lasts = [run.metrics.get(f"{split}_acc", (None,))[-1] for split in ("val", "test", "train")]
    acc = next(last for last in lasts if last is not None)
    return acc if math.isfinite(acc) else -math.inf


def _curve_keys(runs: Sequence[RunCurve], colors: Mapping[str, str]) -> list[Line2D]:
    measured = [split for split in SPLITS if any(f"{split}_acc" in run.metrics for run in runs)]
    said = {"train": "train (augmented, with dropout)", "val": "validation", "test": "test"}
    if len(runs) == 1:
        return [Line2D([], [], label=said[split], **SPLITS[split]) for split in measured]
    keys = [Line2D([], [], color=c, label=one_line(name, 40)) for name, c in colors.items()]
    others = len(runs) - len(colors)
    if others:
        keys.append(Line2D([], [], color=LIGHT, label=f"{others:,} others, without train"))
    lines = [
        Line2D([], [], label=said[split], **{**SPLITS[split], "color": INK}) for split in measured
    ]
    return [*keys, *lines]
