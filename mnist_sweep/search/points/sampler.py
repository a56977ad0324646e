"""What proposes points: a sampler of Optuna's."""

import math
from collections.abc import Sequence

from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from mnist_sweep.errors import UserError
from mnist_sweep.search.classes import OPTUNA_CLASSES, construct
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.grid import MOST_ORDERED, LongestFirst
from mnist_sweep.search.points.long_study import LongStudyTPE
from mnist_sweep.search.points.priors import NearPriors, priors
from mnist_sweep.search.points.space import Space
from mnist_sweep.search.points.told import Told
from mnist_sweep.search.points.untried import listed
from mnist_sweep.search.settings import SearchSettings


def number_of_trials(settings: SearchSettings, space: Space) -> int:
    """`n_trials`, or fewer where there are no more points than that.

    Raises:
        UserError: the sampler tries every point, and a parameter is continuous.
    """
    size = None
    if settings.is_grid:
        size = _grid_size(space)
    elif settings.tries_every_point:
        space.grid()  # of a continuous parameter there is none
        size = space.size()
    elif (points := listed(space, settings)) is not None:
        size = len(points)
    return settings.n_trials if size is None else min(size, settings.n_trials)


def make_sampler(
    settings: SearchSettings,
    candidates: Candidates,
    offset: int,
    told: Sequence[FrozenTrial] = (),
) -> BaseSampler:
    """offset: so that a study that is gone on with does not repeat its random numbers, nor those
    of the runs that it is told of. told: finished trials beside the study's.

    Raises:
        UserError: it is no sampler, or does not take these values.
    """
    config = dict(settings.sampler)
    if config.get("seed") is not None and not settings.is_grid:
        config["seed"] += offset
    sampler = construct(config, "hydra.sweeper.sampler", OPTUNA_CLASSES)
    if settings.is_grid:
        points = candidates.space.grid()
        if _can_be_ordered(settings, candidates.space):
            sampler = LongestFirst(points, candidates, config.get("seed"))
        else:
            sampler = sampler(points)
    if not isinstance(sampler, BaseSampler):
        raise UserError(
            f"hydra.sweeper.sampler._target_={config.get('_target_')} is no sampler of "
            "Optuna's: use one of hydra/sweeper/sampler's choices"
        )
    if isinstance(sampler, TPESampler):
        sampler = LongStudyTPE(sampler, told)
    elif told:
        sampler = Told(sampler, told)
    expected = priors(settings, candidates.space)
    return NearPriors(sampler, expected, config.get("seed")) if expected else sampler


def _can_be_ordered(settings: SearchSettings, space: Space) -> bool:
    """Whether each trial's length is known and all are run: of a part of the grid the long ones
    would be no fair sample, and a trial that may end early has no known length."""
    size = _grid_size(space)
    is_whole = size <= settings.n_trials and settings.pruner is None and settings.rungs is None
    return is_whole and space.extender is None and size <= MOST_ORDERED


def _grid_size(space: Space) -> int:
    return math.prod(map(len, space.grid().values()))
