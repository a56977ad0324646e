"""Puts a search together from its plan: opens its study and its tables, and chooses who trains."""

import shlex
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mnist_sweep.data import find
from mnist_sweep.paths import RESULTS_TABLE, SWEEP_CONFIG
from mnist_sweep.runs.console import warn
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.runs.table import readable_rows
from mnist_sweep.search.checks import doubts
from mnist_sweep.search.controller import Controller
from mnist_sweep.search.display.progress import Progress
from mnist_sweep.search.display.summary import Summary
from mnist_sweep.search.engines.engine import make_engine
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.failures import Failures
from mnist_sweep.search.planning import Plan
from mnist_sweep.search.points.proposing import Proposer
from mnist_sweep.search.points.validity import check_places
from mnist_sweep.search.study.lasting import LastingStorage, Patience
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.study.opening import check_whole, open_study
from mnist_sweep.search.study.origin import note_origin
from mnist_sweep.search.study.storage import open_storage
from mnist_sweep.search.trials.lifecycle import Lifecycle
from mnist_sweep.search.trials.recovery import Recovery
from mnist_sweep.search.trials.rows import Rows
from mnist_sweep.vault import as_shown
from mnist_sweep.writing import write_whole


def make_controller(plan: Plan) -> Controller:
    """
    Raises:
        UserError: its study is another one, data are not to be had, or a place cannot be written.
    """
    settings, cfg, sweep_dir, n_trials = plan.settings, plan.cfg, plan.sweep_dir, plan.n_trials
    rows = Rows(plan.main_table, plan.records)
    check_places(plan.samples, trains_here=plan.workforce.is_here)
    recorded = readable_rows(sweep_dir / RESULTS_TABLE)
    storage = open_storage(settings.storage, sweep_dir)
    study = open_study(plan.name, storage, settings, plan.shared)
    check_whole(study, recorded)
    if not study.get_trials(deepcopy=False):
        plan.layout.check_own(plan.name)
    doubt_of_origin = note_origin(study, plan.origin(), mixed=settings.mixed_code)
    study.sampler = plan.sampler(study)
    if plan.pruner is not None:
        study.pruner = plan.pruner
    ledger = Ledger(study, settings.lease_s, settings.rungs)

    progress = Progress(ledger, plan.objectives, n_trials)
    sweep = SweepContext(plan.context, cfg, plan.own, plan.space.fixed, find(plan.base.data))
    engine = make_engine(
        plan.workforce.size, sweep, plan.launcher, settings.lease_s, plan.device, progress.note
    )
    threads = engine.threads if plan.base.trainer.threads == "auto" else None
    if plan.workforce.size == 0:
        join = shlex.join(["python", "-m", "mnist_sweep.sweep", "join", str(sweep_dir)])
        progress.note(f"workers none of its own; each that joins it: {join}")
    for doubt in (*doubts(settings), *plan.workforce.doubts()):
        warn(progress.console, "is this meant?", doubt)
    if doubt_of_origin is not None:
        warn(progress.console, "mixed", doubt_of_origin)
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
        proposer=Proposer(settings, ledger, plan.candidates, n_trials),
        lifecycle=Lifecycle(settings, plan.objectives, ledger, rows, threads),
        recovery=Recovery(ledger, rows, plan.objectives, settings.rungs),
        rows=rows,
        failures=Failures(settings, n_trials, sweep_dir),
        progress=progress,
        summary=Summary(progress.console, plan.objectives, sweep_dir, Surroundings.of(cfg).command),
    )
    _leave_command(cfg, sweep_dir)
    return controller


def _leave_command(cfg: DictConfig, sweep_dir: Path) -> None:
    """The sweep's config with its overrides, where Hydra's own sweeper leaves it."""
    write_whole(sweep_dir / SWEEP_CONFIG, as_shown(OmegaConf.to_yaml(cfg)))
