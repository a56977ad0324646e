"""What the repository promises: two commands, true headers, a wheel that works, clean files."""

import ast
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mnist_sweep.paths import CONF
from mnist_sweep.profile import check_budget, profile
from tests.conftest import choices, environment, make_experiment
from tests.modules import module_files, syntax
from tests.pages import ROOT, code_in, read_page, table_rows


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    [test_command] = [command for command in commands if command.endswith("-m pytest")]
    assert test_command.replace(" && ", "\n") in (ROOT / ".ci" / "run").read_text()


def test_ci_ends_with_an_installation_that_fails(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {"python3": '[ "$2" != pip ] || exit 3', "apt-get": "exit 0"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        [tmp_path / ".ci" / "run"],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith(".ci/run ends with code 3, at: python3 -m pip --python .venv install")


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_pins_its_data_and_keeps_its_budget(name: str) -> None:
    experiment = make_experiment(f"experiment={name}")
    assert experiment.settings.data.name == "mnist"
    check_budget(profile(experiment.model), experiment.settings.budget)


def reference_rows() -> dict[str, dict[str, str]]:
    """Experiment -> its figures in docs/reference_systems.md; of two rows, the first."""
    rows = table_rows(read_page(ROOT / "docs" / "reference_systems.md"), "experiment")
    named = [(code_in(row["experiment"])[0], row) for row in rows]
    return dict(reversed(named))


def seeds_of(row: dict[str, str]) -> list[float]:
    return [float(seed) for seed in row["seeds"].split(", ")]


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_says_its_command_its_time_and_the_score_that_was_measured(
    name: str,
) -> None:
    row = reference_rows()[name]
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert f"\n#   python -m mnist_sweep experiment={name}\n" in text
    found = re.search(
        r"^# About \d+ min on two cores; expect (\d+\.(\d+))( \(as reported\))? % on test\.$",
        text,
        re.MULTILINE,
    )
    assert found
    score, decimals, is_reported = found.groups()
    if is_reported:
        assert row["reported"].startswith(f"{score} ")
    else:
        assert score == f"{statistics.mean(seeds_of(row)):.{len(decimals)}f}"


@pytest.mark.parametrize("name", choices("experiment"))
def test_the_reference_figures_agree_with_their_seeds_and_with_the_nets(name: str) -> None:
    row = reference_rows()[name]
    net = profile(make_experiment(f"experiment={name}").model)
    assert row["params"] == f"{net.num_params:,}"
    if "seeds" in row:
        mean, sd = statistics.mean(seeds_of(row)), statistics.stdev(seeds_of(row))
        assert row["here"] == f"{mean:.2f} ± {sd:.2f}"


def test_the_built_wheel_runs_without_the_checkout(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    done = subprocess.run(
        [sys.executable, "-m", "mnist_sweep", "data=digits", "debug=fast"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import mnist_sweep.cli as c; print(c.__file__, c.CONF)"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
    ).stdout.split()
    assert all(path.startswith(str(site)) for path in where)
    assert (tmp_path / "outputs" / "results.csv").exists()


def dependencies() -> list[str]:
    """Those of the extras, too, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [entry for entries in lists for entry in entries]


def test_only_hydra_and_its_parts_are_held_at_one_minor_release() -> None:
    held = [entry for entry in dependencies() if re.search(r"==|~=|<=|<\d+\.\d", entry)]
    assert [entry for entry in held if not entry.startswith(("hydra-", "omegaconf"))] == []


def test_every_package_that_is_imported_is_declared() -> None:
    declared = {re.split(r"[\[<>=]", entry)[0] for entry in dependencies()}
    homes = packages_distributions()
    used = {
        name.partition(".")[0]
        for module in module_files()
        for name in imported_modules(syntax(module))
    }
    assert {"numpy", "PIL", "torch"} <= used, "the test itself must see imports"
    undeclared = [
        name
        for name in used - sys.stdlib_module_names - {"mnist_sweep"}
        if not declared & {home.lower().replace("_", "-") for home in homes.get(name, [name])}
    ]
    assert undeclared == []


def imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module


def test_every_module_says_what_it_is() -> None:
    for folder in ("mnist_sweep", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name not in ("__main__.py",) and path.stat().st_size:
                assert path.read_text().lstrip().startswith('"""'), path


def repository_files() -> Iterator[Path]:
    """All but what .gitignore names, with or without git."""
    patterns = (ROOT / ".gitignore").read_text().split()
    ignored = [pattern.strip("/") for pattern in patterns if not pattern.startswith("/")]
    ignored_here = [pattern.strip("/") for pattern in patterns if pattern.startswith("/")]
    for folder, subfolders, names in os.walk(ROOT):
        gone = [".git", *ignored, *(ignored_here if Path(folder) == ROOT else [])]
        subfolders[:] = [
            name for name in subfolders if not any(fnmatch(name, pattern) for pattern in gone)
        ]
        yield from (Path(folder, name).relative_to(ROOT) for name in names)


def test_there_is_no_lock_file_and_no_data_and_no_large_file() -> None:
    files = list(repository_files())
    assert Path("pyproject.toml") in files and len(files) > 100
    assert [path for path in files if path.name in ("uv.lock", "poetry.lock")] == []
    data = [path for path in files if path.name.endswith(("ubyte", ".gz", ".pt"))]
    # The archive of runs that an older version made has their checkpoints.
    assert [path for path in data if path.parts[:2] != ("tests", "archive")] == []
    assert [path for path in files if (ROOT / path).stat().st_size > 1_000_000] == []
