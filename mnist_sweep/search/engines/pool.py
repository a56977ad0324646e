"""The workers of `n_jobs` above 1: processes of this machine.

A worker is forked from a server process that has imported torch but never used it: it starts in a
moment and shares the server's memory. It keeps its data between runs.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from mnist_sweep import settled
from mnist_sweep.errors import FailureError
from mnist_sweep.gpus import least_used
from mnist_sweep.search.engines import worker_process
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.engines.team import Team, Worker
from mnist_sweep.sources import leave_archive

STARTS = 10
"""Attempts at starting a worker, each with a new server where the last one was killed."""

OF_NO_SERVER = 255
"""The exit code that multiprocessing gives a process whose server is dead."""


@dataclass(eq=False)
class _Process(Worker):
    process: Any = field(kw_only=True)
    """As multiprocessing has it, which knows an exit code, but only as long as its server lives."""
    life: psutil.Process = field(kw_only=True)
    gpu: str | None = field(kw_only=True)

    @property
    def lives(self) -> bool:
        try:
            return self.life.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def terminate(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.life.terminate()

    def dismiss(self) -> None:
        self.pipe.close()

    def end(self, patience: float) -> str:
        deadline = time.monotonic() + patience
        while self.lives:
            if time.monotonic() > deadline:
                with suppress(psutil.NoSuchProcess):
                    self.life.kill()
            time.sleep(0.01)
        self.process.join()
        code = self.process.exitcode
        if code == OF_NO_SERVER:
            return "its worker ended, nobody knows how: the server of the workers was killed too"
        if code is None or code >= 0:
            return f"its worker ended with exit code {code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its worker was killed by {signal.Signals(-code).name}{hint}"


class Pool(Team[_Process]):
    """Several workers. One that dies is replaced when there is a next job for it, and so is the
    server, whose death costs no worker."""

    threads = 1  # the workers share the cores

    def __init__(self, size: int, context: SweepContext, gpus: Sequence[str] = ()) -> None:
        """gpus: over which the workers are spread; each sees its own alone."""
        super().__init__()
        self.size = size
        self.context = context
        self.gpus = gpus
        self.archive: Path | None = None
        """Of what the workers run."""
        self.processes = multiprocessing.get_context("forkserver")
        # A worker that is ended while joblib is imported leaves a semaphore, of which the tracker
        # that removes it would speak on standard error.
        sys.warnoptions.append("ignore:resource_tracker:UserWarning")
        self.processes.set_forkserver_preload([settled.BEGIN, worker_process.__name__])

    def open(self) -> None:
        """A worker is started when there is a job for it."""
        self.archive = leave_archive(Path(self.context.config.hydra.sweep.dir))

    @property
    def has_room(self) -> bool:
        return len(self.busy) < self.size

    def _find(self) -> _Process:
        """
        Raises:
            FailureError: none can be started.
        """
        if free := self.free:
            return free[0]
        for _ in range(STARTS):
            ours, theirs = self.processes.Pipe()
            try:
                worker = self._fork(ours, theirs)
            except (EOFError, OSError, psutil.NoSuchProcess) as error:  # the server was killed
                ours.close()  # upon which a worker that it just had forked ends
                reason = type(error).__name__
                time.sleep(0.1)
            else:
                self._join(worker)
                return worker
            finally:
                theirs.close()
        raise FailureError(
            f"hydra.sweeper.n_jobs={self.size}: no worker can be started ({reason}): "
            "hydra.sweeper.n_jobs=1 needs none"
        )

    def _fork(self, ours: Connection, theirs: Connection) -> _Process:
        gpu = least_used(self.gpus, (worker.gpu for worker in self.workers))
        process = self.processes.Process(
            target=worker_process.live,
            args=(theirs, gpu),
            daemon=True,
            name="mnist_sweep worker",
        )
        # A Ctrl-C would kill the server while it starts; it waits, and is not for these processes.
        resource_tracker.ensure_running()  # which would let it through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _on_path(self.archive):
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that its end is noticed
        # Not among its arguments: of those it would say aloud that they were cut short, should this
        # process be killed meanwhile.
        ours.send(self.context)
        return _Process(ours, process=process, life=psutil.Process(process.pid), gpu=gpu)


@contextmanager
def _on_path(archive: Path | None) -> Iterator[None]:
    """The server of the workers, which may be replaced at any time, finds `settled.BEGIN` there."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(str(path) for path in (archive, before) if path)
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
