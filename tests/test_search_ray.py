"""Searches on a real Ray cluster of this machine: a node is lost, workers are refused or wait."""

import shlex
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.books import check_books
from tests.elsewhere import can_hide, without
from tests.searches import ENDINGS, LR, Search, check_refused, search, wait_until
from tests.test_search_elsewhere import guests, no_guest_is_left, retries

__all__ = ["no_guest_is_left", "search"]  # fixtures

pytestmark = pytest.mark.timeout(900)

SOME_SECONDS = "trainer.epochs=60"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that trains nothing, to which nodes are added."""
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


@pytest.mark.parametrize("is_seen", [True, pytest.param(False, marks=pytest.mark.slow)])
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


RAY_MISTAKES = {
    "+hydra.launcher.bla=1": "hydra.launcher.bla: no such key",
    "+hydra.launcher.ray.init.bla=1": "hydra.launcher.ray.init: Unknown keyword argument(s): bla",
    "+hydra.launcher.ray.remote.bla=1": "hydra.launcher.ray.remote: Invalid option keyword bla",
    "hydra.launcher.ray.remote.num_cpus=x": "hydra.launcher.ray.remote.num_cpus=x: ",
    "hydra.launcher.ray.remote.num_cpus=99": "no node of the Ray cluster has more than 1",
    "hydra.launcher.ray.remote.num_gpus=1": "hydra.launcher.ray.remote.num_gpus=1: ",
    "hydra.launcher.ray.init.address=localhost:1": "no Ray cluster answers there",
}


@pytest.mark.slow
def test_what_is_wrong_with_a_search_on_ray_is_one_line(cluster: Any, search: Search) -> None:
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    search.arguments = [LR, "hydra/launcher=ray", "hydra.sweeper.n_jobs=2"]
    search.arguments += [f"hydra.launcher.ray.init.address={cluster.address}"]
    for mistake, words in RAY_MISTAKES.items():
        check_refused(search, mistake, words)


@pytest.mark.slow
def test_a_worker_that_ray_has_no_room_for_is_said_to_wait(cluster: Any, search: Search) -> None:
    cluster.add_node(num_cpus=1)
    search.arguments = [LR, "hydra/launcher=ray", "hydra.sweeper.n_jobs=2", SOME_SECONDS]
    search.arguments += [f"hydra.launcher.ray.init.address={cluster.address}"]
    command = search.start("hydra.sweeper.n_trials=60")
    command.wait_for_output("Ray has no node with hydra.launcher.ray.remote.num_cpus=1 free")
    wait_until(lambda: search.finished(), command)
    command.send(signal.SIGTERM)
    assert command.wait() == 130, command
    assert command.out.read_text().count("Ray has no node with") == 1


@pytest.mark.slow
@pytest.mark.parametrize("signals, code", ENDINGS)
def test_the_command_is_ended_and_the_same_one_goes_on(
    cluster: Any, search: Search, signals: list[signal.Signals], code: int
) -> None:
    cluster.add_node(num_cpus=2)
    search.arguments = [LR, SOME_SECONDS, "hydra/launcher=ray", "hydra.sweeper.n_jobs=2"]
    search.arguments += ["hydra.sweeper.n_trials=6", "hydra.sweeper.lease_s=5"]
    search.arguments += [f"hydra.launcher.ray.init.address={cluster.address}"]
    command = search.start()
    wait_until(lambda: len(list(search.sweep_dir.glob("*/history.csv"))) == 2, command)
    command.end(signals, code)
    wait_until(lambda: not guests(search))
    search.run()
    check_books(search, 6)
