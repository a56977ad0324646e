"""Searches on a machine with several GPUs, as far as that can be seen without any (tests/gpus.py):
which ones each worker may see when it first uses CUDA, what is said of those that are not there.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_sweep.gpus import least_used
from mnist_sweep.search.workforce import Workforce
from tests.books import check_books
from tests.conftest import Cli, environment
from tests.gpus import Driver, driver
from tests.searches import BY_MOODY, LR, PATIENCE_S, Search, search, wait_until
from tests.test_search_elsewhere import guests, no_guest_is_left, sweep

__all__ = ["driver", "no_guest_is_left", "search"]  # fixtures


def seen(log: Path) -> dict[int, str]:
    """Process -> the GPUs that it might see when it first used CUDA."""
    lines = log.read_text().splitlines() if log.exists() else []
    return {int(line.split()[0]): line.split(" ", 1)[1] for line in reversed(lines)}


def test_workers_are_spread_and_a_dead_ones_place_is_taken(search: Search, driver: Driver) -> None:
    log = search.folder / "seen"
    search.shut_gate()
    command = search.start(
        *(LR, *BY_MOODY, "hydra.sweeper.n_trials=6", "hydra.sweeper.workers_per_gpu=2"),
        **driver(log),
    )
    wait_until(lambda: len(list(search.folder.glob("waits.*"))) == 4, command)
    first = seen(log)
    assert Counter(first.values()) == {"0": 2, "1": 2}
    assert set(first) == {worker.pid for worker in command.workers()}, "nobody else uses CUDA"

    status = sweep(search, "status", str(search.sweep_dir))
    assert len(re.findall(rf"^ *\d +- +- +{socket.gethostname()} ", status, re.M)) == 4, status

    victim = next(pid for pid, gpu in first.items() if gpu == "1")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(seen(log)) == 5, command)
    [new] = set(seen(log)) - set(first)
    assert seen(log)[new] == "1"
    search.open_gate()
    assert command.wait() == 0
    check_books(search, 6)
    table = search.table()
    assert set(table.host) == {socket.gethostname()}, "the killed one's, too"
    assert set(table.device.dropna()) == {"cpu"} and table.gpu.isna().all()


@pytest.mark.slow
def test_workers_elsewhere_share_a_hosts_gpus(search: Search, driver: Driver) -> None:
    """Two jobs of submitit, which hides all GPUs from them, and one that joins with a GPU of its
    own choice."""
    log = search.folder / "seen"
    search.shut_gate()
    command = search.start(
        *("hydra/launcher=submitit_local", LR, *BY_MOODY, "hydra.sweeper.n_trials=3"),
        "hydra.sweeper.n_jobs=2",
        **driver(log),
    )
    wait_until(lambda: len(list(search.folder.glob("waits.*"))) == 2, command)
    assert sorted(seen(log).values()) == ["0", "1"]
    before = set(seen(log))
    join = [sys.executable, "-m", "mnist_sweep.sweep", "join", str(search.sweep_dir)]
    path = os.pathsep.join([str(search.folder), os.environ.get("PYTHONPATH", "")])
    own = {"PYTHONPATH": path, "MNIST_SWEEP_TARGETS": "moody.*", "CUDA_VISIBLE_DEVICES": "1"}
    joined = subprocess.Popen(join, cwd=search.folder, env=environment(**own, **driver(log)))
    wait_until(lambda: len(seen(log)) == 3, command)
    [third] = set(seen(log)) - before
    assert (third, seen(log)[third]) == (joined.pid, "1")
    search.open_gate()
    assert command.wait() == 0 and joined.wait(PATIENCE_S) == 0
    check_books(search, 3)
    wait_until(lambda: not guests(search))


def test_a_worker_that_lacks_the_gpu_asked_for_is_not_let_in(search: Search) -> None:
    """The search itself may be where there is none: its workers are elsewhere."""
    command = search.start("hydra.sweeper.n_jobs=0", "trainer.device=cuda", LR)
    command.wait_for_output("sweep join")
    wait_until(lambda: (search.sweep_dir / ".workers" / "invitation.json").exists(), command)
    said = sweep(search, "join", str(search.sweep_dir), code=2)
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert f"{socket.gethostname()}, process" in said
    assert "trainer.device=cuda: 0 GPUs are in sight there" in said
    command.send(signal.SIGINT)
    assert command.wait() == 130


FORMS = {
    None: ("0", "1"),
    "": (),
    "-1": (),
    "1": ("1",),
    "1,0": ("1", "0"),
    " 0 , 1 ": ("0", "1"),
    "1,-1,0": ("1",),
    "0,7,1": ("0",),
    "0,0": (),
    "NoDevFiles": (),
    "GPU-1f": ("GPU-1f",),
    "GPU-1f,GPU-0e": ("GPU-1f", "GPU-0e"),
    "GPU-77": (),
    "MIG-a,MIG-b": ("MIG-a", "MIG-b"),
}
"""CUDA_VISIBLE_DEVICES -> the GPUs in sight, of two of which torch counts as CUDA would."""


def test_all_forms_of_what_is_in_sight_are_understood(driver: Driver, tmp_path: Path) -> None:
    code = """
import json, os, sys
from mnist_sweep.gpus import VISIBLE, in_sight, see_only
found = []
for form in json.loads(sys.argv[1]):
    os.environ.pop(VISIBLE, None)
    if form is not None:
        os.environ[VISIBLE] = form
    found.append([in_sight(), []])
    for gpu in in_sight():
        if form is not None:
            os.environ[VISIBLE] = form
        see_only(gpu)
        found[-1][1].append(in_sight())
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(list(FORMS))],
        env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", ""), **driver(tmp_path / "log")),
        capture_output=True,
        text=True,
        check=True,
    )
    for (form, names), (found, own) in zip(FORMS.items(), json.loads(done.stdout), strict=True):
        assert tuple(found) == names, form
        assert own == [[name] for name in names], form
    assert not (tmp_path / "log").exists(), "CUDA was used"


@given(st.integers(1, 6), st.lists(st.booleans() | st.integers(0, 30), max_size=60))
def test_gpus_are_shared_evenly(count: int, events: list[bool | int]) -> None:
    """Whoever comes and goes: a new worker gets a GPU that no other has fewer workers than, and one
    that takes a dead one's place its GPU, where all were used alike."""
    gpus = tuple(map(str, range(count)))
    workers: list[str] = []
    for event in events:
        if isinstance(event, bool) or not workers:
            loads = {gpu: workers.count(gpu) for gpu in gpus}
            new = least_used(gpus, workers)
            assert new is not None and loads[new] == min(loads.values())
            workers.append(new)
        elif len({workers.count(gpu) for gpu in gpus}) == 1:
            gone = workers.pop(event % len(workers))
            assert least_used(gpus, workers) == gone
            workers.append(gone)
        else:
            workers.pop(event % len(workers))
    assert least_used((), workers) is None


DOUBTS = {
    "as it is meant": (Workforce(4, True, "cuda", ("0", "1"), 2), []),
    "no GPU, and none asked for": (Workforce(4, True, "cpu", (), 1), []),
    "more workers": (
        Workforce(3, True, "auto", ("0", "1"), 1),
        ["n_jobs=3", "up to 2 workers share each GPU", "workers_per_gpu=1"],
    ),
    "for a CPU": (Workforce(2, True, "cpu", (), 2), ["workers_per_gpu=2", "trainer.device=cpu"]),
    "of one GPU": (
        Workforce(2, True, "cuda:1", (), 2),
        ["workers_per_gpu=2", "trainer.device=cuda:1"],
    ),
    "of none": (Workforce(2, True, "auto", (), 2), ["workers_per_gpu=2", "no GPU of this machine"]),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_what_is_hardly_meant_is_said(case: str) -> None:
    workforce, words = DOUBTS[case]
    doubts = list(workforce.doubts())
    assert len(doubts) == bool(words)
    assert all(word in doubts[0] for word in words), doubts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hydra.sweeper.workers_per_gpu=0"], ["hydra.sweeper.workers_per_gpu=0", "1"]),
        (["trainer.device=cuda:3"], ["trainer.device=cuda:3", "CUDA_VISIBLE_DEVICES=-1"]),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_before_there_is_a_study(
    cli: Cli, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    done = cli("-m", "hydra/sweeper=search", LR, *arguments, CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert all(word in done.stderr for word in words), done.stderr
    assert not list(tmp_path.rglob("*.journal"))
