"""What a search goes by: columns of a run's record, their mean over seeds, and what is better."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.dominance import non_dominated
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.search.study.attributes import OUT

if TYPE_CHECKING:  # it takes a moment to import
    from mnist_sweep.search.settings import Direction


@dataclass(frozen=True)
class Objectives:
    names: tuple[str, ...]
    """Columns of the results table."""
    directions: "tuple[Direction, ...]"
    """Which way each is better."""

    def value(self, records: Iterable[RunRecord]) -> list[float]:
        """A trial's value, given the records of its seeds: the mean of each objective."""
        rows = [[float(getattr(record, name)) for name in self.names] for record in records]
        return [statistics.fmean(column) for column in zip(*rows, strict=True)]

    def scores(self, value: Sequence[float]) -> list[float]:
        """The objectives with their signs turned so that more is better; fewer than all where only
        the first ones are given."""
        signs = [1 if direction == "maximize" else -1 for direction in self.directions]
        return [sign * number for sign, number in zip(signs, value, strict=False)]

    def best(self, trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
        """Where there is one objective; of equals the trial that began first."""
        return max(_completed(trials), key=self._rank, default=None)

    def front(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Completed trials that no other one is better than in every objective, best first."""
        completed = _completed(trials)
        if not completed:
            return []
        is_best = non_dominated(np.array([self.scores(trial.values) for trial in completed]))
        found = [trial for trial, best in zip(completed, is_best, strict=True) if best]
        return sorted(found, key=self._rank, reverse=True)

    def _rank(self, trial: FrozenTrial) -> tuple[list[float], int]:
        return self.scores(trial.values), -trial.number


def standard_error(objective: str, records: Sequence[RunRecord]) -> float:
    """Of a trial's value. records: of its seeds.

    Of several seeds that of their mean. Of one seed that of a share of the validation images,
    sqrt(p (1 - p) / n), with one image more taken for wrong, for that of no errors would be 0. A
    loss comes from the images that are wrong, mostly, so its relative error is theirs,
    1 / sqrt(errors). What is counted, such as parameters, has none.
    """
    if len(records) > 1:
        values = [float(getattr(record, objective)) for record in records]
        return statistics.stdev(values) / math.sqrt(len(values))
    [record] = records
    accuracy = record.val_acc_raw if objective.endswith("_raw") else record.val_acc
    if not objective.startswith("val_") or accuracy is None or not record.val_images:
        return 0.0
    images = record.val_images
    errors = images * (1 - accuracy) + 1
    if "loss" in objective:
        return float(abs(getattr(record, objective)) / math.sqrt(errors))
    share = min(errors / images, 0.5)
    return math.sqrt(share * (1 - share) / images)


def format_value(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def format_noise(noise: float) -> str:
    """With two digits: `0.0005`, `0.0012`, `130`."""
    return f"{float(f'{noise:.2g}'):,.9g}"


def _completed(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """But for those that were out of a race: their few seeds may have been lucky ones."""
    completed = (trial for trial in trials if trial.state == TrialState.COMPLETE)
    return [trial for trial in completed if OUT not in trial.user_attrs]
