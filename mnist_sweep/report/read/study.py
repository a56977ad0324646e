"""A search read back: which one is meant, and what Optuna knows of its trials."""

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.paths import JOURNAL, MULTIRUN, RESULTS_TABLE, SWEEP_CONFIG
from mnist_sweep.runs.table import readable_rows

if TYPE_CHECKING:
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
    below = {path.parent for path in [*root.rglob(JOURNAL), *root.rglob(RESULTS_TABLE)]}
    found = sorted(filter(_is_search, below), key=lambda folder: folder.stat().st_mtime)
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


def _near(root: Path) -> str:
    """Searches whose names are like that one's."""
    below = {path.parent for path in MULTIRUN.rglob(JOURNAL)}
    names = [str(folder.relative_to(MULTIRUN)) for folder in below]
    return did_you_mean(root.name, names)


def _is_search(folder: Path) -> bool:
    return (folder / JOURNAL).is_file() or _study_name(folder) is not None


def _study_name(folder: Path) -> str | None:
    rows = readable_rows(folder / RESULTS_TABLE)
    return next((row["study"] for row in rows if row.get("study")), None)


def of_last_command(folder: Path, key: str) -> Any:
    """Of the `hydra.sweeper` of the last command on the search; None where it left nothing."""
    from omegaconf import OmegaConf

    try:
        return OmegaConf.select(OmegaConf.load(folder / SWEEP_CONFIG), f"hydra.sweeper.{key}")
    except Exception:  # yaml, omegaconf, the file system: each raises its own
        return None


@contextmanager
def opened_study(folder: Path, url: str | None, *, to_write: bool = False) -> Iterator["Study"]:
    """The study of the search in this folder, for as long as it is looked at. url: of the storage,
    if it is not kept there.

    Unless it is to be written, a copy of the journal is read: the search may be running, the folder
    read-only.

    Raises:
        UserError: there is no study, or it cannot be read.
    """
    import optuna

    from mnist_sweep.search.study.credentials import without_credentials
    from mnist_sweep.search.study.opening import check_whole
    from mnist_sweep.search.study.storage import open_storage

    recorded = readable_rows(folder / RESULTS_TABLE)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = str(folder / JOURNAL) if url is None else without_credentials(url)
    with tempfile.TemporaryDirectory() as copy:
        if url is None:
            if not Path(where).is_file():
                raise UserError(
                    f"{folder} has no {JOURNAL}, so the search is kept elsewhere: give "
                    "--storage URL, the hydra.sweeper.storage of the search"
                )
            shutil.copyfile(where, Path(copy) / JOURNAL)
        try:
            storage = open_storage(url, folder if to_write else Path(copy), "--storage")
            names = [study.study_name for study in storage.get_all_studies()]
            name = _study_name(folder) or of_last_command(folder, "study_name")
            name = name or next(iter(names), folder.name)
            if name not in names:
                raise UserError(
                    f"{where} holds no study {name} (it has {', '.join(names) or 'none'}): give "
                    "--storage the hydra.sweeper.storage of the search"
                )
            study = optuna.load_study(study_name=name, storage=storage)
            check_whole(study, recorded)
        except UserError as error:
            raise UserError(str(error).replace(copy, str(folder))) from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{where}: the study cannot be read ({reason[:120]})") from error
        yield study


def read_study(folder: Path, url: str | None) -> SearchStudy:
    """
    Raises:
        UserError: as `opened_study`.
    """
    from mnist_sweep.search.points.taken_over import taken_over
    from mnist_sweep.search.study.attributes import is_finished

    with opened_study(folder, url) as study:
        warm_starts = tuple(f"{one.source}: {one.text}" for one in taken_over(study))
        trials = study.get_trials(deepcopy=False)
        settings = study.user_attrs.get("settings", {})
        directions = [direction.name.lower() for direction in study.directions]
    names = settings.get("hydra.sweeper.objective") or [
        f"objective {n}" for n in range(len(directions))
    ]
    finished = [trial for trial in trials if is_finished(trial)]
    scaled = *settings.get("hydra.sweeper.fit", []), *settings.get("hydra.sweeper.fit_rest", [])
    objectives = dict(zip(names, directions, strict=True))
    return SearchStudy(folder, objectives, finished, scaled, warm_starts)
