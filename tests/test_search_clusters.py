"""Searches on a real Ray cluster of two nodes, and on a real Slurm: nodes and jobs are lost."""

import shlex
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.books import check_books
from tests.elsewhere import can_hide, without
from tests.searches import LR, Search, search, wait_until
from tests.slurm import Slurm, running_slurm
from tests.test_search_elsewhere import guests, no_guest_is_left, retries

__all__ = ["no_guest_is_left", "search"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SOME_SECONDS = "trainer.epochs=60"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that trains nothing, to which nodes are added."""
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_node_of_ray_is_lost_in_the_middle(
    cluster: Any, search: Search, tmp_path_factory: pytest.TempPathFactory, is_seen: bool
) -> None:
    """is_seen: whether the nodes see the search's directory."""
    first = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    search.arguments = [LR, SOME_SECONDS, "hydra/launcher=ray", "hydra.sweeper.n_jobs=2"]
    search.arguments += ["hydra.sweeper.n_trials=8"]
    search.arguments += [f"hydra.launcher.ray.init.address={cluster.address}"]
    if not is_seen:
        if not can_hide():
            pytest.skip("nothing can be hidden from a process here: unshare is not allowed")
        python = tmp_path_factory.mktemp("node") / "python"
        python.write_text(
            f'#!/bin/sh\nexec {shlex.join(without(search.folder, sys.executable))} "$@"\n'
        )
        python.chmod(0o755)
        search.arguments += [f"++hydra.launcher.ray.remote.runtime_env={{py_executable: {python}}}"]
    command = search.start()
    wait_until(lambda: len(search.finished()) >= 2 and len(guests(search)) == 2, command)
    cluster.remove_node(first, allow_graceful=False)
    assert command.wait() == 0, command
    check_books(search, 8)
    [(again, lost)] = retries(search)
    if (search.sweep_dir / str(lost.number) / "checkpoint.pt").exists():
        output = (search.sweep_dir / str(again.number) / "output.log").read_text()
        assert f"resumes {lost.number}, which was cut short" in output


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
    on_slurm.run(
        "trainer.epochs=250",
        *("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20"),
        "hydra.sweeper.n_trials=2",
    )
    check_books(on_slurm, 2)
    assert all("time was up" in left.user_attrs["error"] for _, left in retries(on_slurm))
    assert retries(on_slurm)
