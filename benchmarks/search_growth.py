"""What a search costs its controller a trial, and in memory, when its study is long.

    python benchmarks/search_growth.py [--sampler random] [--pruner median | --rungs | --arch]
                                       [--finished 100 1000 10000] [--trials 30]

The search is one of a recipe, whose net is always the same, or with --arch sweep=arch_20k, with its
own sampler and pruner. For each length a study is begun with the real command, filled through
Optuna's own API with trials like its first ones, and gone on with by the real command with two
workers, who train. Counted is the processor time of the controller alone.
"""

import argparse
import copy
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import psutil
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

RUNGS = (1, 3, 9)
WARM = 6
"""Trials that are not counted: workers start, files are opened."""

FIRST = 8
"""Trials of sweep=arch_20k after which the others are made."""

PARENTS = ("model.num_stages",)
"""Parameters that others depend on."""

SPACE = (
    "optimizer.lr=tag(log,interval(0.001,0.1))",
    "optimizer.weight_decay=tag(log,interval(0.0001,0.1))",
    "trainer.batch_size=choice(16,32)",
    "scheduler.warmup=interval(0.1,0.5)",
)


def command(options: argparse.Namespace, n_trials: int, n_jobs: int) -> list[str]:
    short = [
        *("data=digits", "trainer.threads=1", "trainer.epochs=3", "trainer.limit_train=16"),
        *("trainer.limit_val=100", "trainer.limit_test=16", "hydra.sweeper.study_name=study"),
        *(f"hydra.sweeper.n_trials={n_trials}", f"hydra.sweeper.n_jobs={n_jobs}"),
    ]
    if options.arch:
        return [sys.executable, "-m", "mnist_sweep", "-m", "sweep=arch_20k", *short]
    pruning = [f"hydra/sweeper/pruner={options.pruner}"]
    if options.rungs:
        pruning.append(f"hydra.sweeper.rungs={list(RUNGS)}")
    return [
        *(sys.executable, "-m", "mnist_sweep", "-m", "hydra/sweeper=search", *short, *pruning),
        *(f"hydra/sweeper/sampler={options.sampler}", "model=ds_cnn_v3_code"),
        *(*options.argument, *SPACE),
    ]


def drawn(draw: random.Random, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return draw.choice(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return draw.randint(distribution.low, distribution.high)
    assert isinstance(distribution, FloatDistribution)
    return draw.uniform(distribution.low, distribution.high)


def fill(journal: Path, number: int, options: argparse.Namespace) -> None:
    """As many more trials, whose values are near those of nets that learned nothing."""
    backend = JournalFileBackend(str(journal))
    study = optuna.load_study(study_name="study", storage=JournalStorage(backend))
    draw = random.Random(0)
    found = [trial for trial in study.get_trials() if trial.state.is_finished() and trial.params]
    steps = RUNGS if options.rungs else (1, 2, 3)
    is_pruning = options.rungs or options.arch or options.pruner != "none"
    trials = []
    for place in range(number):
        trial = copy.deepcopy(found[place % len(found)])
        kinds = trial.distributions.items()
        trial.params |= {name: drawn(draw, kind) for name, kind in kinds if name not in PARENTS}
        trial.user_attrs["config"] = f"filled {place}"
        is_pruned = is_pruning and place % 3 > 0
        reached = steps[:1] if is_pruned else steps
        trial.intermediate_values = {step: draw.uniform(0.05, 0.15) for step in reached}
        trial.state = TrialState.PRUNED if is_pruned else TrialState.COMPLETE
        values = [draw.uniform(0.05, 0.15) for _ in study.directions]
        trial.values = None if is_pruned else values
        trials.append(trial)
    study.add_trials(trials)


class Mark(NamedTuple):
    """Of a controller after so many trials."""

    rows: int
    cpu_s: float


def ended(table: Path) -> int:
    return max(0, table.read_bytes().count(b"\n") - 1) if table.exists() else 0


class Growth(NamedTuple):
    trial_ms: float
    start_s: float
    peak_mb: float


def measure(finished: int, options: argparse.Namespace) -> Growth:
    memory_disk = Path("/dev/shm")
    where = memory_disk if memory_disk.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        sweep_dir = folder / "multirun" / "study"
        begun = FIRST if options.arch else 1
        start = command(options, begun, 1)
        subprocess.run(start, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        fill(sweep_dir / "study.journal", finished - begun, options)
        n_trials = finished + WARM + options.trials + 2
        process = subprocess.Popen(
            command(options, n_trials, 2), cwd=folder, stdout=subprocess.DEVNULL
        )
        controller = psutil.Process(process.pid)
        marks = [Mark(-1, 0.0)]
        peak = 0.0
        while process.poll() is None:
            try:
                times = controller.cpu_times()
                mark = Mark(ended(sweep_dir / "results.csv"), times.user + times.system)
                peak = max(peak, controller.memory_info().rss / 1e6)
            except psutil.Error:
                break
            if mark.rows > marks[-1].rows:
                marks.append(mark)
            time.sleep(0.01)
        assert process.wait() == 0
    rows = marks[1].rows
    warm = next(mark for mark in marks if mark.rows >= rows + WARM)
    last = next(mark for mark in marks if mark.rows >= warm.rows + options.trials)
    each = (last.cpu_s - warm.cpu_s) / (last.rows - warm.rows)
    first_end = next(mark for mark in marks if mark.rows > rows)
    return Growth(1000 * each, first_end.cpu_s, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sampler", default="random", help="a choice of hydra/sweeper/sampler")
    parser.add_argument("--pruner", default="none", help="a choice of hydra/sweeper/pruner")
    parser.add_argument("--rungs", action="store_true", help=f"hydra.sweeper.rungs={list(RUNGS)}")
    parser.add_argument("--arch", action="store_true", help="sweep=arch_20k as it is")
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--trials", type=int, default=30, help="that are counted")
    parser.add_argument("--argument", action="append", default=[], help="another override")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {' '.join(sys.argv[1:])}")
    first = None
    for finished in options.finished:
        growth = measure(finished, options)
        first = first or growth
        print(
            f"{finished:>6,} finished: {growth.trial_ms:6.1f} ms of the controller's a trial "
            f"({growth.trial_ms / first.trial_ms:.2f} x), {growth.start_s:5.1f} s to its first "
            f"end, {growth.peak_mb:.0f} MB at most ({growth.peak_mb - first.peak_mb:+.0f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
