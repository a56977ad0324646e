"""Puts a search together from its command line: all that can be refused is refused here."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import optuna
import torch
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.errors import UserError
from mnist_sweep.paths import SWEEP_CONFIG
from mnist_sweep.runs.console import warn
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.search.checks import check_sweep, doubts
from mnist_sweep.search.classes import construct
from mnist_sweep.search.controller import Controller
from mnist_sweep.search.display.progress import Progress
from mnist_sweep.search.display.summary import Summary
from mnist_sweep.search.engines.engine import make_engine
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.failures import Failures
from mnist_sweep.search.launching.staffing import PROCESSES
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.fitting import Fitter
from mnist_sweep.search.points.proposing import Proposer
from mnist_sweep.search.points.sampler import make_sampler, number_of_trials
from mnist_sweep.search.points.space import Space, make_space
from mnist_sweep.search.points.validity import check_places
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.lasting import LastingStorage, Patience
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.study.opening import in_common, open_study
from mnist_sweep.search.study.storage import open_storage
from mnist_sweep.search.trials.layout import Layout
from mnist_sweep.search.trials.lifecycle import Lifecycle
from mnist_sweep.search.trials.pruning import make_pruner
from mnist_sweep.search.trials.records import Records
from mnist_sweep.search.trials.recovery import Recovery
from mnist_sweep.search.trials.rows import Rows
from mnist_sweep.vault import as_shown
from mnist_sweep.writing import write_whole

MOST_A_CORE = 16
"""Workers, of which each keeps a core busy."""


def make_controller(
    settings: SearchSettings, cfg: DictConfig, context: HydraContext, arguments: Sequence[str]
) -> Controller:
    """
    Raises:
        UserError: the search cannot work, its study is another one, or a place cannot be written.
        HydraException: a key or a choice does not exist.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # counting a net is no work to share; a run sets its own
    sweep_dir = Path(cfg.hydra.sweep.dir)
    space = _space(settings, context, arguments)
    composer = Composer(context.config_loader, cfg)
    fitter = None
    if settings.budget == "fit":
        fitter = Fitter(composer, space, settings.fit, settings.fit_rest)
    candidates = Candidates(composer, space, fitter)
    samples = candidates.samples()
    base = check_sweep(cfg, settings, candidates, samples)
    n_trials = number_of_trials(settings, space)
    num_workers = _num_workers(settings.n_jobs, n_trials, cfg)

    name = settings.study_name or os.path.relpath(sweep_dir)
    seeds = tuple(base.seed + n for n in range(settings.replicates))
    layout = Layout(sweep_dir, seeds)
    rows = Rows(Path(base.record.table), Records(name, layout, candidates))

    pruner = make_pruner(settings)
    make_sampler(settings, candidates, 0)  # what is wrong with it is said before there is a study
    check_places(samples)
    shared = in_common(settings, candidates.base, space.describe())
    storage = open_storage(settings.storage, sweep_dir)
    study = open_study(name, storage, settings, shared)
    if not study.get_trials(deepcopy=False):
        layout.check_own(name)
    study.sampler = make_sampler(settings, candidates, len(study.get_trials(deepcopy=False)))
    if pruner is not None:
        study.pruner = pruner
    ledger = Ledger(study, settings.lease_s, settings.rungs)
    objectives = Objectives(settings.objective, settings.direction)

    launcher = str(cfg.hydra.runtime.choices["hydra/launcher"])
    engine = make_engine(num_workers, SweepContext(context, cfg), launcher, settings.lease_s)
    threads = engine.threads if base.trainer.threads == "auto" else None
    progress = Progress(ledger, objectives, n_trials)
    if num_workers == 0:
        join = shlex.join(["python", "-m", "mnist_sweep.sweep", "join", str(sweep_dir)])
        progress.note(f"workers none of its own; each that joins it: {join}")
    for doubt in doubts(settings):
        warn(progress.console, "is this meant?", doubt)
    if n_trials < settings.n_trials:
        progress.note(
            f"space   {n_trials} points in all, so no more trials, for all that "
            f"hydra.sweeper.n_trials={settings.n_trials}"
        )
    patience = Patience(settings.storage_wait_s, progress.note)
    if isinstance(storage, LastingStorage):
        storage.patience = patience
    controller = Controller(
        settings,
        n_trials,
        engine=engine,
        patience=patience,
        ledger=ledger,
        proposer=Proposer(settings, ledger, candidates, n_trials),
        lifecycle=Lifecycle(settings, objectives, ledger, rows, threads),
        recovery=Recovery(ledger, rows, objectives, settings.rungs),
        rows=rows,
        failures=Failures(settings, n_trials, sweep_dir),
        progress=progress,
        summary=Summary(progress.console, objectives, sweep_dir, Surroundings.of(cfg).command),
    )
    _leave_command(cfg, sweep_dir)
    return controller


def _space(settings: SearchSettings, context: HydraContext, arguments: Sequence[str]) -> Space:
    extender = None
    if settings.custom_search_space is not None:
        extender = construct(
            {"_target_": settings.custom_search_space, "_partial_": True},
            "hydra.sweeper.custom_search_space",
            context.execution_whitelist,
        )
    return make_space(
        settings.params or {}, arguments, settings.conditions, extender, context.config_loader
    )


def _num_workers(n_jobs: int | Literal["auto"], n_trials: int, cfg: DictConfig) -> int:
    """
    Raises:
        UserError: there would be so many that they only took each other's memory and time, or they
            are of a cluster, whose size is not to be guessed.
    """
    launcher = cfg.hydra.runtime.choices["hydra/launcher"]
    cores = _num_cores()
    if n_jobs == "auto":
        is_cluster = launcher == "ray" and cfg.hydra.launcher.ray.init.address is not None
        if launcher == "submitit_slurm" or is_cluster:
            raise UserError(
                "hydra.sweeper.n_jobs=auto: is one worker a core of this machine; say how many "
                f"hydra/launcher={launcher} is to start, such as hydra.sweeper.n_jobs=16"
            )
        of_joblib = cfg.hydra.launcher.get("n_jobs")
        n_jobs = of_joblib if of_joblib is not None and of_joblib > 0 else cores
    workers = min(n_jobs, n_trials)
    if launcher in PROCESSES and workers > MOST_A_CORE * cores:
        raise UserError(
            f"hydra.sweeper.n_jobs={n_jobs}: {workers:,} workers, each a process of a few hundred "
            f"MB, for {cores} cores: use at most {MOST_A_CORE * cores}, or auto, one a core"
        )
    return workers


def _num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave_command(cfg: DictConfig, sweep_dir: Path) -> None:
    """The sweep's config with its overrides, where Hydra's own sweeper leaves it."""
    write_whole(sweep_dir / SWEEP_CONFIG, as_shown(OmegaConf.to_yaml(cfg)))
