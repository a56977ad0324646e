"""Where the user expects good points: a share of the proposals is drawn from there.

The share begins at a half, where no sampler knows anything yet, and falls with each trial; and it
is the smaller, the less the best trials so far lie where they were expected. So an expectation
that is right helps at once, and one that is wrong is soon given up, as in PriorBand (Mallik et al.
2023).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.errors import UserError
from mnist_sweep.search.optuna_private import good_and_others, is_given, set_user_attr
from mnist_sweep.search.points.guesses import as_searched
from mnist_sweep.search.points.space import Space
from mnist_sweep.search.points.wrapping import Wrapping
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import PRIOR, is_finished

PRIORS = "hydra.sweeper.priors"

SPREAD = 0.2
"""Of a prior that says none: of the range, on its log scale where it has one."""

SHARE = 0.5
"""Of the first proposals."""

HALF_LIFE = 5
"""Finished trials after which the share is half as large."""

LEAST_SHARE = 0.01
"""Below it nothing is drawn from the priors any more."""


@dataclass(frozen=True)
class Prior:
    """Of one parameter. A number's is a normal distribution about `near`, cut off at the ends of
    the range, whose standard deviation is `spread` times the range; a choice's is `near`, but for a
    share of `spread`, which goes to all choices alike."""

    distribution: BaseDistribution
    near: Any
    spread: float

    def draw(self, rng: Random) -> Any:
        if isinstance(self.distribution, CategoricalDistribution):
            is_any = rng.random() < self.spread
            return rng.choice(self.distribution.choices) if is_any else self.near
        while True:
            place = rng.gauss(self._place(self.near), self.spread)
            if 0 <= place <= 1:
                return self._at(place)

    def density(self, value: Any) -> float:
        """At a value, as a multiple of that of a uniform distribution."""
        if isinstance(self.distribution, CategoricalDistribution):
            number = len(self.distribution.choices)
            return self.spread + (1 - self.spread) * number * bool(value == self.near)
        middle = self._place(self.near)
        distance = (min(max(self._place(value), 0), 1) - middle) / self.spread
        below, above = (math.erf((end - middle) / self.spread / 2**0.5) for end in (0, 1))
        mass = self.spread * math.sqrt(math.pi / 2) * (above - below)
        return math.exp(-(distance**2) / 2) / mass

    def _ends(self) -> tuple[float, float]:
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        return self.distribution.low, self.distribution.high

    def _place(self, value: float) -> float:
        """In the range, from 0 to 1."""
        low, high = self._ends()
        if getattr(self.distribution, "log", False):
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def _at(self, place: float) -> Any:
        low, high = self._ends()
        if getattr(self.distribution, "log", False):
            value = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
        else:
            value = low + place * (high - low)
        step = getattr(self.distribution, "step", None)
        if step is not None:
            value = low + step * round((value - low) / step)
        value = min(max(value, low), high)
        return int(value) if isinstance(self.distribution, IntDistribution) else value


def priors(settings: SearchSettings, space: Space) -> dict[str, Prior]:
    """Those of the command: parameter -> its prior.

    Raises:
        UserError: a key is not searched, a value is not in the space, or the sampler goes through
            all points.
    """
    if settings.priors and settings.tries_every_point:
        raise UserError(
            f"{PRIORS} does not go with a sampler that tries every point: leave it out, or use "
            "another hydra/sweeper/sampler"
        )
    found = {}
    for key, given in (settings.priors or {}).items():
        near, spread = _near_and_spread(key, given)
        [(name, value)] = as_searched({key: near}, space, PRIORS).items()
        found[name] = Prior(space.distributions[name], value, spread)
    return found


def _near_and_spread(key: str, given: Any) -> tuple[Any, float]:
    """
    Raises:
        UserError: it is neither a value nor {near: value, spread: share}.
    """
    if not isinstance(given, Mapping):
        return given, SPREAD
    if "near" not in given or given.keys() - {"near", "spread"}:
        raise UserError(
            f"{PRIORS}: {key} has the keys {', '.join(map(str, given)) or 'none'}: write "
            f"{key}: value, or {key}: {{near: value, spread: {SPREAD}}}"
        )
    spread = given.get("spread", SPREAD)
    if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 < spread <= 1:
        raise UserError(
            f"{PRIORS}: {key} has spread={spread}: give a share of its range, above 0 and at most 1"
        )
    return given["near"], float(spread)


class NearPriors(Wrapping):
    """Another sampler, some of whose points have the parameters that have a prior from there."""

    def __init__(self, sampler: BaseSampler, priors: Mapping[str, Prior], seed: int | None) -> None:
        super().__init__(sampler)
        self.priors = priors
        self.rng = Random(seed)
        self.drawn: dict[int, dict[str, Any]] = {}
        """Trial -> what it has of the priors; of the newest trials."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.sampler.before_trial(study, trial)
        if is_given(trial) or self.rng.random() >= self.share(study):
            return
        self.drawn[trial.number] = {
            name: prior.draw(self.rng) for name, prior in self.priors.items()
        }
        set_user_attr(study, trial, PRIOR, list(self.priors))

    def share(self, study: Study) -> float:
        """Of the proposals that are drawn from the priors now."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        finished = list(filter(is_finished, trials))
        share = SHARE * HALF_LIFE / (HALF_LIFE + len(finished))
        if share < LEAST_SHARE:
            return 0.0
        if not finished:
            return share
        best, _ = good_and_others(study, finished, 2 * len(finished))  # twice as many as TPE's
        trust = sum(map(self._density, best)) / len(best)
        return 2 * share * trust / (1 + trust)

    def _density(self, trial: FrozenTrial) -> float:
        """Of the priors at its point, as a multiple of that of a uniform distribution."""
        known = self.priors.keys() & trial.params.keys()
        return math.prod(self.priors[name].density(trial.params[name]) for name in known)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        found = self.sampler.sample_relative(study, trial, search_space)
        drawn = self.drawn.get(trial.number, {})
        return {name: drawn.get(name, value) for name, value in found.items()}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        drawn = self.drawn.get(trial.number, {})
        if param_name in drawn:
            return drawn[param_name]
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self.drawn.pop(trial.number, None)
        self.sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.rng.seed()
        self.sampler.reseed_rng()
