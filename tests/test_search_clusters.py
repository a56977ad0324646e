"""Searches on a real Slurm: its jobs are lost, queued again, refused, held back."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.books import check_books
from tests.postgres import free_port
from tests.searches import ENDINGS, LR, Search, check_refused, search, start_at_gate, wait_until
from tests.slurm import Slurm, running_slurm
from tests.test_search_elsewhere import guests, no_guest_is_left, retries

__all__ = ["no_guest_is_left", "search"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SOME_SECONDS = "trainer.epochs=60"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with running_slurm() as slurm:
        yield slurm


@pytest.fixture
def on_slurm(slurm: Slurm, search: Search, monkeypatch: pytest.MonkeyPatch) -> Search:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    search.arguments = [LR, "hydra/launcher=submitit_slurm", "hydra.sweeper.n_jobs=2"]
    search.arguments += ["hydra.sweeper.n_trials=6"]
    return search


def both_train(search: Search) -> list[psutil.Process]:
    found = guests(search)
    return found if len(found) == 2 and len(list(search.sweep_dir.glob("*/history.csv"))) else []


def test_a_worker_on_slurm_is_killed(slurm: Slurm, on_slurm: Search) -> None:
    command = on_slurm.start(SOME_SECONDS)
    wait_until(lambda: both_train(on_slurm), command)[0].kill()
    assert command.wait() == 0, command
    check_books(on_slurm, 6)
    assert len(retries(on_slurm)) == 1
    assert not slurm.states()


def test_all_jobs_on_slurm_are_cancelled_and_the_study_goes_on(
    slurm: Slurm, on_slurm: Search
) -> None:
    command = on_slurm.start(SOME_SECONDS)
    wait_until(lambda: both_train(on_slurm), command)
    slurm.call("scancel", "--user=root")
    assert command.wait() == 1, command
    assert "all 2 workers have ended" in command.err.read_text()
    on_slurm.run(SOME_SECONDS)
    check_books(on_slurm, 6)
    assert not slurm.states()


@pytest.mark.parametrize("signals, code", ENDINGS)
def test_the_command_is_ended_and_the_same_one_goes_on(
    slurm: Slurm, on_slurm: Search, signals: list[signal.Signals], code: int
) -> None:
    command = on_slurm.start(SOME_SECONDS, "hydra.sweeper.lease_s=5")
    wait_until(lambda: both_train(on_slurm), command)
    command.end(signals, code)
    if signal.SIGKILL in signals:  # its workers wait for another one
        on_slurm.run(SOME_SECONDS, "hydra.sweeper.lease_s=5", "hydra.sweeper.n_jobs=0")
    wait_until(lambda: not slurm.states() and not guests(on_slurm))
    on_slurm.run(SOME_SECONDS, "hydra.sweeper.lease_s=5")
    check_books(on_slurm, 6)


def test_a_job_on_slurm_that_is_preempted_is_queued_again(slurm: Slurm, on_slurm: Search) -> None:
    command = on_slurm.start(SOME_SECONDS, "hydra.sweeper.n_trials=16")
    wait_until(lambda: both_train(on_slurm), command)
    jobs = slurm.call("squeue", "--noheader", "--array", "--format=%i").split()
    slurm.call("scancel", "--signal=USR2", jobs[0])
    first = {guest.pid for guest in guests(on_slurm)}
    wait_until(lambda: {guest.pid for guest in guests(on_slurm)} - first, command)  # it is back
    assert command.wait() == 0, command
    check_books(on_slurm, 16)
    [(_, left)] = retries(on_slurm)
    assert "time was up" in left.user_attrs["error"]


def test_jobs_on_slurm_run_out_of_time_and_go_on(slurm: Slurm, on_slurm: Search) -> None:
    """The trials are held up until both jobs are told that their time is up, however fast or busy
    the machine is."""
    command = start_at_gate(
        on_slurm,
        *(2, 2, "hydra/launcher=submitit_slurm", "trainer.epochs=20"),
        *("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=60"),
    )
    wait_until(lambda: len(told_of_their_time(on_slurm)) == 2, command)
    on_slurm.open_gate()
    assert command.wait() == 0, command
    check_books(on_slurm, 2)
    assert all("time was up" in left.user_attrs["error"] for _, left in retries(on_slurm))
    assert len(retries(on_slurm)) >= 2


def told_of_their_time(search: Search) -> list[Path]:
    logs = search.sweep_dir.glob(".submitit/*/*_log.out")
    return [path for path in logs if "Caught signal" in path.read_text()]


SLURM_MISTAKES = {
    "hydra.launcher.partition=bla": "hydra.launcher.partition=bla: Slurm refuses that (invalid",
    "hydra.launcher.gres=gpu:1": "hydra.launcher.gres=gpu:1: ",
    "hydra.launcher.gpus_per_node=1": "hydra.launcher.gpus_per_node=1: ",
    "hydra.launcher.mem_gb=1000": "hydra.launcher.mem_gb=1000: ",
    "hydra.launcher.constraint=bla": "hydra.launcher.constraint=bla: ",
    "hydra.launcher.nodes=0": "hydra.launcher.nodes=0: ",
    "+hydra.launcher.additional_parameters={bla:1}": "additional_parameters={'bla': 1}: ",
    "+hydra.launcher.parttion=main": "hydra.launcher.parttion: no such key",
}


def test_what_slurm_refuses_is_one_line(slurm: Slurm, on_slurm: Search) -> None:
    for mistake, words in SLURM_MISTAKES.items():
        check_refused(on_slurm, mistake, words)
    assert not slurm.states()


def test_a_slurm_that_does_not_answer_is_one_line(
    on_slurm: Search, slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (slurm.folder / "slurm.conf").read_text()
    other = re.sub(r"SlurmctldPort=\d+", f"SlurmctldPort={free_port()}", settings)
    (tmp_path / "slurm.conf").write_text(other)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    check_refused(on_slurm, "seed=0", "no Slurm answers here")


def test_jobs_that_slurm_will_never_begin_are_said_to_wait(slurm: Slurm, on_slurm: Search) -> None:
    command = on_slurm.start("hydra.launcher.cpus_per_task=99")
    command.wait_for_output("will never begin these jobs (PartitionConfig)")
    assert "hydra.launcher.cpus_per_task=99" in command.out.read_text()
    command.send(signal.SIGINT)
    assert command.wait() == 130, command
    assert not slurm.states()


def test_jobs_on_slurm_with_a_wrong_python_say_so(slurm: Slurm, on_slurm: Search) -> None:
    command = on_slurm.run("hydra.launcher.python=/no/such/python", code=1)
    [line] = command.err.read_text().splitlines()
    assert "all 2 workers have ended" in line and "/no/such/python: No such file" in line
