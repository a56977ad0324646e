"""Puts a search together from its command line: all that can be refused is refused here."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import optuna
import torch
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.data import find
from mnist_sweep.paths import SWEEP_CONFIG
from mnist_sweep.runs.console import warn
from mnist_sweep.runs.provenance import code_of
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.search.checks import check_sweep, doubts
from mnist_sweep.search.classes import construct
from mnist_sweep.search.controller import Controller
from mnist_sweep.search.display.progress import Progress
from mnist_sweep.search.display.summary import Summary
from mnist_sweep.search.engines.engine import make_engine
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.failures import Failures
from mnist_sweep.search.growing import open_to_go_on, used_by
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.patience import Patience
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.fitting import Fitter
from mnist_sweep.search.points.grid import MOST_POINTS, Point, in_order, number_in_all
from mnist_sweep.search.points.growth import grid_points
from mnist_sweep.search.points.guesses import TRY_FIRST, guesses
from mnist_sweep.search.points.proposing import Proposer
from mnist_sweep.search.points.sampler import make_sampler, number_of_trials
from mnist_sweep.search.points.space import Space, make_space
from mnist_sweep.search.points.taken_over import note_taken_over, taken_over
from mnist_sweep.search.points.validity import check_places
from mnist_sweep.search.points.warm_start import warm_start
from mnist_sweep.search.points.wording import bare_key
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import POINTS
from mnist_sweep.search.study.lasting import LastingStorage, OutageWait
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.study.opening import attrs_of
from mnist_sweep.search.study.origin import Origin, note_origin
from mnist_sweep.search.trials.layout import Layout
from mnist_sweep.search.trials.lifecycle import Lifecycle
from mnist_sweep.search.trials.pruning import make_pruner
from mnist_sweep.search.trials.records import Records
from mnist_sweep.search.trials.recovery import Recovery
from mnist_sweep.search.trials.rows import Rows
from mnist_sweep.search.trials.seeds import num_seeds
from mnist_sweep.search.workforce import make_workforce
from mnist_sweep.settled import settle
from mnist_sweep.sources import of_config
from mnist_sweep.vault import as_shown
from mnist_sweep.writing import write_whole


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
    is_searched = "trainer.device" in map(bare_key, space.distributions)
    device = None if is_searched else base.trainer.device
    workforce = make_workforce(settings, cfg, n_trials, device)

    name = settings.study_name or os.path.relpath(sweep_dir)
    seeds = tuple(base.seed + n for n in range(num_seeds(settings)))
    layout = Layout(sweep_dir, seeds)
    used = used_by(settings, candidates)
    settle(of_config(used))
    # What is wrong with the tables is said before there is a study.
    Rows(Path(base.record.table), Records(name, layout, candidates, code_of(used)))

    pruner = make_pruner(settings)
    make_sampler(settings, candidates, 0)  # what is wrong with it is said before there is a study
    first = guesses(settings, space)
    check_places(samples, trains_here=workforce.is_here)
    objectives = Objectives(settings.objective, settings.direction)
    kept = attrs_of(name, settings.storage, sweep_dir) if settings.warm_start else {}
    new = warm_start(settings, candidates, objectives, find(base.data), name, kept)
    opened = open_to_go_on(name, settings, sweep_dir, candidates)
    study, storage = opened.study, opened.storage
    if opened.candidates is not candidates:  # the study has more than this command says
        candidates = opened.candidates
        used = used_by(settings, candidates)
    own, code = of_config(used), code_of(used)
    settle(own)
    rows = Rows(Path(base.record.table), Records(name, layout, candidates, code))
    if not study.get_trials(deepcopy=False):
        layout.check_own(name)
    origin = Origin.of(code, candidates.choices())
    doubt_of_origin = note_origin(study, origin, mixed=settings.mixed_code)
    grid: list[Point] | None = None
    swept: tuple[str, ...] = ()
    if settings.is_grid:
        points = grid_points(space, candidates.space, composer, MOST_POINTS)
        grid = in_order(points, settings, candidates)
        n_trials = number_in_all(settings, grid, study.get_trials(deepcopy=False))
        study.set_user_attr(POINTS, n_trials)
        swept = tuple(map(bare_key, candidates.space.distributions))
    ledger = Ledger(study, settings.lease_s, settings.rungs)
    if new is not None:
        note_taken_over(study, new)
    earlier = taken_over(study)
    told = [trial for one in earlier for trial in one.trials(candidates.space)]
    num_known = len(ledger.trials()) + len(told)
    study.sampler = make_sampler(settings, candidates, num_known, told)
    if pruner is not None:
        study.pruner = pruner
    ledger.queue_first(first, TRY_FIRST)
    for one in earlier:
        ledger.queue_first(one.first, one.source)

    command = Surroundings.of(cfg).command
    progress = Progress(ledger, objectives, n_trials)
    launcher = str(cfg.hydra.runtime.choices["hydra/launcher"])
    fixed = candidates.space.fixed
    sweep = SweepContext(context, cfg, own, fixed, find(base.data))
    engine = make_engine(workforce.size, sweep, launcher, settings.lease_s, device, progress.note)
    threads = engine.threads if base.trainer.threads == "auto" else None
    if workforce.size == 0:
        join = shlex.join(["python", "-m", "mnist_sweep.sweep", "join", str(sweep_dir)])
        progress.note(f"workers none of its own; each that joins it: {join}")
    for doubt in (*doubts(settings), *workforce.doubts()):
        warn(progress.console, "is this meant?", doubt)
    if doubt_of_origin is not None:
        warn(progress.console, "mixed", doubt_of_origin)
    for one in earlier:
        progress.note(f"warm    {one.source}: {one.text}")
    if grid is None and settings.n_trials is not None and n_trials < settings.n_trials:
        progress.note(
            f"space   {n_trials} points in all, so no more trials, for all that "
            f"hydra.sweeper.n_trials={settings.n_trials}"
        )
    outage_wait = OutageWait(settings.storage_wait_s, progress.note)
    if isinstance(storage, LastingStorage):
        storage.outage_wait = outage_wait
    controller = Controller(
        settings,
        n_trials,
        engine=engine,
        outage_wait=outage_wait,
        ledger=ledger,
        proposer=Proposer(settings, ledger, candidates, n_trials, grid),
        lifecycle=Lifecycle(settings, objectives, ledger, rows, threads),
        recovery=Recovery(settings, objectives, ledger, rows),
        rows=rows,
        failures=Failures(settings, n_trials, sweep_dir),
        patience=Patience(settings.patience, ledger, objectives),
        progress=progress,
        summary=Summary(progress.console, objectives, sweep_dir, command, swept, earlier),
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


def _leave_command(cfg: DictConfig, sweep_dir: Path) -> None:
    """The sweep's config with its overrides, where Hydra's own sweeper leaves it."""
    write_whole(sweep_dir / SWEEP_CONFIG, as_shown(OmegaConf.to_yaml(cfg)))
