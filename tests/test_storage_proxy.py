"""A study behind Optuna's gRPC proxy, as a user has it: `sweep serve` and `grpc://host:port`."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import optuna
import pytest

from mnist_sweep.search.study.lasting import LastingStorage, OutageWait
from mnist_sweep.search.study.storage import open_storage
from tests.books import check_books
from tests.conftest import cli_in, environment
from tests.postgres import PASSWORD, Server, free_port, new_database, running_server
from tests.searches import BY_MOODY, LR, Search, check_secret, search, wait_until

__all__ = ["search"]

pytest.importorskip("grpc", reason="the extra grpc is not installed")


class Proxy:
    """`python -m mnist_sweep.sweep serve` of a database."""

    def __init__(self, search: Search, database: str, port: int) -> None:
        self.url = f"grpc://localhost:{port}"
        self.output = search.folder / f"served{time.monotonic_ns()}.txt"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mnist_sweep.sweep", "serve"),
                    *("--storage", database, "--port", str(port)),
                ],
                cwd=search.folder,
                env=environment(),
                stdout=file,
                stderr=file,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        wait_until(lambda: self.url in self.output.read_text() or self.process.poll() is not None)

    def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)


@pytest.fixture
def proxies() -> Iterator[list[Proxy]]:
    """Those that are to be ended."""
    started: list[Proxy] = []
    yield started
    for proxy in started:
        proxy.end()


def test_a_search_its_status_and_its_report_through_a_proxy(
    search: Search, proxies: list[Proxy]
) -> None:
    proxy = Proxy(search, "sqlite:///study.db", free_port())
    proxies.append(proxy)
    search.storage = proxy.url
    search.arguments = [LR, "hydra.sweeper.n_jobs=2"]
    search.run("hydra.sweeper.n_trials=1")
    search.run("hydra.sweeper.n_trials=3")
    check_books(search, 3)
    cli, storage = cli_in(search.folder), ["--storage", proxy.url]
    done = cli("status", *storage, module="mnist_sweep.sweep")
    assert "3 of 3 finished" in done.stdout, done
    done = cli("parallel", *storage, module="mnist_sweep.report")
    assert done.returncode == 0 and (search.folder / "parallel.png").exists(), done

    again = cli("serve", *storage, "--port", proxy.url[-5:], module="mnist_sweep.sweep")
    assert again.returncode == 2 and "in use" in again.stderr, again
    assert proxy.end(signal.SIGINT) == 130
    assert proxy.output.read_text().endswith("interrupted\n")
    done = cli("status", *storage, module="mnist_sweep.sweep")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert f"--storage={proxy.url} cannot be reached" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_outlives_outages_of_its_proxy_and_of_the_database_behind(
    search: Search, proxies: list[Proxy]
) -> None:
    with running_server() as server:
        outages(search, proxies, server)


def outages(search: Search, proxies: list[Proxy], server: Server) -> None:
    port, database = free_port(), new_database(server.port)
    proxies.append(Proxy(search, database, port))
    search.storage = proxies[0].url
    search.arguments = [*BY_MOODY, LR, "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2"]
    search.shut_gate()
    command = search.start()
    wait_until(lambda: len(search.running(command)) == 2, command)
    storage = open_storage(database, search.folder)
    assert isinstance(storage, LastingStorage)
    storage.outage_wait = OutageWait(60, print)
    search.on_server = optuna.load_study(study_name="s", storage=storage)
    proxies[0].end()
    search.open_gate()
    command.wait_for_output("lost the connection")
    time.sleep(8)  # several attempts, and longer pauses of gRPC's own
    search.shut_gate()
    proxies.append(Proxy(search, database, port))
    wait_until(lambda: len(search.finished()) == 2, command)
    server.stop()
    search.open_gate()
    wait_until(lambda: command.out.read_text().count("lost the connection") == 2, command)
    time.sleep(3)
    server.start()
    assert command.wait() == 0, command
    assert command.out.read_text().count("lost the connection") == 2, command
    assert command.err.read_text() == "" and PASSWORD not in command.out.read_text()
    check_books(search, 6)
    check_secret(search)
    assert proxies[1].output.read_text().count("\n") < 8, "its clients say what failed"
