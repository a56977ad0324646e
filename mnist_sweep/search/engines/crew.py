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
from mnist_sweep.gpus import ANY, least_used
from mnist_sweep.search.engines.carrying import CarryError, Gone, Piece, Receiver, Sender
from mnist_sweep.search.engines.door import Door
from mnist_sweep.search.engines.job import Ended, Job, OnEpoch, SweepContext
from mnist_sweep.search.engines.talk import Goodbye, Hello, Refusal, Welcome
from mnist_sweep.search.engines.team import Team, Worker
from mnist_sweep.search.engines.workplace import Sent, Want
from mnist_sweep.search.launching.staff import Staff
from mnist_sweep.sources import leave_archive, package_name

BEATS = 4
"""That a worker makes in the time after which its silence means that it is dead."""

LOOK_S = 5.0
"""How often the staff is asked for workers that are still to come."""

MOST_DELAYS = 10
"""Reasons why workers have not come that are shown."""


@dataclass(eq=False)
class _Guest(Worker):
    hello: Hello = field(kw_only=True)
    sweep_dir: Path = field(kw_only=True)
    gpu: str | None = field(kw_only=True)
    heard: float = field(default_factory=time.monotonic, kw_only=True)
    receiver: Receiver | None = None
    """Of the files of its run, if it does not see the sweep's directory."""

    def __str__(self) -> str:
        return f"its worker on {self.hello.host} (process {self.hello.pid})"

    def take(self, message: object) -> None:
        match message:
            case Want() if self.job is not None:
                self._send_what_it_needs(self.job)
            case Piece() | Gone() if self.receiver is not None:
                self.receiver.take(message)

    def _send_what_it_needs(self, job: Job) -> None:
        folders = [self.sweep_dir / job.subdir]
        if job.info.earlier is not None:
            folders.append(job.info.earlier)
        for folder in folders:
            subdir = folder.relative_to(self.sweep_dir).as_posix()
            for piece in Sender(self.sweep_dir, subdir).changes():
                self.pipe.send(piece)
        self.receiver = Receiver(self.sweep_dir, job.subdir)
        self.pipe.send(Sent())

    def terminate(self) -> None:
        with suppress(OSError):
            self.pipe.send(Goodbye())

    def dismiss(self) -> None:
        self.terminate()
        self.pipe.close()

    def end(self, patience: float) -> str:
        deadline = time.monotonic() + patience
        with suppress(EOFError, OSError, CarryError, FailureError):
            while not self.pipe.closed and self.pipe.poll(max(0, deadline - time.monotonic())):
                self.take(self.pipe.recv())
        return f"{self} was lost"


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
        device: str | None = None,
        note: Callable[[str], None],
    ) -> None:
        """size: workers to be started. lease_s: one that is silent for this long is dead. device:
        trainer.device; None where it is not the same for all runs. note: shows a line."""
        super().__init__()
        self.size = size
        self.context = context
        self.staff = staff
        self.lease_s = lease_s
        self.device = device
        self.note = note
        self.looked = 0.0
        self.delays: set[str] = set()
        """That have been shown."""
        self.come: set[tuple[str, int]] = set()
        """Host and process of each worker that has joined."""
        self.threads = staff.threads
        self.sweep_dir = Path(context.config.hydra.sweep.dir).absolute()
        self.door: Door | None = None
        self.coming: list[_Guest] = []
        """Being let in."""
        self.arrived: list[_Guest] = []
        self.bell, self.ring = Pipe(duplex=False)
        self.ringing = threading.Lock()
        self.selector.register(self.bell, selectors.EVENT_READ)

    def open(self) -> None:
        leave_archive(self.sweep_dir)
        self.door = Door(self.sweep_dir, self._on_guest, is_local=self.staff.is_local)
        self.staff.start(self.size, self.sweep_dir)
        self.looked = time.monotonic()

    def _on_guest(self, pipe: Connection) -> None:
        """In a thread of its own."""
        hello: Hello = pipe.recv()
        if (refusal := self._refusal(hello)) is not None:
            pipe.send(refusal)
            pipe.close()
            return
        with self.ringing:
            gpu = self._gpu_for(hello)
            guest = _Guest(pipe, hello=hello, sweep_dir=self.sweep_dir, gpu=gpu)
            self.coming.append(guest)
        beat_s = self.lease_s / BEATS
        try:
            pipe.send(Welcome(self.context, str(Path.cwd()), str(self.sweep_dir), beat_s, gpu))
        except OSError:
            with self.ringing:
                self.coming.remove(guest)
            raise
        with self.ringing:
            self.coming.remove(guest)
            self.arrived.append(guest)
            self.ring.send_bytes(b"!")

    def _refusal(self, hello: Hello) -> Refusal | None:
        """None where it can be let in."""
        who = f"{hello.host}, process {hello.pid}"
        if hello.code != package_name():
            why = (
                f"{who}: its code is not that of the search ({hello.code}, not {package_name()}), "
                "which was begun before an edit: workers of one search run the same code"
            )
            return Refusal(why, package_name())
        kind, _, number = str(self.device).partition(":")
        if kind == "cuda" and int(number or 0) >= len(hello.gpus):
            why = (
                f"{who}: trainer.device={self.device}: {len(hello.gpus)} GPUs are in sight there; "
                "have the launcher ask for one (gpus_per_node of submitit, num_gpus of Ray)"
            )
            return Refusal(why)
        return None

    def _gpu_for(self, hello: Hello) -> str | None:
        if self.device not in ANY:
            return None
        there = (*self.workers, *self.arrived, *self.coming)
        used = (guest.gpu for guest in there if guest.hello.host == hello.host)
        return least_used(hello.gpus, used)

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
            while self.bell.poll():
                self.bell.recv_bytes()
            for guest in self.arrived:
                self.come.add((guest.hello.host, guest.hello.pid))
                self._join(guest)
            self.arrived.clear()

    def _hear(self, worker: _Guest, on_epoch: OnEpoch) -> Ended | None:
        worker.heard = time.monotonic()
        return super()._hear(worker, on_epoch)

    def close(self) -> None:
        if self.door is not None:
            self.door.close()
        self._admit()
        super().close()
        self.staff.stop()
