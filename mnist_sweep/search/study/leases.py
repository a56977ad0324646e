"""Leases: how the controllers of one study tell which of them live."""

import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial

from mnist_sweep.search.study.attributes import CONTROLLER

STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
"""A process that may never go on, and has its lease until then, as one on another machine."""

LEASE = "controller:"
"""Prefix of the study's attributes that hold the leases."""


@dataclass(frozen=True)
class Lease:
    """Who a controller is, and that it lives: `beat` changes as long as it does."""

    host: str
    pid: int
    created: float
    """When the process began, so that another one with its number is not taken for it."""
    beat: int
    """-1: it has ended."""

    @classmethod
    def of_this_process(cls) -> "Lease":
        return cls(_host(), os.getpid(), psutil.Process().create_time(), 0)


def _host() -> str:
    """This boot of this machine, and this space of process numbers (containers have theirs)."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.exists() and space.exists():  # Linux
        parts += [boot.read_text().strip(), os.readlink(space)]
    return " ".join(parts)


class Leases:
    """This controller's lease, and its view of the others'. `with` it: its own is renewed."""

    def __init__(self, study: Study, lease_s: float) -> None:
        self.study = study
        self.lease_s = lease_s
        self.name = uuid.uuid4().hex[:12]
        """Of this controller."""
        self.lease = Lease.of_this_process()
        self.seen: dict[str, tuple[int, float]] = {}
        """Other controllers' beats, and when each was first seen here."""
        self.renewed = math.inf
        """When this lease was."""
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> "Leases":
        self._beat(0)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.thread.join()
        with suppress(StorageInternalError, OSError):  # it is seen to be dead then
            self._beat(-1)

    def _renew(self) -> None:
        beat = 0
        while not self.closing.wait(self.lease_s / 4):
            beat += 1
            with suppress(StorageInternalError, OSError):  # the next beat may get through
                self._beat(beat)

    def _beat(self, beat: int) -> None:
        self.study.set_user_attr(f"{LEASE}{self.name}", asdict(self.lease) | {"beat": beat})
        if self._is_overdue():
            self.seen.clear()
        self.renewed = time.monotonic()

    def _is_overdue(self) -> bool:
        """Whether no beat got through for long: of this controller, so perhaps of no other, whose
        silence then says nothing."""
        return time.monotonic() - self.renewed > self.lease_s / 2

    def unheld(self, running: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of these running trials whose controller is gone."""
        if not running:
            return []
        leases = self._all()
        return [trial for trial in running if not self._is_held(trial, leases)]

    def at_work(self) -> dict[str, Lease]:
        """Controllers that live, as far as can be told from here: one on another machine that has
        not said that it ended may yet be dead."""
        return {name: lease for name, lease in self._all().items() if self._lives(name, lease)}

    def was_here(self, trial: FrozenTrial) -> bool:
        """Whether a controller that has ended on this machine ran the trial."""
        name = str(trial.user_attrs.get(CONTROLLER))
        lease = self._all().get(name)
        return lease is not None and lease.host == self.lease.host and not self._lives(name, lease)

    def _is_held(self, trial: FrozenTrial, leases: Mapping[str, Lease]) -> bool:
        name = str(trial.user_attrs.get(CONTROLLER))
        if name not in leases:  # killed, or not yet there, between two operations
            return not self._is_old(f"trial {trial.number}", 0)
        return name == self.name or self._lives(name, leases[name])

    def _lives(self, name: str, lease: Lease) -> bool:
        if lease.beat < 0:
            return False
        if lease.host == self.lease.host:
            try:
                process = psutil.Process(lease.pid)
                status = process.status()
                if status == psutil.STATUS_ZOMBIE:
                    return False
                is_it = abs(process.create_time() - lease.created) < 1
                if is_it and status not in STOPPED:
                    return True
            except psutil.NoSuchProcess:
                return False
        return not self._is_old(name, lease.beat)

    def _is_old(self, name: str, beat: int) -> bool:
        """Whether this was seen with this beat for a whole lease, by this machine's clock."""
        if self._is_overdue():
            return False
        now = time.monotonic()
        if self.seen.get(name, (None, 0.0))[0] != beat:
            self.seen[name] = (beat, now)
        return now - self.seen[name][1] > self.lease_s

    def _all(self) -> dict[str, Lease]:
        return {
            key.removeprefix(LEASE): Lease(**value)
            for key, value in self.study.user_attrs.items()
            if key.startswith(LEASE)
        }
