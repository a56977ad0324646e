"""A study's tally, against what going through all of its trials gives."""

import random
from pathlib import Path
from typing import Any, cast

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.paths import JOURNAL
from mnist_sweep.search.optuna_private import look_anew
from mnist_sweep.search.study import recent
from mnist_sweep.search.study.attributes import (
    CONFIG,
    RETRY,
    RETRY_OF,
    STATUS,
    is_finished,
    is_rejected,
)
from mnist_sweep.search.study.journal import JournalFile
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.study.storage import open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)

STATES = (TrialState.RUNNING, TrialState.WAITING)
RUNGS = (1, 2)


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
    for epochs in RUNGS:
        assert tally.values_at(epochs) == {
            trial.number: [trial.intermediate_values[epochs]]
            for trial in trials
            if epochs in trial.intermediate_values and trial.state != TrialState.FAIL
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
            new = study.ask()
            for epochs in rng.choice([(), RUNGS[:1], RUNGS, (*RUNGS, 3)]):
                new.report(rng.random(), epochs)
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
    often, seldom = Ledger(study, 60, RUNGS), Ledger(study, 60, RUNGS)
    for step in range(150):
        act(study, often, rng)
        check(often, rng)
        if step % 20 == 0:
            check(seldom, rng)
    ledger = Ledger(study, 60, RUNGS)
    ledger.count()
    assert ledger.tally.to_retry == often.count().to_retry
    check(ledger, rng)


def test_ended_trials_are_not_looked_at_again() -> None:
    study = optuna.create_study()
    for _ in range(10):
        study.tell(study.ask(), 1.0)
    running = study.ask()
    ledger = Ledger(study, 60, RUNGS)
    tally = ledger.count()
    trials: list[Any] = study.get_trials()
    trials[:10] = [None] * 10
    study.ask()
    tally.update(cast(list[FrozenTrial], [*trials, study.get_trials()[-1]]))
    assert [trial.number for trial in tally.open] == [running.number, running.number + 1]
    assert tally.taken() == 10


@pytest.mark.parametrize("url", [None, "sqlite:///study.db"])
def test_all_trials_are_what_the_storage_itself_says(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though ended ones are not looked up again, nor one's own writes; whoever writes, and however
    they are asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recent, "RECENT_S", 3600.0)
    rng = random.Random(0)
    ours, others = (
        optuna.create_study(
            storage=open_storage(url, tmp_path), study_name="s", load_if_exists=True
        )
        for _ in range(2)
    )
    optuna.create_study(storage=ours._storage, study_name="another").ask()
    for _ in range(60):
        study = rng.choice([ours, others])
        act(study, Ledger(study, 60), rng)
        if study is others:
            look_anew(ours)
        if rng.random() < 0.5:
            plain = JournalStorage(JournalFile(tmp_path / JOURNAL)) if url is None else url
            expected = optuna.load_study(study_name="s", storage=plain)
            states = rng.choice(
                [None, (), STATES, *([state] for state in TrialState), [*TrialState]]
            )
            found, wanted = (s.get_trials(states=states) for s in (ours, expected))
            for trial in (*found, *wanted):
                trial.datetime_complete = None  # which is the database's own, a moment later
            assert found == wanted
    found = ours.get_trials()
    found[0].number = 99
    found.clear()
    assert ours.get_trials()[0].number == 0, "what is given away may be changed"


def test_ended_trials_are_not_looked_up_again(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(None, tmp_path))
    for _ in range(10):
        study.tell(study.ask(), 1.0)
    study.ask()
    first = study.get_trials(deepcopy=False)
    known = study._storage.known[study._study_id]  # type: ignore[attr-defined]
    known.in_states(None, 11, {10: first[10]}.__getitem__, deepcopy=False)


def test_a_point_to_try_first_is_tried_once_whoever_queues_it(tmp_path: Path) -> None:
    """By two controllers at once, neither of which sees the other's trial."""
    storage = open_storage(None, tmp_path)
    study = optuna.create_study(study_name="s", storage=storage)
    ledger = Ledger(study, 60)
    ledger.queue_first([{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1}], "me")
    other = Ledger(study, 60)
    other.tally.update([])
    known, other.tally.first = other.count().first, {}
    other.queue_first([{"lr": 0.2}, {"lr": 0.3}], "you")
    other.tally.first = known
    ledger.queue_first([{"lr": 0.3}], "me")
    assert len(ledger.trials()) == 4
    claimed = [ledger.claim(10) for _ in range(4)]
    given = [trial.suggest_float("lr", 0, 1) for trial in claimed if trial is not None]
    assert given == [0.1, 0.2, 0.3]
    assert [t.user_attrs.get(STATUS) for t in ledger.trials()] == [None, None, "duplicate", None]


def test_a_retry_of_a_part_of_a_point_has_the_whole_of_it(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path))
    ledger = Ledger(study, 60)
    ledger.queue_first([{"lr": 0.1}], "me")
    trial = ledger.claim(9)
    assert trial is not None
    point = {name: trial.suggest_float(name, 0, 1) for name in ("lr", "decay")}
    ledger.fail(trial, "failed", "by chance", **{RETRY: True})
    ledger.queue_retries()
    again = ledger.claim(9)
    assert again is not None
    assert {name: again.suggest_float(name, 0, 1) for name in ("lr", "decay")} == point
