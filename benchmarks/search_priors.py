"""What `hydra.sweeper.priors` is worth: a right one, none, and a wrong one.

    python benchmarks/search_priors.py --seeds 20

Objectives are functions in the place of a training: of five parameters like those of a recipe, with
the optimum elsewhere for each seed, noise, and parameters that matter more than others. A right
prior is near the optimum (off by a tenth of the range, as a standard deviation), a wrong one half
the range away in each parameter. Shown is the regret of the best trial so far, noise left out: what
the optimum is better by, as mean and standard error over the seeds and functions; and of the same
seeds by how much that is more than without a prior.
"""

import argparse
import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler

from mnist_sweep.search.optuna_private import suggest
from mnist_sweep.search.points.long_study import LongStudyTPE
from mnist_sweep.search.points.priors import SPREAD, NearPriors, Prior

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.001, 0.3, log=True),
    "weight_decay": FloatDistribution(0.0001, 0.1, log=True),
    "smoothing": FloatDistribution(0.0, 0.2),
    "horizon": FloatDistribution(0.01, 0.25, log=True),
    "batch_size": CategoricalDistribution([32, 64, 128]),
}
CHECKS = (5, 10, 20, 40)
"""Trials after which the best is looked at."""

NOISE = 0.02

Place = dict[str, float]
"""Parameter -> where in its range, from 0 to 1."""


def bowl(distances: Place, weights: Place) -> float:
    return sum(weights[name] * distances[name] ** 2 for name in distances)


def valley(distances: Place, weights: Place) -> float:
    """Along which two parameters make up for each other."""
    across = distances["lr"] + distances["weight_decay"]
    along = distances["lr"] - distances["weight_decay"]
    rest = {name: d for name, d in distances.items() if name not in ("lr", "weight_decay")}
    return 2 * across**2 + 0.2 * along**2 + bowl(rest, weights)


def rugged(distances: Place, weights: Place) -> float:
    ripples = sum(0.02 * (1 - math.cos(12 * math.pi * d)) for d in distances.values())
    return bowl(distances, weights) + ripples


FUNCTIONS: dict[str, Callable[[Place, Place], float]] = {
    "bowl": bowl,
    "valley": valley,
    "rugged": rugged,
}


def place_of(name: str, value: Any) -> float:
    match SPACE[name]:
        case CategoricalDistribution() as distribution:
            return distribution.choices.index(value) / (len(distribution.choices) - 1)
        case FloatDistribution(log=True) as distribution:
            low, high = math.log(distribution.low), math.log(distribution.high)
            return (math.log(value) - low) / (high - low)
        case FloatDistribution() as distribution:
            return float(value - distribution.low) / (distribution.high - distribution.low)
    raise AssertionError(name)


def value_at(name: str, place: float) -> Any:
    place = min(max(place, 0.0), 1.0)
    match SPACE[name]:
        case CategoricalDistribution() as distribution:
            return distribution.choices[round(place * (len(distribution.choices) - 1))]
        case FloatDistribution(log=True) as distribution:
            return distribution.low * (distribution.high / distribution.low) ** place
        case FloatDistribution() as distribution:
            return distribution.low + place * (distribution.high - distribution.low)
    raise AssertionError(name)


def expected(kind: str, optimum: Place, rng: Random) -> dict[str, Prior]:
    places = {
        "right": {name: place + rng.gauss(0, 0.1) for name, place in optimum.items()},
        "wrong": {name: (place + 0.5) % 1 for name, place in optimum.items()},
        "none": {},
    }[kind]
    return {
        name: Prior(SPACE[name], value_at(name, place), SPREAD) for name, place in places.items()
    }


def regrets(kind: str, function: str, seed: int) -> list[float]:
    """Of the best trial after each of `CHECKS`."""
    rng = Random(f"{function} {seed}")
    optimum = {name: rng.random() for name in SPACE}
    optimum["batch_size"] = rng.choice([0.0, 0.5, 1.0])
    weights = {name: 3 ** rng.uniform(-2, 1) for name in SPACE}
    sampler: BaseSampler = LongStudyTPE(
        TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    )
    if priors := expected(kind, optimum, rng):
        sampler = NearPriors(sampler, priors, seed)
    study = optuna.create_study(sampler=sampler)
    found: list[tuple[float, float]] = []
    for _ in range(max(CHECKS)):
        trial = study.ask()
        point = {name: suggest(trial, name, kind) for name, kind in SPACE.items()}
        away = {name: place_of(name, value) - optimum[name] for name, value in point.items()}
        regret = FUNCTIONS[function](away, weights)
        told = regret + rng.gauss(0, NOISE)
        study.tell(trial, told)
        found.append((told, regret))
    return [min(found[:number])[1] for number in CHECKS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cases = [(function, seed) for function in FUNCTIONS for seed in range(seeds)]
    without = [regrets("none", *case) for case in cases]
    print(f"{len(cases)} searches      " + "".join(f"after {n:<13}" for n in CHECKS))
    print(f"{'no prior':18}" + "".join(map(mean_and_error, zip(*without, strict=True))))
    for kind in ("right", "wrong"):
        runs = [regrets(kind, *case) for case in cases]
        pairs = zip(runs, without, strict=True)
        more = [[one - other for one, other in zip(*pair, strict=True)] for pair in pairs]
        print(f"{kind + ' prior':18}" + "".join(map(mean_and_error, zip(*runs, strict=True))))
        print(f"{'  more than none':18}" + "".join(map(mean_and_error, zip(*more, strict=True))))


def mean_and_error(column: Sequence[float]) -> str:
    error = statistics.stdev(column) / math.sqrt(len(column))
    return f"{statistics.fmean(column):7.4f} ± {error:.4f}   "


if __name__ == "__main__":
    main()
