"""What the search costs beside training: per trial, per rejected point, in idle workers, in memory.

    python benchmarks/search_speed.py [overhead] [rejects] [refill] [memory]

Runs the real command in temporary folders; no argument means all four, about 4 minutes on two
idle cores. `refill` has the stock Optuna sweeper with the joblib launcher beside it.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

SEARCH = ["-m", "hydra/sweeper=search", "hydra.sweeper.study_name=study"]
DIGITS = ["data=digits", "model=ds_cnn_v3_code", "trainer.threads=1"]
LR = "optimizer.lr=tag(log,interval(0.001,0.1))"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mnist_sweep", *arguments]


def run(folder: Path, *arguments: str, expect: int = 0) -> str:
    done = subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def spans(sweep_dir: Path) -> pd.DataFrame:
    """When each trial's run began (Hydra's files) and ended (result.json), in seconds."""
    rows = [
        (
            (result.parent / ".hydra" / "overrides.yaml").stat().st_mtime,
            result.stat().st_mtime,
        )
        for result in sweep_dir.glob("*/result.json")
    ]
    return pd.DataFrame(sorted(rows), columns=["start", "end"])


def overhead() -> None:
    """100 trials of almost no training on two workers; the first ten warm them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny = [
            "trainer.epochs=1",
            "trainer.limit_train=16",
            "trainer.limit_val=16",
            "trainer.limit_test=16",
        ]
        size = ["hydra.sweeper.n_trials=110", "hydra.sweeper.n_jobs=2"]
        run(folder, *SEARCH, *DIGITS, *tiny, *size, LR)
        sweep_dir = folder / "multirun" / "study"
        warm = spans(sweep_dir).sort_values("end").iloc[10:]
        wall = warm.end.max() - warm.end.min()
        trained = pd.read_csv(sweep_dir / "results.csv").train_seconds.tail(len(warm)).mean()
        each = wall / (len(warm) - 1)
        print(f"overhead: {each:.3f} s a trial, of which {trained / 2:.3f} s training (limit 0.15)")
        print(f"          {2 * each - trained:.3f} s of a worker's time a trial beyond training")


def rejects() -> None:
    """1,000 points over budget, counted and told to the sampler."""
    for sampler in ("random", "tpe", "tpe_multivariate"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            out = run(
                folder,
                "-m",
                "sweep=arch_20k",
                f"hydra/sweeper/sampler={sampler}",
                "hydra.sweeper.study_name=study",
                "hydra.sweeper.budget=reject",
                "hydra.sweeper.max_rejected=1000",
                "budget.max_params=100",
                "data=digits",
                expect=2,
            )
            assert "no point among 1000 proposals" in out, out
            rows = pd.read_csv(folder / "multirun" / "study" / "results.csv")
            assert len(rows) == 1000 and set(rows.status) == {"infeasible"}
            journal = (folder / "multirun" / "study" / "study.journal").read_text()
            times = pd.to_datetime(re.findall(r'"datetime_(?:start|complete)":"([^"]+)"', journal))
            seconds = (times.max() - times.min()).total_seconds()
            print(f"rejects:  1,000 with sampler={sampler} in {seconds:.1f} s (limit 10)")


def refill() -> None:
    """16 trials of 2 to 32 epochs on two workers: how long each worker waits."""
    epochs = "trainer.epochs=" + ",".join(str(2 * n) for n in range(1, 17))
    grid = ["hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=16"]
    ours = [*SEARCH, *DIGITS, epochs, *grid]
    stock = [
        "-m",
        "hydra/sweeper=optuna",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.direction=maximize",
        "hydra.sweep.dir=multirun/study",
        *DIGITS,
        epochs,
        *grid,
    ]
    for what, arguments in (("search", ours), ("stock", stock)):
        with tempfile.TemporaryDirectory() as name:
            run(Path(name), *arguments)
            runs = spans(Path(name) / "multirun" / "study")
        starts, ends = runs.start.tolist(), runs.end.tolist()
        begin, last_start, end = min(starts), max(starts), max(ends)
        free = [begin, begin]
        busy, busy_before_last = [0.0, 0.0], [0.0, 0.0]
        for run_start, run_end in zip(starts, ends, strict=True):
            worker = free.index(min(free))
            free[worker] = run_end
            busy[worker] += run_end - run_start
            busy_before_last[worker] += min(run_end, last_start) - run_start
        idle = [1 - seconds / (end - begin) for seconds in busy]
        waiting = [1 - seconds / (last_start - begin) for seconds in busy_before_last]
        print(
            f"refill:   {what:<6} workers idle {idle[0]:.1%} and {idle[1]:.1%} of "
            f"{end - begin:.0f} s (limit 10 %); {waiting[0]:.1%} and {waiting[1]:.1%} "
            "while trials were left to start"
        )


def memory() -> None:
    """Private memory of each worker, at its peak, training the default recipe on what is there."""
    with tempfile.TemporaryDirectory() as name:
        arguments = ["model=ds_cnn", "trainer.epochs=1", "trainer.limit_train=6000", LR]
        size = ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
        process = subprocess.Popen(
            command(*SEARCH, *arguments, *size), cwd=name, stdout=subprocess.DEVNULL
        )
        peaks: dict[int, float] = {}
        while process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                try:
                    if child.memory_info().rss > 100e6:  # not the resource tracker
                        private = child.memory_full_info().uss / 1e6
                        peaks[child.pid] = max(peaks.get(child.pid, 0.0), private)
                except psutil.Error:
                    continue
            time.sleep(0.1)
    shown = ", ".join(f"{peak:.0f}" for peak in sorted(peaks.values()))
    print(f"memory:   private MB of the workers and of the server they are forked from: {shown}")


def main() -> None:
    parts = {"overhead": overhead, "rejects": rejects, "refill": refill, "memory": memory}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for part in sys.argv[1:] or parts:
        parts[part]()


if __name__ == "__main__":
    main()
