"""Who only looks at a study sees what Optuna's own storages have of it."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_sweep.errors import UserError
from mnist_sweep.search.study.database_text import DatabaseText
from mnist_sweep.search.study.journal_text import JournalText
from mnist_sweep.search.study.looking import FEW, SeenStorage, Source
from tests.postgres import new_database, running_server

KINDS = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "width": IntDistribution(4, 64, step=4),
    "head": CategoricalDistribution(["gap", "linear", None]),
}
ODD = ['"op_code":6', "é\n", {"trial_id": 1}, None, 0.1, [1, 2]]
"""Values of attributes."""


def journal(folder: Path) -> tuple[BaseStorage, Callable[[], Source]]:
    path = folder / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(path)))
    return storage, lambda: JournalText(path)


def database(folder: Path) -> tuple[BaseStorage, Callable[[], Source]]:
    url = f"sqlite:///{folder / 'study.db'}"
    return RDBStorage(url), lambda: DatabaseText(url)


@contextmanager
def file(make: Any, folder: Path) -> Iterator[Any]:
    yield make(folder)


@contextmanager
def server(_: Any, folder: Path) -> Iterator[tuple[BaseStorage, Callable[[], Source]]]:
    with running_server() as running:
        url = new_database(running.port)
        yield RDBStorage(url), lambda: DatabaseText(url)


def random_trial(draw: random.Random) -> FrozenTrial:
    state = draw.choice([TrialState.COMPLETE, TrialState.WAITING, TrialState.FAIL])
    names = draw.sample(list(KINDS), draw.randrange(4))
    values = {"lr": 0.01, "width": 8, "head": None}
    return create_trial(
        state=state,
        values=[1.0, draw.random()] if state == TrialState.COMPLETE else None,
        params={name: values[name] for name in names},
        distributions={name: KINDS[name] for name in names},
        user_attrs={"retry_of": draw.randrange(5)} if draw.random() < 0.5 else {},
        system_attrs={"fixed": draw.choice(ODD)} if draw.random() < 0.5 else {},
        intermediate_values={1: 0.5, 4: draw.random()} if draw.random() < 0.5 else {},
    )


def random_study(storage: BaseStorage, name: str, draw: random.Random, length: int) -> None:
    """Two processes' worth of operations in any order, also on trials that have ended."""
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["maximize", "minimize"]
    )
    study.set_user_attr("settings", {"a": draw.choice(ODD)})
    study.set_metric_names(["val_acc", "num_params"])
    open_trials: list[optuna.Trial] = []
    for number in range(length):
        if draw.random() < 0.3:
            study.add_trial(random_trial(draw))
            continue
        if draw.random() < 0.4 or not open_trials:
            open_trials.append(study.ask())
            trial = open_trials[-1]
            trial.suggest_float("lr", 1e-4, 1.0, log=True)
            trial.suggest_categorical("head", ["gap", "linear", None])
        trial = draw.choice(open_trials)
        trial.set_user_attr(draw.choice(["status", "overrides"]), draw.choice(ODD))
        trial.set_constraint("budget", draw.random())
        storage.set_trial_intermediate_value(trial._trial_id, number, draw.random())
        if draw.random() < 0.5:
            open_trials.remove(trial)
            state = draw.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            values = [draw.random(), float("inf")] if state == TrialState.COMPLETE else None
            study.tell(trial, values, state)


def parts(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "values": trial.values,
        "start": trial.datetime_start,
        "complete": trial.datetime_complete,
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": dict(trial.user_attrs),
        "system_attrs": dict(trial.system_attrs),
        "intermediate_values": dict(trial.intermediate_values),
    }


@pytest.mark.parametrize(
    ("opened", "make"),
    [
        pytest.param(file, journal, id="journal"),
        pytest.param(file, database, id="sqlite"),
        pytest.param(server, None, id="postgresql", marks=pytest.mark.slow),
    ],
)
def test_what_is_seen_is_what_is_there(opened: Any, make: Any, tmp_path: Path) -> None:
    with opened(make, tmp_path) as (storage, look):
        check_seen(storage, look)


def check_seen(storage: BaseStorage, look: Callable[[], Source]) -> None:
    draw = random.Random(0)
    for name in ("first", "gone", "second"):
        random_study(storage, name, draw, 60)
    optuna.delete_study(study_name="gone", storage=storage)
    seen = SeenStorage(look())
    for name in ("first", "second"):
        own = optuna.load_study(study_name=name, storage=storage)
        study = optuna.load_study(study_name=name, storage=seen)
        assert study.directions == own.directions and study.user_attrs == own.user_attrs
        assert study.metric_names == own.metric_names
        trials, there = study.get_trials(deepcopy=False), own.get_trials(deepcopy=False)
        assert len(trials) > FEW, "else none is looked up in what all have"
        # A part of all of them first, as `status` does it, then each as a whole.
        for key in ("status", "retry_of", "none"):
            asked = [trial.user_attrs.get(key) for trial in trials]
            assert asked == [trial.user_attrs.get(key) for trial in there]
        for part in ("system_attrs", "intermediate_values"):
            asked = [getattr(trial, part) for trial in trials]
            assert asked == [getattr(trial, part) for trial in there]
        assert [parts(trial) for trial in trials] == [parts(trial) for trial in there]
        assert [parts(trial) for trial in study.trials] == [parts(trial) for trial in there]
    assert optuna.get_all_study_names(seen) == ["first", "second"]


def test_what_is_written_after_the_end_does_not_count(tmp_path: Path) -> None:
    """As of a controller that was asleep: a line that Optuna passes over."""
    storage, look = journal(tmp_path)
    study = optuna.create_study(study_name="s", storage=storage)
    trial = study.ask()
    trial.set_user_attr("status", "so")
    study.tell(trial, 1.0)
    path = tmp_path / "study.journal"
    lines = path.read_text().splitlines()
    attr = next(line for line in lines if '"status":"so"' in line)
    state = next(line for line in lines if line.startswith('{"op_code":6'))
    late = [attr.replace('"so"', '"late"'), state.replace('"state":1', '"state":3')]
    path.write_text("\n".join([*lines, *late, '{"op_code":8,"work']))
    for fresh in (JournalStorage(JournalFileBackend(str(path))), SeenStorage(look())):
        [found] = optuna.load_study(study_name="s", storage=fresh).get_trials(deepcopy=False)
        assert (found.user_attrs["status"], found.state) == ("so", TrialState.COMPLETE)


@pytest.mark.parametrize("line", ["nonsense", '{"op_code":4,"study_id":', '{"op_code":99}'])
def test_a_damaged_journal_is_refused(line: str, tmp_path: Path) -> None:
    storage, look = journal(tmp_path)
    optuna.create_study(study_name="s", storage=storage)
    with (tmp_path / "study.journal").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match="damaged"):
        SeenStorage(look()).get_all_studies()
