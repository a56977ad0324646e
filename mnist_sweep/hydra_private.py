"""Private names of Hydra, its Optuna sweeper and OmegaConf: all that may vanish with an update.

What imports Optuna does so when called, because the command line starts without it.
"""

import argparse
import builtins
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra._internal.hydra
from hydra._internal.callbacks import Callbacks as Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import (
    ImportlibResourcesConfigSource,
)
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    Glob,
    Override,
    Quote,
    QuotedString,
    Transformer,
)
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from mnist_sweep.vault import hide_in_config

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from optuna.distributions import BaseDistribution

DEFAULTS_LIST = "hydra._internal.defaults_list"
INTERNAL = "hydra._internal."


class PastHydra(BaseException):
    """Carries its cause past Hydra, which makes a warning of each `Exception` of a callback's, and
    reports that of a run in its own way."""


_Entries = Mapping[str, bytes | None]
"""Of a folder: name -> text, None for a folder within. Only texts of configs are kept."""


class _Folders(dict[str, _Entries | None]):
    """Of config files, each as it was when it was first looked at; None where there is none."""

    def look_at(self, name: str, find: "Callable[[], Traversable]") -> _Entries | None:
        """find: where it is; it is asked once."""
        if name not in self:
            try:
                self[name] = dict(_entries(find()))
            except (OSError, ImportError, ValueError, TypeError):
                self[name] = None
        return self[name]

    def __reduce__(self) -> tuple[type["_Folders"], tuple[dict[str, Any]]]:
        return _Folders, (dict(self),)  # another thread may be looking at one more

    def __deepcopy__(self, memo: Any) -> "_Folders":
        return self


def _entries(folder: "Traversable") -> Iterator[tuple[str, bytes | None]]:
    for entry in folder.iterdir():
        with suppress(OSError):  # it cannot be read, and is no choice
            if entry.is_dir():
                yield entry.name, None
            else:
                yield entry.name, entry.read_bytes() if entry.name.endswith(".yaml") else b""


class _SettledFiles(FileConfigSource):
    """A folder of config files that looks at each folder within it but once."""

    def __init__(self, provider: str, path: str, folders: _Folders) -> None:
        super().__init__(provider, path)
        self.folders = folders

    def _entries(self, config_path: str) -> _Entries | None:
        name = os.path.normpath(os.path.join(self.full_path(), config_path))
        return self.folders.look_at(name, lambda: self._root().joinpath(config_path))

    def _root(self) -> "Traversable":
        return Path(self.path)

    def _text(self, config_path: str) -> bytes | None:
        folder, name = os.path.split(self._normalize_file_name(config_path))
        return (self._entries(folder) or {}).get(name)

    def is_group(self, config_path: str) -> bool:
        return self._entries(config_path) is not None

    def is_config(self, config_path: str) -> bool:
        return self._text(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        found: list[str] = []
        for name in self._entries(config_path) or {}:
            place = os.path.join(config_path, name)
            self._list_add_result(found, place, name, results_filter)
        return sorted(set(found))

    def load_config(self, config_path: str) -> ConfigResult:
        found = self._text(config_path)
        if found is None:
            raise ConfigLoadError(f"Config not found : {os.path.join(self.path, config_path)}")
        text = found.decode()
        header = ConfigSource._get_header_dict(text[:512])
        config = OmegaConf.load(io.StringIO(text))
        return ConfigResult(self.provider, self.full_path(), config, header)


class _SettledPackage(_SettledFiles):
    """The same of a package, `pkg://` in hydra.searchpath."""

    @staticmethod
    def scheme() -> str:
        return "pkg"

    def _root(self) -> "Traversable":
        return resources.files(self.path)


class Loader(ConfigLoaderImpl):
    """Hydra's, but for the passwords in config files. Hydra has no hook between reading a config
    and showing it (`hydra.verbose=true`, `--cfg`) or writing it."""

    settled: _Folders | None = None

    def settle(self) -> None:
        """Has config files be what they are now, here and wherever this loader is sent."""
        self.settled = _Folders()
        _settle(self.repository, self.settled)
        active: Any = self._active_repository
        if active is not None:
            _settle(active.delegate, self.settled)

    def _parse_overrides_and_create_caching_repo(
        self, *args: Any, **kwargs: Any
    ) -> tuple[list[Override], Any]:
        overrides, repo = super()._parse_overrides_and_create_caching_repo(*args, **kwargs)
        if self.settled is not None:
            _settle(repo.delegate, self.settled)
        return overrides, repo

    def _load_single_config(self, default: ResultDefault, repo: Any) -> ConfigResult:
        result = super()._load_single_config(default, repo)
        hide_in_config(result.config)
        return result


def _settle(repository: Any, folders: _Folders) -> None:
    kinds = {FileConfigSource: _SettledFiles, ImportlibResourcesConfigSource: _SettledPackage}
    repository.sources = [
        kind(source.provider, source.path, folders) if (kind := kinds.get(type(source))) else source
        for source in repository.sources
    ]


def settle_configs(loader: ConfigLoader) -> None:
    """Config files are from now on what they are now, for this loader and its copies elsewhere."""
    if isinstance(loader, Loader):
        loader.settle()


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


def values_in_order(override: str, loader: ConfigLoader | None = None) -> list[str]:
    """What an override goes through, as text that says it in an override. loader: as above.

    Raises:
        ValueError: it has no such list, or none with an order.
    """
    [parsed] = OverridesParser.create(config_loader=loader).parse_overrides([override])
    if not parsed.is_discrete_sweep():
        raise ValueError("has no list of values")
    if getattr(parsed.value(), "shuffle", False):
        raise ValueError("has no order")
    return list(parsed.sweep_string_iterator())


def elements_of(text: str) -> tuple[Any, ...]:
    """Of a list, without its brackets: numbers, and all else as text that says it in an
    override."""
    values: Any = OverridesParser.create().parse_override(f"list=[{text}]")._value
    return tuple(v if isinstance(v, bool | int | float) else Transformer.str(v) for v in values)


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
