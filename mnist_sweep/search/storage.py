"""Where a study is kept: a journal file in the sweep's directory, or any Optuna storage URL."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from mnist_sweep.errors import UserError
from mnist_sweep.paths import JOURNAL

OPENING_ATTEMPTS = 10


class JournalFile(BaseJournalBackend):
    """Optuna's journal, one JSON line an operation, made to survive kill -9 and power cuts.

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
        if isinstance(log, dict) and "op_code" in log:
            return log
    except ValueError:
        pass
    raise UserError(
        f"hydra.sweeper.storage: {path} is damaged (no journal of Optuna's at "
        f"'{line[:40].decode(errors='replace').strip()}'): move it away to begin a new study there"
    )


def open_storage(url: str | None, sweep_dir: Path) -> BaseStorage:
    """
    Raises:
        UserError: it cannot be opened, read or written, or needs a package that is not here.
    """
    if url is None:
        path = sweep_dir / JOURNAL
        try:
            if path.exists() and not os.access(path, os.W_OK):
                raise PermissionError(13, "Permission denied")
            return JournalStorage(JournalFile(path))
        except OSError as error:
            raise UserError(
                f"hydra.sweeper.storage: {path} cannot be written ({error.strerror}): "
                "set hydra.sweep.dir to a place that can"
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise UserError(
                f"hydra.sweeper.storage: {path} is damaged ({error!r}): move it away to begin a "
                "new study there"
            ) from error
    shown = without_credentials(url)
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            return RDBStorage(url)
        except ImportError as error:
            raise UserError(
                f"hydra.sweeper.storage={shown} needs the package {error.name or 'of its database'}"
                ": pip install 'mnist-sweep[postgres]' brings PostgreSQL's"
            ) from error
        except Exception as error:  # SQLAlchemy's, alembic's or the driver's own
            reason = " ".join(str(error.__cause__ or error).split())
            if "already exists" in reason and attempts_left:
                time.sleep(1)  # another controller is making the tables
                continue
            for secret in _secrets(url):
                reason = reason.replace(secret, "***")
            raise UserError(
                f"hydra.sweeper.storage={shown} cannot be opened ({reason[:160]}): check that the "
                "server runs, the name and the password, and that it may be written"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def without_credentials(url: str) -> str:
    """The URL with user, password and all options left out: for all that is shown or written."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return f"{url.partition('://')[0]}://***"
    if parsed.username is None and parsed.password is None and not parsed.query:
        return url
    where = URL.create(
        parsed.drivername, host=parsed.host, port=parsed.port, database=parsed.database
    )
    return where.render_as_string()


def _secrets(url: str) -> list[str]:
    """All forms in which a message may quote the password."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return [url]
    asked = [str(value) for key, value in parsed.query.items() if "pass" in key]
    values = [str(parsed.password or ""), *asked]
    quoted = [quote(value, safe=safe) for value in values for safe in ("", "/")]
    written = url.partition("://")[2].rpartition("@")[0]
    return [text for text in (url, written, *values, *quoted) if text]
