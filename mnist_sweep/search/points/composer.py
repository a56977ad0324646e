"""Composes the configuration of one job after another, quickly where only values differ."""

import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from mnist_sweep.config import resolved
from mnist_sweep.errors import UserError


class Composer:
    """What Hydra's `load_sweep_config` gives, at a fraction of its time after the first one.

    Hydra composes a job's groups and then sets its values one by one. Here the first half is kept,
    for each choice of groups.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self.loader = loader
        self.config = config
        self.groups = set(loader.list_groups(""))
        self.composed: dict[tuple[str, ...], _Base] = {}
        self.of_sweeps: dict[str, Composer] = {}

    def job(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, its `hydra` node included.

        Raises:
            UserError, HydraException: an override is malformed, or its key does not exist.
        """
        base, values = self._split(overrides)
        cfg = _with_values(base.whole, values)
        cfg.hydra.overrides.task = list(overrides)
        return cfg

    def task(self, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configuration that the job's task gets, resolved, and the choice of each group.

        Raises:
            UserError: as `job`.
        """
        base, values = self._split(overrides)
        config = _with_plain_values(base, values)
        if config is None:
            config = resolved(_with_values(base.task, values))
        return config, base.choices

    def of_sweep(self, choice: str) -> "Composer":
        """For runs of commands with this choice of `sweep`, which has a sweeper of its own.

        Raises:
            HydraException: there is no such choice.
        """
        if choice not in self.of_sweeps:
            name = self.config.hydra.job.config_name
            config = self.loader.load_configuration(name, [f"sweep={choice}"], RunMode.MULTIRUN)
            self.of_sweeps[choice] = Composer(self.loader, config)
        return self.of_sweeps[choice]

    def _split(self, overrides: Sequence[str]) -> tuple["_Base", list[Override]]:
        """What Hydra has to compose, and the values to set upon it."""
        parsed = [_parse(override) for override in overrides]
        for override in filter(self._is_choice, parsed):
            if isinstance(override.value(), bool | int | float):
                raise UserError(
                    f"{override.input_line}: {override.key_or_group} is a group of config files, "
                    "which are chosen by name: use choice(...) of names"
                )
        # Hydra takes groups first and all others in their order, so what adds or deletes a key
        # needs the values before it.
        others = [n for n, o in enumerate(parsed) if not (_is_value(o) or self._is_choice(o))]
        after = others[-1] + 1 if others else 0
        values = [o for o in parsed[after:] if not self._is_choice(o)]
        rest = tuple(
            str(o.input_line) for n, o in enumerate(parsed) if n < after or self._is_choice(o)
        )
        if rest not in self.composed:
            cfg = self.loader.load_sweep_config(self.config, list(rest))
            whole, choices = pickle.dumps(cfg), dict(cfg.hydra.runtime.choices)
            with open_dict(cfg):
                del cfg["hydra"]
            is_plain = _is_plain(OmegaConf.to_container(cfg))
            plain = pickle.dumps(resolved(cfg)) if is_plain else None
            self.composed[rest] = _Base(whole, pickle.dumps(cfg), plain, choices)
        return self.composed[rest], values

    def is_group(self, key: str) -> bool:
        return key.split("/")[0] in self.groups

    def _is_choice(self, override: Override) -> bool:
        """Whether the override chooses a group's file."""
        is_dict = isinstance(override.value(), dict)  # which sets the group's keys
        return self.is_group(override.key_or_group) and not is_dict


@dataclass(frozen=True)
class _Base:
    """Configurations as pickles, which is the quickest way to a copy."""

    whole: bytes
    task: bytes
    plain: bytes | None
    """The resolved `task`; None where a value of it follows from others."""
    choices: dict[str, Any]


def _is_value(override: Override) -> bool:
    """Whether the override sets a key that there is."""
    return not (
        override.package is not None
        or override.is_delete()
        or override.is_add()
        or override.is_force_add()
        or override.is_list_extend()
    )


def _is_plain(value: Any) -> bool:
    """Whether nothing in it is missing or follows from more than the environment."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if not isinstance(value, str):
        return True
    return value != "???" and "${" not in re.sub(r"\$\{oc\.env:[^${}]*,[^${}]*\}", "", value)


def _with_plain_values(base: _Base, values: Sequence[Override]) -> dict[str, Any] | None:
    """As `resolved(_with_values(...))`, but much quicker; None where it may differ.

    A search tries thousands of points, most of which set single values.
    """
    if base.plain is None:
        return None
    config: dict[str, Any] = pickle.loads(base.plain)
    for override in values:
        *parents, key = override.key_or_group.split(".")
        node: Any = config
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        value = override.value()
        if not isinstance(node, dict) or isinstance(node.get(key, {}), dict | list):
            return None
        if isinstance(value, dict | list) or value == "???" or "${" in str(value):
            return None
        node[key] = value
    return config


def _with_values(pickled: bytes, values: Sequence[Override]) -> DictConfig:
    cfg: DictConfig = pickle.loads(pickled)
    parents: dict[str, Any] = {"": cfg}  # the way from the root is most of the time
    for override in values:
        try:
            parent, _, key = override.key_or_group.rpartition(".")
            if parent not in parents:
                parents[parent] = OmegaConf.select(cfg, parent)
            if isinstance(parents[parent], DictConfig):
                OmegaConf.update(parents[parent], key, override.value(), merge=True)
            else:
                OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
        except (ConfigAttributeError, ConfigKeyError) as error:
            # As Hydra words it, so that the command line offers the nearest key.
            raise ConfigCompositionException(
                f"Could not override '{override.key_or_group}'."
            ) from error
        except OmegaConfBaseException as error:
            raise UserError(f"{override.input_line}: {str(error).splitlines()[0]}") from error
    return cfg


@lru_cache(maxsize=4096)
def _parse(override: str) -> Override:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise UserError(f"{override}: {' '.join(str(error).split())}") from error
