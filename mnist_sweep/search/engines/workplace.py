"""Where a worker has its runs: in the sweep's directory, or in one that it alone sees."""

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Protocol

from filelock import FileLock, Timeout
from omegaconf import DictConfig, read_write

from mnist_sweep.paths import RUN_HYDRA
from mnist_sweep.search.engines.carrying import Gone, Piece, Receiver, Sender
from mnist_sweep.search.engines.job import Job

PREFIX = "mnist_sweep_worker_"

LOCK = ".lock"
"""In a worker's own directory, and held for as long as the worker lives."""

JUST_MADE_S = 60.0
"""A folder younger than that may not be locked yet."""


class Line(Protocol):
    """A worker's end; as `multiprocessing.connection.Connection`, which is one."""

    def send(self, message: Any, /) -> None: ...

    def recv(self) -> Any:
        """
        Raises:
            EOFError: the controller has hung up.
        """


class Want:
    """That a worker is to be sent the files of the run that it got, and of the one that this goes
    on with."""


class Sent:
    """That these were all."""


class Workplace(Protocol):
    def begin(self, job: Job) -> Job:
        """Has all that the job needs; the job as it is to be done here."""

    def carry(self) -> None:
        """Has what the run has left so far reach the sweep's directory."""

    def end(self) -> None:
        """The job is done."""

    def close(self) -> None:
        """There is no other."""


class SweepDirectory:
    """The sweep's own: whatever is written there is there."""

    def begin(self, job: Job) -> Job:
        return job

    def carry(self) -> None:
        pass

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass


class OwnDirectory:
    """As much of the sweep's directory as the run under way needs, somewhere on this machine."""

    def __init__(self, line: Line, sweep_dir: Path) -> None:
        """sweep_dir: the real one's absolute path, where the controller is."""
        self.line = line
        self.sweep_dir = sweep_dir
        _clear()
        self.temporary = TemporaryDirectory(prefix=PREFIX)
        self.root = Path(self.temporary.name)
        self.lock = FileLock(self.root / LOCK)
        self.lock.acquire()
        self.sender: Sender | None = None

    def begin(self, job: Job) -> Job:
        self.line.send(Want())
        receiver = Receiver(self.root)
        while isinstance(message := self.line.recv(), Piece | Gone):
            receiver.take(message)
        self.sender = Sender(self.root, job.subdir)
        self.sender.has_all()
        if job.info.earlier is None:
            return job
        earlier = self.root / job.info.earlier.relative_to(self.sweep_dir)
        return replace(job, info=replace(job.info, earlier=earlier))

    def carry(self) -> None:
        if self.sender is not None:
            for change in self.sender.changes():
                self.line.send(self._as_there(change))

    def _as_there(self, change: Piece | Gone) -> Piece | Gone:
        """What Hydra records of a run names its directory."""
        if isinstance(change, Gone) or not change.name.endswith(RUN_HYDRA.as_posix()):
            return change
        there = change.content.replace(bytes(self.root), bytes(self.sweep_dir))
        return replace(change, content=there)

    def end(self) -> None:
        self.sender = None
        for folder in self.root.iterdir():
            rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        self.lock.release()
        self.temporary.cleanup()


def _clear() -> None:
    """Removes what workers of this user that were killed have left on this machine."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, Timeout):
            found = folder.lstat()
            is_own = found.st_uid == os.getuid() and not folder.is_symlink()
            if not is_own or time.time() - found.st_mtime < JUST_MADE_S:
                continue
            with FileLock(folder / LOCK, blocking=False):
                rmtree(folder, ignore_errors=True)


def find_workplace(
    line: Line, sweep_dir: Path, folder: Path, config: DictConfig, *, is_seen: bool
) -> Workplace:
    """Points the sweep's config there. folder: in which the search was started; a worker that has
    no such folder, or does not see the sweep's directory, stays in its own."""
    workplace: Workplace = SweepDirectory() if is_seen else OwnDirectory(line, sweep_dir)
    with read_write(config.hydra), read_write(config.hydra.sweep):
        if isinstance(workplace, OwnDirectory):
            config.hydra.sweep.dir = str(workplace.root)
            return workplace
        with suppress(OSError):
            os.chdir(folder)
        if Path(config.hydra.sweep.dir).absolute() != sweep_dir:
            config.hydra.sweep.dir = str(sweep_dir)
    return workplace
