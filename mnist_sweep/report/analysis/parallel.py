"""What each trial of a search chose, a parameter beside the other, and its result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_sweep.errors import UserError
from mnist_sweep.report.read.study import SearchStudy
from mnist_sweep.report.wording import counted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class ParallelAxis:
    """A parameter. values: of each trial, None where it has none. Categorical ones have choices, in
    their order; numbers the range in which they were searched, and whether by their logarithm."""

    name: str
    values: Sequence[Any]
    choices: Sequence[Any] | None = None
    low: float = 0.0
    high: float = 1.0
    log: bool = False


@dataclass(frozen=True)
class ParallelInfo:
    axes: tuple[ParallelAxis, ...]
    """Without parameters that could take one value only."""
    objective: str
    values: tuple[float | None, ...]
    """The objective's, of each trial (accuracies as fractions of 1); None for a trial that was not
    completed."""
    minimize: bool = False


def parallel_info(study: SearchStudy, objective: str) -> ParallelInfo:
    """
    Raises:
        UserError: no trial is completed.
    """
    trials = [trial for trial in study.trials if trial.params]
    values = tuple(study.value(trial, objective) for trial in trials)
    if not any(value is not None for value in values):
        raise UserError(
            f"{study.folder}: none of its {counted(len(trials), 'trial')} is completed yet, so "
            "there is nothing to compare; give the search more time"
        )
    axes = [
        axis
        for name in study.parameters
        if not _is_fixed(name, trials)
        for axis in (_axis(name, trials), *_axis_of_net(name, trials))
    ]
    return ParallelInfo(tuple(axes), objective, values, study.directions[objective] == "minimize")


def _is_fixed(name: str, trials: "Sequence[FrozenTrial]") -> bool:
    return all(trial.distributions[name].single() for trial in trials if name in trial.params)


def _axis(name: str, trials: "Sequence[FrozenTrial]") -> ParallelAxis:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distribution = next(t.distributions[name] for t in trials if name in t.distributions)
    values = [trial.params.get(name) for trial in trials]
    if isinstance(distribution, CategoricalDistribution):
        return ParallelAxis(name, values, choices=distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return ParallelAxis(
        name, values, low=distribution.low, high=distribution.high, log=distribution.log
    )


def _axis_of_net(name: str, trials: "Sequence[FrozenTrial]") -> Iterator[ParallelAxis]:
    """What the nets have of a parameter that is a proportion (budget=fit); none of others."""
    from mnist_sweep.search.study.attributes import real_widths

    widths = [real_widths(trial).get(name, trial.params.get(name)) for trial in trials]
    if widths != [trial.params.get(name) for trial in trials]:
        known = [width for width in widths if width is not None]
        yield ParallelAxis(f"{name} in the net", widths, low=min(known), high=max(known))
