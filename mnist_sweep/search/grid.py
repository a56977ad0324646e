"""A grid whose longest trials come first, so that no worker is left alone with one at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.samplers import GridSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mnist_sweep.search.candidate import Candidate, Candidates

MOST_ORDERED = 1000
"""Points; the nets of so many are counted in some seconds."""


class LongestFirst(GridSampler):
    """Optuna's grid, whose n-th trial is the n-th longest of its points.

    Started longest first, two workers that share a grid end at nearly the same time (Graham 1969).
    Which point has which number is as in `GridSampler`, so that a study that this one began can be
    gone on with by that one, and the other way round.
    """

    def __init__(
        self, grid: Mapping[str, Sequence[Any]], candidates: Candidates, seed: int | None
    ) -> None:
        super().__init__(grid, seed)

        def length(values: Sequence[Any]) -> float:
            point = dict(zip(self._param_names, values, strict=True))
            existing = candidates.space.choose(lambda name, _: point[name])
            return _length(candidates.make(existing))

        lengths = list(map(length, self._all_grids))
        self.order = sorted(range(len(lengths)), key=lambda n: lengths[n], reverse=True)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        given = not trial.system_attrs.keys().isdisjoint({"grid_id", "fixed_params"})
        super().before_trial(study, trial)
        if not given and trial.number < len(self.order):
            grid_id = self.order[trial.number]
            study._storage.set_trial_system_attr(trial._trial_id, "grid_id", grid_id)


def _length(candidate: Candidate) -> float:
    """A measure of its training time, for points of one space."""
    if candidate.costs is None:
        return 0.0
    trainer = candidate.config["trainer"]
    images = trainer["limit_train"] or 60_000
    return float(candidate.costs.macs * trainer["epochs"] * images)
