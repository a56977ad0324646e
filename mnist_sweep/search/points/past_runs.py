"""Finished runs of elsewhere: rows of a results table, or trials of a study in any Optuna storage.

Nothing is written there, and a search that is running may be looked at.
"""

import math
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study, load_study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.paths import JOURNAL, MULTIRUN, OUTPUTS, RESULTS_TABLE
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.study.attributes import NUM_PARAMS, OVERRIDES, is_finished
from mnist_sweep.search.study.credentials import without_credentials
from mnist_sweep.search.study.storage import open_storage

WARM_START = "hydra.sweeper.warm_start"

EXAMPLES = (
    "a results table (outputs/results.csv), a search's directory or its name in multirun "
    "(arch_20000), or STUDY@URL of a storage (arch_20000@sqlite:///study.db)"
)


@dataclass(frozen=True)
class PastRun:
    """Of one seed, or a trial of a study with the mean of all of its seeds."""

    status: str
    """As in a results table."""
    overrides: tuple[str, ...] | None
    """In Hydra's grammar; None where another program made it, and its settings are not known."""
    measured: Mapping[str, float]
    """Column of the results table -> its value, as far as it is known."""
    epochs_done: int
    proposed: Mapping[str, Any] = field(default_factory=dict)
    """Parameter -> value, as a sampler proposed it; a width may have been scaled since."""
    data: str | None = None
    """The set really used; None where it is as the settings say."""
    config_hash: str | None = None
    study: str | None = None
    """That it is a trial's of."""


@dataclass(frozen=True)
class Source:
    """Where runs are to be found; one of table, folder and storage is given."""

    shown: str
    """As it was given, without credentials."""
    table: Path | None = None
    folder: Path | None = None
    """Of a search."""
    storage: str | None = None
    """URL, or a journal's path."""
    study: str | None = None
    """In the storage; None: the only one."""

    @classmethod
    def named(cls, text: str) -> "Source":
        """
        Raises:
            UserError: there is nothing of that name.
        """
        path, shown = Path(text), shown_source(text)
        if path.is_file() and path.suffix != ".journal":
            return cls(shown, table=path)
        for folder in (path, MULTIRUN / path):
            if folder.is_dir() and any((folder / n).is_file() for n in (JOURNAL, RESULTS_TABLE)):
                return cls(shown, folder=folder)
        study, place = _split(text)
        if "://" in place or Path(place).is_file():
            _check_file(place, shown)
            return cls(shown, storage=place, study=study)
        raise UserError(
            f"{WARM_START}={shown}: there is no such table or search"
            f"{did_you_mean(text, _known())}: give {EXAMPLES}"
        )

    def runs(self, objectives: Sequence[str]) -> list[PastRun]:
        """objectives: columns that are to be learnt of.

        Raises:
            UserError: it cannot be read, or is something else.
        """
        if self.folder is not None:
            table = self.folder / RESULTS_TABLE
            if table.is_file():
                return list(self._of_table(table, objectives))
            with _copied(self.folder / JOURNAL) as storage:
                return list(self._of_storage(storage, objectives))
        if self.table is not None:
            return list(self._of_table(self.table, objectives))
        assert self.storage is not None
        if "://" not in self.storage:
            with _copied(Path(self.storage)) as storage:
                return list(self._of_storage(storage, objectives))
        return list(self._of_storage(open_storage(self.storage, Path(), WARM_START), objectives))

    def _of_table(self, path: Path, objectives: Sequence[str]) -> Iterator[PastRun]:
        rows = ResultsTable(path).rows()
        if not rows:
            raise UserError(f"{WARM_START}={self.shown}: it holds no runs: give {EXAMPLES}")
        lacking = [name for name in ("overrides", *objectives) if name not in rows[0]]
        if lacking:
            raise UserError(
                f"{WARM_START}={self.shown}: it lacks the column {', '.join(lacking)}, without "
                f"which nothing can be learnt of its runs: give {EXAMPLES}"
            )
        proposals = _Proposals(self.folder)
        for row in rows:
            yield PastRun(
                row["status"],
                tuple(shlex.split(row["overrides"])),
                dict(_numbers(row, (*objectives, "num_params", "macs"))),
                int(row["epochs_done"]) if row.get("epochs_done", "").isdecimal() else 0,
                proposals.of(row),
                row.get("data") or None,
                row.get("config_hash") or None,
                row.get("study") or None,
            )

    def _of_storage(self, storage: BaseStorage, objectives: Sequence[str]) -> Iterator[PastRun]:
        study = self._study(storage)
        names: Sequence[str] = study.metric_names or ()
        if not names and len(study.directions) == len(objectives):
            names = objectives  # of a program that does not name them
        for trial in study.get_trials(deepcopy=False):
            yield replace(_of_trial(trial, names), study=study.study_name)

    def _study(self, storage: BaseStorage) -> Study:
        names = [study.study_name for study in storage.get_all_studies()]
        name = self.study or (names[0] if len(names) == 1 else None)
        if name is None or name not in names:
            said = f"holds no study {name}{did_you_mean(name, names)}" if name else "holds several"
            raise UserError(
                f"{WARM_START}={self.shown}: it {said} (it has {', '.join(names) or 'none'}): "
                "give STUDY@URL"
            )
        return load_study(study_name=name, storage=storage)


def shown_source(text: str) -> str:
    """A source as it was given, without credentials; it need not be there."""
    study, place = _split(text)
    return without_credentials(place) if study is None else f"{study}@{without_credentials(place)}"


def _split(text: str) -> tuple[str | None, str]:
    """STUDY@URL; None where no study is named."""
    study, at, place = text.partition("@")
    return (study, place) if study and at and "://" not in study else (None, text)


def _check_file(url: str, shown: str) -> None:
    """
    Raises:
        UserError: it is a file's URL, and there is none, which would be made.
    """
    found = re.match(r"sqlite[\w+]*:///(?!file:)([^?]+)", url)
    if found is not None and not Path(found[1]).is_file():
        raise UserError(f"{WARM_START}={shown}: there is no file {found[1]}: give {EXAMPLES}")


def _known() -> list[str]:
    """What may have been meant."""
    searches = [path.parent for path in MULTIRUN.rglob(RESULTS_TABLE)]
    names = [str(folder.relative_to(MULTIRUN)) for folder in searches]
    return [*names, *map(str, searches), *map(str, OUTPUTS.glob("*.csv"))]


def _numbers(row: Mapping[str, str], names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name in names:
        try:
            value = float(row.get(name, ""))
        except ValueError:
            continue
        if math.isfinite(value):
            yield name, value


def _of_trial(trial: FrozenTrial, names: Sequence[str]) -> PastRun:
    overrides = trial.user_attrs.get(OVERRIDES)
    measured: dict[str, float] = {}
    if trial.state == TrialState.COMPLETE:
        measured = dict(zip(names, trial.values, strict=False))
    elif trial.last_step is not None and names:
        measured = {names[0]: trial.intermediate_values[trial.last_step]}
    if NUM_PARAMS in trial.user_attrs:
        measured.setdefault("num_params", trial.user_attrs[NUM_PARAMS])
    status = "completed" if trial.state == TrialState.COMPLETE else "pruned"
    return PastRun(
        status if is_finished(trial) else "failed",
        None if overrides is None else tuple(overrides),
        {name: value for name, value in measured.items() if math.isfinite(value)},
        trial.last_step or 0,
        trial.params,
    )


class _Proposals:
    """What was proposed to become the runs of a table: a row says only what came of that. folder:
    of the search whose table it is; None: of any, which is looked for where its runs are."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.read: dict[Path, dict[int, Mapping[str, Any]]] = {}

    def of(self, row: Mapping[str, str]) -> Mapping[str, Any]:
        """Empty where that is not known."""
        trial, run_dir = row.get("trial", ""), Path(row.get("run_dir") or "-")
        if not trial.isdecimal():
            return {}
        above = [run_dir.parent, run_dir.parent.parent]  # of a trial, or of one of its seeds
        folder = self.folder or next((f for f in above if (f / JOURNAL).is_file()), None)
        if folder is None:
            return {}
        if folder not in self.read:
            self.read[folder] = _proposed_in(folder / JOURNAL, row.get("study", ""))
        return self.read[folder].get(int(trial), {})


def _proposed_in(journal: Path, study: str) -> dict[int, Mapping[str, Any]]:
    """Trial -> its point; of a study that cannot be read none."""
    if not journal.is_file():
        return {}
    try:
        with _copied(journal) as storage:
            trials = load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
    except (UserError, KeyError):
        return {}
    return {trial.number: trial.params for trial in trials}


@contextmanager
def _copied(journal: Path) -> Iterator[BaseStorage]:
    """A copy of it, open."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            shutil.copyfile(journal, Path(folder) / JOURNAL)
        except OSError as error:
            raise UserError(
                f"{WARM_START}: {journal} cannot be read ({error.strerror}): give {EXAMPLES}"
            ) from error
        try:
            yield open_storage(None, Path(folder))
        except UserError as error:
            raise UserError(
                str(error)
                .replace(folder, str(journal.parent))
                .replace("hydra.sweeper.storage", WARM_START)
            ) from error
