"""The search as a user runs it: whole commands, the study and the tables they leave."""

import fcntl
import html
import math
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from rich.cells import cell_len

from mnist_sweep.profile import count_params
from mnist_sweep.report.analysis.parallel import parallel_info
from mnist_sweep.report.read.study import read_study
from tests.conftest import Cli, Done, environment, make_experiment, read_result, read_table
from tests.report_page import read

# A training of a moment, in which the learning rate does make a difference.
SMALL = [
    "data=digits",
    "debug=fast",
    "trainer.limit_train=128",
    "trainer.limit_val=100",
    "trainer.epochs=1",
    "trainer.batch_size=32",
    "trainer.threads=1",
    "model=ds_cnn_v3_code",
]
SEARCH = ["-m", "hydra/sweeper=search", "hydra.sweep.dir=sweep"]
GRID = "hydra/sweeper/sampler=grid"
NO_PATIENCE = "hydra.sweeper.max_rejected=30"
RANDOM = ["hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=5"]
ONE_JOB = "hydra.sweeper.n_jobs=1"
LR = "optimizer.lr=tag(log, interval(0.001, 0.1))"


# The command


def small(*arguments: str) -> list[str]:
    """The small training, but for what these arguments set themselves."""
    keys = {argument.partition("=")[0] for argument in arguments}
    if keys & {"sweep", "experiment"}:
        keys.add("model")
    return [given for given in SMALL if given.partition("=")[0] not in keys]


@pytest.fixture
def search(cli: Cli) -> Cli:
    """`search("optimizer.lr=...")` searches with small trainings, one after another, in `sweep`."""

    def call(*arguments: str, **extra: str) -> Done:
        return cli(*SEARCH, ONE_JOB, *small(*arguments), *arguments, **extra)

    return call


def trials_of(folder: Path, sweep: str = "sweep") -> list[FrozenTrial]:
    """Read as any Optuna program would."""
    storage = JournalStorage(JournalFileBackend(str(folder / sweep / "study.journal")))
    return optuna.load_study(study_name=None, storage=storage).trials


def is_finished(trial: FrozenTrial) -> bool:
    """Trained to its end, or as far as it was worth."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended and trial.user_attrs.get("status") != "infeasible"


def finished(folder: Path, sweep: str = "sweep") -> list[FrozenTrial]:
    return [trial for trial in trials_of(folder, sweep) if is_finished(trial)]


def rows_of(folder: Path, sweep: str = "sweep") -> pd.DataFrame:
    return pd.read_csv(folder / sweep / "results.csv")


def results_of(folder: Path, sweep: str = "sweep") -> dict[str, Any]:
    results = OmegaConf.to_container(
        OmegaConf.load(folder / sweep / "optimization_results.yaml"), resolve=False
    )
    assert isinstance(results, dict)
    return {str(key): value for key, value in results.items()}


def trained(folder: Path) -> list[Path]:
    return sorted(folder.glob("**/history.csv"))


def write_sweep(folder: Path, name: str, text: str) -> list[str]:
    """A sweep of the user's own; the arguments that choose it."""
    path = folder / "mine" / "sweep" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\n{text}")
    return ["--config-dir", str(folder / "mine"), f"sweep={name}"]


def assert_refused(done: Done, folder: Path, *fragments: str) -> None:
    """One line with these words, exit code 2, nothing trained."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    for fragment in fragments:
        assert fragment in done.stderr
    assert not trained(folder)


# As the stock sweeper

SPACE = {
    "optimizer.lr": "tag(log, interval(0.001, 0.1))",
    "optimizer.weight_decay": "interval(0, 0.1)",
    "trainer.batch_size": "choice(16, 32)",
    "trainer.ema_horizon": "range(0.25, 1.1, 0.25)",
    "trainer.epochs": "range(1, 3)",
    "scheduler": "onecycle, cosine",
}


def sweeper_arguments(sweeper: str, n_trials: int) -> list[str]:
    """Of the stock sweeper and of ours, for the same random points."""
    given = [
        "-m",
        f"hydra/sweeper={sweeper}",
        "hydra/sweeper/sampler=random",
        "hydra.sweeper.sampler.seed=5",
        f"hydra.sweeper.n_trials={n_trials}",
        ONE_JOB,
        "hydra.sweeper.study_name=compared",
        "hydra.sweeper.direction=maximize",
        f"hydra.sweep.dir={sweeper}",
    ]
    return [*given, "hydra.sweeper.storage=sqlite:///stock.db"] if sweeper == "optuna" else given


def stock_study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="compared", storage=f"sqlite:///{folder / 'stock.db'}")


@pytest.mark.parametrize("source", ["command line", "file"])
def test_the_points_values_and_results_file_are_those_of_the_stock_sweeper(
    cli: Cli, tmp_path: Path, source: str
) -> None:
    """From a file, a key that the command line fixes is not searched."""
    if source == "command line":
        space = [f"{key}={values}" for key, values in SPACE.items()]
    else:
        lines = "".join(f"      {key}: {values}\n" for key, values in SPACE.items())
        text = f"hydra:\n  sweeper:\n    params:\n{lines}"
        space = [*write_sweep(tmp_path, "mine", text), "trainer.epochs=2"]
    net = "model=ds_cnn_v3_code"
    for sweeper in ("optuna", "search"):
        done = cli(*sweeper_arguments(sweeper, 3), *small(*SPACE, net), net, *space)
        assert done.returncode == 0, done.stderr
    stock, ours = stock_study(tmp_path).trials, trials_of(tmp_path, "search")
    assert len(stock) == len(ours) == 3
    searched = set(SPACE) if source == "command line" else set(SPACE) - {"trainer.epochs"}
    for theirs, own in zip(stock, ours, strict=True):
        assert own.params == theirs.params and set(own.params) == searched
        assert own.distributions == theirs.distributions
        assert own.value == theirs.value
    assert len({trial.params["optimizer.lr"] for trial in ours}) == 3
    before, now = results_of(tmp_path, "optuna"), results_of(tmp_path, "search")
    assert {key: now[key] for key in before} == before
    assert set(now) - set(before) == {"best_trial", "best_run_dir", "best_command"}
    best = ours[now["best_trial"]]
    assert (best.params, best.value) == (now["best_params"], now["best_value"])
    assert read_result(tmp_path / now["best_run_dir"])["trial"] == best.number


def test_a_custom_search_space_suggests_what_it_does_for_the_stock_sweeper(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "def extend(config, trial):\n"
        "    if trial.suggest_categorical('optimizer', ['sgd', 'adam']) == 'sgd':\n"
        "        trial.suggest_float('optimizer.momentum', 0.5, 0.9)\n"
        "    trial.suggest_int('trainer.batch_size', 16, 16 + config.seed)\n"
    )
    for sweeper in ("optuna", "search"):
        done = cli(
            *sweeper_arguments(sweeper, 4),
            *small("trainer.batch_size"),
            "seed=16",
            "optimizer.lr=0.01,0.02",
            "hydra.sweeper.custom_search_space=mine.extend",
            MNIST_SWEEP_TARGETS="mine.extend",
        )
        assert done.returncode == 0, done.stderr
    stock, ours = stock_study(tmp_path).trials, trials_of(tmp_path, "search")
    assert [trial.params for trial in ours] == [trial.params for trial in stock]
    assert [trial.value for trial in ours] == [trial.value for trial in stock]
    assert {len(trial.params) for trial in ours} == {3, 4}


def test_a_custom_search_space_needs_the_users_word(search: Cli, tmp_path: Path) -> None:
    done = search(LR, "hydra.sweeper.custom_search_space=os.system")
    assert_refused(done, tmp_path, "hydra.sweeper.custom_search_space", "os.system")


@pytest.mark.parametrize(
    "body, fragments",
    [
        ("def extend(config): pass", ["mine.extend: TypeError", "the configuration and a trial"]),
        ("def extend(config, trial): config.no_such_key.x", ["mine.extend: ConfigAttributeError"]),
        (
            "def extend(config, trial):\n"
            "    if trial.suggest_categorical('optimizer', ['sgd', 'adam']) == 'adam': 1 / 0",
            ["mine.extend: ZeroDivisionError"],
        ),
        (
            "def extend(config, trial): trial.suggest_float('optimizer.lrr', 0, 1)",
            ["optimizer.lrr"],
        ),
        (
            "def extend(config, trial): trial.suggest_int('trainer.epochs', 1, 2)",
            ["hydra.sweeper.custom_search_space searches trainer.epochs", "fixed as well"],
        ),
        (
            "def extend(config, trial): trial.suggest_float('optimizer.weight_decay', -9, -1)",
            ["optimizer.weight_decay=-"],
        ),
    ],
)
def test_a_wrong_custom_search_space_is_refused_before_there_is_a_study(
    search: Cli, tmp_path: Path, body: str, fragments: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(f"{body}\n")
    extended = "hydra.sweeper.custom_search_space=mine.extend"
    done = search(LR, extended, "trainer.epochs=1", MNIST_SWEEP_TARGETS="mine.extend")
    assert_refused(done, tmp_path, *fragments)
    assert not list(tmp_path.rglob("study.journal"))


def test_every_point_of_a_custom_continuous_space_cannot_be_tried(
    search: Cli, tmp_path: Path
) -> None:
    body = "def extend(config, trial): trial.suggest_float('optimizer.weight_decay', 0.01, 0.1)\n"
    (tmp_path / "mine.py").write_text(body)
    extended = "hydra.sweeper.custom_search_space=mine.extend"
    brute_force = "hydra/sweeper/sampler=brute_force"
    done = search("seed=1", brute_force, extended, MNIST_SWEEP_TARGETS="mine.extend")
    assert_refused(done, tmp_path, "optimizer.weight_decay=interval", "hydra/sweeper/sampler")
    assert not list(tmp_path.rglob("study.journal"))


def test_more_workers_than_are_of_use_are_refused(search: Cli, tmp_path: Path) -> None:
    done = search(LR, "hydra.sweeper.n_jobs=5000", "hydra.sweeper.n_trials=9000")
    assert_refused(done, tmp_path, "hydra.sweeper.n_jobs=5000", "use at most", "or auto")
    assert not list(tmp_path.rglob("study.journal"))


def test_a_grid_is_every_combination_once(search: Cli, tmp_path: Path) -> None:
    done = search(
        "optimizer.lr=0.01,0.02", "trainer.ema_horizon=range(0.5, 2, 0.5)",
        "trainer.batch_size=range(16, 33, 16)", "optimizer=sgd", GRID,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    points = [tuple(trial.params.values()) for trial in finished(tmp_path)]
    assert sorted(points) == sorted(product((0.01, 0.02), (0.5, 1.0, 1.5), (16, 32)))
    assert Counter(rows_of(tmp_path).status) == {"completed": 12}


def test_several_objectives_give_the_front_that_optuna_gives(search: Cli, tmp_path: Path) -> None:
    done = search(
        "model=ds_cnn_v3_code,ds_cnn,rf_cnn",
        "optimizer.lr=0.001,0.02",
        GRID,
        "hydra.sweeper.objective=[val_acc,num_params]",
        "hydra.sweeper.direction=[maximize,minimize]",
        "trainer.epochs=2",
    )
    assert done.returncode == 0, done.stderr
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "sweep" / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    results = results_of(tmp_path)
    assert set(results) == {"name", "solutions"}
    assert study.metric_names == ["val_acc", "num_params"]
    front = {trial.number: trial for trial in study.best_trials}
    assert sorted(solution["trial"] for solution in results["solutions"]) == sorted(front)
    rows = rows_of(tmp_path).set_index("trial")
    for solution in results["solutions"]:
        trial = front[solution["trial"]]
        assert (solution["params"], solution["values"]) == (trial.params, trial.values)
        assert solution["run_dir"] == rows.run_dir[trial.number]
        assert trial.values == pytest.approx(
            list(rows.loc[trial.number, ["val_acc", "num_params"]])
        )
    assert set(rows.num_params) == {4538, 17418, 19642}


def test_the_end_of_several_objectives_is_readable_at_80_columns(cli: Cli, tmp_path: Path) -> None:
    """A line each with the values and the run directory, and commands that can be pasted."""
    objectives = ["val_acc", "num_params", "macs"]
    shown = run_in_a_terminal(
        tmp_path,
        [
            *SEARCH, ONE_JOB, *small("model"), GRID, "model=ds_cnn_v3_code,rf_cnn",
            "optimizer.lr=0.001,0.02", f"hydra.sweeper.objective=[{','.join(objectives)}]",
            "hydra.sweeper.direction=[maximize,minimize,minimize]",
        ],
    )  # fmt: skip
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
    [head] = [
        number for number, line in enumerate(lines) if line.split()[:2] == ["trial", "val_acc"]
    ]
    assert lines[head].split() == ["trial", *objectives, "run"]
    solutions = results_of(tmp_path)["solutions"]
    for solution, line in zip(solutions, lines[head + 1 :], strict=False):
        assert cell_len(line) <= COLUMNS
        number, val_acc, num_params, macs, run_dir = line.split()
        assert (int(number), run_dir) == (solution["trial"], solution["run_dir"])
        given = float(val_acc), int(num_params.replace(",", "")), int(macs.replace(",", ""))
        assert given == pytest.approx(tuple(solution["values"]), abs=1e-4)
    commands = [line for line in lines if line.startswith("again   python -m mnist_sweep ")]
    assert len(commands) == len(solutions)
    for solution, command in zip(solutions, commands, strict=True):
        assert command == f"again   {solution['command']}"
        done = cli(*shlex.split(command)[4:])
        assert done.returncode == 0, done.stderr
        recorded = read_result(tmp_path / solution["run_dir"])
        assert read_table(tmp_path).iloc[-1].val_acc == pytest.approx(recorded["val_acc"])


FAILS = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, inputs: int, fails: bool) -> None:
        super().__init__(nn.Flatten(), nn.Linear(inputs, 10))
        self.fails = fails

    def train(self, mode=True):
        if mode and self.fails:
            raise RuntimeError("this one [fails]")
        return super().train(mode)
"""


@pytest.fixture
def failing(tmp_path: Path, cli: Cli) -> Cli:
    """A search with a net that fails where `model.fails` says so."""
    (tmp_path / "mine.py").write_text(FAILS)
    model = tmp_path / "mine" / "model"
    model.mkdir(parents=True)
    (model / "failing.yaml").write_text("_target_: mine.Net\ninputs: 784\nfails: false\n")

    def call(*arguments: str) -> Done:
        return cli(
            "--config-dir", "mine", *SEARCH, ONE_JOB, *small("model"), "model=failing",
            *arguments, GRID, MNIST_SWEEP_TARGETS="mine.Net",
        )  # fmt: skip

    return call


HALF_FAIL = ["model.fails=true,false", "optimizer.lr=0.01,0.02"]


def test_failures_are_rows_and_the_sweep_goes_on(failing: Cli, tmp_path: Path) -> None:
    done = failing(*HALF_FAIL, "hydra.sweeper.max_failure_rate=1", "hydra.sweeper.max_retries=0")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert Counter(rows.status) == {"completed": 2, "failed": 2}
    failed = rows[rows.status == "failed"]
    assert set(failed.error) == {"RuntimeError: this one [fails]"}
    assert sorted(failed.lr) == sorted(rows[rows.status == "completed"].lr) == [0.01, 0.02]
    assert Counter(read_table(tmp_path).run_id) == Counter(rows.run_id)
    by_trial = rows.set_index("trial")
    for trial in trials_of(tmp_path):
        completed = by_trial.status[trial.number] == "completed"
        assert trial.state == (TrialState.COMPLETE if completed else TrialState.FAIL)
    assert results_of(tmp_path)["best_value"] == rows.val_acc.max()


def test_a_failed_trial_is_tried_again_as_often_as_allowed(failing: Cli, tmp_path: Path) -> None:
    done = failing(*HALF_FAIL, "hydra.sweeper.max_failure_rate=1", "hydra.sweeper.max_retries=2")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert Counter(rows.status) == {"completed": 2, "failed": 6}
    assert Counter(rows[rows.status == "failed"].lr) == {0.01: 3, 0.02: 3}
    assert rows.trial.is_unique


def test_too_many_failures_stop_the_sweep(failing: Cli, tmp_path: Path) -> None:
    done = failing(*HALF_FAIL, "hydra.sweeper.max_failure_rate=0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "max_failure_rate=0" in done.stderr
    assert "this one [fails]" in done.stderr
    rows = rows_of(tmp_path)
    assert Counter(rows.status)["failed"] == 1
    assert f"trial {rows[rows.status == 'failed'].trial.item()}:" in done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["optimizer.lr=0.01,0.02"], "all 4 trials of this command failed"),
        (["optimizer.lr=choice(1,2,3,4,5,6,7)", "hydra.sweeper.n_trials=7"], "all 10 trials"),
    ],
)
def test_that_everything_failed_is_said_in_these_words(
    failing: Cli, tmp_path: Path, given: list[str], words: str
) -> None:
    """Though any share was allowed to fail."""
    done = failing("model.fails=true", "hydra.sweeper.max_failure_rate=1.0", *given)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert words in done.stderr and "over" not in done.stderr and "this one [fails]" in done.stderr
    assert set(rows_of(tmp_path).status) == {"failed"}


def test_a_net_that_cannot_be_made_does_not_end_the_sweep(failing: Cli, tmp_path: Path) -> None:
    done = failing(
        "model.inputs=784,100", "hydra.sweeper.max_failure_rate=1", "hydra.sweeper.max_retries=0"
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert len(rows) == 2 and Counter(rows.status)["completed"] == 1


def test_a_diverged_trial_is_a_row_and_no_value(search: Cli, tmp_path: Path) -> None:
    done = search("optimizer=sgd", "optimizer.lr=0.01,1e30", GRID)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path).set_index("lr")
    assert dict(rows.status) == {0.01: "completed", 1e30: "diverged"}
    [bad] = [trial for trial in trials_of(tmp_path) if trial.state == TrialState.FAIL]
    assert bad.params == {"optimizer.lr": 1e30} and bad.values is None
    assert results_of(tmp_path)["best_params"] == {"optimizer.lr": 0.01}


def test_a_point_that_diverged_is_not_trained_again(search: Cli, tmp_path: Path) -> None:
    done = search("optimizer=sgd", "optimizer.lr=0.01,0.02,1e30", *RANDOM, NO_PATIENCE)
    assert done.returncode == 0, done.stderr
    assert sorted(rows_of(tmp_path).lr) == [0.01, 0.02, 1e30]


@pytest.mark.parametrize(
    "sweeper", [["basic"], ["optuna", GRID, "protocol=select"], ["search", GRID, "protocol=select"]]
)
def test_a_sweep_of_experiments_goes_with_every_sweeper(
    cli: Cli, tmp_path: Path, sweeper: list[str]
) -> None:
    name, *more = sweeper
    short = [*small("model"), "trainer.limit_train=32", "trainer.limit_val=20"]
    done = cli(
        "-m", f"hydra/sweeper={name}", "hydra.sweep.dir=sweep", "sweep=rf_cnn_ablation", *short,
        *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    steps = ["rf_cnn", "rf_cnn_step1", "rf_cnn_step2", "rf_cnn_step3"]
    assert sorted(rows.experiment) == steps and set(rows.status) == {"completed"}
    assert set(rows.model) == {"rf_cnn_start", "rf_cnn"}
    assert rows.set_index("experiment").num_params["rf_cnn_step1"] == 21386


def test_a_searched_choice_without_validation_is_said(search: Cli) -> None:
    done = search("protocol=select,final", GRID)
    assert done.returncode == 2 and "protocol=final has no validation set" in done.stderr


# Samplers and pruners

SAMPLERS = {
    "tpe": ["n_startup_trials=2"],
    "gp": ["n_startup_trials=2"],
    "cmaes": [],
    "nsgaii": ["population_size=2"],
    "nsgaiii": ["population_size=2"],
    "qmc": [],
    "random": [],
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finishes_exactly_the_trials_asked_for(
    search: Cli, tmp_path: Path, sampler: str
) -> None:
    given = [f"hydra.sweeper.sampler.{setting}" for setting in SAMPLERS[sampler]]
    done = search(
        f"hydra/sweeper/sampler={sampler}", *given, "hydra.sweeper.n_trials=4", LR,
        "trainer.label_smoothing=interval(0, 0.2)",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    points = {tuple(trial.params.values()) for trial in finished(tmp_path)}
    assert len(points) == 4
    assert all(0.001 <= lr <= 0.1 and 0 <= smoothing <= 0.2 for lr, smoothing in points)
    rows = rows_of(tmp_path)
    assert Counter(rows.status) == {"completed": 4}
    assert set(rows.run_id) == set(read_table(tmp_path).run_id)
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
def test_a_sampler_of_every_point_ends_when_it_has_been_through(
    search: Cli, tmp_path: Path, sampler: str
) -> None:
    done = search(
        f"hydra/sweeper/sampler={sampler}", "optimizer.lr=0.01,0.02",
        "trainer.ema_horizon=range(1, 3)",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(finished(tmp_path)) == len(trials_of(tmp_path)) == len(rows_of(tmp_path)) == 4
    points = {tuple(trial.params.values()) for trial in finished(tmp_path)}
    assert points == set(product((0.01, 0.02), (1, 2)))


def test_a_grid_begins_with_its_longest_trials(search: Cli, tmp_path: Path) -> None:
    """So that its workers end together; also when it is gone on with, or some nets do not fit."""
    grid = ["model=ds_cnn_v3_code,ds_cnn,pointwise_cnn", "trainer.epochs=1,2,4", GRID]
    done = search(*grid, "hydra.sweeper.n_jobs=1", "trainer.limit_train=32")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    trained = rows[rows.status == "completed"].sort_values("trial")
    assert Counter(rows.status) == {"completed": 6, "infeasible": 3}
    assert (trained.epochs * trained.macs).is_monotonic_decreasing
    assert set(zip(trained.model, trained.epochs, strict=True)) == set(
        product(("ds_cnn", "ds_cnn_v3_code"), (1, 2, 4))
    )


def test_a_grid_is_whole_where_many_of_its_points_are_the_same(search: Cli, tmp_path: Path) -> None:
    """A width that one of two choices does not have: half of the grid are repeats of three nets."""
    done = search(
        "model=cnn_space", "model.num_stages=1,2", "model.stage1.width=4,6,28",
        "model.stage2.width=range(1, 15)", GRID, "hydra.sweeper.n_trials=99",
        "+hydra.sweeper.conditions={model.stage2.width:{model.num_stages:[2]}}",
        "trainer.limit_train=16", "trainer.limit_val=16", "hydra.sweeper.n_jobs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    points = Counter(tuple(trial.params.values()) for trial in finished(tmp_path))
    wide = product((2,), (4, 6, 28), range(1, 15))
    assert points == Counter([*product((1,), (4, 6, 28)), *wide])


def test_a_sampler_that_finds_nothing_looks_elsewhere(search: Cli, tmp_path: Path) -> None:
    """TPE goes for the smallest nets; long refused, other ones are tried as well."""
    done = search(
        "sweep=arch_20k", "hydra.sweeper.budget=reject", "hydra.sweeper.study_name=s",
        "hydra.sweeper.max_rejected=300", "budget.max_params=100",
    )  # fmt: skip
    assert done.returncode == 2 and "no point among 300 proposals" in done.stderr
    sizes = rows_of(tmp_path).sort_values("trial").num_params.to_numpy()
    assert (sizes[50:100] > 5000).mean() < 0.3 < (sizes[100:] > 5000).mean()


def test_a_grid_can_be_done_in_part(search: Cli, tmp_path: Path) -> None:
    """Then the whole of it begins with its longest trials, of those that are left."""
    grid = ["trainer.epochs=3,2,1", GRID, "hydra.sweeper.skip_repeats=false"]
    assert search(*grid, "hydra.sweeper.n_trials=2").returncode == 0
    assert len(finished(tmp_path)) == 2
    assert search(*grid).returncode == 0
    assert sorted(rows_of(tmp_path).epochs) == [1, 2, 3]


# One rate that learns at once and several that never do.
RATES = "optimizer.lr=0.01,1e-6,1e-7,1e-8,1e-9"
BY_LOSS = ["hydra.sweeper.objective=val_loss", "hydra.sweeper.direction=minimize"]
REASON = re.compile(
    r"epoch (?P<epoch>\d+): (?P<value>[\d.]+)(?: at best(?: in \d+ epochs)?)?, "
    r"above the cut of (?P<cut>[\d.]+) of (?P<of>.+)"
)
CUTS = {
    "median": r"the median of \d completed trials?",
    "percentile": r"the best 25 % of \d completed trials?",
    "hyperband": r"rung [12] of bracket [12]",
    "successive_halving": r"rung [12]",
    "patient": "the epochs before",
}
PRUNERS = {
    "median": ["hydra.sweeper.pruner.n_startup_trials=1", RATES],
    "percentile": ["hydra.sweeper.pruner.n_startup_trials=1", RATES],
    "hyperband": [RATES],
    "successive_halving": [RATES],
    "patient": [
        "hydra.sweeper.pruner.patience=0", "optimizer=sgd", "optimizer.lr=0.01,0.3,1",
        "scheduler=constant", "trainer.ema_horizon=0.1",
    ],
}  # fmt: skip


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_ends_what_is_not_worth_going_on_with(
    search: Cli, tmp_path: Path, pruner: str
) -> None:
    done = search(
        f"hydra/sweeper/pruner={pruner}", *PRUNERS[pruner], GRID, "hydra.sweeper.sampler.seed=0",
        *BY_LOSS, "trainer.epochs=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    counts = Counter(rows.status)
    assert counts["completed"] and counts["pruned"]
    assert counts.total() == len(finished(tmp_path)) == (3 if pruner == "patient" else 5)
    by_trial = {row.trial: row for row in rows.itertuples()}
    for trial in finished(tmp_path):
        row: Any = by_trial[trial.number]
        pruned = trial.state == TrialState.PRUNED
        assert row.status == ("pruned" if pruned else "completed")
        assert list(trial.intermediate_values) == list(range(1, row.epochs_done + 1))
        assert (row.epochs_done < row.epochs) == pruned
        history = pd.read_csv(tmp_path / row.run_dir / "history.csv")
        assert list(history.val_loss) == pytest.approx(list(trial.intermediate_values.values()))
        assert pd.isna(row.test_acc) == pruned
        assert pd.isna(row.error) != pruned
        if pruned:
            assert_reason_is_told(tmp_path, done, trial, row)
            assert re.search(f" of {CUTS[pruner]}$", row.error), row.error
        assert (tmp_path / row.run_dir / "model.pt").exists() != pruned
        assert read_result(tmp_path / row.run_dir)["status"] == row.status
    best = finished(tmp_path)[results_of(tmp_path)["best_trial"]]
    assert best.params == {"optimizer.lr": 0.01}


def assert_reason_is_told(folder: Path, done: Done, trial: FrozenTrial, row: Any) -> None:
    """In the study, the table, the terminal and the run's directory: where, and by which cut."""
    reason = REASON.fullmatch(row.error)
    assert reason is not None, row.error
    assert int(reason["epoch"]) == row.epochs_done
    assert float(reason["value"]) > float(reason["cut"])
    best = min(trial.intermediate_values.values())
    assert float(reason["value"]) >= best - 1e-4
    assert trial.user_attrs["error"] == read_result(folder / row.run_dir)["error"] == row.error
    assert f"{trial.number:>5}  pruned     {row.error}" in done.stdout


def test_the_log_of_a_pruned_run_says_why(search: Cli, cli: Cli, tmp_path: Path) -> None:
    """And so does the page."""
    done = search(
        "hydra/sweeper/pruner=successive_halving", RATES, GRID, "hydra.sweeper.sampler.seed=0",
        *BY_LOSS, "trainer.epochs=4", "hydra.sweeper.n_jobs=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pruned = [row for row in rows_of(tmp_path).itertuples() if row.status == "pruned"]
    assert pruned
    assert cli("html", "sweep", module="mnist_sweep.report").returncode == 0
    [shown] = [
        c for c in read(tmp_path / "report.html").data()["runs"]["columns"] if c["name"] == "error"
    ]
    words = set(shown["values"])
    for row in pruned:
        log = (tmp_path / str(row.run_dir) / "output.log").read_text()
        assert f"pruned  {row.error}" in log
        assert set(str(row.error).split(" ")) <= words


def test_a_search_leaves_its_command(search: Cli, cli: Cli, tmp_path: Path) -> None:
    assert search(LR, "hydra.sweeper.n_trials=1").returncode == 0
    assert search(LR, "hydra.sweeper.n_trials=2").returncode == 0
    overrides = OmegaConf.load(tmp_path / "sweep" / "multirun.yaml").hydra.overrides
    assert LR in overrides.task and "hydra.sweeper.n_trials=2" in overrides.hydra
    shown = cli("html", "sweep", module="mnist_sweep.report")
    assert shown.returncode == 0, shown.stderr
    page = (tmp_path / "report.html").read_text()
    command = re.search(r"<code[^>]*>(python -m mnist_sweep -m [^<]*)</code>", page)
    assert command is not None
    assert {LR, "hydra.sweeper.n_trials=2"} <= set(shlex.split(html.unescape(command[1])))


def test_without_a_pruner_nothing_is_pruned(search: Cli, tmp_path: Path) -> None:
    assert search(RATES, GRID, *BY_LOSS, "trainer.epochs=2").returncode == 0
    assert Counter(rows_of(tmp_path).status) == {"completed": 5}
    assert not any(trial.intermediate_values for trial in finished(tmp_path))


def test_rungs_train_the_best_of_each_rung_for_longer(search: Cli, tmp_path: Path) -> None:
    """Successive halving as it should be, from what the study and the table say."""
    rungs = [1, 2, 4]
    done = search(
        "hydra.sweeper.rungs=[1,2,4]", "optimizer.lr=0.01,0.003,0.03,1e-6,1e-7,1e-8", GRID,
        "hydra.sweeper.sampler.seed=1", *BY_LOSS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path).set_index("trial")
    seen: dict[int, list[float]] = {epochs: [] for epochs in rungs}
    for trial in finished(tmp_path):
        row: Any = rows.loc[trial.number]
        reached = 0
        for epochs, more in zip(rungs, [*rungs[1:], math.inf], strict=True):
            value = trial.intermediate_values[epochs]
            seen[epochs].append(value)
            reached += 1
            better = sum(other < value for other in seen[epochs])
            if better >= max(1, len(seen[epochs]) * epochs // more):
                break
        assert list(trial.intermediate_values) == rungs[:reached]
        assert row.rung == row.epochs == row.epochs_done == rungs[reached - 1]
        assert row.val_loss == pytest.approx(trial.intermediate_values[rungs[reached - 1]])
        completed = reached == len(rungs)
        assert (trial.state == TrialState.COMPLETE) == completed
        assert row.status == ("completed" if completed else "pruned")
        if not completed:
            assert_reason_is_told(tmp_path, done, trial, row)
            assert row.error.endswith(f" of rung {reached}")
        assert read_result(tmp_path / row.run_dir)["status"] == row.status
    assert len(rows) == 6 and set(rows.status) == {"completed", "pruned"}
    assert rows.index.is_unique and len(read_table(tmp_path)) == 6


def test_a_rung_is_a_whole_schedule_of_its_own(search: Cli, cli: Cli, tmp_path: Path) -> None:
    """Not the beginning of a longer one: a plain run of as many epochs gives the same."""
    assert search("hydra.sweeper.rungs=[1,3]", "optimizer.lr=0.01,0.02", GRID).returncode == 0
    [row] = [row for row in rows_of(tmp_path).itertuples() if row.trial == 0]
    assert row.rung == 3
    for epochs in (1, 3):
        plain = cli(*small("trainer.epochs"), f"trainer.epochs={epochs}", f"optimizer.lr={row.lr}")
        assert plain.returncode == 0, plain.stderr
    values = finished(tmp_path)[0].intermediate_values
    last = read_table(tmp_path).tail(2)
    assert list(last.val_acc) == pytest.approx([values[1], values[3]])


def test_replicates_are_rows_of_one_configuration_and_the_value_is_their_mean(
    search: Cli, tmp_path: Path
) -> None:
    done = search("hydra.sweeper.replicates=3", "seed=4", "optimizer.lr=0.01,0.03", GRID, *BY_LOSS)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert len(rows) == 6 and rows.run_id.is_unique and rows.config_hash.nunique() == 2
    for trial in finished(tmp_path):
        own = rows[rows.trial == trial.number]
        assert sorted(own.seed) == [4, 5, 6] and own.config_hash.nunique() == 1
        assert own.val_loss.nunique() == 3
        exact = [read_result(tmp_path / run_dir)["val_loss"] for run_dir in own.run_dir]
        assert trial.value == fmean(exact)


def test_replicates_climb_the_rungs_together(search: Cli, tmp_path: Path) -> None:
    done = search(
        "hydra.sweeper.replicates=2", "hydra.sweeper.rungs=[1,2]", GRID, *BY_LOSS,
        "optimizer.lr=0.01,1e-7,1e-8", "hydra.sweeper.sampler.seed=6",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert len(rows) == 6
    for trial in finished(tmp_path):
        own = rows[rows.trial == trial.number]
        assert list(own.seed) == [0, 1] and own.status.nunique() == own.rung.nunique() == 1
        assert set(own.epochs_done) == set(own.rung) == {max(trial.intermediate_values)}
        assert trial.intermediate_values[own.rung.iloc[0]] == pytest.approx(own.val_loss.mean())
    assert set(rows.status) == {"completed", "pruned"}


# The budget and the space

WIDE = [
    "model=cnn_space", "model.stage1.width=range(4, 60)", "model.stage2.width=range(8, 120)",
    "model.stage3.units=1,2",
]  # fmt: skip


def search_with_a_budget(search: Cli, folder: Path, n_trials: int) -> tuple[Any, Any]:
    """Rows and trials of a search most of whose points are over budget."""
    done = search(*WIDE, *RANDOM, f"hydra.sweeper.n_trials={n_trials}", "trainer.limit_train=32")
    assert done.returncode == 0, done.stderr
    return rows_of(folder), trials_of(folder)


def assert_budget_is_kept(rows: pd.DataFrame, trials: list[FrozenTrial], folder: Path) -> None:
    """By nets built anew from the rows' overrides."""
    by_trial = rows.set_index("trial")
    assert by_trial.index.is_unique
    for trial in trials:
        if trial.user_attrs.get("status") == "duplicate":
            assert trial.number not in by_trial.index
            continue
        row = by_trial.loc[trial.number]
        net = make_experiment(*shlex.split(row.overrides)).model
        num_params = count_params(net)
        assert row.num_params == num_params
        assert (row.status == "infeasible") == (num_params > 20_000) == (not is_finished(trial))
        assert (trial.constraints["budget"] > 0) == (num_params > 20_000)
    at_work = rows[rows.status.isin(["completed", "pruned", "failed", "diverged", "interrupted"])]
    assert (at_work.num_params <= 20_000).all()
    assert len(trained(folder)) == len(at_work)


def test_points_over_budget_are_rows_that_were_never_trained(search: Cli, tmp_path: Path) -> None:
    rows, trials = search_with_a_budget(search, tmp_path, 4)
    assert_budget_is_kept(rows, trials, tmp_path)
    rejected = rows[rows.status == "infeasible"]
    assert Counter(rows.status)["completed"] == 4 and len(rejected) > 4
    assert rejected.run_dir.isna().all() and rejected.error.str.contains("budget.max_params").all()
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {
        str(trial.number) for trial in trials if is_finished(trial)
    }
    assert set(read_table(tmp_path).run_id) == set(rows[rows.status == "completed"].run_id)
    for trial in trials:
        if not is_finished(trial):
            assert trial.state == TrialState.PRUNED and not trial.intermediate_values
            over = rejected.set_index("trial").num_params[trial.number] / 20_000 - 1
            assert trial.constraints["budget"] == pytest.approx(over)


def test_samplers_are_told_of_fifty_rejected_points_and_of_nearer_ones(
    search: Cli, tmp_path: Path
) -> None:
    done = search(*WIDE, *RANDOM, "budget.max_params=100", "hydra.sweeper.max_rejected=160")
    assert done.returncode == 2, done.stderr
    trials, told = trials_of(tmp_path, "sweep"), list[float]()
    assert len(trials) == 160
    for trial in trials:
        excess = trial.constraints["budget"]
        if len(told) < 50 or excess < sorted(told)[24]:
            assert trial.state == TrialState.PRUNED
            told.append(excess)
        else:  # samplers pass over failed trials
            assert trial.state == TrialState.FAIL
    assert 50 < len(told) < 160
    rows = rows_of(tmp_path)
    assert set(rows.status) == {"infeasible"} and set(rows.trial) == set(range(160))


@pytest.mark.slow
def test_no_trained_net_is_over_budget_among_500_proposals(search: Cli, tmp_path: Path) -> None:
    rows, trials = search_with_a_budget(search, tmp_path, 30)
    while len(trials) < 500:
        rows, trials = search_with_a_budget(search, tmp_path, len(finished(tmp_path)) + 30)
    assert_budget_is_kept(rows, trials, tmp_path)
    assert len(rows[rows.status == "infeasible"]) > len(trials) / 2


def test_a_point_that_is_no_valid_net_is_rejected_too(search: Cli, tmp_path: Path) -> None:
    done = search(
        "model=cnn_space", "model.padding=valid", "model.num_stages=3,4", "model.stage1.units=1,6",
        GRID,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert Counter(rows.status) == {"completed": 1, "infeasible": 3}
    assert rows[rows.status == "infeasible"].error.str.contains("does not fit").all()
    assert len(trained(tmp_path)) == 1


def test_fitted_widths_are_those_of_the_run(search: Cli, tmp_path: Path) -> None:
    done = search(
        "sweep=arch_20k", "hydra/sweeper/pruner=none", "hydra.sweeper.n_trials=3",
        "budget.max_params=5000", "hydra.sweeper.fit=[model.stage*.width]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert Counter(rows.status) == {"completed": 3} and set(rows.study) == {"arch_5000"}
    for row in rows.itertuples():
        given = dict(word.split("=", 1) for word in shlex.split(str(row.overrides)))
        weights = torch.load(tmp_path / str(row.run_dir) / "model.pt")
        assert sum(tensor.numel() for name, tensor in weights.items() if is_weight(name)) == (
            row.num_params
        )
        assert 4500 <= float(str(row.num_params)) <= 5000
        stem = next(tensor for tensor in weights.values() if tensor.dim() == 4)
        assert stem.shape[0] == int(given["model.stage1.width"])
        last = f"model.stage{given['model.num_stages']}.width"
        positions = 4 if given["model.head"] == "linear" else 1
        assert list(weights.values())[-2].shape == (10, positions * int(given[last]))
        [line] = [s for s in done.stdout.splitlines() if s.startswith(f"{row.trial:>5}  completed")]
        params = finished(tmp_path)[int(str(row.trial))].params
        for name in (name for name in params if name.endswith(".width")):
            both = f" {name.removeprefix('model.')}={params[name]}->{given[name]}"
            same = params[name] == int(given[name])
            assert (both.partition("->")[0] if same else both) in line
    results = results_of(tmp_path)
    best = rows.set_index("trial").overrides[results["best_trial"]]
    assert results["best_widths"]
    for name, width in results["best_widths"].items():
        assert f"{name}={width}" in shlex.split(best)
        assert results["best_params"][name] != width
    study = read_study(tmp_path / "sweep", None)
    axes = {axis.name: axis.values for axis in parallel_info(study, "val_acc").axes}
    for name in ("model.stage2.width", "model.stage3.width"):
        words = [f"{name}={width}" for width in axes[f"{name} in the net"] if width is not None]
        assert all(any(word in text for text in rows.overrides) for word in words)


def is_weight(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_a_stages_parameters_exist_only_where_the_stage_does(search: Cli, tmp_path: Path) -> None:
    text = """
hydra:
  sweeper:
    params:
      model.stage3.width: choice(8, 16)
      model.stage2.width: choice(8, 12)
      model.num_stages: choice(1, 2, 3)
    conditions:
      model.stage2.*: {model.num_stages: [2, 3]}
      model.stage3.*: {model.num_stages: [3], model.stage2.width: [12]}
"""
    done = search(*write_sweep(tmp_path, "mine", text), "model=cnn_space", *RANDOM, NO_PATIENCE)
    assert done.returncode == 0, done.stderr
    points = [trial.params for trial in finished(tmp_path)]
    assert {frozenset(point.items()) for point in points} == {
        frozenset(point.items()) for point in
        [
            {"model.num_stages": 1},
            {"model.num_stages": 2, "model.stage2.width": 8},
            {"model.num_stages": 2, "model.stage2.width": 12},
            {"model.num_stages": 3, "model.stage2.width": 8},
            {"model.num_stages": 3, "model.stage2.width": 12, "model.stage3.width": 8},
            {"model.num_stages": 3, "model.stage2.width": 12, "model.stage3.width": 16},
        ]
    }  # fmt: skip
    assert len(points) == len(rows_of(tmp_path)) == 6
    for row in rows_of(tmp_path).itertuples():
        [point] = [trial.params for trial in finished(tmp_path) if trial.number == row.trial]
        for key in ("model.stage2.width", "model.stage3.width"):
            assert (f"{key}=" in str(row.overrides)) == (key in point)


# Mistakes

MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "empty space": ([], ["hydra.sweeper.params is empty"]),
    "unknown parameter": (["optimizer.lrr=choice(1, 2)"], ["optimizer.lrr", "no such key"]),
    "unknown fixed key": ([LR, "optimizer.lrr=1"], ["optimizer.lrr", "did you mean optimizer.lr"]),
    "low > high": (["optimizer.lr=interval(0.1, 0.01)"], ["optimizer.lr=", "low end is above"]),
    "log of zero": (["optimizer.lr=tag(log, interval(0, 0.01))"], ["optimizer.lr=", "low > 0"]),
    "empty range": (["trainer.epochs=range(5, 1)"], ["trainer.epochs=range(5, 1)"]),
    "malformed": (["optimizer.lr=interval(0.1"], ["optimizer.lr=interval(0.1"]),
    "half an interval": (["optimizer.lr=interval(0.1)"], ["optimizer.lr=interval(0.1)", "'end'"]),
    "glob": (["model=glob(dx_*)"], ["model=glob(dx_*)", "fits no choice", "ds_cnn"]),
    "fixed and searched": ([LR, "optimizer.lr=0.1"], ["optimizer.lr is both searched and fixed"]),
    "searched and fixed": (["optimizer.lr=0.1", LR], ["optimizer.lr is both searched and fixed"]),
    "no trials": ([LR, "hydra.sweeper.n_trials=0"], ["hydra.sweeper.n_trials=0"]),
    "fewer than no jobs": ([LR, "hydra.sweeper.n_jobs=-1"], ["hydra.sweeper.n_jobs=-1: "]),
    "no way to leave": (
        [LR, "hydra.sweeper.detach=maybe"], ["hydra.sweeper.detach=maybe: ", "'on_interrupt'"]
    ),
    "unknown setting": ([LR, "hydra.sweeper.n_trails=3"], ["hydra.sweeper.n_trails"]),
    "unknown added setting": ([LR, "+hydra.sweeper.n_trails=3"], ["hydra.sweeper.n_trails"]),
    "sampler's key": ([LR, "hydra.sweeper.sampler.sed=3"], ["hydra.sweeper.sampler.sed"]),
    "unknown sampler": ([LR, "hydra/sweeper/sampler=tpee"], ["hydra/sweeper/sampler=tpee"]),
    "unknown pruner": ([LR, "hydra/sweeper/pruner=medium"], ["pruner=medium", "median"]),
    "unknown sweep": ([LR, "sweep=arch_20"], ["sweep=arch_20", "did you mean arch_20k"]),
    "pruner and front": (
        [LR, "hydra.sweeper.objective=[val_acc,num_params]",
         "hydra.sweeper.direction=[maximize,minimize]", "hydra/sweeper/pruner=median"],
        ["hydra/sweeper/pruner", "several objectives"],
    ),
    "directions": (
        [LR, "hydra.sweeper.objective=[val_acc,num_params]"],
        ["hydra.sweeper.direction", "hydra.sweeper.objective", "one direction for each"],
    ),
    "rungs and pruner": (
        [LR, "hydra.sweeper.rungs=[1,2]", "hydra/sweeper/pruner=median"],
        ["hydra.sweeper.rungs", "hydra/sweeper/pruner"],
    ),
    "falling rungs": ([LR, "hydra.sweeper.rungs=[2,1]"], ["hydra.sweeper.rungs=[2, 1]"]),
    "rungs and epochs": (
        ["trainer.epochs=1,2", "hydra.sweeper.rungs=[1,2]"],
        ["trainer.epochs", "hydra.sweeper.rungs"],
    ),
    "a seed to tune": (["seed=1,2,3"], ["seed", "hydra.sweeper.replicates"]),
    "test accuracy": ([LR, "hydra.sweeper.objective=test_acc"], ["test_acc", "val_acc"]),
    "no validation": ([LR, "protocol=final"], ["protocol=final", "protocol=select"]),
    "a cluster of unknown size": (
        [LR, "hydra/launcher=submitit_slurm", "hydra.sweeper.n_jobs=auto"],
        ["hydra.sweeper.n_jobs=auto", "submitit_slurm"],
    ),
    "a text for a number of minutes": (
        [LR, "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=x"],
        ["hydra.launcher.timeout_min=x", "could not be converted to Integer"],
    ),
    "a key that the launcher has not": (
        [LR, "hydra/launcher=submitit_local", "+hydra.launcher.timeout=5"],
        ["hydra.launcher.timeout: no such key", "did you mean timeout_min"],
    ),
    "grid of an interval": (
        ["optimizer.lr=interval(0.1, 0.2)", GRID], ["optimizer.lr", "hydra/sweeper/sampler"],
    ),
    "fit to nothing": (
        ["model=cnn_space", "model.stage1.width=range(3, 9)", "hydra.sweeper.budget=fit",
         "hydra.sweeper.fit=[model.stage*.width]", "budget.max_params=null"],
        ["hydra.sweeper.budget=fit", "budget.max_params"],
    ),
    "conditions on nothing": (
        [LR, "+hydra.sweeper.conditions={optimizer.lr:1}"],
        ["hydra.sweeper.conditions.optimizer.lr=1"],
    ),
    "a condition of one value": (
        [LR, "+hydra.sweeper.conditions={optimizer.lr:{optimizer:sgd}}"],
        ["hydra.sweeper.conditions.optimizer.lr.optimizer=sgd"],
    ),
    "fit of nothing": ([LR, "hydra.sweeper.budget=fit"], ["hydra.sweeper.fit"]),
    "nothing fits": (
        [LR, "budget.max_params=100", "hydra.sweeper.max_rejected=50"],
        ["budget.max_params=100", "50 proposals", "4,538"],
    ),
    "unknown storage": ([LR, "hydra.sweeper.storage=foo://x"], ["hydra.sweeper.storage=foo://x"]),
    "no storage": ([LR, "hydra.sweeper.storage=nonsense"], ["hydra.sweeper.storage=nonsense"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_trained(
    search: Cli, tmp_path: Path, mistake: str
) -> None:
    arguments, fragments = MISTAKES[mistake]
    assert_refused(search(*arguments), tmp_path, *fragments)


def test_a_search_that_fits_nothing_ends_after_as_many_proposals(
    search: Cli, tmp_path: Path
) -> None:
    search(LR, "budget.max_params=100", "hydra.sweeper.max_rejected=50")
    assert len(trials_of(tmp_path)) == 50
    assert Counter(rows_of(tmp_path).status) == {"infeasible": 50}


def test_a_mistake_does_not_begin_a_study(search: Cli, tmp_path: Path) -> None:
    """The corrected command is not held to the mistaken one's settings."""
    assert search("optimizer.lrr=choice(1, 2)").returncode == 2
    done = search(LR, "hydra.sweeper.n_trials=1")
    assert done.returncode == 0, done.stderr


def test_conditions_in_a_circle_are_refused(search: Cli, tmp_path: Path) -> None:
    text = """
hydra:
  sweeper:
    params: {model.dropout: "choice(0.0, 0.1)", model.order: "choice(conv-bn-act, conv-act-bn)"}
    conditions:
      model.dropout: {model.order: [conv-bn-act]}
      model.order: {model.dropout: [0.0]}
"""
    done = search(*write_sweep(tmp_path, "mine", text), "model=cnn_space")
    assert_refused(
        done, tmp_path, "hydra.sweeper.conditions", "circle", "model.dropout", "model.order"
    )


GARBAGE = {
    "text": "this is no journal\n",
    "binary": "\0\1\2" * 100 + "\n",
    "json": "[1, 2]\n",
    "half": '{"op_code": 0}\n',
    "other program's": '{"op_code": 99, "worker_id": "a"}\n',
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_damaged_study_is_said_and_left_alone(search: Cli, tmp_path: Path, kind: str) -> None:
    journal = tmp_path / "sweep" / "study.journal"
    journal.parent.mkdir()
    journal.write_text(GARBAGE[kind])
    assert_refused(search(LR), tmp_path, "hydra.sweeper.storage", "sweep/study.journal")
    assert journal.read_text() == GARBAGE[kind]


def test_a_file_that_is_no_database_is_said_and_left_alone(search: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.db").write_text("garbage" * 500)
    done = search(LR, "hydra.sweeper.storage=sqlite:///mine.db")
    assert_refused(done, tmp_path, "hydra.sweeper.storage=sqlite:///mine.db", "not a database")
    assert (tmp_path / "mine.db").read_text() == "garbage" * 500


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_sweep_directory_that_cannot_be_written_is_said(search: Cli, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir(mode=0o555)
    assert_refused(search(LR), tmp_path, "sweep", "cannot be written")


def test_a_study_goes_on_only_with_the_settings_it_was_begun_with(
    search: Cli, tmp_path: Path
) -> None:
    """The number of trials and of jobs, and where things lie, may change."""
    one = "hydra.sweeper.n_trials=1"
    assert search(LR, one).returncode == 0
    before = (tmp_path / "sweep" / "study.journal").read_text()
    refused = {
        ("hydra.sweeper.direction=minimize",): ["hydra.sweeper.direction", "maximize"],
        ("trainer.batch_size=16", "optimizer.weight_decay=0.5"): [
            "trainer.batch_size (was 32", "is 16", "optimizer.weight_decay",
        ],
        ("trainer.label_smoothing=0.2,0.3",): ["trainer.label_smoothing", "all trials"],
        ("hydra.sweeper.replicates=2",): ["hydra.sweeper.replicates (was 1, is 2)"],
        ("hydra/sweeper/pruner=median",): ["hydra.sweeper.pruner"],
    }  # fmt: skip
    for changes, fragments in refused.items():
        done = search(LR, "hydra.sweeper.n_trials=2", *changes)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        for fragment in fragments:
            assert fragment in done.stderr
        for change in changes:
            assert change.partition("=")[0].replace("/", ".") in done.stderr
    assert len(trained(tmp_path)) == 1
    assert finished_in(before) == finished_in((tmp_path / "sweep" / "study.journal").read_text())
    done = search(LR, "hydra.sweeper.n_trials=2", "record.table=elsewhere.csv")
    assert done.returncode == 0, done.stderr
    assert len(trained(tmp_path)) == 2


def finished_in(journal: str) -> int:
    return journal.count('"op_code":6')


# Going on


def test_more_trials_go_on_where_the_study_ended(search: Cli, tmp_path: Path) -> None:
    assert search(LR, "hydra.sweeper.n_trials=2", *RANDOM).returncode == 0
    first = [trial.params for trial in finished(tmp_path)]
    for _ in range(2):  # the second time there is nothing to do
        done = search(LR, "hydra.sweeper.n_trials=4", *RANDOM)
        assert done.returncode == 0, done.stderr
        assert len(finished(tmp_path)) == len(rows_of(tmp_path)) == len(trained(tmp_path)) == 4
    points = [trial.params for trial in finished(tmp_path)]
    assert points[:2] == first and len({point["optimizer.lr"] for point in points}) == 4
    assert results_of(tmp_path)["best_value"] == max(t.value or 0 for t in finished(tmp_path))
    done = search(LR, "hydra.sweeper.n_trials=1", *RANDOM)
    assert done.returncode == 0 and len(trained(tmp_path)) == 4


def test_a_space_smaller_than_n_trials_ends_with_each_point_trained_once(
    search: Cli, tmp_path: Path
) -> None:
    done = search("optimizer.lr=0.01,0.02,0.03", *RANDOM, NO_PATIENCE)
    assert done.returncode == 0, done.stderr
    assert sorted(rows_of(tmp_path).lr) == [0.01, 0.02, 0.03]
    assert len(finished(tmp_path)) == len(trained(tmp_path)) == 3
    duplicates = [t for t in trials_of(tmp_path) if t.user_attrs.get("status") == "duplicate"]
    assert all(trial.state == TrialState.FAIL for trial in duplicates)


def test_repeats_are_trained_where_they_are_wanted(search: Cli, tmp_path: Path) -> None:
    done = search(
        "optimizer.lr=0.01,0.02", *RANDOM, "hydra.sweeper.n_trials=4",
        "hydra.sweeper.skip_repeats=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    assert len(rows) == 4 and set(rows.lr) <= {0.01, 0.02}
    assert (rows.groupby("lr").val_loss.nunique() == 1).all()


def test_the_best_command_runs_the_best_trial_again(search: Cli, tmp_path: Path) -> None:
    """To the last digit, by a shell, from a search that has fitted widths and rungs."""
    done = search(
        "sweep=arch_20k", "hydra/sweeper/pruner=none", "hydra.sweeper.rungs=[1,2]",
        "hydra.sweeper.n_trials=3", "hydra.sweeper.fit=[model.stage*.width]",
        "budget.max_params=2000", "augmentation=[affine,elastic]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = results_of(tmp_path, "sweep")
    command = results["best_command"]
    assert f"again   {command}\n" in done.stdout and command.startswith("python -m mnist_sweep ")
    again = subprocess.run(
        ["bash", "-c", command.replace("python", shlex.quote(sys.executable), 1)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    [result] = (tmp_path / "outputs").glob("*/*/result.json")
    rerun, best = read_result(result.parent), read_result(tmp_path / results["best_run_dir"])
    same = ["val_acc", "val_loss", "test_loss", "num_params", "config_hash", "epochs"]
    assert {key: rerun[key] for key in same} == {key: best[key] for key in same}
    assert rerun["val_acc"] == results["best_value"]


def test_two_jobs_give_what_one_gives(cli: Cli, tmp_path: Path) -> None:
    """With the pool of workers, and without."""
    values = []
    for n_jobs in (1, 2):
        done = cli(
            *SEARCH, f"hydra.sweep.dir=jobs{n_jobs}", f"hydra.sweeper.n_jobs={n_jobs}", *SMALL,
            "optimizer.lr=0.003,0.01,0.03,0.1", GRID, "hydra.sweeper.replicates=2",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = rows_of(tmp_path, f"jobs{n_jobs}")
        assert len(rows) == 8 and len(finished(tmp_path, f"jobs{n_jobs}")) == 4
        values.append(rows.set_index(["lr", "seed"]).sort_index()[["val_loss", "config_hash"]])
    pd.testing.assert_frame_equal(values[0], values[1])
    assert values[0].val_loss.is_unique


# The terminal

COLUMNS = 80


def run_in_a_terminal(folder: Path, arguments: Iterable[str]) -> str:
    """What the command shows in a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_sweep", *arguments],
        cwd=folder, env=environment(TERM="xterm-256color"), stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # the terminal was closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    return shown.decode()


def test_trials_take_one_line_each_of_a_terminal(tmp_path: Path) -> None:
    """However long the values are, and whatever brackets are in them."""
    roots = 'data.root="a[/red]","[bold]b[/bold]","c[link=x]' + "d" * 90 + '"'
    shown = run_in_a_terminal(
        tmp_path,
        [
            *SEARCH,
            ONE_JOB,
            *SMALL,
            roots,
            "optimizer.lr=0.01,1e30",
            "optimizer=sgd",
            GRID,
            "hydra.sweeper.skip_repeats=false",
        ],
    )
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    ended = [line for line in lines if re.match(r" +\d+  (completed|diverged) ", line)]
    assert len(ended) == 6, plain
    bars = [line for line in lines if re.search(r"\d of 6, ", line)]
    assert bars, plain
    for line in [*ended, *bars]:
        assert cell_len(line.rstrip()) <= COLUMNS, line
    assert sum("completed" in line for line in ended) == 3
    best = results_of(tmp_path)["best_params"]
    assert any(
        line.startswith(f"params  data.root={best['data.root']} optimizer.lr=0.01")
        for line in lines
    )


def test_without_a_terminal_brackets_are_shown_as_they_are(failing: Cli, tmp_path: Path) -> None:
    done = failing(*HALF_FAIL, "hydra.sweeper.max_failure_rate=1", "hydra.sweeper.max_retries=0")
    lines = [line for line in done.stdout.splitlines() if "  failed  " in line]
    assert len(lines) == 2 and all("this one [fails]" in line for line in lines)


def test_without_a_terminal_nothing_is_cut(search: Cli, tmp_path: Path) -> None:
    long = "d" * 300
    done = search(f"data.root={long}a,{long}b", "hydra.sweeper.skip_repeats=false", GRID)
    assert done.returncode == 0, done.stderr
    ended = [line for line in done.stdout.splitlines() if "  completed  " in line]
    assert sorted(line.split()[-1] for line in ended) == [f"data.root={long}{x}" for x in "ab"]
    assert "…" not in done.stdout
