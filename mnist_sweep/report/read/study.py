"""A search read back: which one is meant, and what Optuna knows of its trials."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.paths import JOURNAL, MULTIRUN, RESULTS_TABLE, SWEEP_CONFIG
from mnist_sweep.runs.table import last_trials

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class SearchStudy:
    """What Optuna knows of a search."""

    folder: Path
    directions: dict[str, str]
    """Objective -> maximize or minimize."""
    trials: "list[FrozenTrial]"
    """Completed and pruned ones; rejected points, which were never trained, are left out."""
    scaled: tuple[str, ...] = ()
    """Patterns of the parameters that are proportions, scaled to the budget (budget=fit)."""
    warm_starts: tuple[str, ...] = ()
    """What it took over from runs of elsewhere, which are no trials of it: a line a source."""

    @property
    def parameters(self) -> list[str]:
        """All that were searched, in the order in which they first came up."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.params))

    @property
    def note(self) -> str:
        """What must be known to read the parameters rightly."""
        scaled = [n for n in self.parameters if any(fnmatchcase(n, p) for p in self.scaled)]
        return f"{', '.join(scaled)}: before they were scaled to the budget" if scaled else ""

    def objective(self, name: str | None) -> str:
        """
        Raises:
            UserError: the search has no objective of that name.
        """
        objectives = list(self.directions)
        if name is not None and name not in objectives:
            raise UserError(
                f"--objective={name}: this search has {' and '.join(objectives)}; choose one"
            )
        return name or objectives[0]

    def value(self, trial: "FrozenTrial", objective: str) -> float | None:
        """None unless the trial is completed with a number."""
        if trial.state.name != "COMPLETE":
            return None
        value = trial.values[list(self.directions).index(objective)]
        return value if math.isfinite(value) else None


def find_search(source: Path | None) -> Path:
    """The folder of one search: this one, the one of this name in multirun, the only one below it,
    or (default) the newest one.

    Raises:
        UserError: there is no search, or there are several to choose from.
    """
    root = source or MULTIRUN
    if not root.is_dir() and (MULTIRUN / root).is_dir():
        root = MULTIRUN / root
    if not root.is_dir():
        reason = "is no folder" if root.exists() else "does not exist"
        raise UserError(
            f"{root} {reason}{_near(root)}: give a search's folder, such as multirun/arch_20000 "
            "(searches are made with hydra/sweeper=search)"
        )
    if _is_search(root):
        return root
    found = sorted(searches_below(root), key=lambda folder: folder.stat().st_mtime)
    if not found:
        raise UserError(
            f"{root} holds no search (no {JOURNAL}, no run with a trial): give the folder of "
            "one that was made with hydra/sweeper=search"
        )
    if source is not None and len(found) > 1:
        raise UserError(f"{root} holds {len(found)} searches: give one, such as {found[-1]}")
    if source is None and len(found) > 1:
        print(f"search  {found[-1]}, the newest of {len(found)}")
    return found[-1]


def searches_below(root: Path) -> Iterator[Path]:
    """Folders of searches; what is in one, which may be thousands of runs, is not gone through."""
    for folder, inner, files in os.walk(root):
        if (JOURNAL in files or RESULTS_TABLE in files) and _is_search(Path(folder)):
            inner.clear()
            yield Path(folder)


def _near(root: Path) -> str:
    """Searches whose names are like that one's."""
    names = [str(folder.relative_to(MULTIRUN)) for folder in searches_below(MULTIRUN)]
    return did_you_mean(root.name, names)


def _is_search(folder: Path) -> bool:
    return (folder / JOURNAL).is_file() or bool(last_trials(folder / RESULTS_TABLE))


def last_command(folder: Path) -> "DictConfig":
    """`hydra.sweeper` of the last command on the search; empty where it left nothing."""
    from omegaconf import DictConfig, OmegaConf

    try:
        found = OmegaConf.select(OmegaConf.load(folder / SWEEP_CONFIG), "hydra.sweeper")
    except Exception:  # yaml, omegaconf, the file system: each raises its own
        found = None
    return found if isinstance(found, DictConfig) else OmegaConf.create()


def of_command(command: "DictConfig", key: str) -> Any:
    """None where it is not there, or refers to what is not."""
    from omegaconf import OmegaConf

    try:
        return OmegaConf.select(command, key)
    except Exception:  # omegaconf's own, and its resolvers'
        return None


@contextmanager
def opened_study(
    folder: Path, url: str | None, command: "DictConfig", *, to_write: bool = False
) -> Iterator["Study"]:
    """The study of the search in this folder, for as long as it is looked at. url: of the storage,
    if it is not kept there. command: the last one on it.

    Unless it is to be written, nothing is: the search may be running, the folder read-only.

    Raises:
        UserError: there is no study, or it cannot be read.
    """
    import optuna

    from mnist_sweep.search.study.wholeness import check_whole
    from mnist_sweep.vault import without_credentials

    recorded = last_trials(folder / RESULTS_TABLE)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = str(folder / JOURNAL) if url is None else without_credentials(url)
    if url is None and not Path(where).is_file():
        raise UserError(
            f"{folder} has no {JOURNAL}, so the search is kept elsewhere: give "
            "--storage URL, the hydra.sweeper.storage of the search"
        )
    try:
        storage = _opened_storage(folder, url, to_write)
        names = [study.study_name for study in storage.get_all_studies()]
        name = next(iter(recorded), None) or of_command(command, "study_name")
        name = name or next(iter(names), folder.name)
        if name not in names:
            raise UserError(
                f"{where} holds no study {name} (it has {', '.join(names) or 'none'}): give "
                "--storage the hydra.sweeper.storage of the search"
            )
        study = optuna.load_study(study_name=name, storage=storage)
        check_whole(study, recorded.get(name, -1))
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where}: the study cannot be read ({reason[:120]})") from error
    yield study


def _opened_storage(folder: Path, url: str | None, to_write: bool) -> "BaseStorage":
    # Here: to look at a journal is quicker than to import what opens a database.
    from mnist_sweep.search.study.looking import SeenStorage

    if url is None and not to_write:
        from mnist_sweep.search.study.journal_text import JournalText

        return SeenStorage(JournalText(folder / JOURNAL))
    from mnist_sweep.search.study.storage import PROXY, open_storage

    if url is not None and not to_write and not url.lower().startswith(PROXY):
        from mnist_sweep.search.study.database_text import DatabaseText

        with suppress(Exception):  # what is wrong with it is said below, in one line
            return SeenStorage(DatabaseText(url))
    return open_storage(url, folder, "--storage")


def read_study(folder: Path, url: str | None) -> SearchStudy:
    """
    Raises:
        UserError: as `opened_study`.
    """
    with opened_study(folder, url, last_command(folder)) as study:
        return as_search_study(folder, study)


def objective_names(study: "Study") -> list[str]:
    """As the search's settings have them; numbers where a study has none."""
    known = study.user_attrs.get("settings", {}).get("hydra.sweeper.objective")
    return list(known or (f"objective {n}" for n in range(len(study.directions))))


def as_search_study(folder: Path, study: "Study") -> SearchStudy:
    """folder: the search's."""
    from mnist_sweep.search.points.taken_over import taken_over
    from mnist_sweep.search.study.attributes import is_finished

    warm_starts = tuple(f"{one.source}: {one.text}" for one in taken_over(study))
    settings = study.user_attrs.get("settings", {})
    directions = [direction.name.lower() for direction in study.directions]
    names = objective_names(study)
    finished = [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]
    scaled = *settings.get("hydra.sweeper.fit", []), *settings.get("hydra.sweeper.fit_rest", [])
    objectives = dict(zip(names, directions, strict=True))
    return SearchStudy(folder, objectives, finished, scaled, warm_starts)
