"""The searches among runs: the best trials of each, what was tried, what mattered, who worked
when."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.errors import UserError
from mnist_sweep.paths import JOURNAL, RUN_HYDRA
from mnist_sweep.report.analysis.best_trials import BestTrials, best_trials
from mnist_sweep.report.analysis.invocations import config_or_empty
from mnist_sweep.report.analysis.parallel import ParallelInfo, parallel_info
from mnist_sweep.report.analysis.search_history import SearchHistory, search_history
from mnist_sweep.report.analysis.timeline import TimelineInfo, timeline
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.report.wording import statuses
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.runs.table import last_trials

if TYPE_CHECKING:
    from mnist_sweep.report.analysis.explained import Explained
    from mnist_sweep.report.analysis.importance import Importances
    from mnist_sweep.report.read.study import SearchStudy


@dataclass(frozen=True)
class SearchInfo:
    name: str
    num_trials: int
    statuses: tuple[tuple[str, int], ...]
    """Of its runs, with their numbers, the most frequent first."""
    objectives: tuple[str, ...]
    best: BestTrials | None
    importance: "Importances | None"
    """For the first objective."""
    no_importance: str
    """Why it cannot be told, a sentence; "" where it can."""
    timeline: TimelineInfo | None
    history: SearchHistory | None
    """Of the first objective."""
    parallel: ParallelInfo | None
    """For the first objective."""
    first_runs: Mapping[int, str]
    """Trial -> run id."""
    explained: "tuple[Explained, ...]" = ()
    """All its trials by number, those without a run too; none where its study is not here."""
    warm_starts: tuple[str, ...] = ()
    """What it took over from runs of elsewhere, a line a source."""


def searches(runs: pd.DataFrame, folders: RunFolders) -> Iterator[SearchInfo]:
    """Each search among the runs, the largest first."""
    for name in runs.study.value_counts().index:
        trials = runs[runs.study == name]
        hydra = _hydra_of_one(trials, folders)
        objectives, run_command = _objectives(hydra), Surroundings.of(hydra).command
        study, explained, no_importance = _study(trials, folders)
        importance = None
        if study is not None:
            importance, no_importance = _importance(study)
        yield SearchInfo(
            name=str(name),
            num_trials=trials.trial.nunique(),
            statuses=tuple(statuses(trials)),
            objectives=tuple(objectives),
            best=best_trials(trials, objectives, run_command),
            importance=importance,
            no_importance=no_importance,
            timeline=timeline(trials),
            history=search_history(trials, *next(iter(objectives.items()))),
            parallel=None if study is None else _parallel(study),
            first_runs=dict(trials.dropna(subset="trial").groupby("trial").run_id.first()),
            explained=explained,
            warm_starts=() if study is None else study.warm_starts,
        )


def _hydra_of_one(runs: pd.DataFrame, folders: RunFolders) -> DictConfig:
    """Hydra's own config of the first of these runs that is here; empty if none is."""
    run = folders.first(runs.run_id)
    return config_or_empty(run.run_dir / RUN_HYDRA) if run is not None else OmegaConf.create()


def _objectives(hydra: DictConfig) -> Mapping[str, str]:
    """Objective -> maximize or minimize."""
    names = OmegaConf.select(hydra, "hydra.sweeper.objective", default="val_acc")
    directions = OmegaConf.select(hydra, "hydra.sweeper.direction", default="maximize")
    listed = [[one] if isinstance(one, str) else one for one in (names, directions)]
    return {str(name): str(direction) for name, direction in zip(*listed, strict=False)}


def _study(
    trials: pd.DataFrame, folders: RunFolders
) -> "tuple[SearchStudy | None, tuple[Explained, ...], str]":
    """What Optuna knows of the search, and each of its trials explained; or nothing, and a sentence
    that says why that is not known."""
    folder, why = _folder(trials, folders)
    if folder is None:
        return None, (), why
    # Here, so that a page without a search to explain imports no optuna.
    from mnist_sweep.report.analysis.explained import Explainer, Run
    from mnist_sweep.report.read.reaching import opened_search
    from mnist_sweep.report.read.study import as_search_study

    runs: dict[int, list[Run]] = {}
    for trial, run_id in zip(trials.trial, trials.run_id, strict=True):
        if not pd.isna(trial) and (found := folders.run(run_id)) is not None:
            runs.setdefault(int(trial), []).append(Run(found.run_dir, None, ()))
    try:
        with opened_search(folder, None) as search:
            explainer = Explainer(search)
            numbers = range(len(explainer.trials))
            # Of one that runs there is no row, but a history of its epochs.
            running = {t.number for t in explainer.trials if t.state.name == "RUNNING"}
            explained = [
                explainer.explain(n, None if n in running else runs.get(n, ())) for n in numbers
            ]
            return as_search_study(folder, search.study), tuple(explained), ""
    except UserError as error:
        return None, (), f"It cannot be told: {error}."


def _folder(trials: pd.DataFrame, folders: RunFolders) -> tuple[Path | None, str]:
    """Where the study of these trials is, above a run's directory or beside their table; or a
    sentence that says why that is not known."""
    run = folders.first(trials.run_id)
    name = str(trials.study.iloc[0])
    above = list(run.run_dir.parents) if run is not None else []
    beside = [table.parent for table in folders.tables if name in last_trials(table)]
    if found := next((f for f in [*above, *beside] if (f / JOURNAL).is_file()), None):
        return found, ""
    if run is None:
        return None, "The search’s directory is not here, so it cannot be told."
    return None, f"The study is not in the search’s directory ({JOURNAL}), so it cannot be told."


def _importance(study: "SearchStudy") -> "tuple[Importances | None, str]":
    """What mattered, or None and a sentence that says why it cannot be told."""
    from mnist_sweep.report.analysis.importance import importances

    try:
        found = importances(study, study.objective(None))
    except UserError as error:
        return None, f"It cannot be told: {error}."
    note = f"{found.note} {study.note}." if study.note else found.note
    return replace(found, note=note), ""


def _parallel(study: "SearchStudy") -> ParallelInfo | None:
    """None if no trial is completed."""
    try:
        return parallel_info(study, study.objective(None))
    except UserError:
        return None
