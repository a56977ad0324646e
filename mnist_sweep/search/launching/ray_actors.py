"""Workers as actors of Ray, on a cluster that runs or on one of this machine."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

import ray
from ray import cloudpickle

from mnist_sweep.errors import UserError
from mnist_sweep.paths import INVITATION
from mnist_sweep.search.launching import staff
from mnist_sweep.search.launching.staff import complaint_in, last_words_in, worker_command

# An actor may be started again when these files are others, or none.
for module in (sys.modules[__name__], staff):
    cloudpickle.register_pickle_by_value(module)

HANDED_DOWN = ("PYTHONPATH", "MNIST_SWEEP_TARGETS")
"""Variables of the command's that its workers have, too, on whatever machine."""

OF_A_MACHINE = ("MNIST_SWEEP_DATA",)
"""Such as they have only where their machine has none."""

MOST_LINES = 100
"""Of a worker's standard error that are kept."""

PATIENCE_S = 20.0
"""Time in which an actor has begun, where there is room for it."""

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that are the search's to interpret."""

GRACE_S = 15.0
"""Time that workers have to end by themselves."""


class _Actor:
    """Runs a worker in a process of its own, whose signals and threads are not Ray's."""

    def __init__(self) -> None:
        self.said: deque[str] = deque(maxlen=MOST_LINES)

    def work(self, command: Sequence[str], invitation: str, variables: Mapping[str, str]) -> str:
        """Why the worker ended, by its last words. invitation: with the key, which is not for a
        command line, where others see it. variables: that this machine may have otherwise."""
        for name, value in variables.items():
            os.environ.setdefault(name, value)
        own_python = [sys.executable, *command[1:]]
        process = subprocess.Popen(own_python, stdin=PIPE, stderr=PIPE, text=True)
        assert process.stdin is not None and process.stderr is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(invitation)
        for line in process.stderr:
            self.said.append(line)
        code = process.wait()
        return last_words_in("".join(self.said)) or f"exit code {code}"

    def complaint(self) -> str | None:
        """Why it has not joined; at once, while it works."""
        return complaint_in("".join(self.said))


class RayActors:
    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: hydra.launcher.

        Raises:
            UserError: there is no such key, or no such amount of a resource.
        """
        found = settings.get("ray") or {}
        unknown = [f"hydra.launcher.{key}" for key in settings if key != "ray"]
        unknown += [f"hydra.launcher.ray.{key}" for key in found if key not in ("init", "remote")]
        if unknown:
            raise UserError(
                f"{', '.join(unknown)}: no such key; those of Ray go below hydra.launcher.ray.init "
                "and hydra.launcher.ray.remote"
            )
        self.init: dict[str, Any] = dict(found.get("init") or {})
        self.resources = {"num_cpus": 1, **(found.get("remote") or {})}
        """Of each actor, in Ray's own words."""
        for name, amount in self._asked.items():
            if not isinstance(amount, int | float) or amount < 0:
                raise UserError(f"{_key(name)}={amount}: give a number of at least 0")
        self.actors: list[Any] = []
        self.work: list[Any] = []
        self.begun = 0.0
        self.asked: dict[Any, Any] = {}
        """Actor -> the answer that is to come, to whether its worker has a complaint."""

    @property
    def is_local(self) -> bool:
        """Else it is a cluster that runs; without an address, Ray goes by the environment."""
        return self.init.get("address") == "local" or (
            self.init.get("address") is None and "RAY_ADDRESS" not in os.environ
        )

    @property
    def threads(self) -> int:
        return max(1, int(self.resources["num_cpus"]))

    def start(self, count: int, sweep_dir: Path) -> None:
        self._connect()
        self._check_resources()
        variables = {name: os.environ[name] for name in HANDED_DOWN if name in os.environ}
        environment = dict(self.resources.pop("runtime_env", None) or {})
        environment["env_vars"] = {**variables, **environment.get("env_vars", {})}
        # A node that is lost takes its actors along; Ray starts them again on another one.
        options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 2}
        options |= self.resources
        try:
            make = ray.remote(_Actor).options(**options, runtime_env=environment)
            self.actors = [make.remote() for _ in range(count)]
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).partition(" Valid ones are")[0].split())
            raise UserError(f"hydra.launcher.ray.remote: {reason}") from error
        self.begun = time.monotonic()
        command = [*worker_command(sweep_dir), "--invited"]
        invitation = (sweep_dir / INVITATION).read_text()
        own = {name: os.environ[name] for name in OF_A_MACHINE if name in os.environ}
        self.work = [actor.work.remote(command, invitation, own) for actor in self.actors]

    def _connect(self) -> None:
        """
        Raises:
            UserError: there is no such cluster, or Ray does not take these settings.
        """
        address = self.init.get("address")
        where = f"hydra.launcher.ray.init.address={address}"
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        settings = {**quiet, "include_dashboard": False, **self.init}
        if address is not None:
            _check_answers(str(address), where)
            # What is of a cluster to be started does not go with one that runs.
            for name in ("object_store_memory", "include_dashboard", "num_cpus", "num_gpus"):
                settings.pop(name, None)
        handlers = {number: signal.getsignal(number) for number in ENDINGS}
        try:
            ray.init(**settings)
            for number, handler in handlers.items():  # of which Ray has taken some
                signal.signal(number, handler)
        except ConnectionError as error:
            raise UserError(
                f"{where}: no Ray cluster answers there: start one (ray start --head), or leave "
                "the address out for one of this machine"
            ) from error
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"hydra.launcher.ray.init: {' '.join(str(error).split())}") from error
        reached = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", "local", reached):
            host, _, port = str(address).rpartition("/")[2].rpartition(":")
            if not reached.endswith(f":{port}") or not host:
                ray.shutdown()
                raise UserError(f"{where}: Ray connected to {reached} instead")

    @property
    def _asked(self) -> dict[str, float]:
        """Of each actor: a resource's name in Ray -> how much."""
        of_ray = {"CPU": self.resources.get("num_cpus"), "GPU": self.resources.get("num_gpus")}
        asked = {**of_ray, "memory": self.resources.get("memory")}
        asked |= self.resources.get("resources") or {}
        return {name: amount for name, amount in asked.items() if amount}

    def _check_resources(self) -> None:
        """
        Raises:
            UserError: an actor needs more than any node has.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for name, amount in self._asked.items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if amount > most:
                ray.shutdown()
                raise UserError(
                    f"{_key(name)}={amount}: no node of the Ray cluster has more than {most:g}"
                )

    def delays(self) -> Iterator[str]:
        """What the actors answer to the question of the last time."""
        is_late = time.monotonic() - self.begun > PATIENCE_S
        for actor, work in zip(self.actors, self.work, strict=True):
            if ray.wait([work], timeout=0)[0]:
                yield f"one has ended: {_answer(work)}"
                continue
            asked = self.asked.get(actor)
            if asked is not None and not ray.wait([asked], timeout=0)[0]:
                if is_late and not self._has_room():
                    yield f"not begun: Ray has no node with {self._words} free"
                continue
            if asked is not None and (complaint := _answer(asked)) is not None:
                yield complaint
            self.asked[actor] = actor.complaint.remote()

    def _has_room(self) -> bool:
        free = ray.available_resources()
        return all(amount <= free.get(name, 0) for name, amount in self._asked.items())

    @property
    def _words(self) -> str:
        """What each actor asks for, as on the command line."""
        return ", ".join(f"{_key(name)}={amount}" for name, amount in self._asked.items())

    def problem(self) -> str | None:
        ended, going = ray.wait(self.work, num_returns=len(self.work), timeout=0)
        if going:
            return None
        return (
            f"hydra/launcher=ray: all {len(ended)} workers have ended; one says: "
            f"{_answer(ended[0])}"
        )

    def stop(self) -> None:
        if not ray.is_initialized():
            return
        ray.wait(self.work, num_returns=len(self.work), timeout=GRACE_S)
        ray.shutdown()  # which ends those that have not even joined


def _key(name: str) -> str:
    """Of hydra.launcher, for a resource of Ray's."""
    own = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    return f"hydra.launcher.ray.remote.{own.get(name, f'resources.{name}')}"


def _answer(asked: Any) -> str | None:
    """One that has come."""
    try:
        answer: str | None = ray.get(asked)
    except Exception as error:  # Ray's, or what the actor raised
        return last_words_in(str(error))
    return answer


def _check_answers(address: str, where: str) -> None:
    """Ray tries for minutes, and then ends the process.

    Raises:
        UserError: nobody answers at a `host:port`.
    """
    host, found, port = address.removeprefix("ray://").rpartition(":")
    if not found:  # auto, local
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{where}: no Ray cluster answers there ({error}): start one (ray start --head), or "
            "leave the address out for one of this machine"
        ) from error
