"""What the epochs of a trial are held against, as its study is now."""

import copy
from collections.abc import Sequence

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.optuna_private import COMPLETED_RUNG, Cut, cut_of_pruner
from mnist_sweep.search.trials.pruning import cut_of_rung


def cuts_of_rungs(
    study: Study, trial: FrozenTrial, rungs: Sequence[int], objectives: Objectives
) -> dict[int, Cut]:
    """Epochs of each rung that the trial was at the end of, but for the last one -> its cut."""
    cuts = {}
    peers = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
    for place, (epochs, more_epochs) in enumerate(zip(rungs, rungs[1:], strict=False)):
        if epochs in trial.intermediate_values:
            values = [
                t.intermediate_values[epochs] for t in peers if epochs in t.intermediate_values
            ]
            cut = cut_of_rung(values, objectives, epochs, more_epochs)
            cuts[epochs] = Cut(trial.intermediate_values[epochs], cut, f"rung {place + 1}")
    return cuts


def cuts_of_pruner(study: Study, trial: FrozenTrial, pruner: BasePruner) -> dict[int, Cut]:
    """Epoch -> its cut, of the epochs that have one."""
    cuts = {}
    for step in sorted(trial.intermediate_values):
        cut = cut_of_pruner(pruner, study, _as_at(trial, step))
        if cut is not None:
            cuts[step] = cut
    return cuts


def _as_at(trial: FrozenTrial, step: int) -> FrozenTrial:
    """The trial as it was after this step. Of the rungs of halving, which Optuna keeps by the value
    that the trial had there, those that it had come to."""
    then = copy.copy(trial)
    then.intermediate_values = {s: v for s, v in trial.intermediate_values.items() if s <= step}
    later = list(
        trial.intermediate_values[s] for s in sorted(trial.intermediate_values) if s <= step
    )
    attrs, place = dict(trial.system_attrs), 0
    for key in sorted(key for key in attrs if key.startswith(COMPLETED_RUNG)):
        if attrs[key] in later[place:]:
            place = later.index(attrs[key], place) + 1
        else:
            del attrs[key]
    then.system_attrs = attrs
    return then
