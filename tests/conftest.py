"""What several tests share: the real command line, the real MNIST where it is, composed configs."""

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import execution_whitelist
from omegaconf import DictConfig

from mnist_sweep.config import resolved
from mnist_sweep.config_roots import register_recipes
from mnist_sweep.experiment import Experiment, to_experiment
from mnist_sweep.identity import config_hash
from mnist_sweep.paths import CONF
from mnist_sweep.whitelist import TARGETS
from tests.browser import chromium

torch.set_num_threads(1)
register_recipes()
os.environ["OMP_NUM_THREADS"] = "1"  # of all processes to come

# A run of a second: digits, a handful of steps.
TINY = ["data=digits", "debug=fast", "trainer.limit_train=128"]
TINY += ["trainer.limit_val=100", "trainer.limit_test=100"]

Cli = Callable[..., "Done"]


def choices(group: str) -> list[str]:
    """The names of a config group's files, without those that only an experiment uses."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def make_config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF)):
        return compose("config", list(overrides))


def make_whole_config(*overrides: str) -> DictConfig:
    """With Hydra's own keys."""
    with initialize_config_dir(str(CONF)):
        return compose("config", list(overrides), return_hydra_config=True)


def make_experiment(*overrides: str) -> Experiment:
    with execution_whitelist(TARGETS):
        return to_experiment(resolved(make_config(*overrides)))


def hash_of(cfg: DictConfig) -> str:
    return config_hash(resolved(cfg))


def environment(**extra: str) -> dict[str, str]:
    """One thread, no data of the developer's, no terminal's width."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("COLUMNS", "HYDRA_FULL_ERROR", "MNIST_SWEEP_DATA")
    }
    return {**kept, "OMP_NUM_THREADS": "1", **extra}


@dataclass(frozen=True)
class Done:
    returncode: int | None
    stdout: str
    stderr: str


# Starting Python and importing torch takes most of a command's time, so the commands here are
# children of one process that has imported it, as a search's own workers are.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mnist_sweep.search.assembly", __name__, "sklearn.datasets"])


def be_the_command(
    module: str, folder: Path, outputs: list[str], arguments: list[str], extra: dict[str, str]
) -> None:
    """`python -m <module>`, but for the start of Python. outputs: files, of stdout and stderr."""
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests are under nohup
    sys.path.insert(0, "")
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    env = environment(**extra)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *arguments]
    for name in ("mnist_sweep.cli", "mnist_sweep.whitelist"):  # read the environment when imported
        sys.modules.pop(name, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def start(
    folder: Path, module: str, arguments: Sequence[str], outputs: Sequence[str], **extra: str
) -> ForkServerProcess:
    """Begins `python -m <module> <arguments>` in the folder; outputs as of `be_the_command`."""
    process = SERVER.Process(
        target=be_the_command,
        args=(module, folder, list(outputs), list(arguments), extra),
        daemon=False,
    )
    process.start()
    return process


def cli_in(folder: Path) -> Cli:
    """`call("model=ds_cnn", ...)` is `python -m mnist_sweep model=ds_cnn ...` in the folder."""

    def call(*arguments: str, module: str = "mnist_sweep", **extra: str) -> Done:
        with NamedTemporaryFile("r") as stdout, NamedTemporaryFile("r") as stderr:
            process = start(folder, module, arguments, [stdout.name, stderr.name], **extra)
            process.join(240)
            process.kill()
            return Done(process.exitcode, stdout.read(), stderr.read())

    return call


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`cli_in` an empty folder."""
    return cli_in(tmp_path)


def new_python_in(folder: Path) -> Cli:
    """`cli_in` a Python of its own: for what that reads at its start, and for launchers' pools."""

    def call(*arguments: str, module: str = "mnist_sweep", **extra: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=environment(**extra),
            capture_output=True,
            text=True,
            timeout=240,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def new_python(tmp_path: Path) -> Cli:
    """`new_python_in` an empty folder."""
    return new_python_in(tmp_path)


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="session")
def search_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that is made but once, for its search takes a while."""
    from tests.report_page import page_of_a_search

    return page_of_a_search(tmp_path_factory.mktemp("search"))
