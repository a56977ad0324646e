"""Whether a trial is worth going on with: after each epoch, and from rung to rung."""

import math
from collections.abc import Iterable, Sequence

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.search.classes import OPTUNA_CLASSES, construct
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.settings import SearchSettings


def make_pruner(settings: SearchSettings) -> BasePruner | None:
    """
    Raises:
        UserError: it is no pruner, or does not take these values.
    """
    if settings.pruner is None:
        return None
    pruner: BasePruner = construct(settings.pruner, "hydra.sweeper.pruner", OPTUNA_CLASSES)
    return pruner


def is_hopeless(
    trial: Trial, objective: str, history: Sequence[EpochMetrics], told: int, epochs: int
) -> bool:
    """Whether the study's pruner would end the run, now that it is told of the last epochs.

    told: number of epochs that it knows of. epochs: of the whole run; after the last one there is
    no time to save. Nothing is told from the first epoch on that has no finite value: such a run
    ends by itself.
    """
    for metrics in history[told:]:
        value = getattr(metrics, objective)
        if value is None or not math.isfinite(value):
            return False
        trial.report(value, metrics.epoch)
    return len(history) != epochs and trial.should_prune()


def is_promoted(
    number: int,
    trials: Iterable[FrozenTrial],
    objectives: Objectives,
    epochs: int,
    more_epochs: int,
) -> bool:
    """Whether this trial goes on from the rung of `epochs` to the one of `more_epochs`: whether it
    is among the best of its rung, as many as the next has time for.

    A rung is to take about as much time as the next one, so of the trials at a rung the share of
    the two schedules' lengths goes on (asynchronous successive halving, Li et al. 2020).
    """
    scores = {
        trial.number: objectives.scores([trial.intermediate_values[epochs]])
        for trial in trials
        if epochs in trial.intermediate_values and trial.state != TrialState.FAIL
    }
    better = sum(score > scores[number] for score in scores.values())
    return better < max(1, len(scores) * epochs // more_epochs)
