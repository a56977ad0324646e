"""Samplers that are told of finished runs which are no trials of their study."""

from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from mnist_sweep.search.optuna_private import suggest
from mnist_sweep.search.points.long_study import LongStudyTPE
from mnist_sweep.search.points.space import Space
from mnist_sweep.search.points.taken_over import Told as ToldRun
from mnist_sweep.search.points.taken_over import WarmStart
from mnist_sweep.search.points.told import Told

optuna.logging.set_verbosity(optuna.logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.0, 1.0),
    "decay": FloatDistribution(0.0, 1.0),
}
SPACE = Space(DISTRIBUTIONS, (), {}, None)
BEST = {"lr": 0.3, "decay": 0.8}


def far(point: dict[str, float]) -> float:
    return max(abs(point[name] - best) for name, best in BEST.items())


def told() -> WarmStart:
    """A grid of points, of which the nearest to `BEST` is the best; one is outside the space."""
    points = [{"lr": x / 6, "decay": y / 6} for x in range(7) for y in range(7)]
    runs = [ToldRun(point, [1 - far(point)]) for point in points]
    return WarmStart("somewhere", [*runs, ToldRun({"lr": 7.0, "decay": 0.0}, [9.0])], [], "")


SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "tpe": lambda: LongStudyTPE(TPESampler(seed=1), trials()),
    "groups": lambda: LongStudyTPE(
        TPESampler(seed=1, multivariate=True, group=True, constant_liar=True), trials()
    ),
    "gp": lambda: Told(GPSampler(seed=1), trials()),
}


def trials() -> list[optuna.trial.FrozenTrial]:
    return list(told().trials(SPACE))


@pytest.mark.parametrize("pruner", [NopPruner(), HyperbandPruner()], ids=["none", "hyperband"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_first_points_are_near_the_best_that_was_told(name: str, pruner: BasePruner) -> None:
    study = optuna.create_study(sampler=SAMPLERS[name](), direction="maximize", pruner=pruner)
    distances = []
    for _ in range(6):
        trial = study.ask()
        point = {key: suggest(trial, key, kind) for key, kind in DISTRIBUTIONS.items()}
        trial.set_constraint("budget", -0.1)  # as the search's own trials have
        study.tell(trial, 1 - far(point))
        distances.append(far(point))
    assert sorted(distances)[2] < 0.25
    assert len(study.trials) == 6 and study.best_trial.number >= 0


def test_a_run_that_the_space_has_no_more_is_not_told() -> None:
    assert len(trials()) == 49
    assert len({trial.number for trial in trials()}) == 49
    assert all(trial.number < 0 for trial in trials())
