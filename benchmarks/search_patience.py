"""What `hydra.sweeper.patience` saves, against a fixed number of trials, and what it costs.

    python benchmarks/search_patience.py --seeds 20

Objectives are functions in the place of a training, as in search_priors.py. A search of 100 trials
is stopped where each patience would have stopped it; shown are the trials that it had then, and how
much worse its best is than that of all 100, noise left out, in units of the noise.
"""

import argparse
import math
import statistics
import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from search_priors import FUNCTIONS, NOISE, SPACE, place_of

from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.optuna_private import suggest
from mnist_sweep.search.patience import standstill
from mnist_sweep.search.points.long_study import LongStudyTPE

TRIALS = 100
LIMITS = (10, 15, 20, 30, 40)


def searched(function: str, seed: int) -> list[tuple[FrozenTrial, float]]:
    """The trials, with their regrets."""
    rng = Random(f"{function} {seed}")
    optimum = {name: rng.random() for name in SPACE}
    weights = {name: 3 ** rng.uniform(-2, 1) for name in SPACE}
    sampler = LongStudyTPE(TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True))
    study = optuna.create_study(sampler=sampler)
    regrets = []
    for _ in range(TRIALS):
        trial = study.ask()
        point = {name: suggest(trial, name, kind) for name, kind in SPACE.items()}
        away = {name: place_of(name, value) - optimum[name] for name, value in point.items()}
        regrets.append(FUNCTIONS[function](away, weights))
        trial.set_user_attr("standard_error", NOISE)
        study.tell(trial, regrets[-1] + rng.gauss(0, NOISE))
    trials = study.get_trials()
    for number, ended in enumerate(trials):  # in their order, whatever the clock says
        ended.datetime_complete = datetime(2026, 1, 1) + timedelta(seconds=number)
    return list(zip(trials, regrets, strict=True))


def stop(trials: list[FrozenTrial], limit: int) -> int:
    """So many trials there are when the search ends."""
    objectives = Objectives(("val_loss",), ("minimize",))
    for number in range(limit, len(trials)):
        if standstill(trials[:number], objectives).trials >= limit:
            return number
    return len(trials)


def best(found: list[tuple[FrozenTrial, float]]) -> float:
    """The regret of the trial that looks best."""
    return min(found, key=lambda one: one[0].values[0])[1]


def mean_and_error(column: Sequence[float]) -> str:
    error = statistics.stdev(column) / math.sqrt(len(column))
    return f"{statistics.fmean(column):6.2f} ± {error:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    searches = [searched(function, seed) for function in FUNCTIONS for seed in range(seeds)]
    print(f"patience  n    trials (of {TRIALS})    best is worse by (noise = 1)")
    for limit in LIMITS:
        stops = [stop([trial for trial, _ in found], limit) for found in searches]
        losses = [
            (best(found[:number]) - best(found)) / NOISE
            for found, number in zip(searches, stops, strict=True)
        ]
        cells = [mean_and_error(column) for column in (stops, losses)]
        print(f"{limit:8}  {len(searches):3}   {cells[0]:18}   {cells[1]}")


if __name__ == "__main__":
    main()
