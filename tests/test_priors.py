"""Where the user expects good points: what is drawn from there, and how often."""

from random import Random
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler
from scipy.integrate import quad

from mnist_sweep.search.optuna_private import contains, fixed_point, suggest
from mnist_sweep.search.points.membership import value_in
from mnist_sweep.search.points.priors import SHARE, NearPriors, Prior
from mnist_sweep.search.study.attributes import PRIOR

optuna.logging.set_verbosity(optuna.logging.ERROR)

PRIORS = {
    "lr": Prior(FloatDistribution(0.001, 0.1, log=True), 0.01, 0.1),
    "end": Prior(FloatDistribution(0.0, 2.0), 2.0, 0.3),
    "step": Prior(FloatDistribution(0.0, 1.0, step=0.25), 0.5, 0.2),
    "width": Prior(IntDistribution(3, 33, step=5), 13, 0.1),
    "logint": Prior(IntDistribution(1, 64, log=True), 8, 0.2),
    "pool": Prior(CategoricalDistribution(["max", "avg", "stride"]), "avg", 0.3),
}


@pytest.mark.parametrize("name", PRIORS)
def test_draws_are_in_the_space_and_near(name: str) -> None:
    prior, rng = PRIORS[name], Random(0)
    drawn = [prior.draw(rng) for _ in range(500)]
    if isinstance(prior.distribution, CategoricalDistribution):
        assert 0.7 < drawn.count("avg") / 500 < 0.9
        assert set(drawn) == {"max", "avg", "stride"}
        return
    assert all(contains(prior.distribution, value) for value in drawn)
    nearer = sum(prior.density(value) > 1 for value in drawn)
    assert nearer > 150


@pytest.mark.parametrize("name", ["lr", "end"])
def test_a_density_is_one_on_the_average(name: str) -> None:
    prior = PRIORS[name]
    mass, _ = quad(lambda place: prior.density(prior._at(place)), 0, 1)
    assert mass == pytest.approx(1, abs=1e-4)


def test_choices_have_their_shares_for_densities() -> None:
    shares = [PRIORS["pool"].density(choice) / 3 for choice in ("max", "avg", "stride")]
    assert shares == pytest.approx([0.1, 0.8, 0.1])


SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.001, 0.1, log=True),
    "free": FloatDistribution(0.0, 1.0),
}
NEAR = {"lr": Prior(SPACE["lr"], 0.01, 0.02)}


def searched(best: float, trials: int) -> tuple[NearPriors, optuna.Study]:
    """A search whose value is the better, the nearer lr is to `best`."""
    sampler = NearPriors(RandomSampler(seed=1), NEAR, 1)
    study = optuna.create_study(sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        point = {name: suggest(trial, name, kind) for name, kind in SPACE.items()}
        study.tell(trial, abs(point["lr"] - best))
    return sampler, study


def test_a_half_is_drawn_at_first_and_a_wrong_prior_is_given_up() -> None:
    sampler, study = searched(0.01, 0)
    assert sampler.share(study) == SHARE
    right, study_of_right = searched(0.01, 20)
    wrong, study_of_wrong = searched(0.1, 20)
    assert 0.1 < right.share(study_of_right) < SHARE
    assert wrong.share(study_of_wrong) < 0.02
    long, long_study = searched(0.01, 300)
    assert long.share(long_study) == 0
    trials = study_of_right.get_trials()
    near = [trial for trial in trials if PRIOR in trial.user_attrs]
    assert 3 < len(near) < 18
    assert all(0.007 < trial.params["lr"] < 0.014 for trial in near)
    assert len({trial.params["free"] for trial in near}) == len(near)


def test_a_given_point_is_as_it_was_given() -> None:
    study = optuna.create_study(sampler=NearPriors(RandomSampler(seed=1), NEAR, 1))
    for _ in range(8):
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.WAITING, system_attrs=fixed_point({"lr": 0.1})
            )
        )
        trial = study.ask()
        assert suggest(trial, "lr", SPACE["lr"]) == 0.1
        assert PRIOR not in trial.user_attrs


@pytest.mark.parametrize(
    ("distribution", "given", "own"),
    [
        (FloatDistribution(0.0, 1.0), 1, 1.0),
        (IntDistribution(1, 9), 3.0, 3),
        (CategoricalDistribution(["0.10", "32", "true", "[a,b]"]), 0.1, "0.10"),
        (CategoricalDistribution(["0.10", "32", "true", "[a,b]"]), 32, "32"),
        (CategoricalDistribution(["0.10", "32", "true", "[a,b]"]), True, "true"),
        (CategoricalDistribution(["0.10", "32", "true", "[a, b]"]), ["a", "b"], "[a, b]"),
        (CategoricalDistribution([None, 1, "none"]), "null", None),
    ],
)
def test_a_value_is_found_in_a_distribution(
    distribution: BaseDistribution, given: Any, own: Any
) -> None:
    found = value_in(distribution, given)
    assert found == own and type(found) is type(own)


@pytest.mark.parametrize(
    ("distribution", "given"),
    [
        (FloatDistribution(0.0, 1.0), 1.1),
        (FloatDistribution(0.0, 1.0), "x"),
        (FloatDistribution(0.0, 1.0), True),
        (FloatDistribution(0.0, 1.0), float("nan")),
        (IntDistribution(1, 9), 3.5),
        (IntDistribution(1, 9, step=2), 4),
        (CategoricalDistribution([1, 0]), True),
        (CategoricalDistribution(["a"]), None),
    ],
)
def test_a_value_that_is_not_there_is_refused(distribution: BaseDistribution, given: Any) -> None:
    with pytest.raises(ValueError, match="it is "):
        value_in(distribution, given)
