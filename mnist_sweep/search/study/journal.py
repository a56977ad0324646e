"""A study's journal: Optuna's operations as lines of a file that kill -9 does not damage."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna import __version__
from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock

from mnist_sweep.errors import UserError
from mnist_sweep.locks import EXPIRY_S, network_file_system
from mnist_sweep.search.optuna_private import BIRTH_OF_A_TRIAL, NEWEST_OPERATION
from mnist_sweep.writing import write_whole

BLOCK = 1 << 20
"""Bytes that are read at once, so that a long study is not in memory twice."""

ANEW = "put the whole one back, or begin a new study with another hydra.sweeper.study_name"

SUFFIX = ".lock"
"""Of the link beside a journal by which Optuna's own writers keep each other out."""


class ReplacedError(UserError):
    """The journal that a process has open is not the study's any more."""


class JournalFile(BaseJournalBackend):
    """One JSON line an operation.

    Unlike Optuna's own file backend it locks through the kernel, which frees the lock of a killed
    process at once (Optuna waits 30 s), mends a line that was cut short, and waits for the disk
    where a trial is begun or completed, so that none that has a row is lost, but not for each of
    its parameters. The file stays open, is a lock
    itself, and only what is new in it is read: a search writes some twenty operations a proposal.
    It takes Optuna's lock as well, since another program (a dashboard) may be in the midst of a
    line.

    On a network file system only Optuna's lock is safe, so there is no other, and a controller that
    was killed while it wrote blocks the others for 30 s.

    One object is for one process, whose threads Optuna's storage lets in one by one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("a+b", buffering=0)  # all writing goes to the end
        self.read = (0, 0)
        """Number of the log after the last one read, and its place in the file."""
        ours = f"{path.parent.absolute()}/./{path.name}"  # no other program names it so
        self.link = ours + SUFFIX
        self.others = JournalFileSymlinkLock(ours, EXPIRY_S)
        self.is_local = network_file_system(path) is None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        number, place = self.read if log_number_from >= self.read[0] else (0, 0)
        size = BLOCK
        while found := os.pread(self.file.fileno(), size, place):
            lines = found.split(b"\n")[:-1]  # the last one goes on in the next block, or is being
            for line in lines:  # written, or was cut short and is mended by the next append
                number, place = number + 1, place + len(line) + 1
                self.read = (number, place)
                if number > log_number_from:
                    yield decode(line, self.path)
            if len(found) < size:
                return
            size = BLOCK if lines else 2 * size

    def replace(self, change: Callable[[], Sequence[Mapping[str, Any]] | None]) -> bool:
        """Puts other logs in the place of those here, all at once. change: makes them, or None,
        while nobody else writes. Whoever has the old file open cannot write any more.

        Raises:
            ReplacedError: another process did so first.
        """
        with self._alone():
            logs = change()
            if logs is not None:
                write_whole(self.path, b"".join(map(_line, logs)))
            return logs is not None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        left = b"".join(map(_line, logs))
        file = self.file.fileno()
        with self._alone():
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                size = _end_of_whole_lines(file, size)
                os.ftruncate(file, size)
            try:
                while left:
                    left = left[os.write(file, left) :]
                if any(log.get("values") or log["op_code"] == BIRTH_OF_A_TRIAL for log in logs):
                    os.fsync(file)
            except OSError as error:  # a full disk
                os.ftruncate(file, size)
                raise OSError(error.errno, error.strerror, str(self.path)) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes: neither a search, nor a program that uses Optuna's own backend.

        Raises:
            ReplacedError: another file is in its place.
        """
        if self.is_local:
            fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            if not (self.is_local and self._is_left_over()):
                self.others.acquire()
            try:
                if not os.path.samestat(os.fstat(self.file.fileno()), os.stat(self.path)):
                    raise ReplacedError(
                        f"hydra.sweeper.storage: {self.path} is another file than a moment ago "
                        "(its study grew meanwhile, or was put back): give the command again"
                    )
                yield
            finally:
                with suppress(FileNotFoundError):  # it was broken by one that took us for dead
                    os.unlink(self.link)
        finally:
            if self.is_local:
                fcntl.flock(self.file, fcntl.LOCK_UN)

    def _is_left_over(self) -> bool:
        """Whether the link is of a search that was killed: others that live wait for the kernel's
        lock, which is ours."""
        try:
            return os.readlink(self.link).endswith(f"/./{self.path.name}")
        except OSError:  # there is none, or it is a file, as of Optuna's other kind of lock
            return False


def _line(log: Mapping[str, Any]) -> bytes:
    return json.dumps(log, separators=(",", ":")).encode() + b"\n"


def _end_of_whole_lines(file: int, size: int) -> int:
    """Where the last line begins, which has no end."""
    end = size
    while end:
        start = max(0, end - 65536)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def decode(line: bytes, path: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: it is no operation of Optuna's, or one that this version does not know.
    """
    try:
        log = json.loads(line)
        operation = log["op_code"]
        if operation > NEWEST_OPERATION:
            raise UserError(
                f"hydra.sweeper.storage: {path} is damaged, or written by a newer Optuna than "
                f"{__version__} (it has operation {operation}): pip install --upgrade optuna, or "
                f"{ANEW}"
            )
        if isinstance(log, dict) and type(operation) is int and operation >= 0:
            return log
    except (ValueError, TypeError, LookupError, RecursionError):
        pass
    raise UserError(
        f"hydra.sweeper.storage: {path} is damaged (no journal of Optuna's at "
        f"'{line[:40].decode(errors='replace').strip()}'): {ANEW}"
    )
