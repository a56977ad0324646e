"""What a run needs beyond its overrides travels with it: printed commands can be pasted."""

import html
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_sweep.paths import MAIN_CONFIG
from mnist_sweep.runs.surroundings import Surroundings
from tests.browser import Opened
from tests.conftest import TINY, Cli, Done, environment, new_python_in, read_result, read_table

SMALL = [*TINY, "trainer.epochs=1", "trainer.threads=1"]
ALLOWED = {"MNIST_SWEEP_TARGETS": "my_nets.*"}

NETS = """
from pydantic import PositiveInt, validate_call
from torch import nn
from mnist_sweep.models.blocks import GlobalAvgPool, conv_unit

class OneConv(nn.Sequential):
    @validate_call
    def __init__(self, width: PositiveInt) -> None:
        super().__init__(conv_unit(1, width), GlobalAvgPool(), nn.Linear(width, 10))
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a module of the user's own, and two of config files."""
    (tmp_path / "my_nets.py").write_text(NETS)
    for name, text in {
        "mine/model/one_conv.yaml": "_target_: my_nets.OneConv\nwidth: 8\n",
        "mine/flavour/sweet.yaml": "# @package _global_\noptimizer: {lr: 0.02}\n",
        "a b/optimizer/slow.yaml": "defaults: [adamw]\nlr: 0.001\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


PLACES = ["--config-dir", "mine", "hydra.searchpath=['file://a b']"]
CHOSEN = ["model=one_conv", "optimizer=slow", "+flavour=sweet"]


def pasted(command: str, folder: Path) -> Done:
    """By a shell, whose environment has no more than the command says."""
    done = subprocess.run(
        ["bash", "-c", command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_commands_of_a_search_can_be_pasted(own: Path) -> None:
    search = ["-m", "hydra/sweeper=search", "hydra.sweeper.n_jobs=1", "hydra.sweeper.n_trials=1"]
    given = [*PLACES, *search, "hydra.sweeper.study_name=s", *SMALL, *CHOSEN]
    done = new_python_in(own)(*given, "model.width=range(6,9)", **ALLOWED)
    assert done.returncode == 0, done.stderr
    best = OmegaConf.load(own / "multirun/s/optimization_results.yaml")
    command = best.best_command
    assert command.startswith(
        "MNIST_SWEEP_TARGETS='my_nets.*' python -m mnist_sweep --config-dir mine "
    )
    assert f"again   {command}\n" in done.stdout
    again = pasted(command, own)
    assert again.returncode == 0, again.stderr
    [result] = (own / "outputs").glob("*/*/result.json")
    new, old = read_result(result.parent), read_result(own / best.best_run_dir)
    for key in ("config_hash", "val_loss", "num_params", "flavour"):
        assert new[key] == old[key]

    done = new_python_in(own)("html", "multirun/s", module="mnist_sweep.report", **ALLOWED)
    assert done.returncode == 0, done.stderr
    page = html.unescape((own / "report.html").read_text())
    shown = {text.partition("<")[0].strip() for text in page.split(">")}
    assert command in shown, "the search's section has it"
    usual = "MNIST_SWEEP_TARGETS='my_nets.*' python -m mnist_sweep"
    [sweep] = [text for text in shown if text.startswith(usual) and text.count(" -m ") == 2]
    again = pasted(sweep, own)
    assert again.returncode == 0, again.stderr
    assert "1 completed" in again.stdout, "the study is as it was"


def test_a_run_with_groups_of_its_own_can_be_run_again(own: Path) -> None:
    call = new_python_in(own)
    done = call(*PLACES, *SMALL, *CHOSEN, "hydra.run.dir=outputs/one", **ALLOWED)
    assert done.returncode == 0, done.stderr
    (own / "elsewhere").mkdir()
    for folder, run in ((own, "outputs/one"), (own / "elsewhere", "../outputs/one")):
        rerun = new_python_in(folder)
        extra = {**ALLOWED, "PYTHONPATH": f"{own}:{environment().get('PYTHONPATH', '')}"}
        done = rerun(run, "--check", module="mnist_sweep.rerun", **extra)
        assert done.returncode == 0, done.stderr
        assert "identical bit for bit" in done.stdout and "cannot make" not in done.stderr
        row = read_table(folder).iloc[-1]
        assert (row.model, row.flavour, row.optimizer) == ("one_conv", "sweet", "slow")
    done = call("outputs/one", module="mnist_sweep.rerun")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    command = done.stderr.strip().rpartition("allow: ")[2]
    assert command.startswith("MNIST_SWEEP_TARGETS='my_nets.*' python -m mnist_sweep.rerun r")
    assert pasted(command, own).returncode == 0

    (own / "mine").rename(own / "gone")
    done = call("outputs/one", "--check", module="mnist_sweep.rerun", **ALLOWED)
    assert done.returncode == 0 and "its recorded config is used" in done.stderr, done.stderr


def test_the_page_has_what_each_run_needs(own: Path, cli: Cli, browser: Any) -> None:
    done = new_python_in(own)(*PLACES, *SMALL, *CHOSEN, **ALLOWED)
    assert done.returncode == 0, done.stderr
    assert cli(*SMALL).returncode == 0
    assert cli("html", module="mnist_sweep.report").returncode == 0
    opened = Opened(browser, own / "report.html")
    needed = "MNIST_SWEEP_TARGETS='my_nets.*' "
    command = f"{needed}python -m mnist_sweep --config-dir mine 'hydra.searchpath="
    for run_id, beginning, run in zip(
        read_table(own).run_id, (needed, ""), (command, "python -m mnist_sweep data="), strict=True
    ):
        opened.go(f"#run={run_id}")
        opened.panel()
        said = opened.page.locator("#panel .command").all_text_contents()
        for start in (f"{beginning}python -m mnist_sweep.rerun {run_id}", run):
            assert any(text.startswith(start) for text in said), said
    assert not opened.said
    opened.context.close()


def test_a_run_goes_on_with_its_own_folders(own: Path, cli: Cli) -> None:
    given = ["--config-dir", "mine", "+flavour=sweet", "hydra.run.dir=outputs/one"]
    done = cli(*given, *SMALL, "trainer.epochs=2")
    assert done.returncode == 0, done.stderr
    result = own / "outputs/one/result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "status": "interrupted"}))
    done = cli("resume=outputs/one")
    assert done.returncode == 0, done.stderr
    assert read_result(own / "outputs/one")["flavour"] == "sweet"


def test_the_installed_command_finds_what_lies_here(own: Path) -> None:
    """As `python -m mnist_sweep` does."""
    installed = Path(sys.executable).with_name("mnist-sweep")
    if not installed.exists():
        pytest.skip("mnist-sweep is not installed beside this Python")
    arguments = ["--config-dir", "mine", *SMALL, "model=one_conv"]
    done = subprocess.run(
        [installed, *arguments], cwd=own, env=environment(**ALLOWED), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_class_that_is_allowed_and_not_found_is_said_to_be_that(own: Path, cli: Cli) -> None:
    (own / "my_nets.py").unlink()
    done = cli("--config-dir", "mine", *SMALL, "model=one_conv", **ALLOWED)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: model._target_=my_nets.OneConv: cannot be imported (")
    assert "my_nets" in done.stderr and "MNIST_SWEEP_TARGETS" not in done.stderr


def test_of_a_usual_run_nothing_is_added(cli: Cli, tmp_path: Path) -> None:
    assert cli(*SMALL, "hydra.run.dir=outputs/one").returncode == 0
    found = Surroundings.recorded(tmp_path / "outputs/one")
    assert found == Surroundings() and found.config_name == MAIN_CONFIG
    assert found.command == "python -m mnist_sweep" and found.overrides() == []
