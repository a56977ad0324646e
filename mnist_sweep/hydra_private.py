"""Hydra's private names, and those of its Optuna sweeper: all that may vanish with an update.

What imports Optuna does so when called, because the command line starts without it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks as Callbacks
from hydra.core.utils import JobReturn

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DEFAULTS_LIST = "hydra._internal.defaults_list"
INTERNAL = "hydra._internal."


class PastHydra(BaseException):
    """Carries its cause past Hydra, which makes a warning of each `Exception` of a callback's, and
    reports that of a run in its own way."""


def raised_by(job: JobReturn) -> Exception | None:
    """What ended the job; reading its value would raise it."""
    value = job._return_value
    return value if isinstance(value, Exception) else None


def is_of_defaults_list(module: str) -> bool:
    """Whether an error from this module is about the choice of a group, and may name no key."""
    return module == DEFAULTS_LIST


def is_of_hydra(module: str) -> bool:
    """Whether an error from this module is of the command line itself, as of two of its flags that
    do not go together."""
    return module.startswith(INTERNAL)


def distributions_of(override: str) -> "dict[str, BaseDistribution]":
    """Key -> what an override of the stock sweeper's grammar varies it over; empty for a value.

    Raises:
        HydraException, ValueError, AssertionError, RuntimeError: it is none of that grammar.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    return dict(create_params_from_overrides([override])[0])


def grid_values(distribution: "BaseDistribution") -> Sequence[Any]:
    """All values of a distribution.

    Raises:
        ValueError: it is continuous.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

    return list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
