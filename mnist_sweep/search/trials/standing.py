"""What the epochs of a trial are held against, as its study is now."""

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.optuna_private import COMPLETED_RUNG, Cut, cut_of_pruner
from mnist_sweep.search.trials.pruning import cut_of_rung

CutsNow = Callable[[FrozenTrial], dict[int, Cut]]
"""Of a trial: epoch -> its cut, of the epochs that have one. The trials that it is compared with
are gone through once for all."""


def cuts_of_rungs(study: Study, rungs: Sequence[int], objectives: Objectives) -> CutsNow:
    """At the end of each rung, but for the last one."""
    peers = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
    cuts = {}
    for epochs, more_epochs in pairwise(rungs):
        reached = (t.intermediate_values for t in peers)
        values = [at[epochs] for at in reached if epochs in at]
        if values:
            cuts[epochs] = cut_of_rung(values, objectives, epochs, more_epochs)

    def of(trial: FrozenTrial) -> dict[int, Cut]:
        return {
            epochs: Cut(trial.intermediate_values[epochs], cuts[epochs], f"rung {place}")
            for place, epochs in enumerate(rungs[:-1], start=1)
            if epochs in trial.intermediate_values and epochs in cuts
        }

    return of


def cuts_of_pruner(study: Study, pruner: BasePruner) -> CutsNow:
    seen: dict[Any, Any] = {}

    def of(trial: FrozenTrial) -> dict[int, Cut]:
        steps = sorted(trial.intermediate_values)
        found = {s: cut_of_pruner(pruner, study, _as_at(trial, s), seen) for s in steps}
        return {step: cut for step, cut in found.items() if cut is not None}

    return of


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
