"""A search that ends when nothing improves: when that is, and what it says."""

import random
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_sweep.runs.record import RunRecord
from mnist_sweep.search.objectives import Objectives, standard_error
from mnist_sweep.search.patience import standstill
from tests.books import check_books
from tests.conftest import cli_in
from tests.searches import LR, Search, search

__all__ = ["search"]  # a fixture

BEGIN = datetime(2026, 1, 1)
ACCURACY = Objectives(("val_acc",), ("maximize",))
LOSS = Objectives(("val_loss",), ("minimize",))


def finished(number: int, value: float | None, ended: int, noise: float = 0.0) -> FrozenTrial:
    """value: None of a pruned trial. ended: minutes after the first one."""
    state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    attrs = {"standard_error": noise} if noise else {}
    trial = create_trial(state=state, value=value, user_attrs=attrs)
    trial.number = number
    trial.datetime_complete = BEGIN + timedelta(minutes=ended)
    return trial


def in_turn(*values: float | None, noise: float = 0.0) -> list[FrozenTrial]:
    return [finished(number, value, number, noise) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "noise", "since"),
    [
        ((0.9, 0.8, 0.7), 0.0, 2),
        ((0.9, 0.8, 0.91), 0.0, 0),
        ((0.9, 0.8, 0.91), 0.02, 2),
        ((0.9, None, None, 0.8), 0.0, 3),
        ((None, None), 0.0, 0),
        ((0.90, 0.91, 0.92, 0.93), 0.015, 1),  # small gains add up
    ],
)
def test_trials_since_the_last_gain(
    values: tuple[float | None, ...], noise: float, since: int
) -> None:
    assert standstill(in_turn(*values, noise=noise), ACCURACY).trials == since


def test_a_loss_gains_by_falling() -> None:
    assert standstill(in_turn(0.5, 0.4, 0.45), LOSS).trials == 1


def test_trials_count_in_the_order_in_which_they_ended_and_all_see_the_same() -> None:
    trials = [finished(0, 0.9, 9), finished(1, 0.5, 1), finished(2, 0.6, 2), finished(3, 0.7, 10)]
    assert standstill(trials, ACCURACY).trials == 1
    for seed in range(5):
        random.Random(seed).shuffle(trials)
        assert standstill(trials, ACCURACY).trials == 1


def test_the_noise_is_that_of_the_better_half() -> None:
    trials = [finished(n, 0.5 + n / 10, n, noise=0.001 if n > 1 else 0.3) for n in range(4)]
    assert standstill(trials, ACCURACY).noise == 0.001


def record(**values: Any) -> RunRecord:
    return RunRecord("r1", "completed", {}, 0, **values)


def test_noise_of_one_run_is_that_of_a_share_of_its_images() -> None:
    one = record(val_acc=0.99, val_loss=0.04, val_images=10_000, num_params=7)
    assert standard_error("val_acc", [one]) == pytest.approx(
        (0.01 * 0.99 / 10_000) ** 0.5, rel=0.01
    )
    assert standard_error("val_loss", [one]) == pytest.approx(0.004, rel=0.01)
    assert standard_error("num_params", [one]) == 0
    assert standard_error("val_acc", [record(val_acc=1.0, val_images=100)]) > 0
    assert standard_error("val_acc", [record(val_acc=0.0, val_images=100)]) == 0.05


def test_noise_of_several_seeds_is_that_of_their_mean() -> None:
    seeds = [record(val_acc=value, val_images=100) for value in (0.90, 0.92, 0.94, 0.96)]
    spread = 0.0258198889747
    assert standard_error("val_acc", seeds) == pytest.approx(spread / 2)


def test_a_search_ends_without_gain_and_only_a_larger_patience_goes_on(search: Search) -> None:
    # All nets are as good as chance, so that no trial is better beyond noise.
    search.arguments = [LR, "hydra.sweeper.n_trials=9"]
    search.arguments += ["hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=0"]
    search.arguments += ["trainer.limit_train=2", "hydra.sweeper.replicates=1"]
    ended = search.run_here("hydra.sweeper.patience=2")
    assert "ended   before 9 trials: no gain beyond 0.0" in ended
    assert "trials (hydra.sweeper.patience=2; a larger one goes on)" in ended
    number = len(search.finished())
    assert 3 <= number < 9
    check_books(search, number)
    again = search.run_here("hydra.sweeper.patience=2")
    assert "no gain beyond" in again and len(search.trials()) == number
    status = cli_in(search.folder)("status", module="mnist_sweep.sweep").stdout
    assert re.search(r"^ended   \S+: no gain beyond", status, re.MULTILINE), status
    search.run_here("hydra.sweeper.patience=8")
    assert len(search.finished()) == 9
    check_books(search, 9)


def test_a_search_that_is_late_says_so(search: Search) -> None:
    shown = search.run_here(LR, "hydra.sweeper.max_minutes=0.0001")
    assert "ended   before 20 trials: hydra.sweeper.max_minutes=0.0001 have passed" in shown


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (("hydra.sweeper.patience=0",), "hydra.sweeper.patience=0: "),
        (
            (
                "hydra.sweeper.patience=3",
                "hydra.sweeper.objective=[val_acc,num_params]",
                "hydra.sweeper.direction=[maximize,minimize]",
            ),
            "hydra.sweeper.patience=3 does not go with several objectives",
        ),
    ],
)
def test_what_is_wrong_is_said(cli: Any, mistake: tuple[str, ...], words: str) -> None:
    done = cli("-m", "hydra/sweeper=search", LR, *mistake)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert done.stderr.count("\n") == 1
