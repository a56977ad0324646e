"""A study made ready for its next points: which there are, who chooses them, which come first."""

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_sweep.search.planning import Plan
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.grid import MOST_POINTS, in_order, number_in_all
from mnist_sweep.search.points.growth import grid_points
from mnist_sweep.search.points.guesses import TRY_FIRST
from mnist_sweep.search.points.proposing import Proposer
from mnist_sweep.search.points.sampler import make_sampler
from mnist_sweep.search.points.taken_over import WarmStart, taken_over
from mnist_sweep.search.points.wording import bare_key
from mnist_sweep.search.study.attributes import POINTS
from mnist_sweep.search.study.ledger import Ledger


@dataclass(frozen=True)
class Ready:
    proposer: Proposer
    n_trials: int
    """That the study is to have in all."""
    swept: tuple[str, ...]
    """Keys of a grid; none of a search."""
    warm_starts: Sequence[WarmStart]
    """What the study has taken over from elsewhere."""


def make_ready(plan: Plan, ledger: Ledger, candidates: Candidates) -> Ready:
    """Gives the ledger's study its sampler and pruner, and queues the points to be tried first.
    candidates: of the study's space, which has all that the command asks for."""
    settings, study = plan.settings, ledger.study
    trials = study.get_trials(deepcopy=False)
    grid, n_trials = None, plan.n_trials
    swept: tuple[str, ...] = ()
    if settings.is_grid:
        points = grid_points(plan.space, candidates.space, candidates.composer, MOST_POINTS)
        grid = in_order(points, settings, candidates)
        n_trials = number_in_all(settings, grid, trials)
        study.set_user_attr(POINTS, n_trials)
        swept = tuple(map(bare_key, candidates.space.keys))
    earlier = taken_over(study)
    told = [trial for one in earlier for trial in one.trials(candidates.space)]
    study.sampler = make_sampler(settings, candidates, len(trials) + len(told), told)
    if plan.pruner is not None:
        study.pruner = plan.pruner
    ledger.queue_first(plan.first, TRY_FIRST)
    for one in earlier:
        ledger.queue_first(one.first, one.source)
    proposer = Proposer(settings, ledger, candidates, n_trials, grid)
    return Ready(proposer, n_trials, swept, earlier)
