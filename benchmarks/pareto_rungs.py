"""A search for a front, with rungs and without, at equal compute: which finds the larger one.

    python benchmarks/pareto_rungs.py [--seeds 0 1 2] [--trials 20] [--rungs 1 3]
                                      [--limit-train 2000] [--keep FOLDER]

Both are the real `sweep=pareto` on that many training images, one worker, for each seed of the
sampler. Without rungs every trial is trained for the last rung's epochs. Compute is epochs (times
the same images): the search with rungs counts as far as it has trained for as many epochs as the
other. Compared are the completed trials' fronts of `val_acc` against parameters, by hypervolume,
in shares of the whole from the reference point (accuracy 0.5, 20,000 parameters) to (1, 100), with
parameters on a logarithmic scale.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mnist_sweep.dominance import non_dominated

WORST = (0.5, 20_000)
BEST = (1.0, 100)


class Found(NamedTuple):
    epochs: int
    trials: int
    completed: int
    on_front: int
    hypervolume: float


def hypervolume(runs: pd.DataFrame) -> tuple[float, int]:
    """Of the front of these runs, and how many are on it."""
    accuracy = (runs.val_acc - WORST[0]) / (BEST[0] - WORST[0])
    small = np.log(WORST[1] / runs.num_params) / math.log(WORST[1] / BEST[1])
    points = np.stack([accuracy, small], axis=1)
    front = points[non_dominated(points)]
    volume = right = 0.0
    for x, y in sorted(front.clip(0, 1).tolist()):  # from the least accurate on each adds a strip
        volume, right = volume + max(0.0, x - right) * y, max(right, x)
    return volume, len(front)


def search(folder: Path, name: str, seed: int, options: argparse.Namespace, *more: str) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "mnist_sweep", "-m", "sweep=pareto", "data=mnist"),
            *(f"hydra.sweeper.study_name={name}", f"hydra.sweeper.sampler.seed={seed}"),
            *("hydra.sweeper.n_jobs=1", f"trainer.limit_train={options.limit_train}"),
            *(
                "trainer.limit_test=100",
                "trainer.limit_val=2000",
                f"trainer.epochs={options.rungs[-1]}",
                *more,
            ),
        ],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def found(folder: Path, rungs: list[int] | None, epochs: int, each: int) -> Found:
    """Of a search, as far as it had trained for so many epochs. each: of a trial without rungs."""
    runs = pd.read_csv(folder / "results.csv")
    runs = runs[runs.status.isin(["completed", "pruned"])].sort_values("trial")
    if rungs is None:
        runs["cost"] = each
    else:
        runs["cost"] = [sum(rung for rung in rungs if rung <= last) for last in runs.rung]
    runs = runs[runs.cost.cumsum() <= epochs]
    completed = runs[runs.status == "completed"]
    volume, on_front = hypervolume(completed)
    return Found(int(runs.cost.sum()), len(runs), len(completed), on_front, volume)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=20, help="without rungs")
    parser.add_argument("--rungs", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--limit-train", type=int, default=2000)
    parser.add_argument("--keep", type=Path, help="a folder for the searches, gone on with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        compare(options.keep or Path(temporary), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rungs, each = options.rungs, options.rungs[-1]
    budget = options.trials * each
    # Each rung takes about as many epochs as the first one does.
    more = math.ceil(1.2 * budget / (len(rungs) * rungs[0]))
    print("seed search   epochs trials completed front  volume")
    volumes: dict[str, list[float]] = {"plain": [], "rungs": []}
    for seed in options.seeds:
        search(folder, f"plain_{seed}", seed, options, f"hydra.sweeper.n_trials={options.trials}")
        text = f"hydra.sweeper.rungs=[{','.join(map(str, rungs))}]"
        search(folder, f"rungs_{seed}", seed, options, f"hydra.sweeper.n_trials={more}", text)
        for name, used in (("plain", None), ("rungs", rungs)):
            result = found(folder / "multirun" / f"{name}_{seed}", used, budget, each)
            volumes[name].append(result.hypervolume)
            print(
                f"{seed:4} {name:8}{result.epochs:7}{result.trials:7}{result.completed:10}"
                f"{result.on_front:6}{result.hypervolume:8.4f}",
                flush=True,
            )
    difference = np.subtract(volumes["rungs"], volumes["plain"])
    spread = difference.std(ddof=1) if len(difference) > 1 else math.nan
    print(f"rungs less plain: {difference.mean():+.4f}, sd {spread:.4f} (n={len(difference)})")


if __name__ == "__main__":
    main()
