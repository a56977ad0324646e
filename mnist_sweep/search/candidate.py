"""From a point of the space to a run's overrides, and whether its net fits the budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution
from pydantic import ValidationError

from mnist_sweep.config import BudgetConfig
from mnist_sweep.errors import BudgetError, UserError
from mnist_sweep.experiment import build_model
from mnist_sweep.identity import result_key
from mnist_sweep.profile import Profile, check_budget, check_size, count_params, profile
from mnist_sweep.search.composer import Composer
from mnist_sweep.search.space import Space

WIDEST = 512
"""Largest width that budget=fit tries."""


@dataclass(frozen=True)
class Candidate:
    config: dict[str, Any]
    """The run's configuration, as the run gets it, resolved."""
    choices: dict[str, Any]
    """Group -> its choice, as Hydra has them."""
    overrides: tuple[str, ...]
    """All of the run's, in Hydra's grammar; widths as they are after fitting."""
    num_params: int | None
    """None where the point is no valid net."""
    costs: Profile | None
    """None where there is no net, or one with too many parameters to look further."""
    reason: str | None
    """Why it is not to be trained; None if it is."""
    excess: float
    """Share by which it misses the budget, as Optuna's constraint: at most 0 if it fits."""

    @property
    def key(self) -> str:
        """A short name, the same for the same configuration and seed."""
        return result_key(self.config)


class Candidates:
    """Makes candidates of points.

    space: of which the points come. fit: patterns of the widths to scale to the budget; none
    leaves a net that does not fit as it is. rest: patterns of those that take single channels.

    Raises:
        UserError: the fixed overrides do not compose, or there is no budget to fit to.
    """

    def __init__(
        self, composer: Composer, space: Space, fit: Sequence[str], rest: Sequence[str] = ()
    ) -> None:
        self.composer = composer
        self.space = space
        self.fit = fit
        self.rest = rest
        self.base, _ = self.composer.task(space.fixed)
        """The configuration of the fixed overrides alone."""
        if fit and self.base["budget"]["max_params"] is None:
            raise UserError(
                "hydra.sweeper.budget=fit needs a limit to fit to: set budget.max_params, or use "
                "hydra.sweeper.budget=reject"
            )

    def make(self, params: Mapping[str, Any]) -> Candidate:
        """
        Raises:
            UserError: a parameter is no key of the configuration.
        """
        overrides = self._overrides(params)
        config, choices = self.composer.task(overrides)
        num_params = costs = None
        try:
            budget = BudgetConfig(**config["budget"])
            if _matching(params, self.fit):
                overrides = self._overrides({**params, **self._fitted(params, budget)})
                config, choices = self.composer.task(overrides)
            model = build_model(config)
            num_params = count_params(model)
            check_size(num_params, budget)
            costs = profile(model)
            check_budget(costs, budget)
            reason = None
        except (UserError, ValidationError) as error:
            reason = " ".join(str(error).split())
        except Exception:  # of a class of the user's; its run will fail, and say why
            reason = None
        unknown = 0.0 if reason is None else 1.0
        macs = None if costs is None else costs.macs
        excess = unknown if num_params is None else _excess(num_params, macs, budget)
        return Candidate(config, choices, overrides, num_params, costs, reason, excess)

    def _fitted(self, params: Mapping[str, Any], budget: BudgetConfig) -> dict[str, int]:
        """The widths, as proportions of each other, scaled to the largest net within the budget.

        A common factor first; then each width in turn takes one more channel as long as that fits,
        and of what is left those of `rest`.

        Raises:
            BudgetError: not even one channel each fits.
        """
        widths, rest = _matching(params, self.fit), _matching(params, self.rest)
        given = {key: int(params[key]) for key in widths}
        others = {key: int(params[key]) for key in rest}

        def problem(sizes: Mapping[str, int]) -> BudgetError | None:
            config, _ = self.composer.task(self._overrides({**params, **sizes}))
            try:
                if budget.max_macs is not None:
                    limits = budget.model_copy(update={"min_params": None})
                    check_budget(profile(build_model(config)), limits)
                    return None
                with torch.device("meta"):
                    num_params = count_params(build_model(config))
            except BudgetError as error:
                return error
            if budget.max_params is not None and num_params > budget.max_params:
                return BudgetError(
                    f"the narrowest net of this shape has {num_params:,} parameters, over "
                    f"budget.max_params={budget.max_params}"
                )
            return None

        def scaled(factor: float) -> dict[str, int]:
            return {key: min(WIDEST, max(1, round(size * factor))) for key, size in given.items()}

        low, high = 0.0, WIDEST / min(given.values())
        smallest = scaled(low)
        if (error := problem(smallest)) is not None:
            raise error
        while scaled(low) != scaled(high) and high - low > 1e-3 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if problem(scaled(middle)) is None else (low, middle)
        sizes = {**others, **scaled(low)}
        for keys in (widths, rest):
            growing = sorted(keys, key=lambda key: sizes[key])
            while growing:
                for key in list(growing):
                    wider = {**sizes, key: sizes[key] + 1}
                    if wider[key] <= WIDEST and problem(wider) is None:
                        sizes = wider
                    else:
                        growing.remove(key)
        return sizes

    def bases(self) -> list[dict[str, Any]]:
        """Configurations with one value of each parameter, and with every choice of a group.

        Raises:
            UserError, HydraException: a key or a choice does not exist.
        """
        first = {name: next(iter(_values(d))) for name, d in self.space.distributions.items()}
        choices = [
            (*self.space.fixed, f"{name}={value}")
            for name, distribution in self.space.distributions.items()
            if self.composer.is_group(name)
            for value in _values(distribution)
        ]
        return [self.composer.task(o)[0] for o in (self._overrides(first), *choices)]

    def _overrides(self, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        return (*self.space.fixed, *(f"{key}={value}" for key, value in chosen.items()))


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    """The choices; of a range its low end only."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return [getattr(distribution, "low", None)]


def _excess(num_params: int, macs: int | None, budget: BudgetConfig) -> float:
    shares = [-1.0]
    if budget.max_params is not None:
        shares.append(num_params / budget.max_params - 1)
    if budget.max_macs is not None and macs is not None:
        shares.append(macs / budget.max_macs - 1)
    if budget.min_params is not None:
        shares.append(1 - num_params / budget.min_params)
    return max(shares)


def _matching(params: Mapping[str, Any], patterns: Sequence[str]) -> list[str]:
    return [key for key in params if any(fnmatchcase(key, pattern) for pattern in patterns)]
