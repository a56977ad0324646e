"""The workers of `n_jobs` above 1: processes of this machine.

A worker is forked from a server process that has imported torch but never used it: it starts in a
moment and shares the server's memory. It keeps its data between runs.
"""

import multiprocessing
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from mnist_sweep.errors import FailureError
from mnist_sweep.search.engines import worker_process
from mnist_sweep.search.engines.job import Ended, Job, OnEpoch, SweepContext

GRACE_S = 10.0
"""Time that a worker has to write its record when told to stop."""

STARTS = 10
"""Attempts at starting a worker, each with a new server where the last one was killed."""

OF_NO_SERVER = 255
"""The exit code that multiprocessing gives a process whose server is dead."""


@dataclass
class _Worker:
    process: Any
    """As multiprocessing has it, which knows an exit code, but only as long as its server lives."""
    life: psutil.Process
    pipe: Connection
    job: Job | None = None

    @property
    def lives(self) -> bool:
        try:
            return self.life.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def terminate(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.life.terminate()

    def end(self, patience: float) -> None:
        """Waits for its end; kills it where that does not come in so many seconds."""
        deadline = time.monotonic() + patience
        while self.lives:
            if time.monotonic() > deadline:
                with suppress(psutil.NoSuchProcess):
                    self.life.kill()
            time.sleep(0.01)
        self.process.join()


class Pool:
    """Several workers. One that dies is replaced when there is a next job for it, and so is the
    server, whose death costs no worker."""

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
            worker.terminate()
        for worker in busy:
            worker.end(GRACE_S)
            self._bury(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.pipe.close()  # upon which it ends
        for worker in self.workers:
            worker.end(GRACE_S)

    def _start(self) -> _Worker:
        """
        Raises:
            FailureError: none can be started.
        """
        for _ in range(STARTS):
            ours, theirs = self.processes.Pipe()
            try:
                worker = self._fork(ours, theirs)
            except (EOFError, OSError, psutil.NoSuchProcess) as error:  # the server was killed
                ours.close()  # upon which a worker that it just had forked ends
                reason = type(error).__name__
                time.sleep(0.1)
            else:
                self.workers.append(worker)
                return worker
            finally:
                theirs.close()
        raise FailureError(
            f"hydra.sweeper.n_jobs={self.size}: no worker can be started ({reason}): "
            "hydra.sweeper.n_jobs=1 needs none"
        )

    def _fork(self, ours: Connection, theirs: Connection) -> _Worker:
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
        return _Worker(process, psutil.Process(process.pid), ours)

    def _bury(self, worker: _Worker) -> str:
        """Why the worker is dead."""
        self.workers.remove(worker)
        worker.pipe.close()
        worker.end(1)
        code = worker.process.exitcode
        if code == OF_NO_SERVER:
            return "its worker ended, nobody knows how: the server of the workers was killed too"
        if code is None or code >= 0:
            return f"its worker ended with exit code {code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its worker was killed by {signal.Signals(-code).name}{hint}"
