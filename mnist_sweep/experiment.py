"""The one conversion from a resolved config to typed objects."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pydantic import ValidationError
from torch import nn

from mnist_sweep.augment import Augmentation
from mnist_sweep.config import Settings, settings_of
from mnist_sweep.errors import UserError, shortened, validation_message
from mnist_sweep.loggers import Logger
from mnist_sweep.optimizers import Optimizer
from mnist_sweep.schedulers import Plateau, Scheduler
from mnist_sweep.sets.measured import shape_of
from mnist_sweep.sets.shape import DataShape
from mnist_sweep.whitelist import of_the_environment


@dataclass(frozen=True)
class Experiment:
    """A run's typed configuration. The model holds the seed's initial weights."""

    settings: Settings
    model: nn.Module
    optimizer: Optimizer
    scheduler: Scheduler
    augmentation: tuple[Augmentation, ...]
    """Applied in this order."""
    loggers: Mapping[str, Logger]


def to_experiment(config: Mapping[str, Any]) -> Experiment:
    """
    Raises:
        UserError: a key is unknown or missing, a value has the wrong type or is out of range, or
            two choices do not go together.
    """
    settings = settings_of(config)
    torch.manual_seed(settings.seed)
    model = build_model(config, shape_of(settings.data))
    optimizer, scheduler, augmentation = build_training(config)
    return Experiment(settings, model, optimizer, scheduler, augmentation, build_loggers(config))


def build_training(
    config: Mapping[str, Any],
) -> tuple[Optimizer, Scheduler, tuple[Augmentation, ...]]:
    """How a net is trained, whatever net it is.

    Raises:
        UserError: keys or values are wrong, or do not go with the protocol.
    """
    optimizer: Optimizer = _leaf(_group(config, "optimizer"), "optimizer", Optimizer)
    scheduler: Scheduler = _leaf(_group(config, "scheduler"), "scheduler", Scheduler)
    augmentation = tuple(
        _leaf(node, f"augmentation.{name}", Augmentation)
        for name, node in _group(config, "augmentation").items()
    )
    _check_monitor(scheduler, config["protocol"]["name"])
    return optimizer, scheduler, augmentation


def build_model(config: Mapping[str, Any], shape: DataShape) -> nn.Module:
    """The net that the key `model` says, with initial weights from torch's current random state.

    shape: of the data; its class gets `in_channels`, `num_classes` and `image_size`, as far as it
    takes them and the config does not say them.

    Raises:
        UserError: its keys or values are wrong, or do not make a net.
    """
    of_data = {
        "in_channels": shape.channels,
        "num_classes": shape.num_classes,
        "image_size": (shape.height, shape.width),
    }
    model: nn.Module = _leaf(_group(config, "model"), "model", nn.Module, of_data)
    return model


def build_loggers(config: Mapping[str, Any]) -> dict[str, Logger]:
    """Those that the key `logger` names; there is no such key where none is chosen.

    Raises:
        UserError: keys or values are wrong, or a package that one needs is not here.
    """
    if config.get("logger") is None:
        return {}
    nodes = _group(config, "logger")
    return {name: _leaf(node, f"logger.{name}", Logger) for name, node in nodes.items()}


def _group(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """
    Raises:
        UserError: the group is gone, or replaced by a value.
    """
    if name not in config:
        none = ", or augmentation=none" if name == "augmentation" else ""
        raise UserError(f"{name}: missing; choose one of the group's files, {name}=CHOICE{none}")
    node = config[name]
    if not isinstance(node, dict):
        raise UserError(
            f"{name}={shortened(node)}: is no choice; choose one of the group's files with "
            f"{name}=CHOICE"
        )
    return node


def _leaf(node: Any, key: str, kind: Any, offered: Mapping[str, Any] | None = None) -> Any:
    """Calls the class that a config node names, with the node's values; it must be a `kind`.
    offered: more values, of which it gets those that it takes."""
    if not isinstance(node, dict):
        raise UserError(
            f"{key}={shortened(node)}: is no choice; give it keys of its own, _target_ first"
        )
    values = dict(node)
    if "_target_" not in values:
        raise UserError(f"{key}._target_: missing; choose one of the group's files")
    try:
        make = _named(str(values.pop("_target_")))
    except InstantiationException as error:
        if any(fnmatchcase(str(node["_target_"]), pattern) for pattern in of_the_environment()):
            reason = " ".join(str(error.__cause__ or error).split())
            raise UserError(
                f"{key}._target_={node['_target_']}: cannot be imported ({reason}); its module has "
                "to be in the folder in which the command is started, or on PYTHONPATH"
            ) from error
        raise UserError(
            f"{key}._target_={node.get('_target_')}: cannot be used. Classes of mnist_sweep's "
            "models, optimizers, schedulers, augment and loggers are; others must be named in "
            "the environment variable MNIST_SWEEP_TARGETS"
        ) from error
    try:
        more = {name: (offered or {})[name] for name in _taken(make) if name in (offered or {})}
        leaf = make(**{**more, **values})
    except ValidationError as error:
        raise UserError(validation_message(error, key)) from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error
    except (ArithmeticError, MemoryError, RuntimeError) as error:  # torch's, of a net too large
        raise UserError(f"{key}: {shortened(error)}") from error
    if not isinstance(leaf, kind):
        raise UserError(
            f"{key}._target_={node.get('_target_')}: is no {kind.__name__}; "
            f"choose one of the group's files, or a class that derives from it"
        )
    return leaf


@cache
def _named(target: str) -> Any:
    """The class of that name, if Hydra's whitelist lets it. A search makes thousands of nets, and
    Hydra's `instantiate` of a whole node takes seven times as long as the net."""
    return instantiate({"_target_": target, "_partial_": True}).func


@cache
def _taken(make: Any) -> tuple[str, ...]:
    """Names of the parameters of a class."""
    try:
        return tuple(inspect.signature(make).parameters)
    except (ValueError, TypeError):  # of one that is not written in Python
        return ()


def _check_monitor(scheduler: Scheduler, protocol: str) -> None:
    if not isinstance(scheduler, Plateau):
        return
    seen = {"select": ("train", "val"), "final": ("train",), "published": ("train", "test")}
    if not scheduler.monitor.startswith(seen[protocol]):
        usable = " or ".join(f"{part}_acc" for part in seen[protocol])
        raise UserError(
            f"scheduler.monitor={scheduler.monitor}: protocol={protocol} does not measure that "
            f"every epoch; use scheduler.monitor={usable}, or another scheduler"
        )
