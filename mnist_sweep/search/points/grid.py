"""The points of a grid, in the order in which they are trained."""

from collections.abc import Sequence
from random import Random
from typing import Any

from optuna.trial import FrozenTrial

from mnist_sweep.search.points.candidate import Candidate, Candidates
from mnist_sweep.search.points.untried import by_key, point_key
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import is_finished

MOST_POINTS = 100_000

MOST_ORDERED = 1000
"""Points; the nets of so many are counted in some seconds."""

Point = dict[str, Any]
"""Parameter -> its value."""


def is_whole(settings: SearchSettings, points: Sequence[Point]) -> bool:
    """Whether a command wants all of them, however many others its study has."""
    return settings.n_trials is None or len(points) <= settings.n_trials


def in_order(points: list[Point], settings: SearchSettings, candidates: Candidates) -> list[Point]:
    """The longest first where each one's length is known and all are run, so that no worker is left
    alone with one at the end (Graham 1969). Of a part of a grid the long ones would be no fair
    sample: they are shuffled, by the sampler's seed."""
    ends_early = settings.pruner is not None or settings.rungs is not None
    if is_whole(settings, points) and not ends_early and len(points) <= MOST_ORDERED:
        return sorted(points, key=lambda point: _length(candidates.make(point)), reverse=True)
    shuffled = list(points)
    Random(settings.sampler.get("seed") or 0).shuffle(shuffled)
    return shuffled


def number_in_all(
    settings: SearchSettings, points: Sequence[Point], trials: Sequence[FrozenTrial]
) -> int:
    """Finished trials that the study is to have: of a whole grid its points, and what there is of
    other ones."""
    if not is_whole(settings, points):
        return settings.n_trials or 0
    own = set(by_key(points))
    others = sum(is_finished(trial) and point_key(trial.params) not in own for trial in trials)
    return len(points) + others


def _length(candidate: Candidate) -> float:
    """A measure of its training time, for points of one space."""
    if candidate.costs is None:
        return 0.0
    trainer = candidate.settings.trainer
    return float(candidate.costs.macs * trainer.epochs * (trainer.limit_train or 60_000))
