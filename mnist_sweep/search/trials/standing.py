"""What the epochs of a trial are held against, as its study is now."""

import copy
from collections.abc import Sequence

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.objectives import Objectives, format_value
from mnist_sweep.search.optuna_private import COMPLETED_RUNG, Cut, cut_of_pruner
from mnist_sweep.search.study.attributes import at_rung
from mnist_sweep.search.trials.pruning import cut_of_rung
from mnist_sweep.search.trials.rungs import place_in_rung, rank_in_words


def standing_at_rungs(
    study: Study, trial: FrozenTrial, rungs: Sequence[int], objectives: Objectives
) -> dict[int, str]:
    """Epochs of each rung that the trial was at the end of, but for the last one -> its cut or, of
    several objectives, its rank there."""
    found = {}
    peers = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
    for rung, (epochs, more_epochs) in enumerate(zip(rungs, rungs[1:], strict=False)):
        reached = ((t.number, at_rung(t, epochs)) for t in peers)
        values = {number: value for number, value in reached if value is not None}
        if trial.number not in values:
            continue
        if len(objectives.names) == 1:
            cut = cut_of_rung([v for [v] in values.values()], objectives, epochs, more_epochs)
            found[epochs] = f"{format_value(cut)}, rung {rung + 1}"
        else:
            standing = place_in_rung(trial.number, values, epochs, more_epochs, objectives)
            found[epochs] = rank_in_words(standing, rung, objectives)
    return found


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
