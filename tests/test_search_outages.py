"""What a search stands on goes away while it runs: its database, the server of its workers."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from mnist_sweep.search.study.leases import Lease, Leases
from tests.books import check_books, is_finished
from tests.postgres import Server, connect, new_database, running_server
from tests.searches import (
    BY_MOODY,
    LR,
    Command,
    Search,
    check_secret,
    is_fork_server,
    is_gone,
    search,
    start_at_gate,
    wait_until,
)

__all__ = ["search"]

pytestmark = pytest.mark.timeout(600)

MINUTES = int(os.environ.get("MNIST_SWEEP_OUTAGE_MINUTES", "4"))
"""For which a database is restarted each minute; issues ask for 30."""

OUTAGE_S = 60 * min(3, MINUTES // 3)
"""Once, in the midst of them."""

TWO = [LR, "hydra.sweeper.n_jobs=2", "trainer.epochs=3", "hydra/sweeper/pruner=median"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def on_server(search: Search, server: Server) -> Search:
    if not server.is_running:
        server.start()
    search.storage = new_database(server.port)
    return search


def rows(search: Search) -> int:
    table = search.sweep_dir / "results.csv"
    return table.read_text().count("\n") - 1 if table.exists() else 0


def end_connections(server: Server) -> None:
    """As an administrator does, or a server that wants to be rid of idle ones."""
    with connect(server.port) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_trials", "events", "apart"),
    [(10, 5, 1), (30, 10, 2)],
)
def test_a_search_outlives_its_databases_restarts(
    on_server: Search, server: Server, n_trials: int, events: int, apart: int
) -> None:
    """apart: rows between two events, every other one of which is a restart."""
    arguments = [f"hydra.sweeper.n_trials={n_trials}", "hydra.sweeper.lease_s=5"]
    on_server.arguments = [*TWO, *arguments]
    command = on_server.start()
    for number in range(events):
        wait_until(lambda: rows(on_server) > apart * number, command)  # noqa: B023
        if number % 2:
            end_connections(server)
        else:
            server.restart()
    assert command.wait() == 0, command
    assert command.err.read_text() == ""
    study = on_server.study()
    assert study is not None
    leases = [study.user_attrs[key] for key in study.user_attrs if key.startswith("controller:")]
    assert [lease["pid"] for lease in leases] == [command.pid], "the same process all the time"
    assert all(map(is_finished, on_server.trials())), "no trial was lost, and none made twice"
    check_books(on_server, n_trials)
    check_secret(on_server)


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES + 1200)
def test_eight_workers_outlive_a_database_that_restarts_every_minute(
    on_server: Search, server: Server
) -> None:
    on_server.arguments = [
        *(LR, "hydra.sweeper.n_jobs=8", "trainer.epochs=3", "hydra/sweeper/pruner=median"),
        *("hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=100000"),
        *(f"hydra.sweeper.max_minutes={MINUTES + 2}", "hydra.sweeper.lease_s=20"),
    ]
    command = on_server.start()
    wait_until(lambda: len(command.workers()) == 8, command)
    workers = command.workers()
    wait_until(lambda: rows(on_server) > 0, command)
    begin, num_restarts, has_been_away = time.monotonic(), 0, False
    while (passed := time.monotonic() - begin) < 60 * (MINUTES - 1):
        before = rows(on_server)
        time.sleep(60)
        assert rows(on_server) > before, "it trains on between the outages"
        server.stop()
        if not has_been_away and passed > 60 * MINUTES / 2:
            has_been_away = True
            time.sleep(OUTAGE_S)
        server.start()
        num_restarts += 1
        assert not any(map(is_gone, workers)), command
    assert command.wait() == 0, command
    assert command.err.read_text() == ""
    trials = on_server.trials()
    assert all(map(is_finished, trials)), "no trial was lost, and none made twice"
    print(f"{num_restarts} restarts in {MINUTES} minutes, {len(trials)} trials")
    check_books(on_server, len(trials))
    check_secret(on_server)


@pytest.mark.slow
def test_an_outage_is_said_in_one_line_and_waited_out(on_server: Search, server: Server) -> None:
    on_server.arguments = [*BY_MOODY, LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"]
    on_server.shut_gate()
    command = on_server.start()
    wait_until(lambda: len(on_server.running(command)) == 2, command)
    server.stop()
    on_server.open_gate()
    command.wait_for_output("lost the connection")
    time.sleep(3)  # several attempts
    assert command.process.poll() is None
    server.start()
    assert command.wait() == 0, command
    assert command.out.read_text().count("lost the connection") == 1, command
    assert command.err.read_text() == ""
    check_books(on_server, 3)
    check_secret(on_server)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["limit", "Ctrl-C twice", "Ctrl-C twice at its start"])
def test_past_its_limit_an_outage_ends_the_search_and_the_same_command_goes_on(
    on_server: Search, server: Server, how: str
) -> None:
    on_server.arguments = [*BY_MOODY, LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"]
    on_server.shut_gate()
    command = on_server.start(f"hydra.sweeper.storage_wait_s={1 if how == 'limit' else 600}")
    wait_until(lambda: len(on_server.running(command)) == 2, command)
    tree = command.tree()
    if how == "Ctrl-C twice at its start":
        command.send(signal.SIGINT)
        command.wait_for_output("Ctrl-C again stops them at once")
        command.process.send_signal(signal.SIGSTOP)  # so that it has not asked the server yet
    server.stop()
    on_server.open_gate()
    if how == "limit":
        assert command.wait() == 1, command
        [line] = command.err.read_text().splitlines()
        assert "hydra.sweeper.storage=postgresql+psycopg://127.0.0.1:" in line
        assert "hydra.sweeper.storage_wait_s=1" in line
        assert "the same command goes on with the study" in line
    else:
        if how == "Ctrl-C twice":
            command.wait_for_output("lost the connection")
            command.send(signal.SIGINT)
            command.wait_for_output("Ctrl-C again stops them at once")
        command.send(signal.SIGINT)
        command.process.send_signal(signal.SIGCONT)
        assert command.wait() == 130, command
        expected = "stopped at once; the same command goes on with the study\n"
        assert command.err.read_text() == expected, command
    wait_until(lambda: all(map(is_gone, tree)))
    server.start()
    on_server.run()
    check_books(on_server, 3)
    check_secret(on_server)


def test_silence_while_nobody_could_write_is_no_death() -> None:
    study = optuna.create_study()
    study.set_user_attr("controller:other", asdict(Lease("elsewhere", 1, 0.0, beat=5)))
    study.ask().set_user_attr("controller", "other")
    leases = Leases(study, 0.2)

    def lost() -> bool:
        return bool(leases.unheld(study.get_trials()))

    leases._beat(1)
    assert not lost()
    time.sleep(0.3)  # its own beat did not get through either
    assert not lost()
    leases._beat(2)
    assert not lost(), "it has as much time as after the first sight of it"

    def lost_at_last() -> bool:
        leases._beat(3)
        return lost()

    wait_until(lost_at_last)


# The server from which a pool's workers are forked


def fork_servers(command: Command) -> set[psutil.Process]:
    """One at most; its own children bear the same command line."""
    try:
        return set(filter(is_fork_server, psutil.Process(command.pid).children()))
    except psutil.NoSuchProcess:
        return set()


def test_a_killed_fork_server_is_replaced_and_costs_no_worker(search: Search) -> None:
    command = start_at_gate(search, n_jobs=2, n_trials=5)
    one, other = command.workers()
    [server] = fork_servers(command)
    server.kill()
    wait_until(lambda: is_gone(server), command)
    one.kill()
    wait_until(lambda: fork_servers(command) - {server}, command)
    search.open_gate()
    assert command.wait() == 0, command
    assert "Error" not in command.err.read_text(), command
    check_books(search, 5)
    lost = [trial for trial in search.trials() if trial.state == TrialState.FAIL]
    assert len(lost) == 1, "the other worker lived, and so did its run"


def test_a_fork_server_may_be_killed_while_it_starts(search: Search) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"]
    command = search.start()
    killed: set[psutil.Process] = set()
    for _ in range(3):
        [server] = wait_until(lambda: fork_servers(command) - killed, command)
        server.kill()
        killed.add(server)
    assert command.wait() == 0, command
    assert "Error" not in command.err.read_text(), command
    check_books(search, 2)
    assert not [trial for trial in search.trials() if trial.state == TrialState.FAIL]


def test_workers_without_their_server_are_stopped_too(search: Search) -> None:
    command = start_at_gate(search, n_jobs=2, n_trials=4)
    tree = command.tree()
    [server] = fork_servers(command)
    server.kill()
    wait_until(lambda: is_gone(server), command)
    command.process.terminate()
    assert command.wait() == 130, command
    wait_until(lambda: all(map(is_gone, tree)))
    assert list(search.table().status) == ["interrupted"] * 2
    search.open_gate()
    search.run()
    check_books(search, 4)
