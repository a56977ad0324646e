"""Searches whose workers are no processes of their own: jobs of submitit, and such as join."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from optuna.trial import FrozenTrial

from mnist_sweep.paths import INVITATION, PACKAGE
from mnist_sweep.search.engines.door import Invitation
from tests.books import check_books
from tests.conftest import environment
from tests.searches import (
    LR,
    PATIENCE_S,
    Search,
    is_gone,
    search,
    start_at_gate,
    wait_until,
)

__all__ = ["search"]  # a fixture

LOCAL = "hydra/launcher=submitit_local"

LONG = ("trainer.epochs=400",)
"""Some half a minute, to be cut short."""


def guests(search: Search) -> list[psutil.Process]:
    """The workers that have been started for it and live."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        is_one = "mnist_sweep.search.engines.guest" in line or line[3:4] == ["join"]
        if is_one and str(search.sweep_dir) in line and not is_gone(process):
            found.append(process)
    return found


@pytest.fixture(autouse=True)
def no_guest_is_left(search: Search) -> object:
    yield
    for process in guests(search):
        process.kill()


def sweep(search: Search, *arguments: str, code: int = 0, **extra: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mnist_sweep.sweep", *arguments],
        cwd=search.folder,
        env=environment(**{"PYTHONPATH": os.environ.get("PYTHONPATH", ""), **extra}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def retries(search: Search) -> list[tuple[FrozenTrial, FrozenTrial]]:
    """Each with the trial that it is tried again for."""
    trials = search.trials()
    return [(t, trials[t.user_attrs["retry_of"]]) for t in trials if "retry_of" in t.user_attrs]


def test_jobs_of_submitit_train_all_and_end(search: Search) -> None:
    search.run(LOCAL, LR, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    check_books(search, 4)
    wait_until(lambda: not guests(search))
    assert not (search.sweep_dir / INVITATION).exists()


def test_a_worker_that_is_killed_costs_its_trial_nothing(search: Search) -> None:
    command = start_at_gate(search, 2, 4, LOCAL)
    assert Invitation.read(search.sweep_dir / INVITATION).hosts == ("127.0.0.1",), "no others come"
    guests(search)[0].kill()
    search.open_gate()
    assert command.wait() == 0, command
    check_books(search, 4)
    [(_, lost)] = retries(search)
    assert f"{lost.number}  interrupted" in command.out.read_text()
    assert "was lost" in lost.user_attrs["error"] and lost.user_attrs["status"] == "interrupted"


@pytest.mark.slow
def test_a_worker_whose_time_is_up_leaves_after_its_epoch_and_another_goes_on(
    search: Search,
) -> None:
    search.arguments = [LR, LOCAL, *LONG, "hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=2"]
    command = search.start()
    run_dir = search.sweep_dir / "0"
    wait_until((run_dir / "checkpoint.pt").exists, command)
    # n_jobs is no more than trials, so another one has to come.
    said = search.folder / "joined.txt"
    joined = subprocess.Popen(
        [sys.executable, "-m", "mnist_sweep.sweep", "join", str(search.sweep_dir)],
        cwd=search.folder,
        env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", "")),
        stdout=said.open("w"),
    )
    try:
        wait_until(lambda: "joined" in said.read_text(), command)
        [first] = [guest for guest in guests(search) if guest.pid != joined.pid]
        first.send_signal(signal.SIGUSR2)
        assert command.wait() == 0, command
        assert joined.wait(PATIENCE_S) == 0
    finally:
        joined.kill()
    check_books(search, 1)
    [(again, left)] = retries(search)
    assert "time was up" in left.user_attrs["error"]
    output = (search.sweep_dir / str(again.number) / "output.log").read_text()
    assert "resumes 0, which was cut short" in output


@pytest.mark.slow
def test_workers_go_back_to_a_controller_that_was_killed(search: Search) -> None:
    command = start_at_gate(search, 2, 4, LOCAL)
    command.process.kill()
    command.process.wait()
    search.open_gate()
    search.arguments.remove(LOCAL)
    search.run("hydra.sweeper.n_jobs=0")  # there are no others
    check_books(search, 4)


def test_who_joins_is_told_why_it_cannot(search: Search, tmp_path: Path) -> None:
    assert "does not exist" in sweep(search, "join", str(tmp_path / "nowhere"), code=2)
    search.arguments = [LR, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=0"]
    command = search.start()
    wait_until((search.sweep_dir / INVITATION).exists, command)
    invitation = search.sweep_dir / INVITATION
    assert invitation.stat().st_mode & 0o777 == 0o600
    assert len(Invitation.read(invitation).hosts) > 1

    other = tmp_path / "other"
    for name in (PACKAGE.name, "conf", "recipes"):
        shutil.copytree(PACKAGE.parent / name, other / name)
    with (other / PACKAGE.name / "train.py").open("a") as file:
        file.write("# edited\n")
    [sources] = search.sweep_dir.glob(".workers/*.zip")
    sources.rename(tmp_path / "hidden")
    refused = sweep(search, "join", "multirun/s", code=2, PYTHONPATH=str(other))
    assert "its code is not that of the search" in refused and refused.count("\n") == 1

    assert "sweep join multirun/s" in command.out.read_text()
    (tmp_path / "hidden").rename(sources)  # what the search was begun with is in sight again
    sweep(search, "join", "multirun/s", PYTHONPATH=str(other))
    assert command.wait() == 0, command
    check_books(search, 2)
    assert search.table().code.nunique() == 1
    assert "no search that workers can join" in sweep(search, "join", "multirun/s", code=2)
    (search.sweep_dir / INVITATION).write_text('{"hosts": ["a"')
    assert "invitation.json" in sweep(search, "join", "multirun/s", code=2)


def detached(search: Search, *more: str) -> int:
    """Begins a search that leaves its terminal; its process."""
    command = search.start(*more)
    assert command.wait() == 0, command
    [line] = [line for line in command.out.read_text().splitlines() if "detached" in line]
    return int(line.partition("process ")[2].partition(";")[0])


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and not is_gone(psutil.Process(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_detached_search_goes_on_to_its_end(search: Search) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"]
    pid = detached(search, "hydra.sweeper.detach=true")
    wait_for_end(pid)
    check_books(search, 3)
    assert "3 of 3 finished" in sweep(search, "status")
    before = search.journal.stat().st_mtime_ns
    assert "nobody" in sweep(search, "status", "multirun/s")
    assert search.journal.stat().st_mtime_ns == before, "looking writes nothing"
    assert "best    trial" in (search.sweep_dir / "controller.log").read_text()
    search.run()  # which has nothing left to do


def test_what_is_refused_is_said_before_a_search_leaves_its_terminal(search: Search) -> None:
    command = search.run(LR, "optimizer.lr=-1", "hydra.sweeper.detach=true", code=2)
    assert command.err.read_text().startswith("error: ")


@pytest.mark.slow
def test_ctrl_c_leaves_a_search_that_may_go_on_without(search: Search) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"]
    command = search.start("hydra.sweeper.detach=on_interrupt", *LONG)
    command.wait_for_output("study   s")
    command.send(signal.SIGINT)
    assert command.wait() == 0, command
    assert "detached" in command.out.read_text()
    assert "nobody" not in sweep(search, "status")
    assert "asked" in sweep(search, "stop", "--now")
    wait_until(lambda: "nobody" in sweep(search, "status"))
    assert not search.finished()


def test_a_search_is_stopped_from_elsewhere(search: Search) -> None:
    search.arguments = [LR, *LONG, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    command = search.start()
    wait_until(lambda: len(search.running(command)) == 2, command)
    numbers = [trial.number for trial in search.running(command)]
    assert "is not under way" in sweep(search, "stop", "--trial", "99", code=2)
    assert f"trial {numbers[0]}" in sweep(search, "stop", "--trial", str(numbers[0]))
    wait_until(lambda: [t.number for t in search.finished()] == numbers[:1], command)
    [stopped] = search.finished()
    assert stopped.user_attrs["error"] == "stopped by hand"
    shown = sweep(search, "status", "multirun/s")
    assert "1 of 4 finished: 0 completed, 1 pruned" in shown
    assert f"process {command.pid}: " in shown and "optimizer.lr=" in shown
    sweep(search, "stop", "--now")
    assert command.wait() == 130, command
    search.run("hydra.sweeper.n_trials=1")  # is done
    check_books(search, 1)


NO_WAY = """
import socket, sys

def refused(*_, **__):
    raise OSError(113, "No route to host")

if "mnist_sweep.search.engines.guest" in sys.orig_argv:
    socket.create_connection = refused
"""
"""Of a machine behind a firewall: none of its workers reaches the search."""


def test_workers_that_cannot_reach_the_search_are_said_to(search: Search) -> None:
    (search.folder / "sitecustomize.py").write_text(NO_WAY)
    command = search.start(LR, LOCAL, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    command.wait_for_output("No route to host")
    [line] = [line for line in command.out.read_text().splitlines() if "workers" in line]
    assert line.startswith(f"workers {socket.gethostname()}: ") and "port" in line
    command.send(signal.SIGINT)
    assert command.wait() == 130, command
    wait_until(lambda: not guests(search))


def test_workers_that_have_all_ended_say_why(search: Search) -> None:
    (search.folder / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'mnist_sweep.search.engines.guest' in sys.orig_argv: sys.modules['torch'] = None"
    )
    command = search.run(LR, LOCAL, "hydra.sweeper.n_trials=4", code=1)
    assert "ModuleNotFoundError: import of torch halted" in command.err.read_text().splitlines()[-1]
    assert command.err.read_text().count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_running_of_a_search_that_is_ended(
    search: Search, how: signal.Signals
) -> None:
    """SIGHUP is that the terminal was closed."""
    command = start_at_gate(search, 2, 3, LOCAL)
    started = command.tree()
    command.send(how)
    assert command.wait() == 130, command
    wait_until(lambda: all(map(is_gone, started)) and not guests(search))
    search.open_gate()
    search.run()
    check_books(search, 3)
