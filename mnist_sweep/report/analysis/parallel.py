"""What each trial of a search chose, a parameter beside the other, and its result."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.error_scale import from_percent
from mnist_sweep.report.read.study import SearchStudy
from mnist_sweep.report.wording import counted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

NO_VALUE = 1.12
"""Where on an axis a trial is that does not have the parameter."""

SIDE_BY_SIDE = 0.02
"""Width of the strand of trials with the same choice; they would all be one line."""

TICK_GAP = 0.1

ROUND_PERCENTS = (50, 90, 95, 98, 99, 99.5, 99.8, 99.9)


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
class ParallelRow:
    """An axis as it is drawn, from 0 to 1.

    places: of each trial; NO_VALUE where it has no such parameter, NaN where it has no result.
    ticks: text -> place.
    """

    name: str
    places: np.ndarray
    ticks: Mapping[str, float]


@dataclass(frozen=True)
class ParallelInfo:
    axes: tuple[ParallelAxis, ...]
    """Without parameters that could take one value only."""
    objective: str
    values: tuple[float | None, ...]
    """The objective's, of each trial (accuracies as fractions of 1); None for a trial that was not
    completed."""
    minimize: bool = False
    trials: tuple[int, ...] = ()
    """Their numbers."""

    @property
    def final(self) -> np.ndarray:
        """The objective's values, accuracies in percent; NaN where there is none."""
        factor = 100 if is_accuracy(self.objective) else 1
        return factor * np.array([np.nan if v is None else v for v in self.values], dtype=float)

    def worst_first(self) -> list[int]:
        """Positions of all trials, those without a result before the others."""
        goodness = -self.final if self.minimize else self.final
        order = np.argsort(np.nan_to_num(goodness, nan=-np.inf), kind="stable")
        return [int(position) for position in order]

    def rows(self) -> list[ParallelRow]:
        """Of each parameter, and of the objective at last: accuracies on the scale of errors."""
        final = self.final
        known = final[~np.isnan(final)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        own = ParallelAxis(self.objective, list(final), low=float(low), high=float(high))
        scale = from_percent if is_accuracy(self.objective) else np.asarray
        rows = [_choices(axis, final) if axis.choices else _numbers(axis) for axis in self.axes]
        return [*rows, _on_scale(own, scale, ROUND_PERCENTS if scale is from_percent else None)]


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
    return ParallelInfo(
        axes=tuple(axes),
        objective=objective,
        values=values,
        minimize=study.directions[objective] == "minimize",
        trials=tuple(trial.number for trial in trials),
    )


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


# Places and ticks


def _choices(axis: ParallelAxis, final: np.ndarray) -> ParallelRow:
    """Trials of the same choice lie side by side, by their results."""
    assert axis.choices is not None
    ends = max(1, len(axis.choices) - 1)
    # By repr: 1 and True are different choices.
    where = {repr(choice): index / ends for index, choice in enumerate(axis.choices)}
    ticks = {str(choice): where[repr(choice)] for choice in axis.choices}
    places = np.array([np.nan if v is None else where[repr(v)] for v in axis.values])
    ranks = np.argsort(np.argsort(final, kind="stable"), kind="stable")
    places += SIDE_BY_SIDE * (ranks / max(1, len(ranks) - 1) - 0.5)
    return _with_missing(axis, places, ticks)


def _numbers(axis: ParallelAxis) -> ParallelRow:
    return _on_scale(axis, np.log if axis.log else np.asarray)


def _on_scale(
    axis: ParallelAxis, scale: Any, round_numbers: Sequence[float] | None = None
) -> ParallelRow:
    values = np.array([np.nan if v is None else v for v in axis.values], dtype=float)
    start = float(scale(axis.low))
    span = float(scale(axis.high)) - start or 1.0
    ticks: dict[str, float] = {}
    for tick in (axis.low, axis.high, *(round_numbers or _round_numbers(axis))):
        if not axis.low <= tick <= axis.high:
            continue
        place = (float(scale(tick)) - start) / span
        if all(abs(place - other) > TICK_GAP for other in ticks.values()):
            ticks[f"{tick:,.0f}" if float(tick).is_integer() else f"{tick:.4g}"] = place
    return _with_missing(axis, (scale(values) - start) / span, ticks)


def _with_missing(axis: ParallelAxis, places: np.ndarray, ticks: dict[str, float]) -> ParallelRow:
    missing = np.array([value is None for value in axis.values])
    if missing.any():
        ticks["none"] = NO_VALUE
        places[missing] = NO_VALUE
    return ParallelRow(axis.name, places, ticks)


def _round_numbers(axis: ParallelAxis) -> list[float]:
    """1, 2 and 5 times the powers of ten, or multiples of one of them."""
    if axis.log:
        first, last = (math.floor(math.log10(end)) for end in (axis.low, axis.high))
        return [digit * 10.0**power for digit in (1, 5, 2) for power in range(first, last + 1)]
    span = axis.high - axis.low
    if span <= 0:
        return []
    power = 10.0 ** math.floor(math.log10(span))
    step = next(s * power for s in (0.2, 0.5, 1, 2, 5) if span / (s * power) <= 5)
    if float(axis.low).is_integer() and float(axis.high).is_integer():
        step = max(step, 1.0)
    first, last = math.ceil(axis.low / step), math.floor(axis.high / step)
    return [round(n * step, 12) for n in range(first, last + 1)]
