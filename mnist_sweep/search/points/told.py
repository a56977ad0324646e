"""A sampler that learns from finished trials beside its study's."""

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mnist_sweep.search.optuna_private import with_told
from mnist_sweep.search.points.wrapping import Wrapping


class Told(Wrapping):
    """sampler: one that goes by all the trials that it sees. told: with numbers that the study does
    not have."""

    def __init__(self, sampler: BaseSampler, told: Sequence[FrozenTrial]) -> None:
        super().__init__(sampler)
        self.told = told

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(with_told(study, self.told), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(with_told(study, self.told), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        seen = with_told(study, self.told)
        return self.sampler.sample_independent(seen, trial, param_name, param_distribution)
