"""What `hydra.sweeper.warm_start` and `hydra.sweeper.patience` are worth in a real, small search.

    MNIST_SWEEP_DATA=... python benchmarks/search_warm_start.py --seeds 0 2 100

A search of a recipe (five parameters, a net of 4,538 parameters, 600 images of MNIST, 2,000 for
validation), one process, one thread: for each seed of the sampler one of 100 trials, `cold`, and
one of 50, `warm`, which is told of the next seed's `cold`. Shown are the trials after which `cold`
had its best, and `warm` one as good (also as good but for the standard error), and where a patience
would have ended `cold`. What is in the folder is not trained again.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.patience import standstill
from mnist_sweep.search.study.attributes import is_finished
from mnist_sweep.search.study.storage import open_storage

ACCURACY = Objectives(("val_acc",), ("maximize",))
LIMITS = (10, 20, 30)

TRAINING = (
    *("data=mnist", "model=ds_cnn_v3_code", "optimizer=adamw", "trainer.epochs=2"),
    *("trainer.limit_train=600", "trainer.limit_val=2000", "trainer.limit_test=100"),
    *("trainer.fade_out=0", "trainer.checkpoint_every=0"),
)
SPACE = (
    "optimizer.lr=tag(log,interval(0.001,0.3))",
    "optimizer.weight_decay=tag(log,interval(0.001,0.3))",
    "augmentation.affine.strength=interval(0.0,2.0)",
    "trainer.label_smoothing=interval(0.0,0.2)",
    "trainer.batch_size=choice(8,16,32,64)",
)


def search(folder: Path, name: str, seed: int, trials: int, *more: str) -> list[FrozenTrial]:
    """Its finished trials, in the order in which they ended. seed: of the sampler."""
    command = [sys.executable, "-m", "mnist_sweep", "-m", "hydra/sweeper=search"]
    command += [f"hydra.sweeper.study_name={name}", f"hydra.sweeper.sampler.seed={seed}"]
    command += [f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.n_jobs=1"]
    command += ["hydra.sweeper.patience=1000"]  # for the standard errors
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, *TRAINING, *SPACE, *more],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    storage = open_storage(None, folder / "multirun" / name)
    study = optuna.load_study(study_name=name, storage=storage)
    return list(filter(is_finished, study.get_trials(deepcopy=False)))


def reaching(trials: list[FrozenTrial], value: float) -> str:
    """Number of trials up to the first one that is as good."""
    reached = [n for n, trial in enumerate(trials, start=1) if trial.values[0] >= value]
    return str(reached[0]) if reached else f"over {len(trials)}"


def ended(trials: list[FrozenTrial], patience: int) -> int:
    """Number of trials at which it ends."""
    for number in range(patience, len(trials)):
        if standstill(trials[:number], ACCURACY).trials >= patience:
            return number
    return len(trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 2, 100])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/searches"))
    arguments = parser.parse_args()
    seeds, trials, folder = arguments.seeds, arguments.trials, arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cold = {seed: search(folder, f"cold_{seed}", seed, trials) for seed in seeds}
    for seed, other in zip(seeds, [*seeds[1:], seeds[0]], strict=True):
        told = f"hydra.sweeper.warm_start=cold_{other}"
        show(seed, cold[seed], search(folder, f"warm_{seed}", seed, trials // 2, told))


def show(seed: int, without: list[FrozenTrial], with_: list[FrozenTrial]) -> None:
    best = max(trial.values[0] for trial in without)
    noise = standstill(without, ACCURACY).noise
    print(f"seed {seed}: best of cold {best:.4f}, standard error {noise:.4f}")
    for words, value in (("its best", best), ("but for the standard error", best - noise)):
        print(f"  {words}: cold {reaching(without, value)}, warm {reaching(with_, value)} trials")
    print(f"  best of warm {max(trial.values[0] for trial in with_):.4f}")
    for limit in LIMITS:
        number = ended(without, limit)
        loss = best - max(trial.values[0] for trial in without[:number])
        print(
            f"  patience {limit}: cold ends after {number}, its best worse by {loss:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
