"""What the repository promises: README commands, a wheel that works alone, clean files."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from mnist_sweep.profile import check_budget, profile
from tests.conftest import choices, environment, make_config, make_experiment

ROOT = Path(__file__).parent.parent


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    [test_command] = [command for command in commands if command.endswith("-m pytest")]
    assert test_command in (ROOT / ".ci" / "run").read_text()


def test_every_choice_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(
        r"\b(data|model|optimizer|scheduler|augmentation|protocol|experiment|debug)=(\w[\w,]*)",
        text,
    )
    assert len(named) > 5
    for group, several in named:
        for choice in several.split(","):
            assert (ROOT / "conf" / group / f"{choice}.yaml").exists(), f"{group}={choice}"


def test_every_experiment_pins_its_data_and_says_command_time_and_score() -> None:
    for name in choices("experiment"):
        assert make_config(f"experiment={name}").data.name == "mnist", name
        experiment = make_experiment(f"experiment={name}")
        check_budget(profile(experiment.model), experiment.settings.budget)
        text = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text()
        assert f"python -m mnist_sweep experiment={name}\n" in text
        assert re.search(r"^# About \d+ min on two cores; expect 9\d\.\d", text, re.MULTILINE), name


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


def test_every_module_says_what_it_is() -> None:
    for folder in ("mnist_sweep", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name not in ("__main__.py",) and path.stat().st_size:
                assert path.read_text().lstrip().startswith('"""'), path


def test_no_lock_file_and_no_data_is_tracked() -> None:
    if not (ROOT / ".git").exists():
        return
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [path for path in tracked if os.path.basename(path) in ("uv.lock", "poetry.lock")]
    data = [path for path in tracked if path.endswith(("ubyte", ".gz", ".pt"))]
    assert not [path for path in data if not path.startswith("tests/archive/")]
