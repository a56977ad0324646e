"""Searches of every kind, attacked: processes are killed or put to sleep beyond their lease, at any
moment, and the command is given again until the study is complete. Then all books agree.
"""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.books import check_books, trained
from tests.conftest import environment
from tests.postgres import new_database, running_server
from tests.searches import LR, Command, Search, is_fork_server, is_gone, search, wait_until

__all__ = ["search"]

LEASE_S = 1.0


@dataclass(frozen=True)
class Kind:
    """A kind of study. epochs: of each training, which take a moment each."""

    more: tuple[str, ...] = (LR,)
    epochs: int = 20
    replicates: int = 1
    n_jobs: int = 2
    on_server: bool = False
    points: int | None = None
    """Of a grid."""


FIT = (
    *("sweep=arch_20k", "hydra/sweeper/pruner=none", "budget.max_params=5000"),
    *("model=cnn_space", "hydra.sweeper.fit=[model.stage*.width]"),
)

KINDS = {
    "median pruner": Kind(
        (LR, "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=2")
    ),
    "rungs": Kind((LR, "hydra.sweeper.rungs=[3,9,27]")),
    "replicates": Kind(replicates=2, epochs=10),
    "replicates on rungs": Kind((LR, "hydra.sweeper.rungs=[2,6,18]"), replicates=2),
    "grid": Kind(
        (
            "optimizer.lr=choice(.001,.003,.01,.03,.1)",
            "trainer.batch_size=choice(16,24,32,48)",
            "hydra/sweeper/sampler=grid",
        ),
        points=20,
    ),
    "front": Kind(
        (
            *("model=cnn_space", "model.stage1.width=range(4,40)", LR),
            "hydra.sweeper.objective=[val_acc,num_params]",
            "hydra.sweeper.direction=[maximize,minimize]",
        )
    ),
    "fixed budget": Kind(FIT, epochs=6),
    "rejects": Kind(
        ("model=cnn_space", "model.stage1.width=range(4,40)", "budget.max_params=17000", LR)
    ),
    "without a pool": Kind((LR, "hydra/sweeper/pruner=median"), n_jobs=1),
    "database": Kind((LR, "hydra/sweeper/pruner=median"), on_server=True),
}

KILLS = ("worker", "controller", "worker and controller", "fork server", "all controllers")
SLEEPS = ("controller and its processes", "controller alone", "all controllers", "worker")


@dataclass
class Attacker:
    """Goes on with a search, by one controller or two, and attacks it at random moments."""

    search: Search
    rng: random.Random
    n_trials: int = 4
    """That the study is to have: more with every command, so that none comes to its end soon."""
    alive: list[Command] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    finished: dict[Path, int] = field(default_factory=dict)
    """As of `trained`, after the last attack."""

    def kill(self, victim: str) -> None:
        command = self._one_at_a_random_moment(controllers=self.rng.choice([1, 2]))
        if victim in ("worker", "worker and controller"):
            for worker in self.rng.sample(command.workers(), k=min(1, len(command.workers()))):
                send(worker, signal.SIGKILL)
        if victim == "fork server":
            for process in filter(is_fork_server, command.tree()):
                send(process, signal.SIGKILL)
        if victim in ("controller", "worker and controller"):
            self._kill([command])
        if victim == "all controllers":
            self._kill(list(self.alive))
        self._end_attack(f"{victim} killed")

    def sleep(self, victim: str) -> None:
        """Beyond the lease; of a worker, its controller is killed meanwhile."""
        both = victim == "all controllers"
        command = self._one_at_a_random_moment(controllers=1 if both else 2)
        asleep = [psutil.Process(other.pid) for other in (self.alive if both else [command])]
        if victim == "worker":
            asleep = command.workers()
        elif victim != "controller alone":
            asleep += [child for process in asleep for child in process.children(recursive=True)]
        taken = {trial.number for trial in self.search.running(command)}
        for process in asleep:
            send(process, signal.SIGSTOP)
        if victim == "worker":
            self._kill([command], wait=False)
        time.sleep(2.5 * LEASE_S)
        if not both and self.rng.random() < 0.7:  # until another has taken its trials
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and self._poll():
                if taken <= {t.user_attrs.get("retry_of") for t in self.search.trials()}:
                    self.done["sleeper's trials taken"] += 1
                    break
                time.sleep(0.1)
        for process in asleep:
            send(process, signal.SIGCONT)
        self._end_attack(f"{victim} asleep")

    def finish(self) -> None:
        """Gives the same command until the study is complete."""
        while self.alive:
            self.alive.pop().wait()
        self._start()
        assert self.alive.pop().wait() == 0, self.search.commands[-1]
        for command in self.search.commands:
            assert command.process.returncode in (0, -signal.SIGKILL), command
            assert "Traceback" not in command.err.read_text(), command

    def _start(self) -> None:
        self.alive.append(self.search.start(f"hydra.sweeper.n_trials={self.n_trials}"))

    def _kill(self, commands: list[Command], *, wait: bool = True) -> None:
        trees = [process for command in commands for process in command.tree()]
        for command in commands:
            command.process.kill()
            command.wait()
            self.alive.remove(command)
        if wait:
            wait_until(lambda: all(map(is_gone, trees)))

    def _one_at_a_random_moment(self, controllers: int) -> Command:
        """One of at least so many controllers that have trials under way."""
        while True:
            self._poll()
            if len(self.alive) < controllers:
                self.n_trials += 2
                self._start()
            elif all(map(self.search.running, self.alive)):
                break
            time.sleep(0.02)
        target = self._events() + self.rng.randint(1, 40)
        while self._poll() and self._events() < target:
            time.sleep(0.005)
        time.sleep(self.rng.uniform(0, 0.1))  # not always just after something was written
        all_live = self._poll() and bool(self.alive)
        return self.rng.choice(self.alive) if all_live else self._one_at_a_random_moment(2)

    def _poll(self) -> bool:
        """Whether all controllers live; what has come to its end is put away."""
        ended = [command for command in self.alive if command.process.poll() is not None]
        for command in ended:
            assert command.process.returncode == 0, command
            self.alive.remove(command)
        return not ended

    def _events(self) -> int:
        files = [self.search.journal, *self.search.sweep_dir.glob("**/history.csv")]
        return sum(file.read_bytes().count(b"\n") for file in files if file.exists())

    def _end_attack(self, name: str) -> None:
        self.done[name] += 1
        now = trained(self.search)
        assert self.finished.items() <= now.items(), "a finished trial ran again"
        self.finished = now


def send(process: psutil.Process, how: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)


def check_resumed(search: Search) -> int:
    """Retries of trials that had left a checkpoint go on from there; how many did."""
    number = 0
    for trial in search.finished():
        retry_of = trial.user_attrs.get("retry_of")
        logs = list((search.sweep_dir / str(trial.number)).rglob("output.log"))
        resumed = any(f"resumes {retry_of}" in log.read_text() for log in logs)
        number += resumed
        if retry_of is None or "rungs" in " ".join(search.arguments):  # which begin anew
            continue
        checkpoint = search.sweep_dir / str(retry_of) / "checkpoint.pt"  # of one seed
        begun = trial.datetime_start.timestamp() if trial.datetime_start else 0
        assert resumed or not checkpoint.exists() or checkpoint.stat().st_mtime > begun, trial
    return number


def attack(search: Search, kind: Kind, kills: int, sleeps: int, seed: int) -> None:
    search.arguments = [
        *(f"trainer.epochs={kind.epochs}", f"hydra.sweeper.n_jobs={kind.n_jobs}"),
        *(f"hydra.sweeper.lease_s={LEASE_S}", f"hydra.sweeper.replicates={kind.replicates}"),
        *("hydra.sweeper.max_failure_rate=1", "hydra.sweeper.max_retries=99", *kind.more),
    ]
    rng = random.Random(seed)
    attacks = [("kill", KILLS[(seed + n) % len(KILLS)]) for n in range(kills)]
    attacks += [("sleep", SLEEPS[(seed + n) % len(SLEEPS)]) for n in range(sleeps)]
    rng.shuffle(attacks)
    attacker = Attacker(search, rng)
    for how, victim in attacks:
        getattr(attacker, how)(victim)
    attacker.finish()
    n_trials = min(kind.points or attacker.n_trials, attacker.n_trials)
    check_books(search, n_trials, kind.replicates, most_half_written=2 * kills)
    print(f"{n_trials} trials, {check_resumed(search)} resumed, {dict(attacker.done)}")

    run_dirs, before = search.run_dirs(), trained(search)
    search.run(f"hydra.sweeper.n_trials={attacker.n_trials}")
    assert search.run_dirs() == run_dirs and trained(search) == before, "it was complete"
    check_books(search, n_trials, kind.replicates, most_half_written=2 * kills)
    report = [sys.executable, "-m", "mnist_sweep.report", str(search.sweep_dir)]
    done = subprocess.run(report, cwd=search.folder, env=environment(), check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_two_kills_and_a_sleep_cost_no_trial_and_double_none(search: Search) -> None:
    attack(search, Kind((LR, "hydra/sweeper/pruner=median"), epochs=8), kills=2, sleeps=1, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KINDS)
def test_books_agree_whatever_is_killed_or_put_to_sleep(
    search: Search, name: str, request: pytest.FixtureRequest
) -> None:
    kind = KINDS[name]
    if kind.on_server:
        search.storage = request.getfixturevalue("database")
    attack(search, kind, kills=5, sleeps=2, seed=list(KINDS).index(name))


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of one on a server of this test's own."""
    with running_server() as server:
        yield new_database(server.port)
