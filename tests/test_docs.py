"""README, CONTRIBUTING and docs/: each command and each snippet in them runs.

Commands run as they stand, one after another in a folder of their page, but for two things: what
would take long is made small (`small`), and what stands for something of the reader's is a real
thing that was made before (`REAL`, and RUN).
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_sweep.paths import CHECKPOINT
from mnist_sweep.usage import COMMANDS
from tests.conftest import Cli, cli_in, make_whole_config, new_python_in, read_table, start
from tests.pages import PAGES, ROOT, Command, Page, read_page

INSTALLS = "installs; .ci/run does so"
SERVES = "serves until it is stopped"
MEASURES = "measures for minutes, on an idle machine"
THE_SUITE = "these very tests"
OF_A_SHELL = "is for the reader's own shell"
NEEDS_GPUS = "needs GPUs; tests/test_search_gpus.py has it with stubs of them"
ELSEWHERE = "tests/test_search_elsewhere.py, test_search_ray.py, test_search_clusters.py do so"
BY_PROXY = "tests/test_storage_proxy.py does so"
OWN_DATA = "tests/test_own_data.py does so"
NOT_RUN = {
    "python -m mnist_sweep data=npz data.path=shapes.npz model=separable_cnn": OWN_DATA,
    "python -m mnist_sweep data=folder data.path=photos data.image_size=32": OWN_DATA,
    "python -m mnist_sweep data=csv data.path=train.csv": OWN_DATA,
    "python -m mnist_sweep data=emnist data.split=letters": OWN_DATA,
    "python -m mnist_sweep -m sweep=arch_20k data=npz data.path=shapes.npz": OWN_DATA,
    "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -q -e . "
    "&& .venv/bin/python -m mnist_sweep": INSTALLS,
    "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -q -e '.[dev]' "
    "&& .venv/bin/python -m pytest": INSTALLS,
    "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -e '.[dev]'": (
        INSTALLS
    ),
    "python3 -m pip --python .venv install -e '.[joblib]'": INSTALLS,
    "python3 -m pip --python .venv install -e '.[joblib,submitit,ray]'": INSTALLS,
    "python3 -m pip --python .venv install -e '.[export,tensorboard,mlflow,wandb,dashboard]'": (
        INSTALLS
    ),
    "python3 -m pip --python .venv install 'mlflow>=3.17,<4'": INSTALLS,
    "source .venv/bin/activate": OF_A_SHELL,
    "mnist-sweep model=<Tab>": OF_A_SHELL,
    "export MNIST_SWEEP_DATA=...": OF_A_SHELL,
    ".venv/bin/python -m pytest": THE_SUITE,
    ".venv/bin/python -m pytest -m slow": THE_SUITE,
    "pytest -m slow -k single_change": THE_SUITE,
    ".venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy": (
        "is what .ci/run does"
    ),
    "python -m mnist_sweep -m sweep=arch_20k trainer.device=cuda hydra.sweeper.workers_per_gpu=4": (
        NEEDS_GPUS
    ),
    "CUDA_VISIBLE_DEVICES=0,2 python -m mnist_sweep -m sweep=arch_20k trainer.device=cuda": (
        NEEDS_GPUS
    ),
    "python -m mnist_sweep -m sweep=arch_20k hydra.sweeper.preview=true": (
        "takes half a minute; tests/test_search_preview.py has previews"
    ),
    "python benchmarks/training_speed.py": MEASURES,
    "python benchmarks/search_priors.py --seeds 20": MEASURES,
    "python benchmarks/search_patience.py --seeds 10": MEASURES,
    "python benchmarks/search_warm_start.py --seeds 0 2 100": MEASURES,
    "python benchmarks/search_speed.py": MEASURES,
    "python benchmarks/search_engines.py": MEASURES,
    "python benchmarks/report_speed.py": MEASURES,
    "python benchmarks/looking_speed.py": MEASURES,
    "python benchmarks/looking_speed.py --storage sqlite": MEASURES,
    "python benchmarks/preview_time.py": MEASURES,
    "python benchmarks/search_scale.py --workers 100 --trials-each 3": MEASURES,
    "python benchmarks/racing.py --searches 200": MEASURES,
    "python benchmarks/racing.py --searches 1000 --measured benchmarks/racing.csv": MEASURES,
    "python benchmarks/pareto_rungs.py": MEASURES,
    "tensorboard --logdir outputs": SERVES,
    "mlflow ui": SERVES,
    "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri outputs/mlruns": SERVES,
    "optuna-dashboard multirun/arch_20000/study.journal": SERVES,
    "python -m mnist_sweep.sweep serve --storage postgresql+psycopg://user@host/database": SERVES,
    "python -m mnist_sweep -m sweep=arch_20k hydra.sweeper.study_name=shared "
    "hydra.sweeper.storage=grpc://localhost:13000": (BY_PROXY),
    "python -m mnist_sweep.sweep status multirun/shared --storage grpc://localhost:13000": (
        BY_PROXY
    ),
    "python -m mnist_sweep -m sweep=arch_20k "
    "hydra/launcher=submitit_local hydra.sweeper.n_jobs=2": ELSEWHERE,
    "python -m mnist_sweep -m sweep=arch_20k "
    "hydra/launcher=submitit_slurm hydra.sweeper.n_jobs=200 "
    "hydra.launcher.timeout_min=240": ELSEWHERE,
    "python -m mnist_sweep -m sweep=arch_20k hydra/launcher=ray hydra.sweeper.n_jobs=2": (
        ELSEWHERE
    ),
    "python -m mnist_sweep -m sweep=arch_20k hydra.sweeper.n_jobs=0 hydra.sweeper.detach=true": (
        ELSEWHERE
    ),
    "python -m mnist_sweep.sweep join multirun/arch_20000": (ELSEWHERE),
    "python -m mnist_sweep.sweep join --invitation invitation.json": (
        "tests/test_search_unseen.py does so"
    ),
    "python -m mnist_sweep -m sweep=arch_20k hydra.sweeper.detach=true": (ELSEWHERE),
    "python -m mnist_sweep -m sweep=arch_20k hydra.sweeper.detach=on_interrupt": (ELSEWHERE),
    "wandb sync outputs/<day>/<time>/wandb/latest-run": "sends a run to the web",
}
"""Command -> why no test runs it."""

SLOW = (
    "hydra/launcher=joblib",  # starts processes that import torch anew
    "mnist_sweep.export",  # imports ONNX
)
"""What marks a command that runs with `-m slow` alone."""

SMALL: tuple[str, ...] = ("data=digits", "trainer.epochs=2", "trainer.limit_train=128")
SMALL += ("trainer.limit_val=100", "trainer.limit_test=100")
STUDY_TRIALS = 4

REAL = {
    "outputs/<day>/<time>": "outputs/cut_short",
    "arch_20000/37": "arch_20000/0",
    "postgresql+psycopg://user:password@host/database": "sqlite:///study.db",
    "seed=0,1,2": "seed=0",
}
"""What a page says -> what there is here."""


@pytest.fixture(scope="module")
def made_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reader of a page may have already: runs, one of them cut short, and sweeps."""
    folder = tmp_path_factory.mktemp("made_before")
    search = ["hydra.sweeper.n_jobs=1", f"hydra.sweeper.n_trials={STUDY_TRIALS}"]
    for arguments in (
        ["-m", "model=ds_cnn,ds_cnn_v3_code", "seed=0,1"],
        ["-m", "protocol=final", "seed=0,1"],
        ["-m", "experiment=ds_cnn_v1,ds_cnn_v2", "hydra.sweep.dir=multirun/reference"],
        ["-m", "sweep=arch_20k", *search],
    ):
        done = cli_in(folder)(*arguments, *SMALL)
        assert done.returncode == 0, done.stderr
    cut_short(folder)
    (folder / "docs").mkdir()  # as in a clone, whose pictures can be drawn anew
    return folder


def cut_short(folder: Path) -> None:
    """A run of 30 epochs, interrupted after a few."""
    outputs = [folder / "stdout", folder / "stderr"]
    for output in outputs:
        output.touch()
    arguments = [*SMALL, "trainer.epochs=30", "hydra.run.dir=outputs/cut_short"]
    process = start(folder, "mnist_sweep", arguments, list(map(str, outputs)))
    while process.is_alive() and not (folder / "outputs" / "cut_short" / CHECKPOINT).exists():
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 130, outputs[1].read_text()


@pytest.fixture
def folder(made_before: Path, tmp_path: Path) -> Path:
    """A copy of `made_before` for one page."""
    return Path(shutil.copytree(made_before, tmp_path / "page", symlinks=True))


# Commands


def problems_of_commands(page: Page, folder: Path, is_slow: bool) -> Iterator[str]:
    for command in page.commands:
        if command.text in NOT_RUN or any(mark in command.text for mark in SLOW) != is_slow:
            continue
        if command.module is None:
            yield f"{command.text}: neither run nor in NOT_RUN"
            continue
        words = real(command, folder)
        arguments = [*words, *small(command, folder)]
        call = new_python_in(folder) if is_slow else cli_in(folder)
        done = call(*arguments, module=command.module, **command.variables)
        if done.returncode != 0:
            yield f"{command.text}: {done.stderr.strip()}"
        for option, file in zip(words, words[1:], strict=False):
            if option == "-o" and not (folder / file).exists():
                yield f"{command.text}: wrote no {file}"


def real(command: Command, folder: Path) -> list[str]:
    """The command's arguments; the first RUN and the second are of two configurations."""
    runs = read_table(folder)
    ids = [runs[runs.model == model].run_id.iloc[0] for model in ("ds_cnn", "ds_cnn_v3_code")]
    words = []
    for word in command.arguments:
        for said, thing in REAL.items():
            word = word.replace(said, thing)
        words.append(ids.pop(0) if word == "RUN" else word)
    return words


def small(command: Command, folder: Path) -> list[str]:
    """What is appended to a command that trains. A search's one worker needs no new process."""
    words = command.arguments
    takes_none = any(word == "-sc" or word.startswith("resume=") for word in words)
    is_another = words[:1] and words[0] in COMMANDS  # `python -m mnist_sweep report`
    if command.module != "mnist_sweep" or takes_none or is_another:
        return []
    chosen = [word for word in words if word.startswith(("sweep=", "hydra/sweeper="))]
    mine = [f"hydra.searchpath=[file://{folder}/mine]"] if (folder / "mine").is_dir() else []
    sweeper = make_whole_config(*mine, *chosen).hydra.sweeper._target_
    if "SearchSweeper" not in sweeper:
        return [*SMALL]
    trials = STUDY_TRIALS + (2 if "hydra.sweeper.n_trials" in command.text else 1)
    return [*SMALL, "hydra.sweeper.n_jobs=1", f"hydra.sweeper.n_trials={trials}"]


def problems_of_snippets(page: Page, folder: Path) -> Iterator[str]:
    for fence in page.fences:
        if fence.language == "python" and fence.file is None:
            (folder / "snippet.py").write_text(fence.text, encoding="utf-8")
            done = cli_in(folder)(module="snippet")
            if done.returncode != 0:
                yield f"{fence.text}: {done.stderr.strip()}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_and_snippet_of_a_page_runs(path: Path, folder: Path) -> None:
    page = read_page(path)
    page.write_files(folder)
    problems = [*problems_of_commands(page, folder, False), *problems_of_snippets(page, folder)]
    assert not problems, "\n".join(problems)


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_slow_command_of_a_page_runs(path: Path, folder: Path) -> None:
    problems = [*problems_of_commands(read_page(path), folder, True)]
    assert not problems, "\n".join(problems)


def test_each_command_that_is_not_run_stands_in_a_page() -> None:
    standing = {command.text for path in PAGES for command in read_page(path).commands}
    assert set(NOT_RUN) - standing == set()


# What is shown


def test_the_layer_table_of_a_run_is_the_one_it_prints(cli: Cli) -> None:
    [shown] = [
        fence.text
        for fence in read_page(ROOT / "docs" / "results.md").fences
        if fence.text.startswith("data ")
    ]
    table = shown[shown.index("layer ") : shown.index("   1/8")]
    assert table in cli(*SMALL).stdout


# Whether these tests can fail

MISTAKES = {
    "an option": "```sh\npython -m mnist_sweep.report --srot test_acc\n```\n",
    "a key": "```sh\npython -m mnist_sweep trainer.epoch=12\n```\n",
    "a choice": "`python -m mnist_sweep model=ds_cnm`\n",
    "a file": "```sh\npython -m mnist_sweep.report multirun/arch_2000\n```\n",
    "a program": "```sh\npython3 -m mnist_sweep\n```\n",
    "a snippet": "```python\nfrom mnist_sweep.report import load_result\n```\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_command_is_found(mistake: str, folder: Path) -> None:
    page = Page(MISTAKES[mistake])
    assert [*problems_of_commands(page, folder, False), *problems_of_snippets(page, folder)]
