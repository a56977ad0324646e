"""A connection to a database that breaks within one operation: nothing is lost, nothing doubled."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_sweep.search.study.lasting import LastingStorage, OutageWait, StorageFailureError
from mnist_sweep.search.study.storage import open_storage
from tests.losing_proxy import LosingCalls, LosingProxy, losing_proxy
from tests.postgres import IN_URL, Server, new_database, running_server
from tests.served import served

LR = FloatDistribution(0.0, 1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


class Cut:
    """A study through a line that breaks when told to, and its storage without one."""

    def __init__(self, proxy: LosingProxy, url: str, whole: str, folder: Path) -> None:
        """url: of the storage by that line. whole: of the same by another one."""
        self.proxy = proxy
        self.said: list[str] = []
        self.outage_wait = OutageWait(60, self.said.append)
        storage = open_storage(url, folder)
        assert isinstance(storage, LastingStorage)
        self.storage = storage
        self.study = optuna.create_study(storage=storage, direction="maximize")
        self.study_id = self.study._study_id
        self.ready = self.new_trial()
        self.waiting = storage.create_new_trial(
            self.study_id, create_trial(state=TrialState.WAITING)
        )
        storage.outage_wait = self.outage_wait
        name = self.study.study_name
        self.whole = optuna.load_study(study_name=name, storage=open_storage(whole, folder))

    def new_trial(self) -> int:
        return self.storage.create_new_trial(self.study_id)

    def trials(self) -> list[FrozenTrial]:
        return self.whole.get_trials(deepcopy=False)


@pytest.fixture
def cut(server: Server, tmp_path: Path) -> Iterator[Cut]:
    url = new_database(server.port)
    with losing_proxy(server.port) as proxy:
        yield Cut(proxy, by(proxy, url, server), url, tmp_path)


def by(proxy: LosingProxy, url: str, server: Server) -> str:
    return url.replace(f":{server.port}/", f":{proxy.port}/")


def state_and_values(storage: BaseStorage, cut: Cut) -> None:
    assert storage.set_trial_state_values(cut.ready, TrialState.COMPLETE, [0.5])


def failed(storage: BaseStorage, cut: Cut) -> None:
    assert storage.set_trial_state_values(cut.ready, TrialState.FAIL)


def new_trial(storage: BaseStorage, cut: Cut) -> None:
    trial_id = storage.create_new_trial(cut.study_id)
    storage.set_trial_user_attr(trial_id, "mine", True)


def new_waiting_trial(storage: BaseStorage, cut: Cut) -> None:
    template = create_trial(state=TrialState.WAITING, user_attrs={"mine": True})
    storage.create_new_trial(cut.study_id, template)
    assert "birth" not in template.system_attrs


def attributes(storage: BaseStorage, cut: Cut) -> None:
    storage.set_trial_user_attr(cut.ready, "a", [1])


def system_attributes(storage: BaseStorage, cut: Cut) -> None:
    storage.set_trial_system_attr(cut.ready, "b", 2)


def parameter(storage: BaseStorage, cut: Cut) -> None:
    storage.set_trial_param(cut.ready, "lr", 0.25, LR)


def epoch(storage: BaseStorage, cut: Cut) -> None:
    storage.set_trial_intermediate_value(cut.ready, 3, 0.75)


def study_attributes(storage: BaseStorage, cut: Cut) -> None:
    storage.set_study_user_attr(cut.study_id, "c", 1)
    storage.set_study_system_attr(cut.study_id, "d", 2)


WRITES: list[tuple[Callable[[BaseStorage, Cut], None], Callable[[Cut], object], object]] = [
    (state_and_values, lambda cut: (cut.trials()[0].state, cut.trials()[0].values),
     (TrialState.COMPLETE, [0.5])),
    (failed, lambda cut: cut.trials()[0].state, TrialState.FAIL),
    (new_trial, lambda cut: [t.user_attrs for t in cut.trials()], [{}, {}, {"mine": True}]),
    (new_waiting_trial, lambda cut: [t.user_attrs for t in cut.trials()], [{}, {}, {"mine": True}]),
    (attributes, lambda cut: cut.trials()[0].user_attrs, {"a": [1]}),
    (system_attributes, lambda cut: cut.trials()[0].system_attrs["b"], 2),
    (parameter, lambda cut: cut.trials()[0].params, {"lr": 0.25}),
    (epoch, lambda cut: cut.trials()[0].intermediate_values, {3: 0.75}),
    (study_attributes, lambda cut: cut.whole.user_attrs["c"], 1),
]  # fmt: skip


@pytest.mark.parametrize("answer", [False, True], ids=["not done", "done, not answered"])
@pytest.mark.parametrize("write, found, expected", WRITES, ids=[w[0].__name__ for w in WRITES])
def test_a_write_whose_commit_is_cut_is_there_once(
    cut: Cut,
    write: Callable[[BaseStorage, Cut], None],
    found: Callable[[Cut], object],
    expected: object,
    answer: bool,
) -> None:
    cut.proxy.lose(b"COMMIT", answer=answer)
    check_write(cut, write, found, expected)


def check_write(
    cut: Cut,
    write: Callable[[BaseStorage, Cut], None],
    found: Callable[[Cut], object],
    expected: object,
) -> None:
    """Of a line that is about to be cut."""
    write(cut.storage, cut)
    assert cut.proxy.is_cut.is_set(), write.__name__
    assert found(cut) == expected, write.__name__
    [line] = cut.said
    assert line.startswith("storage lost the connection (") and "waiting, 60 s at most" in line


@pytest.mark.parametrize("answer", [False, True], ids=["not done", "done, not answered"])
def test_a_write_whose_call_to_a_grpc_proxy_is_cut_is_there_once(
    tmp_path: Path, answer: bool
) -> None:
    with served(f"sqlite:///{tmp_path}/study.db") as whole:
        port = int(whole.rpartition(":")[2])
        with losing_proxy(port, LosingCalls) as proxy:
            for write, found, expected in WRITES:
                cut = Cut(proxy, f"grpc://127.0.0.1:{proxy.port}", whole, tmp_path)
                proxy.lose(b"any", answer=answer)
                check_write(cut, write, found, expected)


@pytest.mark.parametrize("answer", [False, True], ids=["not done", "done, not answered"])
def test_a_write_whose_commit_is_cut_behind_a_grpc_proxy_is_there_once(
    server: Server, tmp_path: Path, answer: bool
) -> None:
    url = new_database(server.port)
    with losing_proxy(server.port) as proxy, served(by(proxy, url, server)) as grpc_url:
        for write, found, expected in WRITES:
            cut = Cut(proxy, grpc_url, url, tmp_path)
            proxy.lose(b"COMMIT", answer=answer)
            check_write(cut, write, found, expected)
            assert IN_URL not in cut.said[0]


@pytest.mark.parametrize("answer", [False, True])
@pytest.mark.parametrize("text", [b"FROM trials", b"FROM studies", b"COMMIT"])
def test_a_cut_while_trials_are_read_is_said_once_and_by_nobody_else(
    cut: Cut, capfd: pytest.CaptureFixture[str], text: bytes, answer: bool
) -> None:
    """Optuna takes it for a query that is too long, and asks again over the dead connection."""
    cut.proxy.lose(text, answer=answer)
    assert len(cut.study.get_trials(deepcopy=False)) == 2
    assert cut.proxy.is_cut.is_set() and len(cut.said) == 1
    assert "invalid transaction" not in cut.said[0]
    assert capfd.readouterr() == ("", "")


def test_a_waiting_trial_whose_taking_was_not_answered_is_taken_by_nobody(cut: Cut) -> None:
    """Whether another process took it cannot be told: never twice, so it is left to its lease."""
    cut.proxy.lose(b"COMMIT", answer=True)
    assert not cut.storage.set_trial_state_values(cut.waiting, TrialState.RUNNING)
    assert cut.trials()[1].state == TrialState.RUNNING


def test_a_value_that_the_database_refuses_is_no_lost_connection(cut: Cut) -> None:
    with pytest.raises(StorageInternalError):
        cut.storage.set_trial_user_attr(cut.ready, "x" * 1000, 1)
    assert not cut.said


def test_a_cut_is_an_error_at_once_where_nobody_waits(cut: Cut) -> None:
    cut.storage.outage_wait = None
    cut.proxy.lose(b"COMMIT", answer=True)
    with pytest.raises(StorageInternalError) as caught:
        cut.new_trial()
    assert IN_URL not in str(caught.value)
    assert len(cut.trials()) == 3


def test_another_thread_does_not_wait(cut: Cut) -> None:
    errors: list[Exception] = []

    def write() -> None:
        try:
            cut.storage.set_study_user_attr(cut.study_id, "a", 1)
        except StorageInternalError as error:
            errors.append(error)

    cut.proxy.lose(b"COMMIT", answer=False)
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert len(errors) == 1 and not isinstance(errors[0], StorageFailureError)
    assert not cut.said


def test_once_patience_has_ended_nothing_waits(cut: Cut) -> None:
    cut.outage_wait.end()
    cut.proxy.lose(b"COMMIT", answer=False)
    with pytest.raises(StorageFailureError):
        cut.new_trial()
    assert not cut.said


def test_a_file_that_another_program_has_locked_is_waited_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.db"
    storage = open_storage(f"sqlite:///{path}?timeout=0.1", tmp_path)
    assert isinstance(storage, LastingStorage)
    study = optuna.create_study(study_name="s", storage=storage)
    capfd.readouterr()
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    said: list[str] = []

    def unlock(line: str) -> None:
        said.append(line)
        other.rollback()

    storage.outage_wait = OutageWait(60, unlock)
    assert study.get_trials() == []
    other.execute("BEGIN EXCLUSIVE")
    assert study.ask().number == 0
    assert [trial.number for trial in study.get_trials()] == [0]
    assert len(said) == 2 and all("database is locked" in line for line in said)
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_within_an_operation_is_no_lost_connection(cut: Cut) -> None:
    """SQLAlchemy gives the connection up for it, too."""
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    database = cut.storage.storage._backend  # type: ignore[attr-defined]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), database.engine.connect() as connection:
            timer.start()
            connection.exec_driver_sql("SELECT pg_sleep(60)")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not cut.said and cut.new_trial() >= 0
