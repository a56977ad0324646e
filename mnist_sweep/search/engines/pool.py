"""Processes that train what a controller sends them, one run after another.

A worker is forked from a server process that has imported torch but never used it: it starts in a
moment and shares the server's memory. It keeps its data between runs. It ends when its controller
does, however that ended.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import JOB_OUTPUT
from mnist_sweep.runs.attempt import PrunedError
from mnist_sweep.runs.provenance import TrialInfo
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.run import run_trial
from mnist_sweep.search.composer import Composer
from mnist_sweep.search.storage import without_credentials

GRACE_S = 10.0
"""Time that a worker has to write its record when told to stop."""


@dataclass(frozen=True)
class Job:
    """One run of a trial."""

    info: TrialInfo
    overrides: tuple[str, ...]
    subdir: str
    """Of the sweep's directory."""


@dataclass(frozen=True)
class Ended:
    """How a job ended; record is None where it left none."""

    job: Job
    record: RunRecord | None
    error: str | None
    """One line: why there is no record."""


OnEpoch = Callable[[Job, list[EpochMetrics]], bool]
"""Told each epoch's metrics; says whether to prune."""


@dataclass(frozen=True)
class SweepContext:
    """What a worker needs to know of the sweep; it is sent to each once."""

    hydra: HydraContext
    config: DictConfig

    def composer(self) -> Composer:
        return Composer(self.hydra.config_loader, self.config)


def execute(job: Job, context: SweepContext, composer: Composer, on_epoch: OnEpoch) -> Ended:
    """Composes and runs a job as Hydra runs any; its output goes to a file in its directory."""
    try:
        config = composer.job(job.overrides)
        with open_dict(config):
            config.hydra.sweep.dir = context.config.hydra.sweep.dir
            config.hydra.sweep.subdir = job.subdir
            config.hydra.job.id = f"{config.hydra.job.name}_{job.info.trial}"
            config.hydra.job.num = job.info.trial
        hide_credentials(config)  # Hydra writes its part of the config into the run directory
        run_dir = Path(config.hydra.sweep.dir) / job.subdir
        run_dir.mkdir(parents=True, exist_ok=True)

        def after_epoch(history: list[EpochMetrics]) -> None:
            if on_epoch(job, history):
                raise PrunedError

        def task(cfg: DictConfig) -> RunRecord:
            return run_trial(cfg, job.info, after_epoch)

        with (
            (run_dir / JOB_OUTPUT).open("a", encoding="utf-8", buffering=1) as output,
            redirect_stdout(output),
            redirect_stderr(output),
        ):
            HydraConfig.instance().set_config(config)
            done = run_job(
                task_function=task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=context.hydra,
                configure_logging=False,
            )
            record: RunRecord = done.return_value
    except Exception as error:
        text = " ".join(str(error).split())
        reason = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        return Ended(job, None, reason)
    return Ended(job, record, None)


def hide_credentials(config: DictConfig) -> None:
    """Takes them out of a config that is to be written."""
    key = "hydra.sweeper.storage"
    url = OmegaConf.select(config, key)
    if url is None:
        return
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweeper.storage = without_credentials(str(url))
        config.hydra.overrides.hydra = [
            f"{key}={without_credentials(str(url))}" if override.startswith(key) else override
            for override in config.hydra.overrides.hydra
        ]


class Inline:
    """The one worker of `n_jobs=1`: this very process."""

    def __init__(self, context: SweepContext, on_epoch: OnEpoch) -> None:
        self.context = context
        self.composer = context.composer()
        self.on_epoch = on_epoch
        self.jobs: list[Job] = []

    @property
    def has_room(self) -> bool:
        return not self.jobs

    @property
    def is_idle(self) -> bool:
        return not self.jobs

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def next(self, timeout: float) -> Ended | None:
        """Runs the job that was submitted."""
        if not self.jobs:
            return None
        return execute(self.jobs.pop(), self.context, self.composer, self.on_epoch)

    def stop(self) -> list[Ended]:
        return []

    def close(self) -> None:
        pass


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None


class Pool:
    """Several processes. One that dies is replaced when there is a next job for it."""

    def __init__(self, size: int, context: SweepContext, on_epoch: OnEpoch) -> None:
        self.size = size
        self.context = context
        self.on_epoch = on_epoch
        self.workers: list[_Worker] = []
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload([__name__])

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

    def next(self, timeout: float) -> Ended | None:
        """The next job to end, if one does in time; meanwhile answers the workers' epochs."""
        busy = {worker.pipe: worker for worker in self.workers if worker.job is not None}
        for ready in wait(list(busy), timeout):
            assert isinstance(ready, Connection)
            ended = self._receive(busy[ready])
            if ended is not None:
                return ended
        return None

    def _receive(self, worker: _Worker) -> Ended | None:
        job = worker.job
        assert job is not None
        try:
            message = worker.pipe.recv()
            if isinstance(message, Ended):
                worker.job = None
                return message
            worker.pipe.send(self.on_epoch(job, message))
            return None
        except (EOFError, OSError):
            return Ended(job, None, self._bury(worker))

    def stop(self) -> list[Ended]:
        """Ends all jobs now: each leaves its record, if it does so in time."""
        busy = [worker for worker in self.workers if worker.job is not None]
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.process.join(GRACE_S)
        return [
            Ended(worker.job, None, self._bury(worker)) for worker in busy if worker.job is not None
        ]

    def close(self) -> None:
        for worker in self.workers:
            worker.pipe.close()  # upon which it ends
        for worker in self.workers:
            worker.process.join(GRACE_S)
            worker.process.kill()

    def _start(self) -> _Worker:
        ours, theirs = self.processes.Pipe()
        process = self.processes.Process(
            target=_serve, args=(theirs, self.context), daemon=True, name="mnist_sweep worker"
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


def _serve(pipe: Connection, context: SweepContext) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to interpret
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    setup_globals()
    Plugins.instance()  # brings the configurations that plugins have
    JobRuntime.instance().set("name", context.config.hydra.job.name)

    composer = context.composer()

    def on_epoch(job: Job, history: list[EpochMetrics]) -> bool:
        pipe.send(history)
        return bool(pipe.recv())

    while True:
        try:
            job = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(execute(job, context, composer, on_epoch))
        except (BrokenPipeError, KeyboardInterrupt):
            return
        except BaseException:
            traceback.print_exc()
            raise


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
