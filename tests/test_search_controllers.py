"""Several controllers on one study, in its journal and in a database; one that was asleep."""

import fcntl
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from tests.books import check_books
from tests.postgres import IN_URL, free_port, new_database, running_server, server_url
from tests.searches import BY_MOODY, LR, Command, Search, check_secret, search, wait_until

__all__ = ["search"]

pytestmark = pytest.mark.timeout(600)

# Several controllers, and a database server


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    """A PostgreSQL server of these tests' own."""
    with running_server() as server:
        yield server.port


@pytest.fixture
def database(server_port: int) -> str:
    """The URL of a database in which nothing is yet."""
    return new_database(server_port)


@pytest.fixture(params=["journal", "postgres"])
def shared(request: pytest.FixtureRequest, search: Search) -> Search:
    """A search whose study is kept in each of the ways."""
    if request.param == "postgres":
        search.storage = request.getfixturevalue("database")
    return search


def start_two_at_gate(
    search: Search, n_jobs: int, n_trials: int, space: tuple[str, ...] = (LR,)
) -> tuple[Command, Command]:
    """Two controllers on one study, each with as many trials under way as it has workers."""
    search.arguments = [
        *(*space, *BY_MOODY, "trainer.epochs=2", "hydra.sweeper.lease_s=5"),
        *(f"hydra.sweeper.n_trials={n_trials}", f"hydra.sweeper.n_jobs={n_jobs}"),
    ]
    search.shut_gate()
    both = search.start(), search.start()
    wait_until(lambda: all(len(search.running(each)) == n_jobs for each in both), *both)
    return both


def test_two_controllers_share_the_trials_of_a_study(shared: Search) -> None:
    both = start_two_at_gate(shared, n_jobs=1, n_trials=15)
    shared.open_gate()
    assert [command.wait() for command in both] == [0, 0], both
    check_books(shared, 15)
    by_controller = Counter(trial.user_attrs["controller"] for trial in shared.finished())
    assert len(by_controller) == 2, "only one of them had trials"


@pytest.mark.slow
def test_a_controller_goes_on_alone_when_the_other_is_killed(shared: Search) -> None:
    first, second = start_two_at_gate(shared, n_jobs=2, n_trials=8)
    lost = {trial.number for trial in shared.running(first)}
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    shared.open_gate()
    assert second.wait() == 0, second
    check_books(shared, 8)
    assert lost <= {trial.user_attrs.get("retry_of") for trial in shared.finished()}
    table = shared.table()
    assert list(table[table.trial.isin(lost)].status) == ["interrupted"] * 2


@dataclass(frozen=True)
class Asleep:
    """A kind of search whose controller is put to sleep, with its workers or without."""

    more: tuple[str, ...]
    n_jobs: int = 1
    with_workers: bool = True
    replicates: int = 1


ASLEEP = {
    "pruner": Asleep(("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1")),
    "plain": Asleep(()),
    "rungs": Asleep(("hydra.sweeper.rungs=[2,4,12]",)),
    "replicates": Asleep(("hydra.sweeper.replicates=2",), replicates=2),
    "pool": Asleep((), n_jobs=2),
    "controller alone": Asleep(("hydra/sweeper/pruner=median",), n_jobs=2, with_workers=False),
    "grid": Asleep(("hydra/sweeper/sampler=grid", "optimizer.lr=choice(.01,.02,.03,.04)")),
}


def put_to_sleep(
    search: Search, command: Command, others: list[psutil.Process]
) -> list[psutil.Process]:
    """Stops the controller, and these processes of its own, at a moment at which it has a trial
    under way and holds no lock, for which another controller would have to wait."""
    processes = [psutil.Process(command.pid), *others]
    files = [search.journal, search.sweep_dir / ".results.csv.lock"]

    def is_stopped() -> bool:
        for process in processes:
            process.suspend()
        time.sleep(0.02)  # until it has
        if search.running(command) and not any(map(is_locked, files)):
            return True
        for process in processes:
            process.resume()
        return False

    wait_until(is_stopped, command)
    return processes


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_grid_is_not_over_before_the_other_controllers_trials_are(search: Search) -> None:
    """Its sampler has no more points; those of the one that sleeps have still to be tried."""
    grid = ("optimizer.lr=choice(.01,.02,.03,.04)", "hydra/sweeper/sampler=grid")
    first, second = start_two_at_gate(search, n_jobs=2, n_trials=4, space=grid)
    put_to_sleep(search, first, first.tree())
    search.open_gate()
    assert second.wait() == 0, second
    assert len(search.finished()) == 4, second
    first.send(signal.SIGKILL)
    search.run()
    check_books(search, 4)


@pytest.mark.parametrize(
    "kind",
    ["pruner", *(pytest.param(k, marks=pytest.mark.slow) for k in ASLEEP if k != "pruner")],
)
def test_a_controller_that_slept_beyond_its_lease_gives_its_trials_up_and_goes_on(
    search: Search, kind: str
) -> None:
    asleep = ASLEEP[kind]
    search.arguments = [
        *(LR, "trainer.epochs=12", "hydra.sweeper.n_trials=4", "hydra.sweeper.lease_s=1"),
        *(f"hydra.sweeper.n_jobs={asleep.n_jobs}", *asleep.more),
    ]
    first = search.start()
    wait_until(
        lambda: any(
            len(path.read_text().splitlines()) > 3
            for path in search.sweep_dir.glob("**/history.csv")
        ),
        first,
    )
    asleep_now = put_to_sleep(search, first, first.tree() if asleep.with_workers else [])
    taken = {trial.number for trial in search.running(first)}
    assert taken, "it had none under way"

    other = search.start()
    wait_until(lambda: taken <= {t.user_attrs.get("retry_of") for t in search.trials()}, other)
    if kind in ("plain", "grid"):  # it may wake up when all is done, or in the middle
        assert other.wait() == 0, other
    for process in asleep_now:
        process.resume()
    assert first.wait() == 0, first
    assert other.wait() == 0, other
    check_books(search, 4, asleep.replicates)
    table = search.table()
    assert set(table[table.trial.isin(taken)].status) <= {"interrupted", "completed"}
    for number in taken:
        assert "interrupted" in set(table[table.trial == number].status)
        assert search.trials()[number].state == TrialState.FAIL


def test_the_password_of_a_storage_is_written_nowhere(search: Search, database: str) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"]
    search.storage = database
    search.run()
    assert len(search.finished()) == 2
    assert (search.folder / "out0.txt").read_text(), "the outputs are looked through too"
    check_secret(search)


@pytest.mark.slow
def test_the_password_is_not_shown_where_the_connection_fails(
    search: Search, server_port: int
) -> None:
    search.arguments = [LR]
    for url in (
        server_url(free_port()),
        server_url(server_port, "no_such_database"),
        server_url(server_port).replace(f":{IN_URL}@", f":{IN_URL}x@"),
        f"postgresql+psycopg://127.0.0.1:{free_port()}/postgres?user=tester&password={IN_URL}",
    ):
        search.storage = url
        command = search.run(code=2)
        assert command.err.read_text().count("\n") == 1, command
        assert "hydra.sweeper.storage=postgresql+psycopg://" in command.err.read_text()
        assert "cannot be opened" in command.err.read_text()
    search.run(code=2, HYDRA_FULL_ERROR="1")
    check_secret(search)
