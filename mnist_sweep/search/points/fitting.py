"""budget=fit: widths, as proportions of each other, scaled to the largest net within the budget."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch

from mnist_sweep.config import BudgetConfig
from mnist_sweep.errors import BudgetError
from mnist_sweep.experiment import build_model
from mnist_sweep.profile import check_budget, count_params, profile
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.space import Space
from mnist_sweep.sets.measured import shape_in

WIDEST = 512
"""Largest width that is tried."""


class Fitter:
    """fit: patterns of the widths to scale to the budget. rest: of those that take single channels
    of what is left then."""

    def __init__(
        self, composer: Composer, space: Space, fit: Sequence[str], rest: Sequence[str] = ()
    ) -> None:
        self.composer = composer
        self.space = space
        self.fit = fit
        self.rest = rest

    def over(self, space: Space) -> "Fitter":
        """The same of another space."""
        return Fitter(self.composer, space, self.fit, self.rest)

    def widths(self, params: Mapping[str, Any]) -> list[str]:
        """The parameters to scale."""
        return _matching(params, self.fit)

    def fitted(self, params: Mapping[str, Any], budget: BudgetConfig) -> dict[str, int]:
        """A common factor first; then each width in turn takes one more channel as long as that
        fits, and of what is left those of `rest`.

        Raises:
            BudgetError: not even one channel each fits.
        """
        widths, rest = self.widths(params), _matching(params, self.rest)
        given = {key: int(params[key]) for key in widths}
        others = {key: int(params[key]) for key in rest}

        def scaled(factor: float) -> dict[str, int]:
            return {key: min(WIDEST, max(1, round(size * factor))) for key, size in given.items()}

        def problem(sizes: Mapping[str, int]) -> BudgetError | None:
            return self._problem({**params, **sizes}, budget)

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

    def _problem(self, params: Mapping[str, Any], budget: BudgetConfig) -> BudgetError | None:
        """Why the net is too large; None if it fits."""
        config, _ = self.composer.task(self.space.overrides(params))
        shape = shape_in(config)
        try:
            if budget.max_macs is not None:
                limits = budget.model_copy(update={"min_params": None})
                check_budget(profile(build_model(config, shape), shape), limits)
                return None
            with torch.device("meta"):
                num_params = count_params(build_model(config, shape))
        except BudgetError as error:
            return error
        if budget.max_params is not None and num_params > budget.max_params:
            return BudgetError(
                f"the narrowest net of this shape has {num_params:,} parameters, over "
                f"budget.max_params={budget.max_params}"
            )
        return None


def _matching(params: Mapping[str, Any], patterns: Sequence[str]) -> list[str]:
    return [key for key in params if any(fnmatchcase(key, pattern) for pattern in patterns)]
