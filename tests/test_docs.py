"""README, CONTRIBUTING and docs/: each command runs, each name, file and link is there.

Commands run as they stand, one after another in a folder of their page, but for two things: what
would take long is made small (`small`), and what stands for something of the reader's is a real
thing that was made before (`REAL`, and RUN).
"""

import csv
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.paths import CHECKPOINT, CONF
from mnist_sweep.report.__main__ import COMMANDS
from tests.conftest import Cli, choices, cli_in, new_python_in, read_table, start
from tests.pages import (
    PAGES,
    ROOT,
    Command,
    Page,
    code_in,
    dead_links,
    is_command,
    read_page,
    table_rows,
)

INSTALLS = "installs; .ci/run does so"
SERVES = "serves until it is stopped"
MEASURES = "measures for minutes, on an idle machine"
THE_SUITE = "these very tests"
OF_A_SHELL = "is for the reader's own shell"
NOT_RUN = {
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
    "source .venv/bin/activate": OF_A_SHELL,
    'eval "$(mnist-sweep -sc install=bash)"': OF_A_SHELL,
    "mnist-sweep model=<Tab>": OF_A_SHELL,
    "export MNIST_SWEEP_DATA=...": OF_A_SHELL,
    ".venv/bin/python -m pytest": THE_SUITE,
    ".venv/bin/python -m pytest -m slow": THE_SUITE,
    "pytest -m slow -k single_change": THE_SUITE,
    ".venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy": (
        "is what .ci/run does"
    ),
    "python benchmarks/training_speed.py": MEASURES,
    "python benchmarks/search_speed.py": MEASURES,
    "python benchmarks/report_speed.py": MEASURES,
    "tensorboard --logdir outputs": SERVES,
    "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri outputs/mlruns": SERVES,
    "optuna-dashboard multirun/arch_20000/study.journal": SERVES,
    "wandb sync outputs/<day>/<time>/wandb/latest-run": "sends a run to the web",
}
"""Command -> why no test runs it."""

SLOW = (
    "hydra/launcher=joblib",  # starts processes that import torch anew
    "mnist_sweep.export",  # imports ONNX
)
"""What marks a command that runs with `-m slow` alone."""

SMALL = ("data=digits", "trainer.epochs=2", "trainer.limit_train=128", "trainer.limit_val=100")
STUDY_TRIALS = 4

REAL = {
    "outputs/<day>/<time>": "outputs/cut_short",
    "arch_20000/37": "arch_20000/0",
    "postgresql+psycopg://user:password@host/database": "sqlite:///study.db",
    "seed=0,1,2": "seed=0,1",
}
"""What a page says -> what there is here."""

OURS = ("mnist_sweep", "conf", "benchmarks", "tests", "docs")
WORD = re.compile(r"[A-Za-z_]\w*")


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


def composed(folder: Path, *overrides: str) -> DictConfig:
    """Hydra's own keys are there, too, and the choices of the folder `mine`."""
    mine = [f"hydra.searchpath=[file://{folder}/mine]"] if (folder / "mine").is_dir() else []
    with initialize_config_dir(str(CONF)):
        return compose("config", [*mine, *overrides], return_hydra_config=True)


# Commands


def write_files(page: Page, folder: Path) -> None:
    for fence in page.fences:
        if fence.file is not None:
            (folder / fence.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / fence.file).write_text(fence.text, encoding="utf-8")


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
    if command.module != "mnist_sweep" or any(word.startswith("resume=") for word in words):
        return []
    chosen = [word for word in words if word.startswith(("sweep=", "hydra/sweeper="))]
    if not chosen or "SearchSweeper" not in composed(folder, *chosen).hydra.sweeper._target_:
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
    write_files(page, folder)
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


# Names


@pytest.fixture(scope="module")
def vocabulary() -> set[str]:
    """All that the package, its config files and what it is built on are called."""
    files = [ROOT / "pyproject.toml", ROOT / ".ci" / "run", *CONF.rglob("*.yaml")]
    for folder in ("mnist_sweep", "benchmarks"):
        files += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.csv")]
    words = [f"{file.relative_to(ROOT)} {file.read_text(encoding='utf-8')}" for file in files]
    with initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
        for group in ("sampler", "pruner"):
            words += loader.get_group_options(f"hydra/sweeper/{group}")
    return set(WORD.findall(" ".join(words)))


@pytest.fixture(scope="module")
def options(made_before: Path) -> set[str]:
    """Of all commands, as their help has them."""
    helps: list[tuple[str, ...]] = [("mnist_sweep", "--hydra-help")]
    helps += [(f"mnist_sweep.{module}", "--help") for module in ("rerun", "evaluate", "export")]
    helps += [("mnist_sweep.report", command, "--help") for command in COMMANDS]
    cli: Cli = cli_in(made_before)
    texts = [cli(*arguments, module=module).stdout for module, *arguments in helps]
    return set(re.findall(r"(?<![\w-])--?\w[\w-]*", " ".join(texts)))


def problems_of_names(
    page: Page, folder: Path, vocabulary: set[str], options: set[str]
) -> Iterator[str]:
    own = {word for fence in page.fences for word in WORD.findall(fence.text)}
    for span in page.spans:
        for path in re.findall(rf"\b(?:{'|'.join(OURS)})/[\w./-]+\b", span):
            if "<" not in span and not (ROOT / path).exists():
                yield f"{path}: no such file"
        if is_command(span):
            continue
        if re.fullmatch(r"\w+\.(?:py|js|css)", span) and not [*(ROOT / "mnist_sweep").rglob(span)]:
            yield f"{span}: no such file in the package"
        said = re.sub(r"<.*?>", "", span)  # a placeholder
        if "/" not in said:
            unknown = [word for word in WORD.findall(said) if word not in vocabulary | own]
            yield from (f"{span}: nothing is called {word}" for word in unknown)
        if said.startswith("-") and said.split()[0] not in options:
            yield f"{span}: no command has this option"
        yield from problems_of_keys(said, folder)


def problems_of_keys(span: str, folder: Path) -> Iterator[str]:
    """Of overrides, `a.b=1 c=2`, and of keys, `a.b`."""
    given = r"[a-z][\w./]*=[^\s<=]+"
    if re.fullmatch(rf"{given}(?: {given})*", span):
        words = span.split()
        search = [] if "hydra/sweeper=" in span else ["hydra/sweeper=search"]
        try:
            composed(folder, *search, *words)
        except Exception as error:
            yield f"{span}: {error}"
    elif re.fullmatch(r"(?:trainer|budget|protocol|data|record|hydra)(?:\.\w+)+", span):
        is_file = (ROOT / "mnist_sweep" / span).exists()
        config = composed(folder, "hydra/sweeper=search")
        if not is_file and OmegaConf.select(config, span, default="nowhere") == "nowhere":
            yield f"{span}: no such key"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_name_in_a_page_is_known(
    path: Path, folder: Path, vocabulary: set[str], options: set[str]
) -> None:
    page = read_page(path)
    write_files(page, folder)
    problems = [*problems_of_names(page, folder, vocabulary, options)]
    assert not problems, "\n".join(problems)


def test_the_readme_lists_every_choice_of_every_group() -> None:
    rows = table_rows(read_page(ROOT / "README.md"), "group")
    listed = {row["group"].strip("`"): set(code_in(row["choices"])) for row in rows}
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    assert set(listed) == groups
    assert [
        (group, choice)
        for group in groups
        for choice in choices(group)
        if choice not in listed[group]
    ] == []


# Links and what is shown


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert dead_links(read_page(path), path.parent) == []


def test_every_page_is_linked_from_the_readme() -> None:
    links = read_page(ROOT / "README.md").links
    assert {str(path.relative_to(ROOT)) for path in PAGES} - {*links, "README.md"} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_says_what_it_is(path: Path) -> None:
    known = ("sh", "text", "python", "yaml")
    assert [fence for fence in read_page(path).fences if fence.language not in known] == []


def tree_of_the_readme() -> Iterator[Path]:
    [tree] = [
        fence.text
        for fence in read_page(ROOT / "README.md").fences
        if fence.text.startswith("conf/")
    ]
    folders: list[str] = []
    for line in tree.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split(", ")
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [names[0]]
        yield from (Path(*folders[:depth], name) for name in names)


def test_the_tree_of_the_readme_names_what_is_there() -> None:
    named = set(tree_of_the_readme())
    assert [path for path in named if not (ROOT / path).exists()] == []
    package = {
        path.relative_to(ROOT)
        for path in (ROOT / "mnist_sweep").iterdir()
        if path.name not in ("__init__.py", "__pycache__", "conf")
    }
    assert package - named == set()
    report = {path for path in (ROOT / "mnist_sweep" / "report").iterdir() if path.is_dir()}
    assert {path.relative_to(ROOT) for path in report if path.name[0] != "_"} - named == set()


def test_the_layer_table_of_a_run_is_the_one_it_prints(cli: Cli) -> None:
    [shown] = [
        fence.text
        for fence in read_page(ROOT / "docs" / "results.md").fences
        if fence.text.startswith("data ")
    ]
    table = shown[shown.index("layer ") : shown.index("   1/8")]
    assert table in cli(*SMALL).stdout


def test_the_known_records_are_those_that_are_drawn() -> None:
    rows = table_rows(read_page(ROOT / "docs" / "reference_systems.md"), "most credible")
    said = {int(re.sub(r"\D", "", row["parameters"])): row for row in rows}
    [file] = (ROOT / "mnist_sweep").rglob("known_records.csv")
    for record in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        column = "most credible" if record["kind"] == "credible" else "a claim"
        percent = f"{100 * float(record['test_acc']):.2f}".removesuffix("0")
        assert percent in said[int(record["max_params"])][column]


# Whether these tests can fail

MISTAKES = {
    "an option": "```sh\npython -m mnist_sweep.report --srot test_acc\n```\n",
    "a key": "```sh\npython -m mnist_sweep trainer.epoch=12\n```\n",
    "a choice": "`python -m mnist_sweep model=ds_cnm`\n",
    "a file": "```sh\npython -m mnist_sweep.report multirun/arch_2000\n```\n",
    "a program": "```sh\npython3 -m mnist_sweep\n```\n",
    "a snippet": "```python\nfrom mnist_sweep.report import load_result\n```\n",
    "an option in the text": "See `--srot COLUMN`.\n",
    "a key in the text": "See `hydra.sweeper.n_trails`.\n",
    "overrides in the text": "Add `optimizer=adamw trainer.fadeout=0`.\n",
    "a choice in the text": "The nets are `ds_cnn` and `ds_cnm`.\n",
    "a file in the text": "All keys are in `mnist_sweep/search/setings.py`.\n",
    "a link": "See [there](docs/serach.md).\n",
    "an anchor": "See [there](docs/search.md#kyes).\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_page_is_found(
    mistake: str, folder: Path, vocabulary: set[str], options: set[str]
) -> None:
    page = Page(MISTAKES[mistake])
    found = [
        *problems_of_commands(page, folder, False),
        *problems_of_snippets(page, folder),
        *problems_of_names(page, folder, vocabulary, options),
        *dead_links(page, ROOT),
    ]
    assert found
