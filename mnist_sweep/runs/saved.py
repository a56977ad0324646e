"""A run found again: its record, config, history, data and net. Imports no torch until asked."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_sweep.config import DataConfig, ProtocolConfig, Settings, resolved, unchecked
from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import HISTORY, MODEL, RUN_CONFIG, RUN_HYDRA, RUN_OVERRIDES
from mnist_sweep.runs.data_card import shape_for
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.whitelist import TARGETS

if TYPE_CHECKING:
    from torch import nn

    from mnist_sweep.sets.dataset import Dataset
    from mnist_sweep.train import Weights

PARTS = ("data", "protocol", "model", "optimizer", "scheduler", "augmentation", "trainer")


@dataclass(frozen=True)
class SavedRun:
    """run_dir: where the run lies now. record: of its result.json."""

    run_dir: Path
    record: RunRecord

    def history(self) -> list[EpochMetrics]:
        """
        Raises:
            UserError: the run finished no epoch, or its history.csv is damaged.
        """
        path = self.run_dir / HISTORY
        if not path.is_file():
            raise UserError(
                f"run {self.record.run_id} ({self.record.status}) has no history: there is no "
                f"{path}; choose a run that finished an epoch"
            )
        try:
            return read_history(self.run_dir)
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f"{path} is damaged ({reason_of(error)}); run it again") from error

    def config(self) -> DictConfig:
        """The config that the run had, interpolations unresolved.

        Raises:
            UserError: it is missing or damaged.
        """
        path = self.run_dir / RUN_CONFIG
        if not path.is_file():
            raise UserError(
                f"run {self.record.run_id} has no config: there is no {path}; choose another run"
            )
        try:
            return read_config(self.run_dir)
        except Exception as error:  # yaml, omegaconf, encoding: each raises its own
            raise self._config_is_damaged(error) from error

    def _resolved(self) -> dict[str, Any]:
        """The config as plain values."""
        config = self.config()
        try:
            return resolved(config)
        except OmegaConfBaseException as error:
            raise self._config_is_damaged(error) from error

    def _config_is_damaged(self, error: Exception) -> UserError:
        path = self.run_dir / RUN_CONFIG
        return UserError(f"{path} is damaged ({reason_of(error)}); choose another run")

    def settings(self) -> Settings:
        """The config's settings; of a run by an older version they lack what came later.

        Raises:
            UserError: as `config`.
        """
        return unchecked(self._resolved())

    def model_path(self) -> Path:
        """
        Raises:
            UserError: the run left no weights.
        """
        path = self.run_dir / MODEL
        if not path.is_file():
            raise UserError(
                f"run {self.record.run_id} ({self.record.status}) is a run without checkpoint: "
                f"there is no {path}; choose a completed run, or train it in full with "
                f"python -m mnist_sweep.rerun {self.record.run_id}"
            )
        return path

    def weights(self) -> "Weights":
        """The tensors of model.pt, on the CPU.

        Raises:
            UserError: as `model_path`, or the file is damaged.
        """
        import torch

        path = self.model_path()
        try:
            weights: Weights = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # torch.load raises nearly anything on a damaged file
            raise _damaged(path, error, self.record) from error
        return weights

    def model(self) -> "nn.Module":
        """The trained net: on the CPU, in evaluation mode, laid out in memory as in training.

        Raises:
            UserError: as `config` and `weights`, and where the two do not fit together.
        """
        import torch
        from hydra.utils import execution_whitelist

        from mnist_sweep.experiment import build_model

        weights = self.weights()
        config = self._resolved()
        shape = shape_for(self.run_dir)
        with torch.random.fork_rng(devices=[]), execution_whitelist(TARGETS):
            model = build_model(config, shape)
        try:
            model.load_state_dict(weights)
        except Exception as error:  # other names, other shapes, no dict at all
            raise _damaged(self.run_dir / MODEL, error, self.record) from error
        return model.to(memory_format=torch.channels_last).eval()

    def data(self) -> "Dataset":
        """What the run was trained and tested on, limits included: the set really used, also
        where the config says `auto`.

        Raises:
            UserError: the set is not here, or the config is damaged.
        """
        from mnist_sweep.data import is_present, load, raw_folder

        settings, name = self.settings(), self.record.groups.get("data")
        try:
            used = {} if settings.data.is_measured else {"name": name}
            data = DataConfig(**{**dict(settings.data), **used})
            protocol = ProtocolConfig(**dict(settings.protocol))
            trainer = settings.trainer
            limits = trainer.limit_train, trainer.limit_val, trainer.limit_test
        except (ValueError, TypeError, AttributeError) as error:
            raise self._config_is_damaged(error) from error
        if data.is_measured:
            found = load(data, protocol).limited(*limits)
            if found.name != name:
                raise UserError(
                    f"run {self.record.run_id} was on {name}, and data={data.name} is "
                    f"{found.name} now: put the images back as they were"
                )
            return found
        if name != "digits" and not is_present(data.root, data.name):
            # The run may have been on another machine.
            data = data.model_copy(update={"root": os.environ.get("MNIST_SWEEP_DATA", "data")})
            folder = raw_folder(data.root, data.name)
            if not is_present(data.root, data.name):
                raise UserError(
                    f"run {self.record.run_id} was on data={name}, which is not in {folder}: point "
                    f"the environment variable MNIST_SWEEP_DATA at the folder that holds "
                    f"{folder.parent.name}/raw"
                )
        return load(data, protocol).limited(*limits)


def read_config(run_dir: Path) -> DictConfig:
    """The config that the run in this directory was started with, interpolations unresolved.

    Raises:
        Exception: it is missing or damaged; yaml, omegaconf and encodings raise their own.
    """
    config = OmegaConf.load(run_dir / RUN_CONFIG)
    if isinstance(config, DictConfig) and all(OmegaConf.is_dict(config.get(p)) for p in PARTS):
        if "limit_test" not in config.trainer:  # it is older than the key: one limit was for both
            config.trainer.limit_test = config.trainer.get("limit_val")
        return config
    raise ValueError(f"it must hold {', '.join(PARTS)}")


def read_overrides(run_dir: Path) -> list[str]:
    """What the run in this directory was started with.

    Raises:
        UserError: .hydra/overrides.yaml is missing or damaged.
    """
    path = run_dir / RUN_OVERRIDES
    try:
        given = OmegaConf.load(path)
        overrides = OmegaConf.to_container(given) if isinstance(given, ListConfig) else None
        if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
            raise ValueError("it must hold a list of overrides")
    except Exception as error:  # yaml, omegaconf, encoding: each raises its own
        raise UserError(
            f"{path} is damaged ({reason_of(error)}): write the list anew (hydra.overrides.task in "
            f"{run_dir / RUN_HYDRA} has it), or start the run again"
        ) from error
    return overrides


def _damaged(path: Path, error: Exception, record: RunRecord) -> UserError:
    return UserError(
        f"{path} is damaged or of another net ({reason_of(error)}); "
        f"python -m mnist_sweep.rerun {record.run_id} trains it again"
    )


def reason_of(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
