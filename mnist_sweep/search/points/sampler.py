"""What proposes points: a sampler of Optuna's."""

from collections.abc import Sequence

from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from mnist_sweep.errors import UserError
from mnist_sweep.search.classes import OPTUNA_CLASSES, construct
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.grid import MOST_POINTS
from mnist_sweep.search.points.long_study import LongStudyTPE
from mnist_sweep.search.points.priors import NearPriors, priors
from mnist_sweep.search.points.space import Space
from mnist_sweep.search.points.told import Told
from mnist_sweep.search.points.untried import listed
from mnist_sweep.search.settings import SearchSettings


def number_of_trials(settings: SearchSettings, space: Space) -> int:
    """`n_trials`, or fewer where there are no more points than that.

    Raises:
        UserError: all points are wanted, and there is no end of them.
    """
    size = None
    if settings.tries_every_point:
        points = space.points(MOST_POINTS) if settings.is_grid else None
        size = space.size() if points is None else len(points)
    elif (listed_points := listed(space, settings)) is not None:
        size = len(listed_points)
    if settings.n_trials is None and size is None:
        raise UserError(
            "hydra.sweeper.n_trials=null: asks for every point of a space that has no end of them, "
            "or more than can be listed: give a number, or use hydra/sweeper/sampler=grid"
        )
    return min(n for n in (size, settings.n_trials) if n is not None)


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
        return RandomSampler()  # is not asked: of a grid, each trial is given its point
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
