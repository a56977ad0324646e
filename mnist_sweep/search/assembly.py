"""Puts a search together from its plan: opens its study and its tables, and chooses who trains."""

import shlex
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mnist_sweep.data import find
from mnist_sweep.paths import SWEEP_CONFIG
from mnist_sweep.runs.console import warn
from mnist_sweep.runs.provenance import code_of
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.search.checks import doubts
from mnist_sweep.search.controller import Controller
from mnist_sweep.search.display.progress import Progress
from mnist_sweep.search.display.summary import Summary
from mnist_sweep.search.engines.engine import make_engine
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.failures import Failures
from mnist_sweep.search.growing import open_to_go_on, used_by
from mnist_sweep.search.patience import Patience
from mnist_sweep.search.planning import Plan
from mnist_sweep.search.points.taken_over import note_taken_over
from mnist_sweep.search.points.validity import check_places
from mnist_sweep.search.points.warm_start import warm_start
from mnist_sweep.search.readying import make_ready
from mnist_sweep.search.study.lasting import LastingStorage, OutageWait
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.study.opening import attrs_of
from mnist_sweep.search.study.origin import Origin, note_origin
from mnist_sweep.search.trials.lifecycle import Lifecycle
from mnist_sweep.search.trials.records import Records
from mnist_sweep.search.trials.recovery import Recovery
from mnist_sweep.search.trials.rows import Rows
from mnist_sweep.settled import settle
from mnist_sweep.sources import of_config
from mnist_sweep.vault import as_shown
from mnist_sweep.writing import write_whole


def make_controller(plan: Plan) -> Controller:
    """
    Raises:
        UserError: its study is another one, data are not to be had, or a place cannot be written.
    """
    settings, cfg, sweep_dir = plan.settings, plan.cfg, plan.sweep_dir
    objectives, name = plan.objectives, plan.name
    rows = Rows(plan.main_table, plan.records)
    check_places(plan.samples, trains_here=plan.workforce.is_here)
    data = find(plan.base.data)
    kept = attrs_of(name, settings.storage, sweep_dir) if settings.warm_start else {}
    new = warm_start(settings, plan.candidates, objectives, data, name, kept)
    opened = open_to_go_on(name, settings, sweep_dir, plan.candidates)
    study, storage, candidates, own = opened.study, opened.storage, opened.candidates, plan.own
    if candidates is not plan.candidates:  # the study has more than this command says
        used = used_by(settings, candidates)
        own = of_config(used)
        settle(own)
        records = Records(name, plan.layout, candidates, code_of(used))
        rows = Rows(plan.main_table, records)
    if not study.get_trials(deepcopy=False):
        plan.layout.check_own(name)
    origin = Origin.of(rows.records.code, candidates.choices())
    doubt_of_origin = note_origin(study, origin, mixed=settings.mixed_code)
    if new is not None:
        note_taken_over(study, new)
    ledger = Ledger(study, settings.lease_s, settings.rungs)
    ready = make_ready(plan, ledger, candidates)

    command = Surroundings.of(cfg).command
    progress = Progress(ledger, objectives, ready.n_trials)
    sweep = SweepContext(plan.context, cfg, own, candidates.space.fixed, data)
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
    for one in ready.warm_starts:
        progress.note(f"warm    {one.source}: {one.text}")
    wanted = settings.n_trials
    if not settings.is_grid and wanted is not None and ready.n_trials < wanted:
        progress.note(
            f"space   {ready.n_trials} points in all, so no more trials, for all that "
            f"hydra.sweeper.n_trials={wanted}"
        )
    outage_wait = OutageWait(settings.storage_wait_s, progress.note)
    if isinstance(storage, LastingStorage):
        storage.outage_wait = outage_wait
    controller = Controller(
        settings,
        ready.n_trials,
        engine=engine,
        outage_wait=outage_wait,
        ledger=ledger,
        proposer=ready.proposer,
        lifecycle=Lifecycle(settings, objectives, ledger, rows, threads),
        recovery=Recovery(settings, objectives, ledger, rows),
        rows=rows,
        failures=Failures(settings, ready.n_trials, sweep_dir),
        patience=Patience(settings.patience, ledger, objectives),
        progress=progress,
        summary=Summary(
            progress.console, objectives, sweep_dir, command, ready.swept, ready.warm_starts
        ),
    )
    _leave_command(cfg, sweep_dir)
    return controller


def _leave_command(cfg: DictConfig, sweep_dir: Path) -> None:
    """The sweep's config with its overrides, where Hydra's own sweeper leaves it."""
    write_whole(sweep_dir / SWEEP_CONFIG, as_shown(OmegaConf.to_yaml(cfg)))
