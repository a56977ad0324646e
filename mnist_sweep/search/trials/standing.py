"""What the epochs of a trial are held against, as its study is now."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.objectives import Objectives, format_value
from mnist_sweep.search.optuna_private import COMPLETED_RUNG, cut_of_pruner
from mnist_sweep.search.study.attributes import at_rung
from mnist_sweep.search.trials.pruning import cut_of_rung
from mnist_sweep.search.trials.rungs import place_in_rung, rank_in_words


@dataclass(frozen=True)
class Against:
    """What an epoch would be held against now."""

    cut: float | None
    """None where it is no number."""
    of: str
    """What has this cut, such as `rung 1`; else all there is to say."""

    @property
    def shown(self) -> str:
        return self.of if self.cut is None else f"{format_value(self.cut)}, {self.of}"


StandingNow = Callable[[FrozenTrial], dict[int, Against]]
"""Of a trial: epoch -> what it is held against, of the epochs that are. The trials that it is
compared with are gone through once for all."""


def standing_at_rungs(study: Study, rungs: Sequence[int], objectives: Objectives) -> StandingNow:
    """At the end of each rung, but for the last one: its cut or, of several objectives, the trial's
    rank there."""
    peers = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
    reached = {
        epochs: {t.number: value for t in peers if (value := at_rung(t, epochs)) is not None}
        for epochs in rungs[:-1]
    }
    cuts = {}
    if len(objectives.names) == 1:
        cuts = {
            epochs: cut_of_rung([v for [v] in values.values()], objectives, epochs, more_epochs)
            for epochs, more_epochs in pairwise(rungs)
            if (values := reached[epochs])
        }

    def of(trial: FrozenTrial) -> dict[int, Against]:
        found = {}
        for rung, (epochs, more_epochs) in enumerate(pairwise(rungs)):
            values = reached[epochs]
            own = at_rung(trial, epochs)
            if own is None:
                continue
            if epochs in cuts:
                found[epochs] = Against(cuts[epochs], f"rung {rung + 1}")
            elif trial.number in values:
                standing = place_in_rung(trial.number, values, epochs, more_epochs, objectives)
                found[epochs] = Against(None, rank_in_words(standing, rung, objectives))
        return found

    return of


def cuts_of_pruner(study: Study, pruner: BasePruner) -> StandingNow:
    seen: dict[Any, Any] = {}

    def of(trial: FrozenTrial) -> dict[int, Against]:
        steps = sorted(trial.intermediate_values)
        found = {s: cut_of_pruner(pruner, study, _as_at(trial, s), seen) for s in steps}
        return {step: Against(cut.cut, cut.of) for step, cut in found.items() if cut is not None}

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
