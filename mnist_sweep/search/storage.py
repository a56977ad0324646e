"""Where a study is kept: a journal file in the sweep's directory, or any Optuna storage URL."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from mnist_sweep.errors import UserError
from mnist_sweep.record import LOCK_POLL_S

JOURNAL = "study.journal"

OPENING_ATTEMPTS = 10

ENDS_TRIAL = 6  # optuna.storages.journal's operation "set the state and values of a trial"


class JournalFile(BaseJournalBackend):
    """Optuna's journal, one JSON line an operation, made to survive kill -9 and power cuts.

    Unlike Optuna's own file backend it locks through the kernel, which frees the lock of a killed
    process at once (Optuna waits 30 s), mends a line that was cut short, and waits for the disk
    where a trial ends, not for each of its parameters.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FileLock(path.with_name(f".{path.name}.lock"), poll_interval=LOCK_POLL_S)
        self.offsets = {0: 0}
        """Number of a log -> its place in the file, for the last log read."""
        path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        known = max(number for number in self.offsets if number <= log_number_from)
        with self.path.open("rb") as file:
            place = file.seek(self.offsets[known])
            for number, line in enumerate(file, start=known):
                if not line.endswith(b"\n"):
                    return  # being written, or cut short and mended by the next append
                place += len(line)
                if number >= log_number_from:
                    yield _decode(line, self.path)
                self.offsets = {0: 0, number + 1: place}

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        with self.lock, self.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(_end_of_whole_lines(file, end))
            file.write(lines)
            file.truncate()
            if any(log["op_code"] == ENDS_TRIAL for log in logs):
                file.flush()
                os.fsync(file.fileno())


def _end_of_whole_lines(file: Any, end: int) -> int:
    """Where the next line belongs: after the last line end, normally the end of the file."""
    size = 1
    while end:
        start = max(0, end - size)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        if start == 0:
            return 0
        size *= 1024
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
