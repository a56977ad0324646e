"""A study's tally, against what going through all of its trials gives."""

import random
from typing import Any, cast

import optuna
import pytest
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.study.attributes import (
    CONFIG,
    RETRY,
    RETRY_OF,
    STATUS,
    is_finished,
    is_rejected,
)
from mnist_sweep.search.study.ledger import Ledger

optuna.logging.set_verbosity(optuna.logging.ERROR)

STATES = (TrialState.RUNNING, TrialState.WAITING)


def check(ledger: Ledger, rng: random.Random) -> None:
    tally, trials = ledger.count(), ledger.study.get_trials()
    finished = [trial.number for trial in trials if is_finished(trial)]
    completed = [t.number for t in trials if t.state == TrialState.COMPLETE]
    assert sorted(trial.number for trial in tally.completed) == completed
    assert tally.pruned == len(finished) - len(completed)
    assert tally.rejected == sum(map(is_rejected, trials))
    for state in STATES:
        assert tally.of_state(state) == [trial for trial in trials if trial.state == state]
    before = rng.choice([None, *range(len(trials) + 1)])
    states = rng.choice([(), STATES, STATES[:1]])
    assert tally.taken(*states, before=before) == sum(
        is_finished(trial) or trial.state in states for trial in trials[:before]
    )
    assert ledger.known() == {
        trial.user_attrs[CONFIG]: trial.number
        for trial in trials
        if CONFIG in trial.user_attrs
        and (
            is_finished(trial)
            or trial.state == TrialState.RUNNING
            or trial.user_attrs.get(STATUS) == "diverged"
        )
    }
    retries = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    assert [trial.number for trial in tally.to_retry] == [
        trial.number
        for trial in trials
        if trial.state == TrialState.FAIL
        and trial.user_attrs.get(RETRY)
        and trial.number not in retries
    ]


def act(study: Study, ledger: Ledger, rng: random.Random) -> None:
    """Something that this or another controller does."""
    running = [t for t in study.get_trials() if t.state == TrialState.RUNNING]
    match rng.randrange(5):
        case 0 | 1:
            study.ask()
        case 2 if running:
            trial = rng.choice(running)
            if CONFIG not in trial.user_attrs:
                number = str(trial.number)
                study._storage.set_trial_user_attr(trial._trial_id, CONFIG, number)
        case 3 if running:
            state = rng.choice([TrialState.COMPLETE, TrialState.PRUNED])
            ledger.tell(rng.choice(running), state, [1.0] if state == TrialState.COMPLETE else None)
        case 4 if running:
            status = rng.choice(["failed", "diverged", "interrupted", "infeasible"])
            ledger.fail(rng.choice(running), status, "", **{RETRY: rng.random() < 0.5})
        case _:
            ledger.queue_retries()


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_going_through_all_trials_gives(seed: int) -> None:
    rng = random.Random(seed)
    study = optuna.create_study()
    often, seldom = Ledger(study, 60), Ledger(study, 60)
    for step in range(150):
        act(study, often, rng)
        check(often, rng)
        if step % 20 == 0:
            check(seldom, rng)
    ledger = Ledger(study, 60)
    ledger.count()
    assert ledger.tally.to_retry == often.count().to_retry
    check(ledger, rng)


def test_ended_trials_are_not_looked_at_again() -> None:
    study = optuna.create_study()
    for _ in range(10):
        study.tell(study.ask(), 1.0)
    running = study.ask()
    ledger = Ledger(study, 60)
    tally = ledger.count()
    trials: list[Any] = study.get_trials()
    trials[:10] = [None] * 10
    study.ask()
    tally.update(cast(list[FrozenTrial], [*trials, study.get_trials()[-1]]))
    assert [trial.number for trial in tally.open] == [running.number, running.number + 1]
    assert tally.taken() == 10
