"""Workers that come in through a door: other processes, of this machine or of any other."""

import selectors
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from mnist_sweep.errors import FailureError
from mnist_sweep.search.engines.code import code_name
from mnist_sweep.search.engines.door import Door
from mnist_sweep.search.engines.job import Ended, OnEpoch, SweepContext
from mnist_sweep.search.engines.talk import Goodbye, Hello, Refusal, Welcome
from mnist_sweep.search.engines.team import Team, Worker
from mnist_sweep.search.launching.staff import Staff

BEATS = 4
"""That a worker makes in the time after which its silence means that it is dead."""

LOOK_S = 5.0
"""How often the staff is asked for workers that are still to come."""

MOST_DELAYS = 10
"""Reasons why workers have not come that are shown."""


@dataclass(eq=False)
class _Guest(Worker):
    hello: Hello = field(kw_only=True)
    heard: float = field(default_factory=time.monotonic, kw_only=True)

    def terminate(self) -> None:
        with suppress(OSError):
            self.pipe.send(Goodbye())

    def dismiss(self) -> None:
        self.terminate()
        self.pipe.close()

    def end(self, patience: float) -> str:
        deadline = time.monotonic() + patience
        with suppress(EOFError, OSError):
            while not self.pipe.closed and self.pipe.poll(max(0, deadline - time.monotonic())):
                self.pipe.recv()
        return f"its worker on {self.hello.host} (process {self.hello.pid}) was lost"


class Crew(Team[_Guest]):
    """Whoever has joined. What starts workers, and where, is the staff's business; more may join by
    themselves."""

    death = "lost"

    def __init__(
        self,
        size: int,
        context: SweepContext,
        staff: Staff,
        *,
        lease_s: float,
        note: Callable[[str], None],
    ) -> None:
        """size: workers to be started. lease_s: one that is silent for this long is dead. note:
        shows a line."""
        super().__init__()
        self.size = size
        self.context = context
        self.staff = staff
        self.lease_s = lease_s
        self.note = note
        self.looked = 0.0
        self.delays: set[str] = set()
        """That have been shown."""
        self.come: set[tuple[str, int]] = set()
        """Host and process of each worker that has joined."""
        self.threads = staff.threads
        self.sweep_dir = Path(context.config.hydra.sweep.dir).absolute()
        self.door: Door | None = None
        self.arrived: list[_Guest] = []
        self.bell, self.ring = Pipe(duplex=False)
        self.ringing = threading.Lock()
        self.selector.register(self.bell, selectors.EVENT_READ)

    def open(self) -> None:
        self.door = Door(self.sweep_dir, self._on_guest)
        self.staff.start(self.size, self.sweep_dir)
        self.looked = time.monotonic()

    def _on_guest(self, pipe: Connection) -> None:
        """In a thread of its own."""
        hello: Hello = pipe.recv()
        if hello.code != code_name():
            why = (
                f"{hello.host}, process {hello.pid}: its code is not that of the search "
                f"({hello.code}, not {code_name()}), which was begun before an edit: workers of "
                "one search run the same code"
            )
            pipe.send(Refusal(why))
            pipe.close()
            return
        pipe.send(Welcome(self.context, str(Path.cwd()), self.lease_s / BEATS))
        with self.ringing:
            self.arrived.append(_Guest(pipe, hello=hello))
            self.ring.send_bytes(b"!")

    @property
    def has_room(self) -> bool:
        return len(self.free) > len(self.waiting)

    def _find(self) -> _Guest | None:
        return self.free[0] if self.free else None

    def next(self, timeout: float, on_epoch: OnEpoch) -> Ended | None:
        """
        Raises:
            FailureError: there is no worker, and none will come.
        """
        if time.monotonic() - self.looked > LOOK_S:
            self._ask_staff()
            self.looked = time.monotonic()
        return self._silenced() or super().next(timeout, on_epoch)

    def _ask_staff(self) -> None:
        if not self.workers and (problem := self.staff.problem()) is not None:
            raise FailureError(problem)
        if len(self.come) < self.size:
            for delay in self.staff.delays():
                if delay not in self.delays and len(self.delays) < MOST_DELAYS:
                    self.delays.add(delay)
                    self.note(f"workers {delay}")

    def _silenced(self) -> Ended | None:
        """The job of a worker that has not been heard of for a whole lease."""
        now = time.monotonic()
        for worker in list(self.workers):
            is_silent = now - worker.heard > self.lease_s and not worker.pipe.poll()
            if is_silent:  # and it was not this process that was asleep
                job = worker.job
                worker.terminate()
                why = self._bury(worker, 0)
                if job is not None:
                    return Ended(
                        job, None, f"{why}: it was silent for {self.lease_s:g} s", self.death
                    )
        return None

    def _ready(self, timeout: float) -> Iterator[_Guest]:
        for key, _ in self.selector.select(max(0, timeout)):
            if key.fileobj is self.bell:
                self._admit()
            elif key.data in self.workers:
                yield key.data

    def _admit(self) -> None:
        with self.ringing:
            arrived, self.arrived = self.arrived, []
            while self.bell.poll():
                self.bell.recv_bytes()
        for guest in arrived:
            self.come.add((guest.hello.host, guest.hello.pid))
            self._join(guest)

    def _hear(self, worker: _Guest, on_epoch: OnEpoch) -> Ended | None:
        worker.heard = time.monotonic()
        return super()._hear(worker, on_epoch)

    def close(self) -> None:
        if self.door is not None:
            self.door.close()
        self._admit()
        super().close()
        self.staff.stop()
