"""Why a trial is not gone on with, in words: where it was, its value there, and the cut."""

from typing import Any

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from mnist_sweep.search.objectives import format_value
from mnist_sweep.search.optuna_private import Cut, cut_of_pruner


def below_the_cut(epoch: int, cut: Cut, direction: str) -> str:
    """`epoch 1: 0.1000, below the cut of 0.9300 of rung 1`."""
    side = "below" if direction == "maximize" else "above"
    shown = [format_value(number) for number in (cut.value, cut.cut)]
    if shown[0] == shown[1]:
        shown = [f"{number:.9g}" for number in (cut.value, cut.cut)]
    return f"epoch {epoch}: {shown[0]}{cut.which}, {side} the cut of {shown[1]} of {cut.of}"


def why_pruned(pruner: BasePruner, study: Study, trial: FrozenTrial) -> str:
    """trial: as it is after the study's pruner said to end it."""
    direction = study.direction.name.lower()
    epoch: Any = trial.last_step
    value = trial.intermediate_values[epoch]
    cut = cut_of_pruner(pruner, study, trial)
    if cut is not None and _is_missed(cut, direction):
        return below_the_cut(epoch, cut, direction)
    # Another controller's trial came in between, or it is a pruner that has no cut.
    return f"epoch {epoch}: {format_value(value)}, ended by {type(pruner).__name__}"


def _is_missed(cut: Cut, direction: str) -> bool:
    return cut.value < cut.cut if direction == "maximize" else cut.value > cut.cut
