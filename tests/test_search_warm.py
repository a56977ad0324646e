"""Searches that take over finished runs of elsewhere, or try given points first."""

import shutil
from pathlib import Path

import optuna
import pandas as pd
import pytest

from mnist_sweep.errors import UserError
from mnist_sweep.report.read.study import read_study
from mnist_sweep.search.points.past_runs import Source
from mnist_sweep.search.points.taken_over import taken_over
from tests.books import check_books
from tests.conftest import TINY, cli_in
from tests.searches import LR, Search, search

__all__ = ["search"]  # a fixture

SMALL = ["-m", "hydra/sweeper=search", *TINY, "model=ds_cnn_v3_code", "trainer.epochs=1"]
SMALL += ["hydra.sweeper.n_jobs=1"]
RANDOM = ["hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=0"]
TPE = ["hydra.sweeper.sampler.seed=1", "hydra.sweeper.sampler.n_startup_trials=4"]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of six trials, two single runs, and a failed one."""
    folder = tmp_path_factory.mktemp("past")
    call = cli_in(folder)
    six = ["hydra.sweeper.study_name=six", "hydra.sweeper.n_trials=6"]
    assert call(*SMALL, LR, *RANDOM, *six).returncode == 0
    single = [*TINY, "model=ds_cnn_v3_code", "trainer.epochs=1", "optimizer=sgd"]
    assert call(*single, "optimizer.lr=0.03").returncode == 0
    assert call(*single[:-1], "trainer.batch_size=32", "optimizer.lr=0.02").returncode == 0
    return folder


def warm(source: object) -> str:
    return f"hydra.sweeper.warm_start={source}"


def line_of(command_output: str) -> str:
    return next(line for line in command_output.splitlines() if line.startswith("warm "))


def test_runs_alike_are_told_and_others_points_are_tried_first(search: Search, past: Path) -> None:
    source = shutil.copytree(past, search.folder / "past")
    table = source / "outputs" / "results.csv"
    search.arguments = [LR, *TPE, warm(table)]
    said = search.run_here("hydra.sweeper.n_trials=4")
    shown = line_of(said)
    assert "6 points told to the sampler, 1 tried first; none of its runs is counted" in said
    assert "6 runs told to the sampler" in shown, shown
    assert "1 of 2 points to be tried first (runs with another " in shown
    check_books(search, 4)
    first, *others = search.trials()
    assert first.params["optimizer.lr"] in (0.02, 0.03)
    assert first.user_attrs["first_of"] == str(table)
    assert not any("first_of" in trial.user_attrs for trial in others)
    study = search.study()
    assert study is not None
    [found] = taken_over(study)
    rows = pd.read_csv(table)
    assert sorted(run.values for run in found.told if run.values) == sorted(
        [value] for value in rows[rows.study == "six"].val_acc
    )
    # The same command goes on without the source, and tries no point twice.
    shutil.rmtree(source)
    assert line_of(search.run_here("hydra.sweeper.n_trials=6")) == shown
    check_books(search, 6)
    assert sum("first_of" in trial.user_attrs for trial in search.trials()) == 1
    call = cli_in(search.folder)
    assert (
        f"warm    {shown.split(maxsplit=1)[1]}" in call("status", module="mnist_sweep.sweep").stdout
    )
    assert read_study(search.sweep_dir, None).warm_starts == (shown.split(maxsplit=1)[1],)
    explained = call("explain", "s/0", module="mnist_sweep.sweep").stdout
    assert "a point to be tried first, of " in explained


def test_a_study_a_journal_and_a_storage_are_sources(
    past: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = past / "multirun" / "six" / "study.journal"
    url = f"sqlite:///{tmp_path}/study.db"
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(journal))
    )
    optuna.copy_study(
        from_study_name="six", from_storage=storage, to_storage=url, to_study_name="six"
    )
    monkeypatch.chdir(past)
    values = sorted(pd.read_csv(past / "multirun" / "six" / "results.csv").val_acc.round(6))
    points = set()
    for source in ("six", "multirun/six", str(journal), f"six@{journal}", f"six@{url}", url):
        runs = Source.named(source).runs(["val_acc"])
        assert sorted(round(run.measured["val_acc"], 6) for run in runs) == values, source
        assert {run.status for run in runs} == {"completed"}
        points.add(tuple(run.proposed["optimizer.lr"] for run in runs))
    assert len(points) == 1
    with pytest.raises(UserError, match="it holds no study sxi, did you mean six"):
        Source.named(f"sxi@{url}").runs(["val_acc"])


def test_runs_of_another_sweep_are_taken_over(tmp_path: Path) -> None:
    call = cli_in(tmp_path)
    run = [*SMALL[2:], "optimizer=sgd"]
    grid = ["-m", "sweep=grid", "hydra.sweeper.study_name=g", *run, "optimizer.lr=0.01,0.02"]
    assert call(*grid).returncode == 0
    of_search = [*SMALL[:2], *run, LR, "hydra.sweeper.study_name=s", "hydra.sweeper.n_trials=1"]
    done = call(*of_search, warm("multirun/g"))
    assert done.returncode == 0 and "2 runs told to the sampler" in done.stdout, done


def test_without_runs_alike_points_are_tried_best_first(past: Path, tmp_path: Path) -> None:
    done = cli_in(tmp_path)(
        *(*SMALL, LR, *RANDOM, "hydra.sweeper.n_trials=8", "optimizer=sgd", "trainer.epochs=2"),
        *(warm(past / "multirun" / "six"), "hydra.sweeper.study_name=s"),
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 6 points to be tried first (runs with another " in line_of(done.stdout)
    rows = pd.read_csv(past / "multirun" / "six" / "results.csv")
    table = pd.read_csv(tmp_path / "multirun" / "s" / "results.csv")
    first = rows[rows.lr.isin(table[table.trial < 2].lr)]
    assert sorted(first.val_acc) == sorted(rows.val_acc)[-2:]


WRONG: dict[str, tuple[list[str], str]] = {
    "no such study": ([LR, warm("sxi")], "no such table or search, did you mean six"),
    "another table": ([LR, warm("other.csv")], "other.csv: it holds no runs"),
    "a table without the objective": (
        [LR, warm("lacking.csv")],
        "lacking.csv: it lacks the column val_acc, without which nothing can be learnt",
    ),
    "no overlap": (
        ["model.dropout=interval(0,0.5)", warm("multirun/six")],
        "none of its 6 runs lies in the space: 6 with another model.dropout; widen the space",
    ),
    "a database that is not there": (
        [LR, warm("six@sqlite:///no.db")],
        "warm_start=six@sqlite:///no.db: there is no file no.db",
    ),
    "a guess of no key": (
        [LR, "hydra.sweeper.try_first=[{optimizer.rl: 0.1}]"],
        "try_first[0]: optimizer.rl is not searched, did you mean optimizer.lr",
    ),
    "a guess of a fixed key": (
        [LR, "hydra.sweeper.try_first=[{optimizer.lr: 0.1},{trainer.epochs: 3}]"],
        "try_first[1]: trainer.epochs is not searched but fixed (trainer.epochs=1)",
    ),
    "a guess outside": (
        [LR, "hydra.sweeper.try_first=[{optimizer.lr: 3}]"],
        "optimizer.lr=3 is not in the space: it is searched over from 0.001 to 0.1",
    ),
    "a guess with a grid": (
        [
            "optimizer.lr=0.1,0.2",
            "hydra/sweeper/sampler=grid",
            "hydra.sweeper.try_first=[{optimizer.lr: 0.1}]",
        ],
        "try_first does not go with a sampler that tries every point",
    ),
    "a prior outside": (
        [LR, "hydra.sweeper.priors={optimizer.lr: 1}"],
        "hydra.sweeper.priors: optimizer.lr=1 is not in the space",
    ),
    "a prior of no spread": (
        [LR, "hydra.sweeper.priors={optimizer.lr: {near: 0.01, spread: 0}}"],
        "optimizer.lr has spread=0: give a share of its range",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_wrong_is_said(past: Path, mistake: str) -> None:
    (past / "other.csv").write_text("a,b\n1,2\n")
    (past / "lacking.csv").write_text("run_id,status,overrides\nr1,completed,seed=0\n")
    arguments, words = WRONG[mistake]
    done = cli_in(past)(*SMALL, *arguments, "hydra.sweeper.study_name=wrong")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and words in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert not (past / "multirun" / "wrong" / "study.journal").exists()


def test_guesses_are_tried_once_each_and_first(search: Search) -> None:
    guesses = "{optimizer.lr: 0.05}, {optimizer.lr: 0.02, trainer.batch_size: 64}"
    search.arguments = [LR, "trainer.batch_size=choice(32,64)", *RANDOM]
    search.arguments += [f"hydra.sweeper.try_first=[{guesses}]"]
    search.run_here("hydra.sweeper.n_trials=1")
    assert [trial.state.name for trial in search.trials()] == ["COMPLETE", "WAITING"]
    search.run_here("hydra.sweeper.n_trials=3")
    check_books(search, 3)
    first, second, third = search.trials()
    assert first.params["optimizer.lr"] == 0.05
    assert second.params == {"optimizer.lr": 0.02, "trainer.batch_size": 64}
    assert third.params["optimizer.lr"] not in (0.05, 0.02)
