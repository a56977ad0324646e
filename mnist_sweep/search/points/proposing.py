"""Which point a search tries next, and whether it is to be trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler
from optuna.trial import Trial

from mnist_sweep.errors import UserError
from mnist_sweep.search.optuna_private import is_given
from mnist_sweep.search.points.candidate import Candidate, Candidates
from mnist_sweep.search.points.grid import Point, is_whole
from mnist_sweep.search.points.untried import Untried, by_key, listed
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import CONFIG, NUM_PARAMS, RETRY_OF
from mnist_sweep.search.study.ledger import Ledger

REPEATS_BEFORE_RANDOM = 10
"""After so many repeats in a row the sampler is stuck, and the next point is a random one; of a
small space one that has not been tried."""

REJECTS_BEFORE_RANDOM = 100
"""After so many refused points in a row it is stuck as well, and two of three are random ones: they
may lie where it does not look, and take half the time."""


@dataclass(frozen=True)
class Accepted:
    """A trial that is to be trained."""

    trial: Trial
    candidate: Candidate

    def note(self) -> None:
        """In the study, for all who propose after it."""
        self.trial.set_user_attr(CONFIG, self.candidate.key)
        self.trial.set_user_attr(NUM_PARAMS, self.candidate.num_params)
        self.trial.set_constraint("budget", self.candidate.excess)


@dataclass(frozen=True)
class Rejected:
    """A trial whose net is over budget or none: it has ended."""

    trial: int
    candidate: Candidate
    reason: str


@dataclass(frozen=True)
class Repeated:
    """A trial of a configuration that the study has: it has ended."""


class Proposer:
    """Has the study's sampler choose points, one after another."""

    def __init__(
        self,
        settings: SearchSettings,
        ledger: Ledger,
        candidates: Candidates,
        n_trials: int,
        grid: Sequence[Point] | None = None,
    ) -> None:
        """n_trials: finished ones that the study is to have. grid: the points that this command
        wants of it, in their order."""
        self.settings = settings
        self.ledger = ledger
        self.study = ledger.study
        self.candidates = candidates
        self.space = candidates.space
        self.n_trials = n_trials
        self.grid = None if grid is None else Untried(by_key(grid), ledger)
        self.limit = None if grid is not None and is_whole(settings, grid) else n_trials
        """None: as many as the grid has points, for other commands on the study may want others."""
        self.refused_in_a_row = 0
        """Proposals, rejected or repeated."""
        self.repeats_in_a_row = 0
        points = listed(self.space, settings)
        self.untried = self.grid if points is None else Untried(points, ledger)
        """None where the space is not small."""
        self.smallest: int | None = None
        """Parameters of the smallest net that was over budget."""

    def propose(self) -> Accepted | Rejected | Repeated | None:
        """One proposal; None if the study has no place for another trial, or the space no point.

        Raises:
            UserError: a parameter is no key of the configuration, or is fixed as well.
        """
        if self.is_exhausted and not self.ledger.has_waiting():
            return None
        if self.grid is not None and not self.ledger.has_waiting() and self.grid.place() is None:
            return None
        trial = self.ledger.claim(self.limit)
        if trial is None:
            return None
        is_retry = RETRY_OF in trial.user_attrs
        params = self._sample(trial)
        if params is None:
            self._step_back(trial, "another controller began the last point")
            return None
        if self.untried is not None and not is_retry and not self.untried.has(params):
            return self._repeat(trial, "the point was tried before")
        candidate = self.candidates.make(params)
        if candidate.reason is not None:
            return self._reject(trial, candidate, candidate.reason)
        if self.grid is not None and (others := self.grid.others_at(params, trial.number)):
            self._step_back(trial, f"trial {others[0]} began the point at the same time")
            return None
        same = self.ledger.known().get(candidate.key) if self.settings.skip_repeats else None
        if same is not None:
            return self._repeat(trial, f"trial {same} is the same configuration")
        self.refused_in_a_row = self.repeats_in_a_row = 0
        return Accepted(trial, candidate)

    def _step_back(self, trial: Trial, reason: str) -> None:
        """Leaves the point to another controller; if that does, too, it is open again."""
        self.ledger.fail(trial, "surplus", reason)

    def _repeat(self, trial: Trial, reason: str) -> Repeated:
        self.ledger.fail(trial, "duplicate", reason)
        self.repeats_in_a_row += 1
        self.refused_in_a_row += 1
        return Repeated()

    def _reject(self, trial: Trial, candidate: Candidate, reason: str) -> Rejected:
        self.ledger.reject(trial, reason, candidate.excess)
        self.refused_in_a_row += 1
        if candidate.num_params is not None:
            self.smallest = min(self.smallest or candidate.num_params, candidate.num_params)
        return Rejected(trial.number, candidate, reason)

    def _sample(self, trial: Trial) -> dict[str, Any] | None:
        """None if it was to be a grid's next point, and there is none."""
        sampler = self.study.sampler
        if self.grid is not None and not is_given(self.ledger.trials()[trial.number]):
            point = self.grid.place(trial.number)
            if point is None:
                return None
            self.study.sampler = PartialFixedSampler(point, sampler)
        elif self.is_stuck:
            self.study.sampler = self._other_sampler(trial.number)
        try:
            return self.space.suggest(trial, self.candidates.base)
        finally:
            self.study.sampler = sampler

    def _other_sampler(self, seed: int) -> BaseSampler:
        """Of one of the points that nobody has tried, where these are known; else of any."""
        left = None if self.untried is None else self.untried.points()
        anywhere = RandomSampler(seed=seed)
        return PartialFixedSampler(Random(seed).choice(left), anywhere) if left else anywhere

    @property
    def is_over(self) -> bool:
        """Whether the study has as many trials as it is to have."""
        return self.limit is not None and self.ledger.is_over(self.limit)

    @property
    def is_stuck(self) -> bool:
        """Whether it is a random point's turn. A sampler that tries every point is never stuck."""
        if self.settings.tries_every_point or self.space.extender is not None:
            return False
        refused = self.refused_in_a_row
        is_refused = refused >= REJECTS_BEFORE_RANDOM and refused % 3 > 0
        return is_refused or self.repeats_in_a_row >= REPEATS_BEFORE_RANDOM

    @property
    def is_exhausted(self) -> bool:
        """Whether there is no point in asking again."""
        if self.untried is not None and self.untried.is_empty:
            return True
        return self.ledger.sampler_is_done or self.refused_in_a_row >= self.settings.max_rejected

    def why_exhausted(self) -> str:
        if self.untried is not None and self.untried.is_empty:
            return f"each of the {self.untried.size} points of the space has been tried"
        return (
            f"the space has no more points to offer ({self.refused_in_a_row} proposals in a row "
            "were refused or tried before)"
        )

    def nothing_fits(self, last: Rejected) -> UserError:
        """What to tell the user when not a single proposal could be trained."""
        least = f"; the smallest net had {self.smallest:,} parameters" if self.smallest else ""
        max_params = last.candidate.settings.budget.max_params
        return UserError(
            f"budget.max_params={max_params}: no point among "
            f"{self.refused_in_a_row} proposals can be trained{least}. Raise the budget or "
            f"widen the space; the last was refused for: {last.reason}"
        )
