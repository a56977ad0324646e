"""Workers as jobs of submitit: processes of this machine, or what `slurm_jobs` makes of it."""

import io
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import cloudpickle
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf, LocalQueueConf
from submitit import AutoExecutor, Job
from submitit.helpers import Checkpointable, DelayedSubmission

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.gpus import VISIBLE
from mnist_sweep.search.launching.staff import (
    LEAVE,
    THAT_IT_ENDED,
    complaint_in,
    last_words_in,
    worker_command,
)

# A job may begin, or begin again, when this file is another one, or none.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

OF_ALL = (
    *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes"),
    *("name", "stderr_to_stdout"),
)
"""Keys of submitit that mean the same for every kind of cluster."""

OF_MAKING = ("max_num_timeout", "python")
"""Keys that its executor is made with."""

AS_OFTEN_AS_IT_TAKES = 10_000
"""Times that a job may run out of time. Hydra's 0 is meant for jobs that cannot go on."""

GRACE_S = 5.0
"""Time that jobs have to end by themselves."""


Variables = Mapping[str, str | None]


class WorkerJob(Checkpointable):
    """What a job runs: a worker in a process of its own, which trains while this one waits for the
    signals that a cluster sends before it takes the machine away."""

    def __init__(self, command: Sequence[str], variables: Variables | None = None) -> None:
        """variables: of the worker, where it is not to have them from the job."""
        self.command = list(command)
        self.variables = variables or {}
        self.worker: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        wanted = {**os.environ, **self.variables}
        environment = {name: value for name, value in wanted.items() if value is not None}
        own_python = [sys.executable, *self.command[1:]]
        self.worker = subprocess.Popen(own_python, start_new_session=True, env=environment)
        signal.signal(signal.SIGTERM, self._on_term)
        _await(self.worker)
        code = self.worker.wait()
        if code != 0:
            raise RuntimeError(f"{THAT_IT_ENDED} {code}")
        return code

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        """Slurm's first word before it preempts, and its last one otherwise."""
        if self.worker is not None:
            self.worker.terminate()

    def checkpoint(self) -> DelayedSubmission:
        """Called when the time is up: the same again, once the epoch under way is kept."""
        if self.worker is not None:
            with suppress(ProcessLookupError):
                self.worker.send_signal(LEAVE)
            _await(self.worker)
        return DelayedSubmission(WorkerJob(self.command, self.variables))


def _await(process: subprocess.Popen[bytes]) -> None:
    """Popen's own `wait` has a lock, which a signal's handler would wait for in vain."""
    with suppress(ChildProcessError):  # it has been waited for
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


class SubmititJobs(ABC):
    cluster: str
    """As submitit names it."""
    is_local = False
    config: type[BaseQueueConf]
    """Of the plugin: its keys, and their values where none are given."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: hydra.launcher, which has submitit's own keys.

        Raises:
            UserError: there is no such key.
        """
        self.defaults = asdict(self.config())
        for key in settings:
            if key not in self.defaults:
                near = did_you_mean(key, self.defaults)
                raise UserError(f"hydra.launcher.{key}: no such key of {self._name}{near}")
        self.settings = {key: value for key, value in settings.items() if value is not None}
        if self.settings.get("max_num_timeout") == 0:
            self.settings["max_num_timeout"] = AS_OFTEN_AS_IT_TAKES
        self.jobs: list[Job[int]] = []

    @property
    def threads(self) -> int:
        return int(self.settings.get("cpus_per_task", 1))

    def start(self, count: int, sweep_dir: Path) -> None:
        given = dict(self.settings)
        folder = given.pop("submitit_folder")
        made = {f"{self.cluster}_{key}": given.pop(key) for key in OF_MAKING if key in given}
        rest = {key if key in OF_ALL else f"{self.cluster}_{key}": given[key] for key in given}
        work = WorkerJob(worker_command(sweep_dir), self._variables())
        # Ctrl-C is the controller's to interpret, and a process that it starts hears it as well.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with redirect_stderr(io.StringIO()):  # submitit says there what its errors say, too
                executor = AutoExecutor(folder=folder, cluster=self.cluster, **made)
                executor.update_parameters(**rest)
                with executor.batch():
                    jobs = [executor.submit(work) for _ in range(count)]
        except Exception as error:  # of submitit, of sbatch, of a value that it does not take
            raise UserError(self._refusal(str(error))) from error
        finally:
            signal.signal(signal.SIGINT, before)
        self.jobs = jobs

    def delays(self) -> Iterator[str]:
        alive = self._alive()
        for job in self.jobs:
            if job not in alive:
                yield f"one has ended: {self._last_words(job)}"
            elif (complaint := complaint_in(_stderr(job))) is not None:
                yield complaint

    def problem(self) -> str | None:
        if self._alive():
            return None
        return (
            f"{self._name}: all {len(self.jobs)} workers have ended; one says: "
            f"{self._last_words(self.jobs[0])}"
        )

    def stop(self) -> None:
        deadline = time.monotonic() + GRACE_S
        while (alive := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.1)  # those that have joined are told to end
        for job in alive:
            self._cancel(job)

    @property
    def _name(self) -> str:
        return f"hydra/launcher=submitit_{self.cluster}"

    def _variables(self) -> Variables:
        """Of the workers, where those of their jobs will not do; None: not set."""
        return {}

    def _refusal(self, text: str) -> str:
        """The line on jobs that are not taken, by what submitit says of them."""
        return f"{self._name}: {' '.join(text.split())[-300:]}"

    @abstractmethod
    def _alive(self) -> list[Job[int]]:
        """Jobs that run, or may yet do so."""

    @abstractmethod
    def _cancel(self, job: Job[int]) -> None: ...

    def _last_words(self, job: Job[int]) -> str:
        said = last_words_in(_stderr(job)) or last_words_in(job.stdout() or "")
        return said or f"nothing (see {os.path.relpath(job.paths.stderr)})"


def _stderr(job: Job[int]) -> str:
    """What it wrote there; where that is one file with its other output, it is in that."""
    return job.stderr() or job.stdout() or ""


class LocalJobs(SubmititJobs):
    cluster = "local"
    is_local = True
    config = LocalQueueConf

    def _variables(self) -> Variables:
        """submitit hides all GPUs, or shows the same ones to each job; the search spreads them."""
        return {VISIBLE: os.environ.get(VISIBLE)}

    def _alive(self) -> list[Job[int]]:
        return [job for job in self.jobs if not job.done()]

    def _cancel(self, job: Job[int]) -> None:
        with suppress(ProcessLookupError):
            os.kill(int(job.job_id), signal.SIGTERM)  # it does not hear submitit's SIGINT
