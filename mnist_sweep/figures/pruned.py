"""The trials of a search: validation accuracy against the epoch."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_sweep.figures.axes import accuracy_axis, epoch_axis, numbers, without_outliers
from mnist_sweep.figures.labels import headline, legend, one_line
from mnist_sweep.figures.style import INK, PURPLE, SKY, VERMILION, WIDTH, styled
from mnist_sweep.report.analysis.error_scale import SCALE
from mnist_sweep.report.analysis.pruned import PrunedInfo, TrialCurve


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
    axes.set_ylabel(f"validation accuracy, %{SCALE}")
    epoch_axis(axes, max(len(trial.val_acc) for trial in trials))
    headline(figure, title)
    legend(figure, keys)
    return figure
