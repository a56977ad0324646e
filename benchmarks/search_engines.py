"""What each engine adds to a trial, beside the pool, all in one run.

    python benchmarks/search_engines.py [TRIALS] [ENGINE ...]

The same trials of almost no training, by two workers of each engine (by one where a search trains
in its own process): what a trial takes of a worker's time beyond its training, and how long
workers wait for the next trial, both from the moment on when each worker has had its first.
"""

import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

TRIALS = 60

TINY = ["trainer.epochs=1", *(f"trainer.limit_{part}=16" for part in ("train", "val", "test"))]
SEARCH = [
    *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=study", "data=digits"),
    *("model=ds_cnn_v3_code", "trainer.threads=1", "hydra/sweeper/sampler=random", *TINY),
    "optimizer.lr=tag(log,interval(0.001,0.1))",
]

ENGINES: dict[str, tuple[int, list[str]]] = {
    "inline": (1, ["hydra.sweeper.n_jobs=1"]),
    "pool": (2, ["hydra.sweeper.n_jobs=2"]),
    "joblib": (2, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
    "submitit_local": (2, ["hydra/launcher=submitit_local", "hydra.sweeper.n_jobs=2"]),
    "ray": (2, ["hydra/launcher=ray", "hydra.sweeper.n_jobs=2"]),
    "join": (2, ["hydra.sweeper.n_jobs=0"]),
}
"""Name -> its workers, and the arguments by which a search has it."""

PACKAGES = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}


def rows_of(engine: str, n_trials: int) -> pd.DataFrame:
    """The table of a search with this engine."""
    workers, arguments = ENGINES[engine]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep_dir = folder / "multirun" / "study"
        command = [sys.executable, "-m", "mnist_sweep", *SEARCH, *arguments]
        command += [f"hydra.sweeper.n_trials={n_trials}"]
        search = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        joined = []
        if engine == "join":
            while not (sweep_dir / ".workers" / "invitation.json").exists():
                time.sleep(0.1)
            join = [sys.executable, "-m", "mnist_sweep.sweep", "join", str(sweep_dir)]
            joined = [
                subprocess.Popen(join, cwd=folder, stdout=subprocess.DEVNULL)
                for _ in range(workers)
            ]
        assert search.wait() == 0, engine
        for worker in joined:
            worker.wait()
        rows = pd.read_csv(sweep_dir / "results.csv")
        rows["begin"] = [  # Hydra's own files are the first that a run leaves
            (folder / run_dir / ".hydra" / "overrides.yaml").stat().st_mtime
            for run_dir in rows.run_dir
        ]
        rows["end"] = [(folder / d / "result.json").stat().st_mtime for d in rows.run_dir]
    return rows.sort_values("begin", ignore_index=True)


def measure(engine: str, n_trials: int) -> tuple[float, float, float]:
    """Seconds a trial of a worker's time, of these spent in training, and share of idle time."""
    workers = ENGINES[engine][0]
    rows = rows_of(engine, n_trials)
    warm_at = rows.end.nsmallest(2 * workers).max()  # each has had one, most likely two
    warm = rows[rows.begin >= warm_at]
    # The last ones are left out: near the end there is no further trial to begin.
    warm = warm[warm.begin < warm.begin.max()]
    span = rows.begin.max() - warm.begin.min()
    each = workers * span / len(warm)
    idle = 1 - (warm.end.clip(upper=rows.begin.max()) - warm.begin).sum() / (workers * span)
    return each, warm.train_seconds.mean(), idle


def main() -> None:
    arguments = sys.argv[1:]
    n_trials = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else TRIALS
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {n_trials} trials each")
    print(f"{'engine':<15} s a trial  training  beyond it  idle   beyond the pool's")
    beside: float | None = None
    for engine in arguments or ENGINES:
        if (package := PACKAGES.get(engine)) and find_spec(package) is None:
            print(f"{engine:<15} {package} is not installed")
            continue
        each, training, idle = measure(engine, n_trials)
        beyond = each - training
        beside = beyond if engine == "pool" else beside
        more = "" if beside is None else f"{beyond - beside:+.3f}"
        shown = f"{each:9.3f} {training:9.3f} {beyond:10.3f} {idle:6.1%}   {more}"
        print(f"{engine:<15} {shown}", flush=True)


if __name__ == "__main__":
    main()
