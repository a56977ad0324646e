"""From a point of the space to a run's overrides, and whether its net fits the budget."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import torch
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from mnist_sweep.config import BudgetConfig
from mnist_sweep.errors import BudgetError, UserError
from mnist_sweep.experiment import build_model
from mnist_sweep.profile import Profile, check_budget, count_params, profile
from mnist_sweep.search.space import Space

WIDEST = 512
"""Largest width that budget=fit tries."""


@dataclass(frozen=True)
class Composed:
    cfg: DictConfig
    """What a run gets: without `hydra`."""
    choices: dict[str, Any]
    """Group -> its choice, as Hydra has them."""


@dataclass(frozen=True)
class Candidate:
    composed: Composed
    overrides: tuple[str, ...]
    """All of the run's, in Hydra's grammar; widths as they are after fitting."""
    costs: Profile | None
    """None where the point is no valid net."""
    reason: str | None
    """Why it is not to be trained; None if it is."""
    excess: float
    """Share by which it misses the budget, as Optuna's constraint: at most 0 if it fits."""

    @property
    def key(self) -> str:
        """A short name, the same for the same configuration."""
        return hashlib.sha256("\n".join(sorted(self.overrides)).encode()).hexdigest()[:16]


class Candidates:
    """Makes candidates quickly: Hydra composes once for each choice of groups, not for each point.

    config: of the sweep. space: of which points come. fit: patterns of the widths to scale to the
    budget; none rejects what does not fit.

    Raises:
        UserError: the fixed overrides do not compose, or there is no budget to fit to.
    """

    def __init__(
        self, loader: ConfigLoader, config: DictConfig, space: Space, fit: Sequence[str]
    ) -> None:
        self.loader = loader
        self.config = config
        self.space = space
        self.fit = fit
        self.groups = set(loader.list_groups(""))
        self.composed: dict[tuple[str, ...], Composed] = {}
        if fit and self.base().cfg.budget.max_params is None:
            raise UserError(
                "hydra.sweeper.budget=fit needs a limit to fit to: set budget.max_params, or use "
                "hydra.sweeper.budget=reject"
            )

    def base(self, groups: Mapping[str, Any] | None = None) -> Composed:
        """The configuration of the fixed overrides and of these choices of groups."""
        overrides = tuple(f"{key}={value}" for key, value in (groups or {}).items())
        if overrides not in self.composed:
            cfg = self.loader.load_sweep_config(self.config, [*self.space.fixed, *overrides])
            choices = dict(cfg.hydra.runtime.choices)
            with open_dict(cfg):
                del cfg["hydra"]
            self.composed[overrides] = Composed(cfg, choices)
        return self.composed[overrides]

    def compose(self, params: Mapping[str, Any]) -> Composed:
        """The configuration of one point, a copy.

        Raises:
            UserError: a parameter is no key of the configuration.
        """
        groups = {key: value for key, value in params.items() if self._is_group(key)}
        base = self.base(groups)
        cfg = deepcopy(base.cfg)
        for key, value in params.items():
            if key not in groups:
                _set(cfg, key, value)
        return Composed(cfg, base.choices)

    def make(self, params: Mapping[str, Any]) -> Candidate:
        """
        Raises:
            UserError: a parameter is no key of the configuration.
        """
        composed = self.compose(params)
        cfg = composed.cfg
        chosen = dict(params)
        costs = None
        try:
            budget = BudgetConfig(**OmegaConf.to_container(cfg.budget, resolve=True))  # type: ignore[arg-type]
            widths = [key for key in params if any(fnmatchcase(key, name) for name in self.fit)]
            if widths:
                chosen |= _fit(cfg, widths, budget)
            costs = profile(build_model(cfg))
            check_budget(costs, budget)
            reason = None
        except (UserError, ValidationError) as error:
            reason = " ".join(str(error).split())
        excess = 1.0 if costs is None else _excess(costs, budget)
        return Candidate(composed, self._overrides(chosen), costs, reason, excess)

    def _is_group(self, key: str) -> bool:
        return key.partition("@")[0].lstrip("+") in self.groups

    def _overrides(self, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        return (*self.space.fixed, *(f"{key}={value}" for key, value in chosen.items()))


def _excess(costs: Profile, budget: BudgetConfig) -> float:
    shares = [-1.0]
    if budget.max_params is not None:
        shares.append(costs.num_params / budget.max_params - 1)
    if budget.max_macs is not None:
        shares.append(costs.macs / budget.max_macs - 1)
    if budget.min_params is not None:
        shares.append(1 - costs.num_params / budget.min_params)
    return max(shares)


def _fit(cfg: DictConfig, widths: Sequence[str], budget: BudgetConfig) -> dict[str, int]:
    """Scales the widths, as proportions of each other, to the largest net within the budget.

    A common factor first; then each width in turn takes one more channel as long as that fits.

    Raises:
        BudgetError: not even one channel each fits.
    """
    given = {key: int(OmegaConf.select(cfg, key)) for key in widths}

    def problem(sizes: Mapping[str, int]) -> BudgetError | None:
        for key, size in sizes.items():
            OmegaConf.update(cfg, key, size)
        try:
            if budget.max_macs is None:
                with torch.device("meta"):
                    num_params = count_params(build_model(cfg))
                if budget.max_params is not None and num_params > budget.max_params:
                    return BudgetError(
                        f"the narrowest net of this shape has {num_params:,} parameters, over "
                        f"budget.max_params={budget.max_params}"
                    )
                return None
            check_budget(profile(build_model(cfg)), budget.model_copy(update={"min_params": None}))
        except BudgetError as error:
            return error
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
    sizes = scaled(low)
    growing = sorted(sizes, key=lambda key: sizes[key])
    while growing:
        for key in list(growing):
            wider = {**sizes, key: sizes[key] + 1}
            if wider[key] <= WIDEST and problem(wider) is None:
                sizes = wider
            else:
                growing.remove(key)
    problem(sizes)  # leaves the sizes in cfg
    return sizes


def _set(cfg: DictConfig, key: str, value: Any) -> None:
    added = key.startswith("+")
    try:
        with open_dict(cfg) if added else nullcontext():
            OmegaConf.update(cfg, key.lstrip("+"), _typed(key, value), merge=True)
    except OmegaConfBaseException as error:
        raise UserError(
            f"{key}: no such key, so it cannot be searched; --cfg job shows all keys"
        ) from error


@lru_cache(maxsize=4096)
def _parsed(override: str) -> Any:
    return OverridesParser.create().parse_override(override).value()


def _typed(key: str, value: Any) -> Any:
    """What Hydra would make of `key=value` on its command line."""
    return _parsed(f"{key}={value}") if isinstance(value, str) else value
