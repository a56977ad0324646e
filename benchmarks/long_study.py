"""Whether TPE that sees a part of a long study finds points as good as with all of it.

    python benchmarks/long_study.py [--trials 3000] [--seeds 5] [--seen 500,1000,all]

Minimizes functions that take no time, over six parameters (one as a recipe's: logarithms, a choice,
noise). Prints the mean over seeds of the best true value, its standard error, and the seconds that
the sampler took.
"""

import argparse
import math
import random
import time
from collections.abc import Callable
from statistics import fmean, stdev

import optuna
from optuna.samplers import TPESampler

from mnist_sweep.search.points import long_study

Function = Callable[[optuna.Trial], float]


def recipe(trial: optuna.Trial) -> float:
    """A bowl in logarithms, tilted, whose place depends on a choice."""
    batch = trial.suggest_categorical("batch_size", [32, 64, 128])
    lr = math.log10(trial.suggest_float("lr", 1e-3, 1, log=True))
    decay = math.log10(trial.suggest_float("weight_decay", 1e-4, 1, log=True))
    strength = trial.suggest_float("strength", 0.0, 2.0)
    smoothing = trial.suggest_float("label_smoothing", 0.0, 0.2)
    horizon = math.log10(trial.suggest_float("ema_horizon", 1e-2, 1, log=True))
    best_lr = -1.5 + 0.3 * math.log2(batch / 64)
    return (
        (lr - best_lr) ** 2
        + 0.3 * (lr + decay + 3) ** 2
        + 0.5 * (strength - 0.8) ** 2
        + 10 * (smoothing - 0.05) ** 2
        + 0.2 * (horizon + 1.2 + 0.2 * strength) ** 2
        + 0.05 * (batch != 64)
    )


def rosenbrock(trial: optuna.Trial) -> float:
    x = [trial.suggest_float(f"x{n}", -2.0, 2.0) for n in range(6)]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:], strict=False))


def best_of(function: Function, noise: float, seen: float, trials: int, seed: int) -> float:
    """The true value of the best point found. noise: standard deviation, as a share of a value."""
    long_study.MOST = seen  # type: ignore[assignment]
    sampler = long_study.LongStudyTPE(TPESampler(seed=seed, multivariate=True))
    study = optuna.create_study(sampler=sampler)
    noises = random.Random(seed)
    true = []
    for _ in range(trials):
        trial = study.ask()
        true.append(function(trial))
        study.tell(trial, true[-1] * (1 + noise * noises.gauss(0, 1)))
    return min(true)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seen", default="500,1000,all")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for function, noise in ((recipe, 0.2), (rosenbrock, 0.0)):
        for text in arguments.seen.split(","):
            seen = math.inf if text == "all" else int(text)
            begin = time.process_time()
            found = [
                best_of(function, noise, seen, arguments.trials, seed)
                for seed in range(arguments.seeds)
            ]
            error = stdev(found) / len(found) ** 0.5
            took = (time.process_time() - begin) / len(found)
            name = f"{function.__name__}, {text} seen"
            print(f"{name:<24} best {fmean(found):.4g} ± {error:.2g}; {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
