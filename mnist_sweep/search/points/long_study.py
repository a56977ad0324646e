"""TPE in a study of many trials: it sees a part of them, so that a point costs no more and more."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.optuna_private import (
    excerpt,
    good_and_others,
    groups_parameters,
    with_told,
)
from mnist_sweep.search.points.wrapping import Wrapping

MOST = 1000
"""Ended trials that are seen, at most."""

TOLD = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of the ended trials that a sampler learns from."""


class LongStudyTPE(Wrapping):
    """Optuna's TPE, which goes through all trials for each point.

    It compares the density of the good ones, of which there are few, with that of all others, for
    which a sample does. Of a long study it sees the good ones, those that run, and others drawn by
    lot. Up to `MOST` trials its points are the same, bit for bit.

    told: finished trials beside the study's, with numbers that it does not have.
    """

    def __init__(self, sampler: TPESampler, told: Sequence[FrozenTrial] = ()) -> None:
        super().__init__(sampler)
        self.groups = groups_parameters(sampler)
        self.told = list(told)
        self.num_seen = 0
        """Trials of the study that have been looked at."""
        self.open: list[int] = []
        """Numbers of those that had not ended."""
        self.ended: list[FrozenTrial] = list(told)
        """By number: those to be seen."""
        self.running: list[FrozenTrial] = []
        self.new: list[FrozenTrial] = []
        """That have ended since the last point; of the first one, the told ones too."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if type(study) is not Study:
            study = self._seen(study)
        else:
            self._update(study)
            if self.groups:  # which it remembers of the trials before
                study = excerpt(study, self.new)
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        seen = self._seen(study)
        return self.sampler.sample_independent(seen, trial, param_name, param_distribution)

    def _seen(self, study: Study) -> Study:
        if type(study) is not Study:  # a bracket of Hyperband's, which goes through all itself
            return with_told(study, self.told)
        by_number = sorted([*self.ended, *self.running], key=lambda trial: trial.number)
        return excerpt(study, by_number)

    def _update(self, study: Study) -> None:
        trials = study.get_trials(deepcopy=False)
        is_first = self.num_seen == 0
        looked_at = [*(trials[number] for number in self.open), *trials[self.num_seen :]]
        self.num_seen = len(trials)
        self.open = [trial.number for trial in looked_at if not trial.state.is_finished()]
        self.running = [t for t in looked_at if t.state == TrialState.RUNNING]
        self.new = [trial for trial in looked_at if trial.state in TOLD]
        self.ended = sorted([*self.ended, *self.new], key=lambda trial: trial.number)
        if is_first:
            self.new = [*self.told, *self.new]
        if len(self.ended) > MOST:
            good, others = good_and_others(study, self.ended, MOST)
            drawn = sorted(others, key=_lot)[: MOST - len(good)]
            self.ended = sorted([*good, *drawn], key=lambda trial: trial.number)


def _lot(trial: FrozenTrial) -> int:
    """The same whenever it is drawn, so that who comes to be seen does not depend on the order."""
    return crc32(str(trial.number).encode())
