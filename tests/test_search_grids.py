"""Grids that are studies: they go on, and grow, and nothing is trained twice."""

import signal
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from tests.books import check_books
from tests.conftest import TINY, Cli, Done
from tests.searches import Search, search, wait_until
from tests.test_search_controllers import database, server_port, shared
from tests.test_search_parts import Parts, allowed

__all__ = ["allowed", "database", "search", "server_port", "shared"]

SMALL = [*TINY, "trainer.limit_train=32", "trainer.epochs=1", "hydra.sweeper.n_jobs=1"]
NET = "model=ds_cnn_v3_code"
TWO = ["optimizer=sgd,adamw"]


def grid(cli: Cli, *arguments: str, code: int = 0) -> Done:
    keys = {argument.partition("=")[0] for argument in arguments}
    small = [given for given in SMALL if given.partition("=")[0] not in keys]
    done = cli("-m", "sweep=grid", "hydra.sweeper.study_name=s", *small, NET, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    if code == 2:
        [line] = done.stderr.splitlines()
        assert line.startswith("error: ")
    return done


def points(trials: list[FrozenTrial], *names: str) -> Counter[tuple[object, ...]]:
    return Counter(tuple(trial.params[name] for name in names) for trial in trials)


def test_a_grid_grows_in_every_direction_and_trains_what_is_missing(
    cli: Cli, tmp_path: Path
) -> None:
    """More choices, in another order; a seed and epochs that were fixed; fewer again."""
    study = Search(tmp_path)
    first = grid(cli, *TWO)
    assert "2 trials in all" in first.stdout
    table = study.table()
    second = grid(cli, "optimizer=adam,adamw,sgd", "seed=0,1")
    assert "6 trials in all, 2 of them before" in second.stdout
    shown = second.stdout[second.stdout.index("6 completed") :].splitlines()
    assert [line.split()[:2] for line in shown[2:5]] == [
        *(["sgd", "2"], ["adamw", "2"], ["adam", "2"])
    ]
    wanted = Counter(product(("sgd", "adamw", "adam"), (0, 1)))
    assert points(study.finished(), "optimizer", "seed") == wanted
    assert study.table().head(2).equals(table), "what was trained stays as it is"

    third = grid(cli, "seed=2", "trainer.epochs=1,2", "optimizer=sgd")
    assert "8 trials in all, 6 of them before" in third.stdout
    added = [("sgd", 2, 1), ("sgd", 2, 2)]
    all_of_it = wanted + Counter()
    assert points(study.finished(), "optimizer", "seed", "trainer.epochs") == Counter(
        [*((*point, 1) for point in all_of_it), *added]
    )
    again = grid(cli, "optimizer=adamw", "seed=1,0")
    assert "8 trials in all, 8 of them before" in again.stdout
    check_books(study, 8)
    status = cli("status", "multirun/s", module="mnist_sweep.sweep").stdout
    assert "8 of 8 finished" in status
    assert "optimizer: sgd, adamw -> sgd, adamw, adam" in status
    assert "seed: 0 -> 0, 1" in status and "trainer.epochs: 1 -> 1, 2" in status

    other = grid(cli, *TWO, "seed=0,1", "trainer.batch_size=7", code=2)
    assert "trainer.batch_size (was" in other.stderr and "is 7" in other.stderr
    unknown = grid(cli, "optimizer=sgd,adamm", "seed=0,1", code=2)
    assert "optimizer=adamm" in unknown.stderr and "adam" in unknown.stderr
    endless = grid(cli, *TWO, "optimizer.lr=interval(0.1, 0.2)", code=2)
    assert "optimizer.lr=interval" in endless.stderr and "range(...)" in endless.stderr
    check_books(study, 8)


def test_a_search_takes_in_a_wider_space_and_says_what_it_cannot(cli: Cli, tmp_path: Path) -> None:
    study = Search(tmp_path)

    def go_on(*arguments: str, code: int = 0) -> Done:
        done = cli("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", *SMALL, NET,
                   *arguments)  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    choice, lr = "optimizer=sgd,adam", "optimizer.lr=tag(log, interval(0.01, 0.02))"
    go_on(choice, lr, "hydra.sweeper.n_trials=2")
    before = [(trial.params, trial.value) for trial in study.trials()]
    wider, more = "optimizer.lr=tag(log, interval(0.005, 0.1))", "optimizer=adamw,adam,sgd"
    new = "trainer.label_smoothing=interval(0, 0.2)"
    go_on(more, wider, new, "hydra.sweeper.n_trials=4")
    trials = study.finished()
    known = [({k: v for k, v in t.params.items() if k in before[0][0]}, t.value) for t in trials]
    assert known[:2] == before
    assert {t.params["trainer.label_smoothing"] for t in trials[:2]} == {0.0}
    assert len({str(sorted(t.distributions.items())) for t in trials}) == 1
    choices = CategoricalDistribution(["sgd", "adam", "adamw"])
    assert trials[0].distributions["optimizer"] == choices
    check_books(study, 4)
    status = cli("status", "multirun/s", module="mnist_sweep.sweep").stdout
    assert "optimizer.lr: 0.01 to 0.02 (log) -> 0.005 to 0.1 (log)" in status
    refused = {
        "its logarithm": [more, "optimizer.lr=interval(0.005, 0.1)", new],
        "its kind": [more, "optimizer.lr=0.01,0.02", new],
        "add adamw": [choice, wider, new],
        "trainer.batch_size": [more, wider, new, "trainer.batch_size=16,128"],
        "CmaEsSampler": [
            *(more, "optimizer.lr=tag(log, interval(0.005, 0.2))", new),
            "hydra/sweeper/sampler=cmaes",
        ],
        "trials lie outside": [
            *(more, "optimizer.lr=tag(log, interval(0.08, 0.1))", new),
            "hydra/sweeper/sampler=nsgaii",
        ],
    }
    for words, arguments in refused.items():
        [line] = go_on(*arguments, "hydra.sweeper.n_trials=5", code=2).stderr.splitlines()
        assert words in line, line
    check_books(study, 4)


def test_a_grid_takes_no_seeds_twice(cli: Cli) -> None:
    done = grid(cli, "seed=0,1", "hydra.sweeper.replicates=2", code=2)
    assert "hydra.sweeper.replicates=2" in done.stderr


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_commands_that_share_a_grid_begin_different_points(tmp_path: Path) -> None:
    """Though the trials of another one show their points a moment later."""
    space = {"optimizer.lr": "choice(0.01, 0.02, 0.03)", "trainer.epochs": "range(1, 3)"}
    sampler = {"_target_": "optuna.samplers.GridSampler", "_partial_": True}
    first = Parts(tmp_path, space, sampler=sampler, n_trials=None)
    second = Parts(tmp_path, space, sampler=sampler, n_trials=None, study=first.study)
    asked = first.study.ask()  # by a third one, which is just about to say what it tries
    taken = [parts.propose() for parts in (first, second, first, second, first)]
    assert len({str(sorted(accepted.trial.params.items())) for accepted in taken}) == 5
    assert first.proposer.propose() is None and second.proposer.propose() is None
    first.ledger.fail(asked, "surplus", "it was stopped")
    last = second.propose()
    assert last.trial.params not in [accepted.trial.params for accepted in taken]
    assert first.proposer.propose() is None
    assert len(first.study.trials) == 7, "none was asked for in vain"


@pytest.mark.slow
def test_a_grid_that_is_killed_and_grows_trains_each_point_once(search: Search) -> None:
    """12 points; kill -9; grown to 24; killed again, and ended by two controllers."""
    search.arguments = ["sweep=grid", "hydra.sweeper.n_jobs=2", "trainer.batch_size=16,32"]
    twelve = ["optimizer=sgd,adamw", "seed=0,1,2"]
    more = ["optimizer=sgd,adamw,adam", "seed=0,1,2,3"]
    killed = search.start(*twelve)
    wait_until(lambda: len(search.finished()) >= 4, killed)
    killed.send(signal.SIGKILL)
    killed.process.wait()
    grown = search.start(*more)
    wait_until(lambda: len(search.finished()) >= 14, grown)
    grown.send(signal.SIGKILL)
    grown.process.wait()
    last = [search.start(*more), search.start(*more)]
    assert [command.wait() for command in last] == [0, 0], last
    check_books(search, 24, most_half_written=4)
    completed = search.table().query("status == 'completed'")
    assert len(completed) == 24
    assert not completed.duplicated(["config_hash", "seed"]).any()


@pytest.mark.slow
def test_commands_that_begin_at_once_make_a_grid_grow_once(shared: Search) -> None:
    shared.arguments = ["sweep=grid", "hydra.sweeper.n_jobs=1", "optimizer=sgd,adamw"]
    shared.run("seed=0")
    more = ["optimizer=sgd,adamw,adam", "seed=0,1,2"]
    shared.arguments = shared.arguments[:2]
    both = [shared.start(*more), shared.start(*more), shared.start(*more)]
    assert [command.wait() for command in both] == [0, 0, 0], both
    check_books(shared, 9)
    study = shared.study()
    assert study is not None
    assert [change["key"] for change in study.user_attrs["changes"]] == ["optimizer", "seed"]
