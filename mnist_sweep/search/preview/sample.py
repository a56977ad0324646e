"""Points from all over the space: how many of them fit the budget, and how large their nets are."""

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import RandomSampler

from mnist_sweep.search.planning import Plan
from mnist_sweep.search.points.candidate import Candidate, Candidates

COUNT = 1000

SCALED = 200
"""Of these, that are scaled to the budget: each takes as long as some twenty others."""


@dataclass(frozen=True)
class Sample:
    candidates: list[Candidate]
    is_all: bool
    """Whether they are all points of the space, and no random ones."""
    before: list[Candidate] | None
    """All points before their widths were scaled to the budget, and so more of them; None where
    none are scaled."""

    @property
    def fitting(self) -> list[Candidate]:
        return fitting(self.candidates)


def fitting(candidates: list[Candidate]) -> list[Candidate]:
    """Those that would be trained."""
    return [candidate for candidate in candidates if candidate.reason is None]


def take_sample(plan: Plan) -> Sample:
    """
    Raises:
        UserError: a parameter is no key of the configuration.
    """
    points: list[dict[str, Any]] | None = plan.space.points(COUNT)
    is_all = points is not None
    if points is None:
        study = optuna.create_study(sampler=RandomSampler(seed=0))
        points = [plan.space.suggest(study.ask(), plan.candidates.base) for _ in range(COUNT)]
    before = None
    if plan.candidates.fitter is not None:
        unscaled = Candidates(plan.candidates.composer, plan.space, None)
        before = list(map(unscaled.make, points))
        points = points[:SCALED]
    return Sample(list(map(plan.candidates.make, points)), is_all, before)
