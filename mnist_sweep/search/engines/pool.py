"""The workers of `n_jobs` above 1: processes of this machine.

A worker is forked from a server process that has imported torch but never used it: it starts in a
moment and shares the server's memory. It keeps its data between runs.
"""

import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from mnist_sweep.search.engines import worker_process
from mnist_sweep.search.engines.job import Ended, Job, OnEpoch, SweepContext

GRACE_S = 10.0
"""Time that a worker has to write its record when told to stop."""


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None


class Pool:
    """Several workers. One that dies is replaced when there is a next job for it."""

    threads = 1  # the workers share the cores

    def __init__(self, size: int, context: SweepContext) -> None:
        self.size = size
        self.context = context
        self.workers: list[_Worker] = []
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload([worker_process.__name__])

    @property
    def has_room(self) -> bool:
        return sum(worker.job is not None for worker in self.workers) < self.size

    @property
    def is_idle(self) -> bool:
        return all(worker.job is None for worker in self.workers)

    def submit(self, job: Job) -> None:
        free = [worker for worker in self.workers if worker.job is None]
        worker = free[0] if free else self._start()
        worker.job = job
        try:
            worker.pipe.send(job)
        except OSError:  # it has died meanwhile
            self._bury(worker)
            self.submit(job)

    def next(self, timeout: float, on_epoch: OnEpoch) -> Ended | None:
        busy = {worker.pipe: worker for worker in self.workers if worker.job is not None}
        for ready in wait(list(busy), timeout):
            assert isinstance(ready, Connection)
            ended = self._receive(busy[ready], on_epoch)
            if ended is not None:
                return ended
        return None

    def _receive(self, worker: _Worker, on_epoch: OnEpoch) -> Ended | None:
        job = worker.job
        assert job is not None
        try:
            message = worker.pipe.recv()
            if isinstance(message, Ended):
                worker.job = None
                return message
            worker.pipe.send(on_epoch(job, message))
            return None
        except (EOFError, OSError):
            return Ended(job, None, self._bury(worker))

    def stop(self) -> None:
        busy = [worker for worker in self.workers if worker.job is not None]
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.process.join(GRACE_S)
        for worker in busy:
            self._bury(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.pipe.close()  # upon which it ends
        for worker in self.workers:
            worker.process.join(GRACE_S)
            worker.process.kill()

    def _start(self) -> _Worker:
        ours, theirs = self.processes.Pipe()
        process = self.processes.Process(
            target=worker_process.serve,
            args=(theirs, self.context),
            daemon=True,
            name="mnist_sweep worker",
        )
        # A Ctrl-C would kill the server while it starts; it waits, and is not for these processes.
        resource_tracker.ensure_running()  # which would let it through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> str:
        """Why the worker is dead."""
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join(1)
        worker.process.kill()
        worker.process.join()
        code = worker.process.exitcode
        if code is None or code >= 0:
            return f"its worker ended with exit code {code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its worker was killed by {signal.Signals(-code).name}{hint}"
