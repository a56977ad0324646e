"""Rungs with several objectives: who goes on, and what is said of those that do not."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.dominance import non_dominated, ranks
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.study.attributes import ERROR, at_rung
from mnist_sweep.search.trials.promotion import place
from mnist_sweep.search.trials.rungs import why_not_promoted
from tests.books import check_books
from tests.conftest import cli_in
from tests.searches import Search, search, wait_until

__all__ = ["search"]

# The rule


def going_on(points: list[tuple[float, ...]], num: int) -> list[int]:
    scores = dict(enumerate(points))
    return [trial for trial in scores if place(scores, trial, num).goes_on]


# Two on each of three ranks; (accuracy, less the parameters).
RANKED = [(0.9, -9.0), (0.5, -5.0), (0.8, -9.5), (0.4, -5.5), (0.7, -9.9), (0.3, -5.9)]


@pytest.mark.parametrize(
    ("points", "num", "expected"),
    [
        ([(0.5, -1.0)], 1, [0]),
        (RANKED, 2, [0, 1]),
        (RANKED, 4, [0, 1, 2, 3]),
        (RANKED, 6, [0, 1, 2, 3, 4, 5]),
        # On one rank: first the most accurate, then what is farthest from all chosen.
        ([(0.1, -1.0), (0.2, -2.0), (0.3, -3.0), (0.4, -4.0), (0.5, -5.0)], 1, [4]),
        ([(0.1, -1.0), (0.2, -2.0), (0.3, -3.0), (0.4, -4.0), (0.5, -5.0)], 2, [0, 4]),
        ([(0.1, -1.0), (0.2, -2.0), (0.3, -3.0), (0.4, -4.0), (0.5, -5.0)], 3, [0, 2, 4]),
        # As good as one that goes on goes on.
        ([(0.5, -1.0), (0.5, -1.0), (0.4, -2.0)], 1, [0, 1]),
    ],
)
def test_ranks_go_on_as_far_as_there_is_room_and_then_the_farthest_apart(
    points: list[tuple[float, ...]], num: int, expected: list[int]
) -> None:
    assert going_on(points, num) == expected


def test_one_that_goes_on_is_beaten_by_none_that_does_not() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        points = [tuple(row) for row in rng.integers(0, 6, (20, 3)).astype(float).tolist()]
        on = going_on(points, 7)
        assert len(set(on)) >= 7 or {points[n] for n in on} == {points[n] for n in on}
        for trial in on:
            found = place(dict(enumerate(points)), trial, 7)
            assert set(found.beaten_by) <= set(on)


@pytest.mark.parametrize("objectives", [2, 3])
def test_ranks_are_fronts_one_after_another(objectives: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 12, (200, objectives)).astype(float)
    found = ranks(points)
    for rank in range(int(found.max()) + 1):
        left = found >= rank
        assert list(non_dominated(points[left])) == list(found[left] == rank)


def test_a_place_says_who_beats_it() -> None:
    found = place(dict(enumerate(RANKED)), 4, 2)
    assert (found.rank, found.ranks, found.peers, found.room) == (3, 3, 2, 0)
    assert found.beaten_by == (0, 2)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (RANKED, "rank 3 of 3 of rung 1, dominated by trials 0 and 2"),
        (
            [(0.9, 1.0)] * 4 + [(0.1, 0.0)],
            "rank 2 of 2 of rung 1, dominated by trials 0, 1, 2 and 1 more",
        ),
        (
            [(n / 10, -n / 10) for n in (1, 2, 3, 5, 4)],
            "rank 1 of 1 of rung 1, of whose 5 trials only the 2 farthest apart go on",
        ),
    ],
)
def test_why_a_trial_does_not_go_on_is_a_sentence(
    points: list[tuple[float, float]], words: str
) -> None:
    """Of the fifth of them, where two go on (of six two, too)."""
    objectives = Objectives(("val_acc", "num_params"), ("maximize", "maximize"))
    values = dict(enumerate(points))
    said = why_not_promoted(4, values, (2, 5), 0, objectives)
    assert said is not None
    assert said.endswith(words) and said.startswith("epoch 2: val_acc ")


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A search for a front, of nets of three sizes that learn well or not at all, with rungs."""
    folder = tmp_path_factory.mktemp("rungs")
    done = cli_in(folder)(
        *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"),
        *("data=digits", "debug=fast", "trainer.limit_train=128", "trainer.limit_val=100"),
        *("trainer.batch_size=32", "trainer.threads=1", "hydra.sweeper.rungs=[1,3]"),
        *("hydra.sweeper.objective=[val_loss,num_params]", "hydra/sweeper/sampler=grid"),
        "hydra.sweeper.direction=[minimize,minimize]",
        *("optimizer.lr=0.02,1e-5,1e-6", "model=ds_cnn_v3_code,ds_cnn,rf_cnn"),
    )
    assert done.returncode == 0, done.stderr
    yield folder


def test_the_rungs_of_a_front_keep_its_books(folder: Path) -> None:
    search = Search(folder)
    check_books(search, 9)
    trials = search.finished()
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert done and pruned
    rows = pd.read_csv(search.sweep_dir / "results.csv").set_index("trial")
    assert all(at_rung(trial, 1) is not None for trial in trials)
    for trial in done:
        assert rows.rung[trial.number] == 3
        assert at_rung(trial, 3) == pytest.approx(trial.values)
    for trial in pruned:
        assert rows.rung[trial.number] == 1 and rows.error[trial.number] == trial.user_attrs[ERROR]
        said = at_rung(trial, 1)
        assert said == pytest.approx([rows.val_loss[trial.number], rows.num_params[trial.number]])


def dominated(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if "dominated by" in str(trial.user_attrs.get(ERROR))]


def test_explain_says_why_a_trial_was_not_promoted(folder: Path) -> None:
    trial = dominated(Search(folder).finished())[0]
    reason = trial.user_attrs[ERROR]
    assert reason.startswith("epoch 1: val_loss ") and " of rung 1, dominated by trial" in reason
    shown = cli_in(folder)("explain", f"s/{trial.number}", module="mnist_sweep.sweep").stdout
    assert f"ended   {reason}" in shown
    [epoch] = [line for line in shown.splitlines() if line.split()[:1] == ["1"]]
    assert " of rung 1, dominated by trial" in epoch
    assert "trainer.epochs=3" in shown, "the command of its whole schedule"


@pytest.mark.slow
def test_the_books_of_such_rungs_hold_with_two_controllers_and_a_kill(search: Search) -> None:
    search.arguments = [
        *("hydra.sweeper.rungs=[1,3]", "hydra.sweeper.objective=[val_loss,num_params]"),
        *("hydra.sweeper.direction=[minimize,minimize]", "hydra/sweeper/sampler=grid"),
        *("hydra.sweeper.n_jobs=1", "hydra.sweeper.n_trials=8"),
        *("optimizer.lr=0.02,0.01,1e-5,1e-6", "trainer.batch_size=16,32"),
    ]
    first, second = search.start(), search.start()
    wait_until(lambda: len(search.finished()) > 1 and search.running(first), first, second)
    first.send(signal.SIGKILL)
    assert second.wait() == 0, second
    search.run()
    check_books(search, 8)
    for trial in search.finished():
        assert (trial.state == TrialState.COMPLETE) == (at_rung(trial, 3) is not None)
