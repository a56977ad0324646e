"""README, CONTRIBUTING and docs/: every command runs, every file, name, link and figure is true.

Commands run as they stand, one after another in a folder a page, but for two things: what would
take long is made small (`small`), and what stands for something of the reader's own is a real
thing that was made before (`filled_in`).
"""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.paths import CONF
from mnist_sweep.profile import profile
from tests.conftest import Cli, choices, cli_in, make_experiment, read_table, start
from tests.pages import (
    PAGES,
    ROOT,
    Command,
    Page,
    dead_links,
    read_page,
    table_after,
)

A_SERVER = "serves until it is stopped"
PIP = "installs; .ci/run does the same"
IDLE_MACHINE = "measures for minutes, on an idle machine"
ALL_TESTS = "this very suite"
NOT_RUN = {
    "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -q -e . "
    "&& .venv/bin/python -m mnist_sweep": PIP,
    "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -q -e '.[dev]' "
    "&& .venv/bin/python -m pytest": PIP,
    "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -e '.[dev]'": PIP,
    "python3 -m pip --python .venv install -e '.[joblib]'": PIP,
    "python3 -m pip --python .venv install -e '.[joblib,submitit,ray]'": PIP,
    "python3 -m pip --python .venv install -e '.[export,tensorboard,mlflow,wandb,dashboard]'": PIP,
    "source .venv/bin/activate": "there is no .venv here",
    'eval "$(mnist-sweep -sc install=bash)"': "of the reader's shell",
    "mnist-sweep model=<Tab>": "a key of the reader's shell",
    "export MNIST_SWEEP_DATA=...": "of the reader's shell",
    ".venv/bin/python -m pytest": ALL_TESTS,
    ".venv/bin/python -m pytest -m slow": ALL_TESTS,
    "pytest -m slow -k single_change": ALL_TESTS,
    ".venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy": "as in .ci/run",
    "python benchmarks/training_speed.py": IDLE_MACHINE,
    "python benchmarks/search_speed.py": IDLE_MACHINE,
    "python benchmarks/report_speed.py": IDLE_MACHINE,
    "tensorboard --logdir outputs": A_SERVER,
    "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri outputs/mlruns": A_SERVER,
    "optuna-dashboard multirun/arch_20000/study.journal": A_SERVER + ": tests/test_dashboard.py",
    "wandb sync outputs/<day>/<time>/wandb/latest-run": "sends a run to the web",
}
"""Command -> why no test runs it. Its files and extras are looked at nevertheless."""

SLOW = (
    "hydra/launcher=joblib",  # starts processes that import torch
    "mnist_sweep.export",  # imports ONNX
)
"""What marks a command that runs with `-m slow` only."""

SMALL = ("data=digits", "trainer.epochs=2", "trainer.limit_train=128", "trainer.limit_val=100")
STUDY = "multirun/arch_20000"
STUDY_TRIALS = 3

TARGETS_OF_PAGES = "my_nets.* my_parts.*"


# The folder that a page's commands run in


@pytest.fixture(scope="module")
def made_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of any one page may have already: runs, one of them cut short, and sweeps."""
    folder = tmp_path_factory.mktemp("made_before")
    cli = cli_in(folder)
    search = ["hydra.sweeper.n_jobs=1", f"hydra.sweeper.n_trials={STUDY_TRIALS}"]
    for arguments in (
        ["-m", "model=ds_cnn,ds_cnn_v3_code", "seed=0,1", "hydra.sweep.dir=outputs/seeds"],
        ["-m", "protocol=final", "seed=0,1"],
        ["-m", "experiment=ds_cnn_v1,ds_cnn_v2", "hydra.sweep.dir=multirun/reference"],
        ["-m", "sweep=arch_20k", *search],
    ):
        done = cli(*arguments, *SMALL)
        assert done.returncode == 0, done.stderr
    cut_short(folder)
    return folder


def cut_short(folder: Path) -> None:
    """A run of 60 epochs, interrupted after a few."""
    run_dir = folder / "outputs" / "cut_short"
    outputs = [str(folder / "stdout"), str(folder / "stderr")]
    for output in outputs:
        Path(output).touch()
    arguments = [*SMALL, "trainer.epochs=60", f"hydra.run.dir={run_dir.relative_to(folder)}"]
    process = start(folder, "mnist_sweep", arguments, outputs)
    while process.is_alive() and not (run_dir / "checkpoint.pt").exists():
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 130, Path(outputs[1]).read_text()


def filled_in(word: str, folder: Path, runs: list[str]) -> str:
    """An argument with the real thing for its placeholder. runs: used up from the front."""
    if word == "RUN":
        return runs.pop(0)
    if word == "arch_20000/37":
        return "arch_20000/0"
    word = word.replace("outputs/<day>/<time>", "outputs/cut_short")
    return word.replace("postgresql+psycopg://user:password@host/database", "sqlite:///study.db")


def small(command: Command, folder: Path) -> list[str]:
    """What is appended to a command that trains. A search has one worker, which starts nothing."""
    words = command.arguments
    if command.module != "mnist_sweep" or any(word.startswith("resume=") for word in words):
        return []
    if "-m" not in words or not is_search(words, folder):
        return list(SMALL)
    trials = STUDY_TRIALS + (2 if "hydra.sweeper.n_trials" in command.text else 1)
    return [*SMALL, "hydra.sweeper.n_jobs=1", f"hydra.sweeper.n_trials={trials}"]


def is_search(words: list[str], folder: Path) -> bool:
    chosen = [word for word in words if word.startswith(("sweep=", "hydra/sweeper="))]
    return "SearchSweeper" in composed(folder, *chosen).hydra.sweeper._target_


def composed(folder: Path, *overrides: str) -> DictConfig:
    """Hydra's own keys are there, too; the reader's own choices are those of `mine`."""
    mine = folder / "mine"
    path = [f"hydra.searchpath=[file://{mine}]"] if mine.is_dir() else []
    with initialize_config_dir(str(CONF)):
        return compose("config", [*path, *overrides], return_hydra_config=True)


# Commands


def problems_of_commands(page: Page, folder: Path, is_slow: bool) -> list[str]:
    """folder: gets what the commands write."""
    problems = []
    for fence in page.fences:
        if fence.file is not None:
            (folder / fence.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / fence.file).write_text(fence.text, encoding="utf-8")
    for command in page.commands:
        if command.text in NOT_RUN:
            continue
        if any(mark in command.text for mark in SLOW) == is_slow:
            problems += problems_of_command(command, folder)
    return problems


def problems_of_command(command: Command, folder: Path) -> list[str]:
    if command.module is None:
        return [f"{command.text}: neither run nor in NOT_RUN"]
    runs = [of_model(folder, "ds_cnn"), of_model(folder, "ds_cnn_v3_code")]
    words = [filled_in(word, folder, runs) for word in command.arguments]
    began = time.time()
    done = cli_in(folder)(
        *words, *small(command, folder), module=command.module, **command.variables
    )
    print(round(time.time() - began, 2), command.text[:90])
    if done.returncode != 0:
        return [f"{command.text}: {done.stderr.strip()}"]
    written = [word for option, word in zip(words, words[1:], strict=False) if option == "-o"]
    return [f"{command.text}: wrote no {file}" for file in written if not (folder / file).exists()]


def of_model(folder: Path, model: str) -> str:
    """The id of a run that is over."""
    table = read_table(folder)
    return str(table[(table.model == model) & (table.status == "completed")].run_id.iloc[0])


def problems_of_snippets(page: Page, folder: Path) -> list[str]:
    problems = []
    for fence in page.fences:
        if fence.language == "python" and fence.file is None:
            (folder / "snippet.py").write_text(fence.text, encoding="utf-8")
            done = cli_in(folder)(module="snippet")
            if done.returncode != 0:
                problems.append(f"{fence.text}: {done.stderr.strip()}")
    return problems


def folder_of(tmp_path: Path, made_before: Path) -> Path:
    folder = tmp_path / "page"
    shutil.copytree(made_before, folder, symlinks=True)
    return folder


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_and_snippet_of_a_page_runs(
    path: Path, made_before: Path, tmp_path: Path
) -> None:
    page, folder = read_page(path), folder_of(tmp_path, made_before)
    problems = problems_of_commands(page, folder, is_slow=False)
    problems += problems_of_snippets(page, folder)
    assert not problems, "\n".join(problems)


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_slow_command_of_a_page_runs(path: Path, made_before: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, made_before)
    problems = problems_of_commands(read_page(path), folder, is_slow=True)
    assert not problems, "\n".join(problems)


def test_each_command_that_is_not_run_stands_in_a_page() -> None:
    standing = {command.text for path in PAGES for command in read_page(path).commands}
    assert set(NOT_RUN) - standing == set()
