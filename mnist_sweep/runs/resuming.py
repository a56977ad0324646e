"""Going on with a run that was cut short: whether it is the same, its checkpoint, its time."""

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from mnist_sweep.config import NotIn, resolved
from mnist_sweep.errors import UserError
from mnist_sweep.identity import differing, keys
from mnist_sweep.paths import CHECKPOINT, RESULT, RUN_CONFIG, RUN_HYDRA, SO_FAR
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.record import read_result
from mnist_sweep.runs.saved import read_config, reason_of
from mnist_sweep.sets.dataset import Dataset
from mnist_sweep.train import save_whole


@dataclass(frozen=True)
class SoFar:
    """started: as in the record; None where that is not known. seconds: of all processes of the run
    that have ended. host, gpu: of the last one."""

    started: str | None = None
    seconds: float = 0.0
    host: str | None = None
    gpu: str | None = None

    @classmethod
    def of(cls, run_dir: Path) -> "SoFar":
        """As the run's processes left it: in result.json where they were told to stop, from one
        epoch to the next where they were killed; earlier versions left the epochs alone."""
        found = [cls()]
        with suppress(OSError, ValueError, KeyError, TypeError):
            left = json.loads((run_dir / SO_FAR).read_text())
            place = (str(left[name]) if left.get(name) else None for name in ("host", "gpu"))
            found.append(cls(str(left["started"]), float(left["seconds"]), *place))
        if (run_dir / RESULT).exists():
            with suppress(UserError):
                record = read_result(run_dir)
                seconds = record.seconds or 0.0
                found.append(cls(record.started, seconds, record.host, record.gpu))
        with suppress(OSError, ValueError, KeyError, TypeError, csv.Error):
            found.append(cls(None, sum(metrics.seconds for metrics in read_history(run_dir))))
        started = [so_far.started for so_far in found if so_far.started]
        seconds = max(so_far.seconds for so_far in found)
        last = next((so_far for so_far in found if so_far.host), cls())
        return cls(min(started, default=None), seconds, last.host, last.gpu)

    def note(self, run_dir: Path) -> None:
        (run_dir / SO_FAR).write_text(json.dumps(asdict(self)))


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
