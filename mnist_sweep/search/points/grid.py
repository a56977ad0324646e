"""A grid whose longest trials come first, so that no worker is left alone with one at the end."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from optuna.samplers import GridSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mnist_sweep.search.optuna_private import (
    grid_point,
    grid_size,
    is_given,
    set_grid_id,
    unvisited,
)
from mnist_sweep.search.points.candidate import Candidate, Candidates

MOST_ORDERED = 1000
"""Points; the nets of so many are counted in some seconds."""


class LongestFirst(GridSampler):
    """Optuna's grid, whose n-th trial is the n-th longest of its points.

    Started longest first, two workers that share a grid end at nearly the same time (Graham 1969).
    Which point has which number is as in `GridSampler`, so that a study that one of the two began
    can be gone on with by the other.
    """

    def __init__(
        self, grid: Mapping[str, Sequence[Any]], candidates: Candidates, seed: int | None
    ) -> None:
        super().__init__(grid, seed)
        self.candidates = candidates

    @cached_property
    def order(self) -> list[int]:
        """Numbers of the grid's points, the longest first."""

        def length(number: int) -> float:
            point = grid_point(self, number)
            existing = self.candidates.space.choose(lambda name, _: point[name])
            return _length(self.candidates.make(existing))

        return sorted(range(grid_size(self)), key=length, reverse=True)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        given = is_given(trial)
        left = unvisited(self, study)
        super().before_trial(study, trial)
        if given or trial.number >= len(self.order):
            return
        # Its own place in the order is no other controller's; it is taken where the study was begun
        # in another order.
        places = [self.order[trial.number], *self.order]
        set_grid_id(study, trial, next((n for n in places if n in left), places[0]))


def _length(candidate: Candidate) -> float:
    """A measure of its training time, for points of one space."""
    if candidate.costs is None:
        return 0.0
    trainer = candidate.settings.trainer
    return float(candidate.costs.macs * trainer.epochs * (trainer.limit_train or 60_000))
