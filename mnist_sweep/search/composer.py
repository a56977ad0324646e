"""Composes the configuration of one job after another, quickly where only values differ."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from mnist_sweep.errors import UserError


class Composer:
    """What Hydra's `load_sweep_config` gives, at a twentieth of its time after the first one.

    Hydra composes a job's groups and then sets its values one by one. Here the first half is kept,
    for each choice of groups.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self.loader = loader
        self.config = config
        self.groups = set(loader.list_groups(""))
        self.composed: dict[tuple[str, ...], _Base] = {}

    def job(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, its `hydra` node included.

        Raises:
            UserError, HydraException: an override is malformed, or its key does not exist.
        """
        base, values = self._split(overrides)
        cfg = _with_values(base.whole, values)
        cfg.hydra.overrides.task = list(overrides)
        return cfg

    def task(self, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
        """The configuration that the job's task gets, and the choice of each group.

        Raises:
            UserError: as `job`.
        """
        base, values = self._split(overrides)
        return _with_values(base.task, values), base.choices

    def _split(self, overrides: Sequence[str]) -> tuple["_Base", list[Override]]:
        """What Hydra has to compose, and the values to set upon it."""
        parsed = [_parse(override) for override in overrides]
        values = [override for override in parsed if self._sets_a_value(override)]
        rest = tuple(str(o.input_line) for o in parsed if not self._sets_a_value(o))
        if rest not in self.composed:
            cfg = self.loader.load_sweep_config(self.config, list(rest))
            whole, choices = pickle.dumps(cfg), dict(cfg.hydra.runtime.choices)
            with open_dict(cfg):
                del cfg["hydra"]
            self.composed[rest] = _Base(whole, pickle.dumps(cfg), choices)
        return self.composed[rest], values

    def is_group(self, key: str) -> bool:
        return key.split("/")[0] in self.groups

    def _sets_a_value(self, override: Override) -> bool:
        """Whether the override is one that Hydra applies after composing, and no other."""
        return not (
            self.is_group(override.key_or_group)
            or override.package is not None
            or override.is_delete()
            or override.is_add()
            or override.is_force_add()
            or override.is_list_extend()
        )


@dataclass(frozen=True)
class _Base:
    """Configurations as pickles, which is the quickest way to a copy."""

    whole: bytes
    task: bytes
    choices: dict[str, Any]


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
