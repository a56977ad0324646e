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
LOSSES = "losses"
"""Times that the point's worker vanished, in this trial and those that it is a retry of."""


def is_rejected(trial: FrozenTrial) -> bool:
    """Ended without having been trained: over budget, or no valid net."""
    return trial.user_attrs.get(STATUS) == "infeasible"


def is_finished(trial: FrozenTrial) -> bool:
    """Completed or pruned, so that it counts towards `n_trials`."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended and not is_rejected(trial)


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
