"""Going on with a run that was cut short: whether it is the same, and its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from mnist_sweep.config import NotIn, resolved
from mnist_sweep.errors import UserError
from mnist_sweep.identity import differing, keys
from mnist_sweep.paths import CHECKPOINT, RUN_CONFIG, RUN_HYDRA
from mnist_sweep.runs.saved import read_config, reason_of
from mnist_sweep.sets.dataset import Dataset
from mnist_sweep.train import save_whole


def take_over(earlier: Path, checkpoint: Path, config: Mapping[str, Any], data: Dataset) -> bool:
    """Copies the checkpoint of `earlier` if that was a run of this config and data set.

    Where it left none, or that is damaged, the run starts over.
    """
    try:
        content = torch.load(earlier / CHECKPOINT, weights_only=True)
        before = resolved(read_config(earlier))
        if differing(before, config, keys(NotIn.RESULT)) or content["data"] != data.name:
            return False
    except Exception:  # torch.load raises nearly anything on a damaged file
        return False
    save_whole(content, checkpoint)
    return True


def check_resumable(config: Mapping[str, Any], run_dir: Path) -> None:
    """
    Raises:
        UserError: the run in this directory was begun with another configuration, or by a search,
            or the file that says with which is damaged.
    """
    if _is_of_search(run_dir):
        raise UserError(
            f"resume={run_dir}: that run is a trial of a search, which keeps its books: the "
            "command of the search goes on with it"
        )
    try:
        before = resolved(read_config(run_dir))
    except Exception as error:  # yaml, omegaconf, encoding: each raises its own
        raise UserError(
            f"resume={run_dir}: {run_dir / RUN_CONFIG} is damaged ({reason_of(error)}): "
            "start the run again, without resume"
        ) from error
    changed = differing(before, config, keys(NotIn.HASH))
    if changed:
        raise UserError(
            f"resume={run_dir}: the config files have changed since that run began "
            f"({', '.join(changed)}); restore them, or start a new run"
        )


def _is_of_search(run_dir: Path) -> bool:
    try:
        hydra = OmegaConf.load(run_dir / RUN_HYDRA).hydra
        return bool(hydra.mode == "MULTIRUN" and hydra.runtime.choices["hydra/sweeper"] == "search")
    except Exception:  # yaml, omegaconf, encoding: each raises its own
        return False
