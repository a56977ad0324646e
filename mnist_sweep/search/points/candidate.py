"""From a point of the space to a run's overrides, and whether its net fits the budget."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mnist_sweep.config import BudgetConfig, Settings, unchecked
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import build_model
from mnist_sweep.identity import result_key
from mnist_sweep.profile import (
    Profile,
    check_budget,
    check_outputs,
    check_size,
    count_params,
    profile,
)
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.fitting import Fitter
from mnist_sweep.search.points.space import Space, some_values
from mnist_sweep.search.study.zipped import keys_of
from mnist_sweep.sets.measured import shape_in

MOST_KNOWN = 1000
"""Nets whose costs are kept, the newest."""


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

    @property
    def settings(self) -> Settings:
        """As they stand: of what is wrong in them its run will complain."""
        return unchecked(self.config)


class Candidates:
    """Makes candidates of points of this space. fitter: None leaves a net as it is.

    Raises:
        UserError: the fixed overrides do not compose.
    """

    def __init__(self, composer: Composer, space: Space, fitter: Fitter | None) -> None:
        self.composer = composer
        self.space = space
        self.fitter = fitter
        self.base, self.base_choices = composer.task(space.fixed)
        """The configuration of the fixed overrides alone, and its choice of each group."""
        self.costs: dict[str, Profile] = {}
        """Configuration of a net -> its costs. To make and profile a net is most of what a point
        takes, and many searches leave the net as it is."""

    def over(self, space: Space) -> "Candidates":
        """The same of another space."""
        fitter = self.fitter and self.fitter.over(space)
        return Candidates(self.composer, space, fitter)

    def make(self, params: Mapping[str, Any]) -> Candidate:
        """
        Raises:
            UserError: a parameter is no key of the configuration.
        """
        params = self.space.values(params)
        overrides = self.space.overrides(params)
        config, choices = self.composer.task(overrides)
        num_params = costs = None
        try:
            budget = BudgetConfig(**config["budget"])
            if self.fitter is not None and self.fitter.widths(params):
                widths = self.fitter.fitted(params, budget)
                overrides = self.space.overrides({**params, **widths})
                config, choices = self.composer.task(overrides)
            shape = shape_in(config)
            net = f"{json.dumps(config.get('model'), sort_keys=True, default=str)} {shape}"
            costs = self.costs.get(net)
            if costs is None:
                model = build_model(config, shape)
                num_params = count_params(model)
                check_size(num_params, budget)
                costs = self._keep(net, profile(model, shape))
            check_outputs(costs, shape)
            num_params = costs.num_params
            check_budget(costs, budget)
            reason = None
        except (UserError, ValidationError) as error:
            reason = " ".join(str(error).split())
        except Exception:  # of a class of the user's; its run will fail, and say why
            reason = None
        unknown = 0.0 if reason is None else 1.0
        macs = None if costs is None else costs.macs
        excess = unknown if num_params is None else excess_of(num_params, macs, budget)
        return Candidate(config, choices, overrides, num_params, costs, reason, excess)

    def _keep(self, net: str, costs: Profile) -> Profile:
        if len(self.costs) == MOST_KNOWN:
            self.costs.pop(next(iter(self.costs)))
        self.costs[net] = costs
        return costs

    def samples(self) -> list[dict[str, Any]]:
        """Configurations with some values of each parameter, and with every choice of a group.

        Raises:
            UserError, HydraException: a key or a choice does not exist, or the function that
                extends the space fails.
        """
        points = [
            *self.space.probes(self.base),
            *(
                self.space.point_with(name, value)
                for name, distribution in self.space.distributions.items()
                for value in some_values(distribution, all_of_them=self._has_group(name))
            ),
        ]
        overrides = dict.fromkeys(map(self.space.overrides, points or [{}]))
        return [self.composer.task(o)[0] for o in overrides]

    def choices(self) -> dict[str, dict[str, Any]]:
        """`group=choice` -> a configuration with it, for every choice of each group."""
        return {
            f"{name}={value}": self.composer.task(
                self.space.overrides(self.space.point_with(name, value))
            )[0]
            for name, distribution in self.space.distributions.items()
            if self._has_group(name)
            for value in some_values(distribution, all_of_them=True)
        }

    def _has_group(self, name: str) -> bool:
        """Whether the parameter chooses a group's file."""
        return any(map(self.composer.is_group, keys_of(name)))


def excess_of(num_params: float, macs: float | None, budget: BudgetConfig) -> float:
    """Share by which a net misses the budget; at most 0 if it fits."""
    shares = [-1.0]
    if budget.max_params is not None:
        shares.append(num_params / budget.max_params - 1)
    if budget.max_macs is not None and macs is not None:
        shares.append(macs / budget.max_macs - 1)
    if budget.min_params is not None:
        shares.append(1 - num_params / budget.min_params)
    return max(shares)
