"""Private names of Hydra, its Optuna sweeper and OmegaConf: all that may vanish with an update.

What imports Optuna does so when called, because the command line starts without it.
"""

import argparse
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import hydra._internal.hydra
from hydra._internal.callbacks import Callbacks as Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf._utils import get_omega_conf_dumper

from mnist_sweep.vault import hide_in_config

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DEFAULTS_LIST = "hydra._internal.defaults_list"
INTERNAL = "hydra._internal."


class PastHydra(BaseException):
    """Carries its cause past Hydra, which makes a warning of each `Exception` of a callback's, and
    reports that of a run in its own way."""


class Loader(ConfigLoaderImpl):
    """Hydra's, but for the passwords in config files. Hydra has no hook between reading a config
    and showing it (`hydra.verbose=true`, `--cfg`) or writing it."""

    def _load_single_config(self, default: ResultDefault, repo: Any) -> ConfigResult:
        result = super()._load_single_config(default, repo)
        hide_in_config(result.config)
        return result


def use_loader() -> None:
    """Has Hydra make its loaders of that class from now on."""
    hydra._internal.hydra.ConfigLoaderImpl = Loader  # type: ignore[attr-defined]


def hush_launcher() -> None:
    """Has Hydra's own launcher announce no jobs, which `SweepProgress` does."""
    logging.getLogger(f"{INTERNAL}core_plugins.basic_launcher").setLevel(logging.WARNING)


def with_texts(argument: str, change: Callable[[str], str]) -> str:
    """The override with all texts of its value changed, those in a dict or a list too.

    Raises:
        HydraException: it is none, or has several values to go through.
    """
    override = OverridesParser.create().parse_override(argument)
    if override.is_sweep_override():
        raise HydraException(f"{override.key_or_group}: several values")
    value = _with_texts(override._value, change)
    if value == override._value:
        return argument
    return f"{argument.partition('=')[0]}={Override._get_value_element_as_str(value)}"


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_texts(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_texts(inner, change) for inner in value]
    if isinstance(value, QuotedString):
        return QuotedString(change(value.text), value.quote)
    if isinstance(value, str) and (changed := change(value)) != value:
        return QuotedString(changed, Quote.double)
    return value


def raised_by(job: JobReturn) -> Exception | None:
    """What ended the job; reading its value would raise it."""
    value = job._return_value
    return value if isinstance(value, Exception) else None


def parse_flags(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags, with `overrides`; and what looks like a flag and is none.

    Raises:
        ArgumentError: a flag lacks its value, or has another than those it takes.
    """
    parser = get_args_parser()
    parser.exit_on_error = False  # it would print its usage, which says nothing of ours
    return parser.parse_known_intermixed_args(list(arguments))


def flag_names() -> list[str]:
    return [name for action in get_args_parser()._actions for name in action.option_strings]


def is_of_defaults_list(module: str) -> bool:
    """Whether an error from this module is about the choice of a group, and may name no key."""
    return module == DEFAULTS_LIST


def is_of_hydra(module: str) -> bool:
    """Whether an error from this module is of the command line itself, as of two of its flags that
    do not go together."""
    return module.startswith(INTERNAL)


def distributions_of(
    override: str, loader: ConfigLoader | None = None
) -> "dict[str, BaseDistribution]":
    """Key -> what an override of the stock sweeper's grammar varies it over; empty for a value.

    Also of a `glob`, which that sweeper lacks, where a loader is given, which knows the choices.

    Raises:
        HydraException, ValueError, AssertionError, RuntimeError: it is none of that grammar.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
    from optuna.distributions import CategoricalDistribution

    if loader is not None and "glob(" in override:
        [parsed] = OverridesParser.create(config_loader=loader).parse_overrides([override])
        if isinstance(parsed.value(), Glob):
            names = list(parsed.sweep_string_iterator())
            if not names:
                known = ", ".join(loader.get_group_options(parsed.key_or_group)) or "no group"
                raise ValueError(f"it fits no choice; {parsed.key_or_group} is one of {known}")
            return {parsed.get_key_element(): CategoricalDistribution(names)}
    return dict(create_params_from_overrides([override])[0])


def keys_set_by(override: str) -> list[str]:
    """Dotted: of `a={b: 1}` a.b, and of `++a.b=1` the same."""
    parsed = OverridesParser.create().parse_override(override)

    def keys(prefix: str, value: object) -> list[str]:
        if not isinstance(value, dict):
            return [prefix]
        return [key for name, child in value.items() for key in keys(f"{prefix}.{name}", child)]

    return keys(parsed.key_or_group, parsed.value())


def grid_values(distribution: "BaseDistribution") -> Sequence[Any]:
    """All values of a distribution.

    Raises:
        ValueError: it is continuous.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

    return list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))


def as_yaml(values: Mapping[str, Any]) -> str:
    """What `OmegaConf.to_yaml` makes of a config of these values. To make that config would take
    five times as long, seconds for a front of thousands."""
    text = io.StringIO()
    dumper = get_omega_conf_dumper()(
        text, default_flow_style=False, allow_unicode=True, sort_keys=False
    )
    dumper.open()
    dumper.represent(dict(values))
    dumper.close()
    return text.getvalue()
