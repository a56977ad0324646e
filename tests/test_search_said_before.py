"""What is wrong with a search is said before anything is trained, and kept by no study."""

from collections import Counter
from pathlib import Path

import optuna
import pytest

from mnist_sweep.search.points.wording import bare_key
from tests.conftest import TINY, Cli, Done
from tests.test_search import (
    GRID,
    LR,
    ONE_JOB,
    RANDOM,
    SEARCH,
    assert_refused,
    finished,
    results_of,
    rows_of,
    small,
    trained,
    trials_of,
    write_sweep,
)

TWO = "optimizer.lr=choice(0.01, 0.02)"


@pytest.fixture
def search(cli: Cli) -> Cli:
    """`search("optimizer.lr=...")` searches with small trainings, one after another, in `sweep`."""

    def call(*arguments: str, **extra: str) -> Done:
        given = {bare_key(argument) for argument in arguments}
        rest = [argument for argument in small(*arguments) if bare_key(argument) not in given]
        return cli(*SEARCH, ONE_JOB, *rest, *arguments, **extra)

    return call


def sweeper(text: str) -> str:
    """A sweep file's `hydra.sweeper`."""
    return "hydra:\n  sweeper:\n" + "".join(f"    {line}\n" for line in text.splitlines())


# Values that no run can have

WRONG: dict[str, tuple[list[str], list[str]]] = {
    "device": ([TWO, "trainer.device=gpu"], ["trainer.device=gpu", "use auto, cpu"]),
    "device that is not here": ([TWO, "trainer.device=cuda:77"], ["trainer.device=cuda:77"]),
    "optimizer's value": ([TWO, "optimizer.weight_decay=-1"], ["optimizer.weight_decay=-1"]),
    "scheduler's value": ([TWO, "scheduler.warmup=7"], ["scheduler.warmup=7"]),
    "augmentation's value": ([TWO, "augmentation.affine.rotate=x"], ["augmentation.affine.rotate"]),
    "model's value": (
        [TWO, "model=cnn_space", "model.stage1.width=0"], ["model.stage1.width=0"],
    ),
    "settings that do not go together": (
        [TWO, "scheduler=plateau", "scheduler.monitor=test_acc"], ["scheduler.monitor=test_acc"],
    ),
    "data that are not here": ([TWO, "data=kmnist"], ["data=kmnist", "data=digits"]),
    "data that may not be here": (["data=digits,kmnist"], ["data=kmnist", "data=digits"]),
    "root that is a file": ([TWO, "data=auto", "data.root=mine.npz"], ["data.root=mine.npz"]),
    "searched value": (["trainer.epochs=choice(1, 0)"], ["trainer.epochs=0"]),
    "interval of whole numbers": (
        ["trainer.batch_size=interval(16, 64)"],
        ["trainer.batch_size=", "int(interval(16, 64))", "range(16, 65)"],
    ),
    "log interval of whole numbers": (
        ["trainer.batch_size=tag(log, interval(16, 64))"],
        ["trainer.batch_size=", "tag(log, int(interval(16, 64)))"],
    ),
    "interval of a net's whole numbers": (
        ["model=cnn_space", "model.stage1.width=interval(4, 9)"],
        ["model.stage1.width=", "int(interval(4, 9))"],
    ),
    "range of one value": (
        ["optimizer.lr=range(1e-4, 1e-3)"], ["range(1e-4, 1e-3)", "one value, 0.0001", "step"],
    ),
    "range without its end": (["trainer.epochs=range(1, 2)"], ["one value, 1", "end"]),
    "interval of values of which some cannot be": (
        ["optimizer.lr=interval(-1, 1)"],
        ["optimizer.lr=", "greater than 0", "optimizer.lr is searched from -1 to 1"],
    ),
    "interval without a low end": (["optimizer.lr=interval(nan, 1)"], ["interval(nan", "nan"]),
    "interval without a high end": (["optimizer.lr=interval(0.1, 1e400)"], ["1e400", "inf"]),
    "numbers for a group": (["optimizer=interval(0.1, 0.5)"], ["optimizer=0.", "by name"]),
    "continuous parameter, each value tried": (
        [LR, "hydra/sweeper/sampler=brute_force"],
        ["optimizer.lr=interval", "hydra/sweeper/sampler"],
    ),
    "sampler's value": (
        [TWO, "++hydra.sweeper.sampler.seed=-1"], ["hydra.sweeper.sampler.seed=-1"],
    ),
    "sampler's text for a number": (
        [TWO, "hydra.sweeper.sampler.seed=x"], ["hydra.sweeper.sampler.seed=x"],
    ),
    "pruner's value": (
        [TWO, "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_warmup_steps=-1"],
        ["hydra.sweeper.pruner.n_warmup_steps=-1"],
    ),
    "value for a launcher": ([TWO, "hydra.launcher=false"], ["hydra.launcher=False", "NAME"]),
    "name too long for a folder": (
        [TWO, f"hydra.sweeper.study_name={'n' * 250}"], ["hydra.sweeper.study_name", "200 bytes"],
    ),
    "interval of one value": (["optimizer.lr=interval(0.1, 0.1)"], ["one value, 0.1"]),
    "subdir": ([TWO, "hydra.sweep.subdir=t_${hydra.job.num}"], ["hydra.sweep.subdir=t_", "dir"]),
    "sampler's other key": (
        [TWO, "hydra.sweeper.sampler._target_=optuna.samplers.GridSampler"],
        ["hydra.sweeper.sampler._target_=optuna.samplers.GridSampler",
         "override /hydra/sweeper/sampler: grid"],
    ),
    "pruner's other key": (
        [TWO, "hydra/sweeper/pruner=median",
         "hydra.sweeper.pruner._target_=optuna.pruners.SuccessiveHalvingPruner"],
        ["override /hydra/sweeper/pruner: successive_halving"],
    ),
    "stock sweeper": (
        [TWO, "hydra.sweeper._target_=hydra_plugins.hydra_optuna_sweeper.optuna_sweeper."
         "OptunaSweeper"],
        ["hydra.sweeper.", "_target_", "override /hydra/sweeper: search"],
    ),
    "legacy settings": ([TWO, "+hydra.sweeper.optuna_config={n_trials: 3}"],
                        ["hydra.sweeper.optuna_config", "hydra.sweeper itself"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_said_before_a_study_is_begun(
    search: Cli, tmp_path: Path, mistake: str
) -> None:
    """So that the corrected command is not held to it."""
    (tmp_path / "mine.npz").touch()
    arguments, fragments = WRONG[mistake]
    assert_refused(search(*arguments), tmp_path, *fragments)
    assert not list(tmp_path.glob("**/study.journal"))


def test_the_line_is_checked_before_data_are_looked_for(search: Cli, tmp_path: Path) -> None:
    data = ("data=auto", "data.download=false", "hydra.sweeper.n_trials=1")
    for wrong in ("hydra.sweeper.n_jobs=x", "trainer.epochs=x", "hydra.sweeper.sampler.seed=x"):
        done = search(TWO, *data, wrong)
        assert_refused(done, tmp_path, wrong)
        assert "no data=auto" not in done.stdout + done.stderr
    done = search(TWO, *data)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("no data=auto") == 1


FILES: dict[str, tuple[str, list[str]]] = {
    "list": ("params:\n  optimizer.lr: [0.01, 0.02]", ["optimizer.lr", "choice(0.01, 0.02)"]),
    "keys in keys": (
        "params:\n  optimizer: {lr: 'interval(0.01, 0.1)'}", ["optimizer.lr: choice(...)"],
    ),
    "legacy space": (
        "search_space:\n  optimizer.lr: {type: float, low: 0.01, high: 0.1, log: true}",
        ["hydra.sweeper.search_space", "hydra.sweeper.params",
         "optimizer.lr: tag(log, interval(0.01, 0.1))"],
    ),
    "legacy choices": (
        "search_space:\n  trainer.batch_size: {type: categorical, choices: [16, 32]}",
        ["trainer.batch_size: choice(16, 32)"],
    ),
    "legacy whole numbers": (
        "search_space:\n  trainer.batch_size: {type: int, low: 16, high: 32}",
        ["trainer.batch_size: int(interval(16, 32))"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_mistake_in_a_sweep_file_is_said_with_what_to_write(
    search: Cli, tmp_path: Path, kind: str
) -> None:
    text, fragments = FILES[kind]
    done = search(*write_sweep(tmp_path, "mine", sweeper(text)), "model=ds_cnn_v3_code")
    assert_refused(done, tmp_path, *fragments)


@pytest.mark.parametrize("choice", ["basic", "optuna"])
def test_keys_that_the_stock_sweepers_no_longer_have_are_said(
    cli: Cli, tmp_path: Path, choice: str
) -> None:
    text = sweeper("search_space: {optimizer.lr: {type: float, low: 0.01, high: 0.1}}")
    done = cli("-m", *write_sweep(tmp_path, "mine", text), *TINY, f"hydra/sweeper={choice}")
    assert_refused(done, tmp_path, "hydra.sweeper.search_space", "hydra.sweeper.params")


# What a search of today takes


def test_glob_is_the_choices_that_fit(search: Cli, tmp_path: Path) -> None:
    done = search("optimizer=glob(a*)", GRID)
    assert done.returncode == 0, done.stderr
    assert sorted(rows_of(tmp_path).optimizer) == ["adam", "adamw"]


def test_glob_goes_in_a_file_too(search: Cli, tmp_path: Path) -> None:
    text = sweeper("params: {optimizer: 'glob([a*, s*], exclude=s*)'}")
    done = search(*write_sweep(tmp_path, "mine", text), "model=ds_cnn_v3_code", *RANDOM)
    assert done.returncode == 0, done.stderr
    assert sorted(rows_of(tmp_path).optimizer) == ["adam", "adamw"]


@pytest.mark.parametrize(
    "fixed", ["optimizer.lr=0.05", "++optimizer.lr=0.05", "optimizer={lr:0.05}"]
)
def test_a_key_is_fixed_however_it_is_written(search: Cli, tmp_path: Path, fixed: str) -> None:
    text = sweeper(
        "params:\n  optimizer.lr: interval(0.001, 0.1)\n  trainer.label_smoothing: 0.0, 0.1"
    )
    done = search(
        *write_sweep(tmp_path, "mine", text), "model=ds_cnn_v3_code", fixed,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {tuple(trial.params) for trial in finished(tmp_path)} == {("trainer.label_smoothing",)}
    assert set(rows_of(tmp_path).lr) == {0.05}


def test_a_forced_key_is_not_both_searched_and_fixed(search: Cli, tmp_path: Path) -> None:
    assert_refused(search(LR, "++optimizer.lr=0.1"), tmp_path, "both searched and fixed")


# A small space


@pytest.mark.parametrize("sampler", [[], RANDOM, ["hydra/sweeper/sampler=tpe"]])
def test_a_small_space_ends_when_its_last_point_is_tried(
    search: Cli, tmp_path: Path, sampler: list[str]
) -> None:
    """At once: after some proposals, and not after as many as a large space is given."""
    done = search(TWO, "trainer.batch_size=16,32", *sampler, "hydra.sweeper.n_trials=9")
    assert done.returncode == 0, done.stderr
    assert len(finished(tmp_path)) == len(trained(tmp_path)) == 4
    assert len(trials_of(tmp_path)) < 40
    assert "4 points" in done.stdout


def test_a_small_space_of_a_database_too(search: Cli, tmp_path: Path) -> None:
    storage = "sqlite:///x.db"
    done = search(TWO, "hydra.sweeper.n_trials=3", f"hydra.sweeper.storage={storage}")
    assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'x.db'}")
    assert Counter(len(t.params) for t in study.trials if t.value is not None) == {1: 2}
    assert len(study.trials) < 20


def test_a_small_space_of_which_little_fits_ends_too(search: Cli, tmp_path: Path) -> None:
    """A point that was refused is not proposed again and again."""
    done = search("model=ds_cnn,ds_cnn_v3_code,rf_cnn", "budget.max_params=5000")
    assert done.returncode == 0, done.stderr
    assert Counter(rows_of(tmp_path).status) == {"completed": 1, "infeasible": 2}
    assert "3 points" in done.stdout and len(trials_of(tmp_path)) < 40


def test_a_small_space_of_which_nothing_fits_says_so(search: Cli, tmp_path: Path) -> None:
    done = search("model=ds_cnn,rf_cnn", "budget.max_params=5000")
    assert_refused(done, tmp_path, "budget.max_params=5000", "17,418")
    assert Counter(rows_of(tmp_path).status) == {"infeasible": 2}


# A study's seed


def test_another_seed_is_another_study(search: Cli, tmp_path: Path) -> None:
    assert search(LR, "seed=0", "hydra.sweeper.n_trials=1").returncode == 0
    done = search(LR, "seed=1", "hydra.sweeper.n_trials=2")
    assert done.returncode == 2 and "seed (was 0, is 1)" in done.stderr
    assert len(trained(tmp_path)) == 1
    assert search(LR, "seed=0", "hydra.sweeper.n_trials=2").returncode == 0


# Doubts and ends


def test_a_search_for_the_worst_is_warned_of(search: Cli, tmp_path: Path) -> None:
    done = search(TWO, "hydra.sweeper.direction=minimize")
    assert done.returncode == 0, done.stderr
    assert "direction=maximize" in " ".join(done.stdout.split())
    assert results_of(tmp_path)["best_value"] == rows_of(tmp_path).val_acc.min()
    loss = ["hydra.sweeper.objective=val_loss", "hydra.sweeper.direction=minimize"]
    quiet = search(TWO, *loss, "hydra.sweep.dir=other")
    assert quiet.returncode == 0 and "is this meant" not in quiet.stdout


# A sweep that was meant, and a single run


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep=arch_20k"], ["sweep=reference"], ["hydra/sweeper=search"],
        ["hydra.sweeper.n_trials=3", "hydra/sweeper=search"],
    ],
)  # fmt: skip
def test_what_is_of_a_sweep_needs_minus_m(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    done = cli(*arguments, *TINY)
    assert_refused(done, tmp_path, arguments[0], "-m")


def test_a_run_of_a_sweep_runs_alone(cli: Cli, tmp_path: Path) -> None:
    """As its printed command has it."""
    done = cli("sweep=rf_cnn_ablation", "experiment=rf_cnn_step1", *TINY, "trainer.limit_train=32")
    assert done.returncode == 0, done.stderr
    assert len(trained(tmp_path)) == 1


# Roots that are none


@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_a_root_that_is_none_is_never_passed_over(
    cli: Cli, tmp_path: Path, mode: list[str]
) -> None:
    (tmp_path / "mine.npz").touch()
    (tmp_path / "empty").mkdir()
    mnist = [*mode, *[word for word in TINY if word != "data=digits"], "data.download=false"]
    for name, done in {
        "data.root=mine.npz": cli(*mnist, "data.root=mine.npz"),
        "data.root=empty": cli(*mnist, "data.root=empty"),
        "MNIST_SWEEP_DATA=empty": cli(*mnist, MNIST_SWEEP_DATA="empty"),
        "data=mnist": cli(*mnist, "data=mnist", MNIST_SWEEP_DATA="empty"),
    }.items():
        assert done.returncode == 2 and name in done.stderr and "data=digits" in done.stderr
    assert not trained(tmp_path)


@pytest.mark.parametrize("line", [["seed"], ["hydra/sweeper=search", "++optimizer.lr"]])
def test_more_values_than_there_is_memory_for_are_refused(line: list[str], cli: Cli) -> None:
    *rest, key = line
    done = cli("-m", *TINY, *rest, f"{key}=range(1,100000000000000000000)")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"error: {key.lstrip('+')}: more than 100,000 values" in done.stderr
