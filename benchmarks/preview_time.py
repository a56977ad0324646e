"""The time and memory that a preview expects, beside what its search then takes.

    python benchmarks/preview_time.py [grid] [recipe] [arch]

Runs the real command in temporary folders, on MNIST where MNIST_SWEEP_DATA has it: first with
`hydra.sweeper.preview=true`, then without. No argument means all three sweeps, some 15 minutes on
two cores. The load of the machine stands in each line, for a preview measures what is left of it.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEPS = {
    "grid": [
        *("hydra/sweeper=search", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=1000"),
        *("model=ds_cnn,rf_cnn,ds_cnn_v3_code", "optimizer=sgd,soap", "trainer.batch_size=64,256"),
        *("trainer.epochs=1", "trainer.limit_train=10000", "hydra.sweeper.study_name=grid"),
    ],
    "recipe": [
        *("sweep=recipe", "model=ds_cnn", "hydra.sweeper.n_trials=8", "trainer.limit_train=5000"),
        "hydra.sweeper.study_name=recipe",
    ],
    "arch": [
        *("sweep=arch_20k", "hydra.sweeper.n_trials=8", "trainer.limit_train=10000"),
        *("trainer.epochs=4", "hydra.sweeper.study_name=arch"),
    ],
}


def run(folder: Path, *arguments: str) -> tuple[str, float]:
    """What the command prints, and its seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "mnist_sweep", "-m", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, time.perf_counter() - start


def seconds_of(text: str) -> float:
    """Of `1 h 02 min`, `3 min 05 s`, `42 s`."""
    units = {"h": 3600, "min": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+) (h|min|s)\b", text))


def compare(name: str) -> None:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shown, preview_s = run(folder, *SWEEPS[name], "hydra.sweeper.preview=true")
        text = " ".join(shown[shown.index("\ntime ") :].split())
        found = re.search(r"time (?:about )?(.*?)(?: to (.*?))? with", text)
        assert found is not None, text
        low, high = seconds_of(found[1]), seconds_of(found[2] or found[1])
        memory = re.search(r"about ([\d.]+) GB", text)
        assert memory is not None
        _, real_s = run(folder, *SWEEPS[name])
    verdict = "within" if low <= real_s <= high else "OUTSIDE"
    print(
        f"{name:<8}preview {preview_s:5.1f} s: {found[1]} to {found[2]}, {memory[1]} GB; "
        f"took {real_s:.0f} s: {verdict} (load {load:.1f} before, {os.getloadavg()[0]:.1f} after)",
        flush=True,
    )


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SWEEPS:
        compare(chosen)
