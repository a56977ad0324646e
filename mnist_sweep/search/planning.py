"""A search as its command has it: all that is wrong with the command is said here, before anything
is written, and before there is a study."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from hydra.types import HydraContext
from omegaconf import DictConfig
from optuna.pruners import BasePruner

from mnist_sweep.config import Settings
from mnist_sweep.runs.provenance import code_of
from mnist_sweep.search.checks import check_sweep
from mnist_sweep.search.classes import construct
from mnist_sweep.search.growing import used_by
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.fitting import Fitter
from mnist_sweep.search.points.guesses import guesses
from mnist_sweep.search.points.sampler import make_sampler, number_of_trials
from mnist_sweep.search.points.space import Space, make_space
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.trials.layout import Layout
from mnist_sweep.search.trials.pruning import make_pruner
from mnist_sweep.search.trials.records import Records
from mnist_sweep.search.trials.seeds import num_seeds
from mnist_sweep.search.workforce import Workforce, make_workforce
from mnist_sweep.settled import Source, settle
from mnist_sweep.sources import of_config


@dataclass(frozen=True)
class Plan:
    settings: SearchSettings
    cfg: DictConfig
    context: HydraContext
    name: str
    """The study's."""
    candidates: Candidates
    samples: list[dict[str, Any]]
    """Configurations of some points, which have what any run may need."""
    base: Settings
    """Of the fixed overrides alone."""
    n_trials: int
    """That the study is to have in all."""
    device: str | None
    """trainer.device; None where it is searched."""
    workforce: Workforce
    layout: Layout
    records: Records
    own: Mapping[str, Source]
    """Modules of the user's own that the runs need."""
    pruner: BasePruner | None
    first: list[dict[str, Any]]
    """Points, or parts of points, that the command wants to be tried first."""

    @property
    def space(self) -> Space:
        return self.candidates.space

    @property
    def sweep_dir(self) -> Path:
        return self.layout.sweep_dir

    @property
    def main_table(self) -> Path:
        return Path(self.base.record.table)

    @property
    def launcher(self) -> str:
        return str(self.cfg.hydra.runtime.choices["hydra/launcher"])

    @property
    def objectives(self) -> Objectives:
        return Objectives(self.settings.objective, self.settings.direction)


def make_plan(
    settings: SearchSettings, cfg: DictConfig, context: HydraContext, arguments: Sequence[str]
) -> Plan:
    """
    Raises:
        UserError: the search cannot work.
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
    device = None if "trainer.device" in space.keys else base.trainer.device
    workforce = make_workforce(settings, cfg, n_trials, device)

    name = settings.study_name or os.path.relpath(sweep_dir)
    seeds = tuple(base.seed + n for n in range(num_seeds(settings)))
    layout = Layout(sweep_dir, seeds)
    used = used_by(settings, candidates)
    own, code = of_config(used), code_of(used)
    settle(own)
    make_sampler(settings, candidates, 0)  # what is wrong with it is said before there is a study
    return Plan(
        settings,
        cfg,
        context,
        name=name,
        candidates=candidates,
        samples=samples,
        base=base,
        n_trials=n_trials,
        device=device,
        workforce=workforce,
        layout=layout,
        records=Records(name, layout, candidates, code),
        own=own,
        pruner=make_pruner(settings),
        first=guesses(settings, space),
    )


def _space(settings: SearchSettings, context: HydraContext, arguments: Sequence[str]) -> Space:
    extender = None
    if settings.custom_search_space is not None:
        extender = construct(
            {"_target_": settings.custom_search_space, "_partial_": True},
            "hydra.sweeper.custom_search_space",
            context.execution_whitelist,
        )
    return make_space(
        settings.params or {},
        arguments,
        settings.conditions,
        extender,
        context.config_loader,
        settings.zip,
    )
