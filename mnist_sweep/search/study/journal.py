"""A study's journal: Optuna's operations as lines of a file that kill -9 does not damage."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna import __version__
from optuna.storages.journal import BaseJournalBackend

from mnist_sweep.errors import UserError
from mnist_sweep.search.optuna_private import NEWEST_OPERATION


class JournalFile(BaseJournalBackend):
    """One JSON line an operation.

    Unlike Optuna's own file backend it locks through the kernel, which frees the lock of a killed
    process at once (Optuna waits 30 s), mends a line that was cut short, and waits for the disk
    where a trial is completed, not for each of its parameters. The file stays open, is a lock
    itself, and only what is new in it is read: a search writes some twenty operations a proposal.

    One object is for one process, whose threads Optuna's storage lets in one by one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("a+b", buffering=0)  # all writing goes to the end
        self.read = (0, 0)
        """Number of the log after the last one read, and its place in the file."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        first, place = self.read if log_number_from >= self.read[0] else (0, 0)
        size = os.fstat(self.file.fileno()).st_size
        lines = os.pread(self.file.fileno(), size - place, place).split(b"\n")
        for number, line in enumerate(lines[:-1], start=first):  # the last one is being written,
            place += len(line) + 1  # or was cut short, and is mended by the next append
            self.read = (number + 1, place)
            if number >= log_number_from:
                yield _decode(line, self.path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        left = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        file = self.file.fileno()
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                os.ftruncate(file, _end_of_whole_lines(file, size))
            while left:
                left = left[os.write(file, left) :]
            if any(log.get("values") for log in logs):
                os.fsync(file)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


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


def _decode(line: bytes, path: Path) -> dict[str, Any]:
    try:
        log = json.loads(line)
        operation = log["op_code"]
        if operation > NEWEST_OPERATION:
            raise UserError(
                f"hydra.sweeper.storage: {path} is damaged, or written by a newer Optuna than "
                f"{__version__} (it has operation {operation}): pip install --upgrade optuna, or "
                "move it away to begin a new study there"
            )
        if isinstance(log, dict) and type(operation) is int and operation >= 0:
            return log
    except (ValueError, TypeError, LookupError, RecursionError):
        pass
    raise UserError(
        f"hydra.sweeper.storage: {path} is damaged (no journal of Optuna's at "
        f"'{line[:40].decode(errors='replace').strip()}'): move it away to begin a new study there"
    )
