"""A search under way, as another process sees it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import OmegaConf
from optuna.study import Study

from mnist_sweep.errors import UserError
from mnist_sweep.paths import JOURNAL, SWEEP_CONFIG
from mnist_sweep.report.read.study import study_name
from mnist_sweep.search.study.leases import Leases
from mnist_sweep.search.study.storage import open_storage

READ = ("study_name", "n_trials", "lease_s")


@dataclass(frozen=True)
class Search:
    folder: Path
    study: Study
    leases: Leases
    """As one sees them who has none."""
    settings: dict[str, Any]
    """Of the last command on it: keys of `hydra.sweeper`; empty where it left none."""


def open_search(folder: Path, url: str | None) -> Search:
    """url: of the storage, if it is not in the folder.

    Raises:
        UserError: there is no study, or it cannot be reached.
    """
    if url is None and not (folder / JOURNAL).is_file():
        raise UserError(
            f"{folder} has no {JOURNAL}, so the search is kept elsewhere: give --storage URL, the "
            "hydra.sweeper.storage of the search"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(url, folder)
    names = [study.study_name for study in storage.get_all_studies()]
    settings = _settings(folder)
    name = settings.get("study_name") or study_name(folder) or next(iter(names), None)
    if name not in names:
        raise UserError(
            f"{folder}: its storage holds no study {name} (it has {', '.join(names) or 'none'}): "
            "give --storage the hydra.sweeper.storage of the search"
        )
    study = optuna.load_study(study_name=name, storage=storage)
    return Search(folder, study, Leases(study, float(settings.get("lease_s") or 60.0)), settings)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        config = OmegaConf.load(folder / SWEEP_CONFIG)
        return {key: OmegaConf.select(config, f"hydra.sweeper.{key}") for key in READ}
    except Exception:  # yaml, omegaconf, the file system: each raises its own
        return {}
