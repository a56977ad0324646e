"""Curves against the epoch: of runs, and of the trials of a search."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_sweep.figures.axes import (
    accuracy_axis,
    epoch_axis,
    numbers,
    plain_log_ticks,
    without_outliers,
)
from mnist_sweep.figures.labels import headline, legend, one_line
from mnist_sweep.figures.style import (
    BLUE,
    COLORS,
    GREY,
    INK,
    LIGHT,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    styled,
)
from mnist_sweep.report.analysis.curves import RunCurve
from mnist_sweep.report.analysis.pruned import PrunedInfo, TrialCurve

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
    left.set_title("accuracy, %", fontsize=9.5, fontweight="normal")
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


# Pruned trials


@styled
def pruned(search: PrunedInfo, title: str) -> Figure:
    """Validation accuracy of all trials against the epoch; pruned ones end where they were
    pruned."""
    trials, best = search.trials, search.best
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
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
            axes.plot(epochs, numbers(trial.val_acc) * 100, markevery=[-1], **form)
        if kinds[kind]:
            said = f"{len(kinds[kind])} {kind}"
            if kind == "best" and best is not None:
                said = f"best: {one_line(best.label, 40)}, {100 * best.val_acc[-1]:.2f} %"
            elif kind == "completed":
                said = f"{len(kinds[kind])} more completed"
            elif kind == "others":
                said = f"{len(kinds[kind])} ended otherwise"
            keys.append(Line2D([], [], label=said, **form))
    floor = without_outliers([np.nanmin(trial.val_acc) for trial in trials])
    accs = [acc for trial in trials for acc in trial.val_acc]
    accuracy_axis(axes.yaxis, [100 * acc for acc in accs if acc >= floor])
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
    epoch_axis(axes, max(len(trial.val_acc) for trial in trials))
    headline(figure, title)
    legend(figure, keys)
    return figure
