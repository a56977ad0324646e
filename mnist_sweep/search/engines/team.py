"""Workers at the other ends of connections: what the engines that have several do alike."""

import selectors
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Generic, Literal, TypeVar

from mnist_sweep.search.engines.carrying import CarryError
from mnist_sweep.search.engines.job import Ended, Job, OnEpoch
from mnist_sweep.search.engines.talk import Beat, Leaving

GRACE_S = 10.0
"""Time that a worker has to write its record when told to stop."""


@dataclass(eq=False)
class Worker(ABC):
    pipe: Connection
    job: Job | None = None
    """That it trains."""

    def take(self, message: object) -> None:
        """Of its files.

        Raises:
            CarryError: they are not to be taken.
            OSError: it is gone.
            FailureError: they cannot be written.
        """
        raise CarryError("it said what is no message")

    @abstractmethod
    def terminate(self) -> None:
        """Has it end its job now, leave that one's record, and end."""

    @abstractmethod
    def dismiss(self) -> None:
        """Lets it go: there is no further job."""

    @abstractmethod
    def end(self, patience: float) -> str:
        """Waits for its end, brings it about where that does not come in so many seconds, and says
        why it ended."""


W = TypeVar("W", bound=Worker)


class Team(ABC, Generic[W]):
    """An `Engine` but for where its workers come from."""

    death: Literal["lost"] | None = None
    """What the sudden end of a worker means: None where its run is likely to be the cause."""

    def __init__(self) -> None:
        self.workers: list[W] = []
        self.selector = selectors.DefaultSelector()
        self.waiting: list[Job] = []
        """Submitted for a worker that was found to be dead, when there was no other."""

    @property
    @abstractmethod
    def has_room(self) -> bool: ...

    @abstractmethod
    def _find(self) -> W | None:
        """A worker for a job that waits for one."""

    def _join(self, worker: W) -> None:
        self.workers.append(worker)
        self.selector.register(worker.pipe, selectors.EVENT_READ, worker)

    @property
    def busy(self) -> list[W]:
        return [worker for worker in self.workers if worker.job is not None]

    @property
    def free(self) -> list[W]:
        return [worker for worker in self.workers if worker.job is None]

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.busy

    def submit(self, job: Job) -> None:
        self.waiting.append(job)
        self._place()

    def _place(self) -> None:
        while self.waiting and (worker := self._find()) is not None:
            try:
                worker.pipe.send(self.waiting[0])
            except OSError:  # it has died meanwhile
                self._bury(worker, 1)
            else:
                worker.job = self.waiting.pop(0)

    def next(self, timeout: float, on_epoch: OnEpoch) -> Ended | None:
        deadline, had_room = time.monotonic() + timeout, self.has_room
        while True:
            self._place()
            for worker in self._ready(deadline - time.monotonic()):
                if (ended := self._hear(worker, on_epoch)) is not None:
                    return ended
            if time.monotonic() >= deadline or self.has_room > had_room:
                return None

    def _ready(self, timeout: float) -> Iterable[W]:
        for key, _ in self.selector.select(max(0, timeout)):
            if key.data in self.workers:  # and not buried on behalf of another one's message
                yield key.data

    def _hear(self, worker: W, on_epoch: OnEpoch) -> Ended | None:
        job = worker.job
        try:
            message = worker.pipe.recv()
            match message:
                case Ended():
                    worker.job = None
                    return message
                case list():
                    assert job is not None
                    worker.pipe.send(on_epoch(job, message))
                case Leaving():
                    self._bury(worker, GRACE_S)
                    return None if job is None else Ended(job, None, message.why, "left")
                case Beat():
                    pass
                case _:
                    worker.take(message)
        except CarryError as error:
            worker.terminate()
            self._bury(worker, 0)
            return None if job is None else Ended(job, None, f"{worker}: {error}", self.death)
        except (EOFError, OSError):
            why = self._bury(worker, 1)
            return None if job is None else Ended(job, None, why, self.death)
        return None

    def _bury(self, worker: W, patience: float) -> str:
        """Why the worker is dead."""
        self.workers.remove(worker)
        self.selector.unregister(worker.pipe)
        why = worker.end(patience)
        worker.pipe.close()
        return why

    def stop(self) -> None:
        self.waiting.clear()
        busy = self.busy
        for worker in busy:
            worker.terminate()
        for worker in busy:
            self._bury(worker, GRACE_S)

    def open(self) -> None:
        """A worker is started when there is a job for it."""

    def close(self) -> None:
        for worker in self.workers:
            worker.dismiss()
        for worker in self.workers:
            worker.end(GRACE_S)
