"""Whether a trial is worth going on with: after each epoch, and from rung to rung."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner
from optuna.trial import Trial

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.search.classes import OPTUNA_CLASSES, construct
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.trials.cuts import why_pruned

if TYPE_CHECKING:  # it takes a moment to import
    from mnist_sweep.search.settings import SearchSettings


def make_pruner(settings: "SearchSettings") -> BasePruner | None:
    """
    Raises:
        UserError: it is no pruner, or does not take these values.
    """
    if settings.pruner is None:
        return None
    pruner: BasePruner = construct(settings.pruner, "hydra.sweeper.pruner", OPTUNA_CLASSES)
    return pruner


def why_hopeless(
    trial: Trial, objective: str, history: Sequence[EpochMetrics], told: int, epochs: int
) -> str | None:
    """Why the study's pruner would end the run, now that it is told of the last epochs; None if it
    would not.

    told: number of epochs that it knows of. epochs: of the whole run; after the last one there is
    no time to save. Nothing is told from the first epoch on that has no finite value: such a run
    ends by itself.
    """
    for metrics in history[told:]:
        value = getattr(metrics, objective)
        if value is None or not math.isfinite(value):
            return None
        trial.report(value, metrics.epoch)
    if len(history) == epochs or not trial.should_prune():
        return None
    study = trial.study
    return why_pruned(study.pruner, study, study.get_trials(deepcopy=False)[trial.number])


def cut_of_rung(
    values: Sequence[float], objectives: Objectives, epochs: int, more_epochs: int
) -> float:
    """Of these values of a rung's trials the worst with which one goes on."""
    best_first = sorted(values, reverse=objectives.directions[0] == "maximize")
    return best_first[num_going_on(len(values), epochs, more_epochs) - 1]


def num_going_on(num_trials: int, epochs: int, more_epochs: int) -> int:
    """Of so many trials at a rung. It is to take about as much time as the next one, so their share
    is that of the two schedules' lengths (asynchronous successive halving, Li et al. 2020)."""
    return max(1, num_trials * epochs // more_epochs)
