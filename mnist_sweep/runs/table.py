"""The results table: a CSV with a row for each run.

Many processes append to it: under a lock, with one write and one fsync. A row is one line, always,
so a line cut short by a power failure is found and mended by the next append.
"""

import csv
import errno
import io
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from mnist_sweep.errors import UserError
from mnist_sweep.runs.cells import cell, csv_lines
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.writing import write_whole

log = logging.getLogger(__name__)

csv.field_size_limit(1 << 30)  # an error's text may be long

LOCK_POLL_S = 0.002  # an append takes about 4 ms


@dataclass
class ResultsTable:
    path: Path
    lock: FileLock = field(init=False)

    def __post_init__(self) -> None:
        whole = self.path.resolve()
        if not whole.name:
            raise UserError(f"record.table={self.path} is no file: set record.table to one")
        self.lock = FileLock(whole.with_name(f".{whole.name}.lock"), poll_interval=LOCK_POLL_S)

    def check(self, columns: Sequence[str] = ()) -> None:
        """Whether a row could be appended now; changes nothing that is there. A new table gets
        these columns at once, so that whoever reads it before the first row finds a table.

        Raises:
            UserError: the path is a directory, cannot be written, or holds another kind of table.
        """
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.lock:
                with self.path.open("ab"):
                    header = self._header()
                if columns and not header:
                    write_whole(self.path, csv_lines([columns]))
        except OSError as error:
            raise self._unusable(error) from error

    def append(self, record: RunRecord, *, replace: bool = False) -> None:
        """Adds the run's row; with `replace`, in the place of an older row of the same run.

        Raises:
            UserError: as `check`.
        """
        self.extend([record], replace=replace)

    def extend(self, records: Sequence[RunRecord], *, replace: bool = False) -> None:
        """Adds several rows at once, as `append` does one."""
        new = [{name: cell(value) for name, value in record.row().items()} for record in records]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.lock:
                self._mend()
                header = self._header()
                missing = [name for row in new for name in row if name not in header]
                if missing or replace:
                    self._rewrite([*header, *dict.fromkeys(missing)], new, replace=replace)
                    return
                lines = csv_lines([row.get(name, "") for name in header] for row in new).encode()
                with self.path.open("ab", buffering=len(lines) + 1) as file:  # so, one write
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from error

    def has(self, run_id: str) -> bool:
        """Whether it may hold a row of this run; quicker than `rows`."""
        try:
            return run_id.encode() in self.path.read_bytes()
        except OSError:  # of a table that is not there, or of which an append says what is wrong
            return False

    def rows(self) -> list[dict[str, str]]:
        """Every whole row as text; lines that do not fit the header are left out."""
        return self._parse()[0]

    def _parse(self) -> tuple[list[dict[str, str]], list[str]]:
        """Rows, and the lines that are none. A row is a line, so a stray quote harms one only."""
        if not self.path.exists():
            return [], []
        text = self.path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
        first, *lines = (line.rstrip("\r") for line in text.split("\n"))
        header = next(csv.reader([first]), [])
        rows, others = [], []
        for line in filter(None, lines):
            cells = next(csv.reader([line]))
            if len(cells) == len(header):
                rows.append(dict(zip(header, cells, strict=True)))
            else:
                others.append(line)
        return rows, others

    def _header(self) -> list[str]:
        """The columns; none for a new or empty file."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            line = file.readline()
        if not line:
            return []
        header = next(csv.reader([line.decode("utf-8", errors="replace").strip()]), [])
        if not {"run_id", "status"} <= set(header):
            raise UserError(
                f"record.table={self.path} is another kind of table (no columns run_id and "
                "status): move it away, or set record.table to another file"
            )
        return header

    def _mend(self) -> None:
        """Sets a last line without its end aside, into `<table>.torn`."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0 or _last_byte(file) == b"\n":
                return
            file.seek(0)
            end = file.read().rfind(b"\n") + 1
            self._header()  # a foreign table must be left as it is
            file.seek(end)
            self._set_aside([file.read()])
            file.truncate(end)

    def _rewrite(self, header: list[str], new: list[dict[str, str]], *, replace: bool) -> None:
        """The same rows and new ones under a new header, missing cells empty."""
        rows, others = self._parse()
        if others:
            self._set_aside([line.encode() for line in others])
        if replace:
            replaced = {row["run_id"] for row in new}
            rows = [old for old in rows if old["run_id"] not in replaced]
        lines = [[cells.get(name, "") for name in header] for cells in [*rows, *new]]
        write_whole(self.path, csv_lines([header, *lines]))

    def _set_aside(self, lines: list[bytes]) -> None:
        aside = self.path.with_name(f"{self.path.name}.torn")
        with aside.open("ab") as file:
            file.writelines(line + b"\n" for line in lines)
        log.warning(
            "torn lines of %s, %d of them, are now in %s; if a run is missing, run "
            "python -m mnist_sweep.report rebuild",
            self.path,
            len(lines),
            aside,
        )

    def _unusable(self, error: OSError) -> UserError:
        return UserError(
            f"record.table={self.path} cannot be written ({error.strerror or error}): "
            "set record.table to a file that can"
        )


def _last_byte(file: io.BufferedRandom) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
