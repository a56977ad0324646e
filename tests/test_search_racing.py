"""A race over seeds: who gets another one, and what is said of the winner."""

import signal
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from mnist_sweep.errors import UserError
from mnist_sweep.intervals import interval
from mnist_sweep.search.engines.job import Job
from mnist_sweep.search.study.attributes import OUT, SEED_VALUES
from mnist_sweep.search.trials.lifecycle import Verdict
from mnist_sweep.search.trials.racing import ALPHA, Values, lag, noise
from mnist_sweep.search.trials.seeds import is_race, num_seeds
from tests.books import check_books
from tests.conftest import Cli, cli_in
from tests.searches import Search, search, wait_until
from tests.test_search_parts import Parts, allowed

__all__ = ["allowed", "search"]

RACE = "hydra.sweeper.replicates={max: 4, race: true}"
BY_LOSS = ("hydra.sweeper.objective=val_loss", "hydra.sweeper.direction=minimize")

# The test


def drawn(n: int, mean: float, rng: np.random.Generator) -> list[float]:
    return list(rng.normal(mean, 1.0, n))


def test_noise_is_what_neither_configuration_nor_seed_explains() -> None:
    """As a regression on an indicator of each gives it."""
    rng = np.random.default_rng(0)
    groups = [drawn(n, mean, rng) for n, mean in ((5, 0), (2, 9), (4, -3), (1, 50), (5, 2))]
    rows, values = [], []
    for place, group in enumerate(groups):
        for seed, value in enumerate(group):
            rows.append(
                [float(place == k) for k in range(5)] + [float(seed == s) for s in range(5)]
            )
            values.append(value)
    columns = np.array(rows)
    effects, _, rank, _ = np.linalg.lstsq(columns, np.array(values), rcond=None)
    freedom = len(values) - rank
    residuals = np.array(values) - columns @ effects
    sd, found = noise(groups)
    assert found == freedom == 8
    assert sd == pytest.approx(np.sqrt((residuals**2).sum() / freedom))
    assert noise([[1.0, 2.0], [3.0]])[1] == 0, "one alone: a seed's effect may explain all of it"


def test_a_seed_that_is_bad_for_all_drops_nobody() -> None:
    rng = np.random.default_rng(1)
    effects = np.array([-30.0, 10.0, 20.0, 0.0, 5.0])
    rivals = [list(effects + rng.normal(0, 1, 5)) for _ in range(6)]
    level = list(effects[:1] + rng.normal(0, 1, 1))
    for values, is_out in ((level, False), ([level[0] - 12], True)):
        behind = lag(values, rivals, 5)
        assert behind is not None and behind.is_out == is_out


def test_nothing_is_dropped_without_a_rival_that_has_all_seeds_or_known_noise() -> None:
    assert lag([0.0], [], 5) is None
    assert lag([0.0], [[9.0, 9.1]], 5) is None
    for rivals in ([[9.0] * 5], [[9.0] * 5, [8.0] * 5, [8.5] * 5]):
        behind = lag([0.0], rivals, 5)
        assert behind is not None and not behind.is_out


def race(values: np.ndarray) -> list[list[float]]:
    """values: (N, seeds) in the order of the trials -> the seeds that each had."""
    had: list[Values] = []
    for row in values.tolist():
        n = 1
        while n < len(row) and not ((behind := lag(row[:n], had, len(row))) and behind.is_out):
            n += 1
        had.append(row[:n])
    return [list(row) for row in had]


@pytest.mark.parametrize("spread", [0.2, 5.0])
def test_the_best_configuration_is_dropped_no_more_often_than_stated(spread: float) -> None:
    """Also where values are whole images, so that many are equal."""
    rng = np.random.default_rng(2)
    searches, dropped, runs = 80, 0, 0
    for _ in range(searches):
        means = rng.normal(0, spread, 20)
        values = np.round(means[:, None] + rng.normal(0, 1, (20, 5)), 1)
        had = race(values)
        dropped += len(had[int(means.argmax())]) < 5
        runs += sum(map(len, had))
    assert dropped <= ALPHA * searches + 2 * np.sqrt(ALPHA * searches)
    assert runs < searches * 20 * (5 if spread < 1 else 3)


# The life of a trial


def raced(parts: Parts, *values: float) -> Job | Verdict:
    """A trial that measures these, as far as it is let."""
    job: Job | Verdict = parts.begin()
    for value in values:
        assert isinstance(job, Job), "it was let no further"
        job = parts.end(job, val_acc=value)
    return job


ABOVE = ((0.900, 0.902, 0.901), (0.899, 0.902, 0.900), (0.900, 0.901, 0.902), (0.901, 0.9, 0.9))


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """After four trials that are about as good as each other."""
    parts = Parts(tmp_path, replicates={"max": 3, "race": True})
    for values in ABOVE:
        assert isinstance(raced(parts, *values), Verdict)
    return parts


def test_a_trial_that_cannot_win_gets_no_more_seeds_and_is_never_the_best(parts: Parts) -> None:
    assert raced(parts, 0.7) == Verdict(4, None)
    trial = parts.trial(4)
    assert trial.state == TrialState.COMPLETE and trial.value == 0.7
    assert trial.user_attrs[SEED_VALUES] == [0.7]
    assert trial.user_attrs[OUT].startswith(
        "after 1 of 3 seeds: 0.7000 against 0.9000 of trial 0 with the same; "
    )
    assert [trial for trial, _ in parts.written()].count("4") == 1
    assert isinstance(raced(parts, 0.9), Job), "it may still win"
    best = parts.objectives.best(parts.ledger.trials())
    assert best is not None and best.number == 0


def test_a_trial_that_its_controller_left_is_ended_as_the_race_has_it(parts: Parts) -> None:
    job = parts.begin()
    parts.run(job, val_acc=0.7)
    parts.recovery.abandon(parts.trial(4), "its controller died")
    trial = parts.trial(4)
    assert trial.state == TrialState.COMPLETE and trial.value == 0.7 and OUT in trial.user_attrs
    parts.run(parts.begin(), val_acc=0.9)
    parts.recovery.abandon(parts.trial(5), "its controller died")
    assert parts.trial(5).state == TrialState.FAIL and parts.trial(5).user_attrs["retry"]


def test_on_the_way_up_the_rungs_one_seed_is_enough(tmp_path: Path) -> None:
    parts = Parts(tmp_path, replicates={"max": 2, "race": True}, rungs=[1, 2])
    after: Job | Verdict = parts.begin()
    done = []
    for rung in (1, 2, 2):
        assert isinstance(after, Job)
        done.append(after.overrides[-2:])
        after = parts.end(after, rung=rung, val_acc=0.5 + len(done) / 10)
    assert after == Verdict(0, None)
    assert done == [
        ("trainer.epochs=1", "seed=0"),
        ("trainer.epochs=2", "seed=0"),
        ("trainer.epochs=2", "seed=1"),
    ]
    assert parts.trial(0).value == pytest.approx(0.75)
    job = parts.begin()
    parts.run(job, rung=1, val_acc=0.9)
    parts.recovery.abandon(parts.trial(1), "its controller died")
    assert [row for row in parts.written() if row[0] == "1"] == [("1", "interrupted")]


def test_no_race_is_a_number_of_replicates(tmp_path: Path) -> None:
    plain = Parts(tmp_path, replicates={"max": 3, "race": False})
    assert plain.settings.replicates == num_seeds(plain.settings) == 3
    assert not is_race(plain.settings)


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A race among learning rates most of which are hopeless; and what it printed."""
    folder = tmp_path_factory.mktemp("race")
    done = cli_in(folder)(
        *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"),
        *("data=digits", "debug=fast", "trainer.limit_train=128", "trainer.limit_val=100"),
        *("trainer.batch_size=32", "trainer.threads=1", "model=ds_cnn_v3_code"),
        *("trainer.epochs=1", RACE, *BY_LOSS, "hydra/sweeper/sampler=grid"),
        "optimizer.lr=0.01,0.012,0.014,1e-6,2e-6,3e-6",
    )
    assert done.returncode == 0, done.stderr
    yield folder, done.stdout


def test_a_race_spends_its_seeds_on_those_that_can_win(folder: tuple[Path, str]) -> None:
    here, shown = folder
    check_books(Search(here), 6, replicates=4)
    rows = pd.read_csv(here / "multirun" / "s" / "results.csv")
    n = rows.groupby("trial").size()
    results = OmegaConf.load(here / "multirun" / "s" / "optimization_results.yaml")
    assert n[results.best_trial] == 4 and n.sum() < 24
    assert f"race    {n.sum()} runs for 6 completed trials, where all seeds for each" in shown
    values = rows[rows.trial == results.best_trial].val_loss
    assert list(results.best_seed_values) == pytest.approx(list(values))
    assert results.best_value == pytest.approx(fmean(values))
    assert list(results.best_interval) == pytest.approx(interval(list(values)))
    assert "mean of 4 seeds, 95 % interval" in shown


def test_what_is_known_of_a_race_is_told(folder: tuple[Path, str]) -> None:
    here, _ = folder
    out = [trial for trial in Search(here).trials() if OUT in trial.user_attrs]
    call = cli_in(here)
    shown = call("explain", f"s/{out[0].number}", module="mnist_sweep.sweep").stdout
    assert f"race    can no longer win {out[0].user_attrs[OUT]}" in shown
    status = call("status", "s", module="mnist_sweep.sweep").stdout
    assert "mean of 4 seeds, 95 % interval" in status


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one seed": (
        {"replicates": {"max": 1, "race": True}},
        "max=1: a race takes 2 to 100 seeds; use",
    ),
    "too many": ({"replicates": {"max": 5000, "race": True}}, "max=5000: a race takes 2 to 100"),
    "no number": ({"replicates": {"race": True}}, "hydra.sweeper.replicates.max: missing"),
    "another key": (
        {"replicates": {"max": 5, "race": True, "alpha": 1}},
        "hydra.sweeper.replicates.alpha: no such key",
    ),
    "no truth": (
        {"replicates": {"max": 5, "race": 7}},
        "hydra.sweeper.replicates.race=7: input should be a valid boolean",
    ),
    "none": ({"replicates": 0}, "hydra.sweeper.replicates=0: input should be greater"),
    "what seeds do not change": (
        {"replicates": {"max": 5, "race": True}, "objective": "num_params"},
        "hydra.sweeper.replicates={max: 5, race: true} does not go with "
        "hydra.sweeper.objective=['num_params']",
    ),
    "a front": (
        {
            "replicates": {"max": 5, "race": True},
            **{"objective": ["val_acc", "macs"], "direction": ["maximize", "minimize"]},
        },
        "use one measured objective such as val_acc",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_is_no_race_is_refused(tmp_path: Path, mistake: str) -> None:
    changed, words = REFUSED[mistake]
    with pytest.raises(UserError) as refused:
        Parts(tmp_path, **changed)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_mistake_in_a_race_is_one_line(cli: Cli) -> None:
    done = cli("-m", "hydra/sweeper=search", "hydra.sweeper.replicates={max: 1, race: true}")
    assert done.returncode == 2
    assert done.stderr == (
        "error: hydra.sweeper.replicates.max=1: a race takes 2 to 100 seeds; use "
        "hydra.sweeper.replicates=1\n"
    )


@pytest.mark.slow
def test_the_books_of_a_race_hold_with_two_controllers_and_a_kill(search: Search) -> None:
    search.arguments = [
        *(RACE, *BY_LOSS, "hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1"),
        "optimizer.lr=0.01,0.012,0.014,1e-6,2e-6,3e-6",
        "hydra.sweeper.n_trials=6",
    ]
    first, second = search.start(), search.start()
    wait_until(lambda: len(list(search.sweep_dir.glob("*/seed_2/history.csv"))) > 1, first, second)
    first.send(signal.SIGKILL)
    assert second.wait() == 0, second
    search.run()
    check_books(search, 6, replicates=4)
    for trial in search.finished():
        values = trial.user_attrs[SEED_VALUES]
        assert trial.value == pytest.approx(fmean(values))
        assert (len(values) < 4) == (OUT in trial.user_attrs)
