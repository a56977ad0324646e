"""What several tests share: the real command line, the real MNIST where it is, composed configs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import execution_whitelist
from omegaconf import DictConfig

from mnist_sweep.configs import CONF, RECIPE_PARTS, TARGETS
from mnist_sweep.experiment import Experiment, to_experiment

torch.set_num_threads(1)

# A run of a second: digits, a handful of steps.
TINY = ["data=digits", "debug=fast", "trainer.limit_train=128", "trainer.limit_val=100"]

Cli = Callable[..., subprocess.CompletedProcess[str]]


def choices(group: str) -> list[str]:
    """The names of a config group's files, without those that only an experiment uses."""
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return [name for name in names if not name.startswith(RECIPE_PARTS)]


def make_config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF)):
        return compose("config", list(overrides))


def make_experiment(*overrides: str) -> Experiment:
    with execution_whitelist(TARGETS):
        return to_experiment(make_config(*overrides))


def environment(**extra: str) -> dict[str, str]:
    """One thread, no data of the developer's, no terminal's width."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("COLUMNS", "HYDRA_FULL_ERROR")
    }
    return {**kept, "MNIST_SWEEP_DATA": "no-data-here", "OMP_NUM_THREADS": "1", **extra}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`cli("model=ds_cnn", ...)` runs `python -m mnist_sweep` in an empty folder."""

    def call(
        *arguments: str, module: str = "mnist_sweep", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env=environment(**extra),
            capture_output=True,
            text=True,
            timeout=240,
        )

    return call


def read_table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "outputs" / "results.csv")


def read_result(run_dir: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run_dir / "result.json").read_text())
    return result


@pytest.fixture
def mnist_root() -> str:
    """The folder with the real MNIST; skips where there is none."""
    root = os.environ.get("MNIST_SWEEP_DATA", "data")
    if not (Path(root) / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        pytest.skip("no real MNIST here: set MNIST_SWEEP_DATA to the folder that holds MNIST/raw")
    return str(Path(root).resolve())
