"""`report parallel`: what each trial of a search chose, as parallel coordinates."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_sweep.errors import UserError
from mnist_sweep.report.commands.output import add_output, save
from mnist_sweep.report.read.study import add_search, add_study, find_search, read_study
from mnist_sweep.report.wording import counted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mnist_sweep.figures.search import ParallelAxis


def add_parallel(parser: argparse.ArgumentParser) -> None:
    parser.description = "What each trial of a search chose for each parameter, and its result."
    add_search(parser)
    add_study(parser)
    add_output(parser, default="parallel.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """What each trial chose for each parameter, and what came of it."""
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.figures.search import parallel

    check_suffix(arguments.output)
    study = read_study(find_search(arguments.source), arguments.storage)
    objective = study.objective(arguments.objective)
    trials = [trial for trial in study.trials if trial.params]
    values = [study.value(trial, objective) for trial in trials]
    if not any(value is not None for value in values):
        raise UserError(
            f"{study.folder}: none of its {counted(len(trials), 'trial')} is completed yet, so "
            "there is nothing to compare; give the search more time"
        )
    title = f"Search {study.folder.name}: {counted(len(trials), 'trial')} by {objective}"
    axes = [
        _parallel_axis(name, trials) for name in study.parameters if not _is_fixed(name, trials)
    ]
    minimize = study.directions[objective] == "minimize"
    figure = parallel(axes, objective, values, title, minimize=minimize)
    save(figure, arguments.output)
    if study.note:
        print(study.note)


def _is_fixed(name: str, trials: "Sequence[FrozenTrial]") -> bool:
    return all(trial.distributions[name].single() for trial in trials if name in trial.params)


def _parallel_axis(name: str, trials: "Sequence[FrozenTrial]") -> "ParallelAxis":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    from mnist_sweep.figures.search import ParallelAxis

    distribution = next(t.distributions[name] for t in trials if name in t.distributions)
    values = [trial.params.get(name) for trial in trials]
    if isinstance(distribution, CategoricalDistribution):
        return ParallelAxis(name, values, choices=distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return ParallelAxis(
        name, values, low=distribution.low, high=distribution.high, log=distribution.log
    )
