"""What a search writes of a trial into its study, and what can be told from that."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.study.zipped import unzipped

CONTROLLER = "controller"
CONFIG = "config"
"""Short name of its configuration; it is not there before its training is decided."""
STATUS = "status"
"""Of a trial that ended without a value: why, in one word."""
ERROR = "error"
NUM_PARAMS = "num_params"
OVERRIDES = "overrides"
"""Of the trial's last run, in Hydra's grammar: what runs it again."""
RETRY = "retry"
"""Whether a failed trial is to be tried again."""
RETRY_OF = "retry_of"
ATTEMPT = "attempt"
SEED_VALUES = "seed_values"
"""Of a completed trial with several seeds, its objective for each, in their order."""
OUT = "out_of_race"
"""Why a completed trial was given no more seeds: it can no longer be the winner."""
RUNG = "rung:"
"""Prefix, before the rung's epochs: the objectives at its end, where there are several. One alone
is an intermediate value."""
STANDARD_ERROR = "standard_error"
"""Of a completed trial's value, where its search has a patience."""
FIRST = "first"
"""Of a trial whose point, or a part of it, was given to be tried first: a short name of that."""
FIRST_OF = "first_of"
"""And who gave it: a key of the search's, or where the point was found."""
PRIOR = "prior"
"""Parameters of a trial that were drawn from their priors."""
LOSSES = "losses"
"""Times that the point's worker vanished, in this trial and those that it is a retry of."""

SETTINGS = "settings"
"""Of the study: what all commands on it have in common."""
SEARCHED = "search of "
"""Begins those of these settings that say what is searched."""
CHANGES = "changes"
"""Of the study: how it grew, a dict each time: when, key, from, to."""
POINTS = "points"
"""Of the study of a grid: how many trials the last command on it wants it to have in all."""


STATES = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def state_of(trial: FrozenTrial) -> str:
    """In one word: as its row's status, where it has one."""
    return str(trial.user_attrs.get(STATUS) or STATES.get(trial.state, "failed"))


def is_rejected(trial: FrozenTrial) -> bool:
    """Ended without having been trained: over budget, or no valid net."""
    return trial.user_attrs.get(STATUS) == "infeasible"


def is_finished(trial: FrozenTrial) -> bool:
    """Completed or pruned, so that it counts towards `n_trials`."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended and not is_rejected(trial)


def at_rung(trial: FrozenTrial, epochs: int) -> list[float] | None:
    """The objectives at the end of the rung of so many epochs; None if it did not come there."""
    if epochs in trial.intermediate_values:
        return [trial.intermediate_values[epochs]]
    values: list[float] | None = trial.user_attrs.get(f"{RUNG}{epochs}")
    return values


def real_widths(trial: FrozenTrial) -> dict[str, int]:
    """Key -> what the net has, where it was scaled to the budget (budget=fit)."""
    return scaled_widths(unzipped(trial.params), trial.user_attrs.get(OVERRIDES, ()))


def scaled_widths(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, int]:
    """The same, given what was proposed and the overrides of a run."""
    given = dict(o.split("=", 1) for o in overrides if "=" in o)
    return {
        name: int(given[name])
        for name, value in values.items()
        if type(value) is int and given.get(name, "").isdigit() and int(given[name]) != value
    }
