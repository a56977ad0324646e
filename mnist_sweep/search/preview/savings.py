"""How much of the training pruning may save: a simulation of trials whose order is chance."""

from random import Random

import optuna
from optuna.samplers import RandomSampler

from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.trials.pruning import cut_of_rung, make_pruner

MOST_TRIALS = 100
"""Of a simulation: from there on the share that is saved hardly changes."""

REPEATS = 3


def share_trained(settings: SearchSettings, epochs: int, num_trials: int) -> float:
    """Of the epochs of trials that all run to their end, those that are left where a trial that is
    better after its first epoch stays so, and the good ones come at any time. epochs: of a whole
    run.

    The least over some simulations. Less is left only where the best trials come first; more where
    they come last, as of a sampler that learns, or where curves cross.
    """
    if settings.rungs is None and settings.pruner is None:
        return 1.0
    count = min(num_trials, MOST_TRIALS)
    return min(_trained(settings, epochs, count, Random(seed)) for seed in range(REPEATS))


def _trained(settings: SearchSettings, epochs: int, num_trials: int, random: Random) -> float:
    if settings.rungs is not None:
        trained = _by_rungs(settings.rungs, num_trials, random)
        return trained / (num_trials * sum(settings.rungs))
    return _by_pruner(settings, epochs, num_trials, random) / (num_trials * epochs)


def _by_rungs(rungs: tuple[int, ...], num_trials: int, random: Random) -> int:
    """Epochs in all: each rung's is a whole schedule."""
    objectives = Objectives(("val_acc",), ("maximize",))
    values: dict[int, list[float]] = {epochs: [] for epochs in rungs}
    trained = 0
    for _ in range(num_trials):
        quality = random.random()
        for epochs, more_epochs in zip(rungs, (*rungs[1:], None), strict=True):
            trained += epochs
            values[epochs].append(quality)
            if more_epochs is None:
                break
            if quality < cut_of_rung(values[epochs], objectives, epochs, more_epochs):
                break
    return trained


def _by_pruner(settings: SearchSettings, epochs: int, num_trials: int, random: Random) -> int:
    direction = settings.direction[0]
    sign = 1 if direction == "maximize" else -1
    study = optuna.create_study(
        direction=direction, pruner=make_pruner(settings), sampler=RandomSampler(seed=0)
    )
    trained = 0
    for _ in range(num_trials):
        trial, quality = study.ask(), random.random()
        value = 0.0
        for epoch in range(1, epochs + 1):
            trained += 1
            value = sign * (quality + epoch / epochs)  # better with each epoch, and never another's
            trial.report(value, epoch)
            if epoch < epochs and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
    return trained
