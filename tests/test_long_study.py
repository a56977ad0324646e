"""TPE in a long study, against Optuna's own, which goes through all trials."""

from typing import Any, cast

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import TrialState

from mnist_sweep.search.optuna_private import good_and_others, suggest
from mnist_sweep.search.points import long_study
from mnist_sweep.search.points.long_study import LongStudyTPE

optuna.logging.set_verbosity(optuna.logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.001, 0.1, log=True),
    "width": IntDistribution(1, 64),
    "pool": CategoricalDistribution(["max", "avg"]),
}
SAMPLERS: dict[str, dict[str, Any]] = {
    "multivariate": {"multivariate": True, "group": True, "constant_liar": True},
    "ungrouped": {"multivariate": True, "constant_liar": True},
    "univariate": {"multivariate": False, "constant_liar": False},
}


def searched(
    sampler: BaseSampler, size: int, directions: tuple[str, ...] = ("maximize",)
) -> tuple[Study, list[dict[str, Any]]]:
    """A study with three trials at a time, of every end; and the points in their order."""
    study = optuna.create_study(sampler=sampler, directions=cast(Any, directions))
    points, running = [], []
    for _ in range(size):
        trial = study.ask()
        params = {name: suggest(trial, name, kind) for name, kind in SPACE.items()}
        if params["pool"] == "max":  # a parameter that is not always there
            params["stride"] = suggest(trial, "stride", IntDistribution(1, 3))
        points.append(params)
        running.append((trial, params))
        if len(running) == 3:
            ended, its = running.pop(1)
            value = its["width"] / 64 - abs(its["lr"] - 0.02)
            match ended.number % 7:
                case 0:
                    study.tell(ended, state=TrialState.FAIL)
                case 1 if len(directions) == 1:
                    ended.report(value, 1)
                    study.tell(ended, state=TrialState.PRUNED)
                case 2:
                    ended.set_constraint("budget", its["lr"])
                    study.tell(ended, state=TrialState.PRUNED)
                case _:
                    study.tell(ended, [value, -its["lr"]][: len(directions)])
    return study, points


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_study_that_is_not_long_has_the_same_points(name: str) -> None:
    for directions in (("maximize",), ("maximize", "minimize")):
        expected = searched(TPESampler(seed=1, **SAMPLERS[name]), 60, directions)[1]
        ours = LongStudyTPE(TPESampler(seed=1, **SAMPLERS[name]))
        assert searched(ours, 60, directions)[1] == expected


@pytest.mark.parametrize("name", SAMPLERS)
def test_of_a_long_one_it_sees_the_good_trials_and_a_part_of_the_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_study, "MOST", 40)
    sampler = LongStudyTPE(TPESampler(seed=1, **SAMPLERS[name]))
    study, _ = searched(sampler, 200)
    study.ask()
    seen = {trial.number for trial in sampler.ended}
    told = study.get_trials(deepcopy=False, states=long_study.TOLD)
    good, others = good_and_others(study, told, 40)
    assert len(told) > 120
    assert {trial.number for trial in good} <= seen
    assert len(seen) == 40
    of_the_others = [trial.number for trial in others if trial.number in seen]
    assert of_the_others[0] < 30, "old ones, too"
    assert of_the_others[-1] > 150
    assert sorted(trial.number for trial in sampler.running)[0] == min(
        trial.number for trial in study.get_trials(states=[TrialState.RUNNING])
    )


def test_a_study_that_is_gone_on_with_is_seen_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_study, "MOST", 40)
    study, _ = searched(LongStudyTPE(TPESampler(seed=1)), 200)
    study.sampler = sampler = LongStudyTPE(TPESampler(seed=2))
    suggest(study.ask(), "width", SPACE["width"])
    assert len(sampler.ended) == 40
