"""Workers as actors of Ray, on a cluster that runs or on one of this machine."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle

from mnist_sweep.errors import UserError
from mnist_sweep.paths import INVITATION
from mnist_sweep.search.launching.staff import worker_command

# An actor may be started again when this file is another one, or none.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

HANDED_DOWN = ("PYTHONPATH", "MNIST_SWEEP_TARGETS")
"""Variables of the command's that its workers have, too, on whatever machine."""

OF_A_MACHINE = ("MNIST_SWEEP_DATA",)
"""Such as they have only where their machine has none."""

LOOK_S = 2.0
"""How often it is looked for actors that have ended."""

GRACE_S = 15.0
"""Time that workers have to end by themselves."""


class _Actor:
    """Runs a worker in a process of its own, whose signals and threads are not Ray's."""

    def work(self, command: Sequence[str], invitation: str, variables: Mapping[str, str]) -> str:
        """Why the worker ended, by its last words. invitation: with the key, which is not for a
        command line, where others see it. variables: that this machine may have otherwise."""
        for name, value in variables.items():
            os.environ.setdefault(name, value)
        done = subprocess.run(
            [sys.executable, *command[1:]],
            input=invitation,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        if errors:
            return errors[-1].removeprefix("error: ")
        return f"exit code {done.returncode}: {' '.join(done.stderr.split())[-200:]}"


class RayActors:
    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: hydra.launcher."""
        found = settings.get("ray") or {}
        self.init: dict[str, Any] = dict(found.get("init") or {})
        self.resources = {"num_cpus": 1, **(found.get("remote") or {})}
        """Of each actor, in Ray's own words."""
        self.actors: list[Any] = []
        self.work: list[Any] = []
        self.looked = 0.0

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
        options = {"max_restarts": -1, "max_task_retries": -1, **self.resources}
        try:
            make = ray.remote(_Actor).options(**options, runtime_env=environment)
            self.actors = [make.remote() for _ in range(count)]
        except (TypeError, ValueError) as error:
            raise UserError(f"hydra.launcher.ray.remote: {error}") from error
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
        try:
            ray.init(**settings)
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

    def _check_resources(self) -> None:
        """
        Raises:
            UserError: an actor needs more than all nodes have.
        """
        there: dict[str, float] = ray.cluster_resources()
        asked = {"CPU": self.resources.get("num_cpus"), "GPU": self.resources.get("num_gpus")}
        for name, amount in {**asked, **(self.resources.get("resources") or {})}.items():
            if amount and amount > there.get(name, 0):
                key = {"CPU": "num_cpus", "GPU": "num_gpus"}.get(name, f"resources.{name}")
                ray.shutdown()
                raise UserError(
                    f"hydra.launcher.ray.remote.{key}={amount}: the Ray cluster has "
                    f"{there.get(name, 0):g} in all"
                )

    def problem(self) -> str | None:
        if time.monotonic() - self.looked < LOOK_S:
            return None
        self.looked = time.monotonic()
        ended, going = ray.wait(self.work, num_returns=len(self.work), timeout=0)
        if going:
            return None
        try:
            words = ray.get(ended[0])
        except Exception as error:  # Ray's, or what the actor raised
            words = " ".join(str(error).split())[-200:]
        return f"hydra/launcher=ray: all {len(ended)} workers have ended; one says: {words}"

    def stop(self) -> None:
        if not ray.is_initialized():
            return
        _, going = ray.wait(self.work, num_returns=len(self.work), timeout=GRACE_S)
        if going:  # those that have not even joined
            for actor in self.actors:
                ray.kill(actor)
        ray.shutdown()


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
