"""The results table: a CSV with a row for each run.

Many processes append to it: under a lock, with one write and one fsync. A row is one line, always,
so a line cut short by a power failure is found and mended by the next append, as is whatever form
an editor gave the table.
"""

import errno
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.locks import Lock
from mnist_sweep.runs.cells import cell, csv_lines
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.sheet import OtherFormError, Sheet, header_of, read_sheet
from mnist_sweep.writing import write_whole

log = logging.getLogger(__name__)


class UnreadableTableError(UserError):
    """A results table in a form that cannot be read."""


@dataclass(frozen=True)
class _Seen:
    """How much of a table is known to be as this module writes it."""

    inode: int
    header: bytes
    """Its line."""
    size: int


@dataclass
class ResultsTable:
    path: Path
    seen: _Seen = field(init=False, default=_Seen(0, b"", 0))

    def __post_init__(self) -> None:
        if not self.path.resolve().name:
            raise UserError(f"record.table={self.path} is no file: set record.table to one")

    @cached_property
    def lock(self) -> Lock:
        """Who only reads needs none."""
        whole = self.path.resolve()
        return Lock(whole.with_name(f".{whole.name}.lock"))

    def locked(self) -> AbstractContextManager[object]:
        """`with table.locked():` no other process writes to it meanwhile."""
        return self.lock()

    def check(self, columns: Sequence[str] = ()) -> None:
        """Whether a row could be appended now; changes nothing that is there. A new table gets
        these columns at once, so that whoever reads it before the first row finds a table.

        Raises:
            UserError: the path is a directory, cannot be written, or holds another kind of table.
            UnreadableTableError: it can be written, but not read.
        """
        try:
            self._check_kind()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.locked():
                if not self.path.exists():
                    tempfile.TemporaryFile(dir=self.path.resolve().parent).close()
                else:
                    with self.path.open("ab"):
                        columns = () if self._sheet().header else columns
                if columns:
                    write_whole(self.path, csv_lines([columns]))
        except OtherFormError as error:
            raise self._refused(error) from error
        except OSError as error:
            raise self.unwritable(error) from error

    def look(self) -> int:
        """As far as that can be told without making or writing anything, what `check` says; and how
        many rows there are.

        Raises:
            UserError: as `check`.
        """
        try:
            self._check_kind()
            place = self.path
            while not place.exists():
                place = place.parent
            if place != self.path and not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(place, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return len(self._sheet().rows())
        except OtherFormError as error:
            raise self._refused(error) from error
        except OSError as error:
            raise self.unwritable(error) from error

    def _check_kind(self) -> None:
        """
        Raises:
            OSError: it is there, and no file.
        """
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if self.path.exists() and not self.path.is_file():  # a device, a pipe
            raise OSError(errno.EINVAL, "it is no file")

    def append(self, record: RunRecord, *, replace: bool = False) -> None:
        """Adds the run's row; with `replace`, in the place of an older row of the same run.

        Raises:
            UserError: as `check`.
        """
        self.extend([record], replace=replace)

    def extend(self, records: Sequence[RunRecord], *, replace: bool = False) -> None:
        """Adds several rows at once, as `append` does one."""
        new = [{name: cell(value) for name, value in record.row().items()} for record in records]
        names = dict.fromkeys(name for row in new for name in row)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.locked():
                header = self._plain_header()
                if replace or header is None or not names.keys() <= set(header):
                    self._rewrite(new, list(names), replace=replace)
                else:
                    rows = csv_lines([row.get(name, "") for name in header] for row in new)
                    self._write_on(rows.encode())
        except OtherFormError as error:
            raise self._refused(error) from error
        except OSError as error:
            raise self.unwritable(error, "brings the row, which the run's directory has") from error

    def has(self, run_id: str) -> bool:
        """Whether it may hold a row of this run; quicker than `rows`."""
        try:
            return run_id.encode() in self.path.read_bytes()
        except OSError:  # of a table that is not there, or of which an append says what is wrong
            return False

    def rows(self) -> list[dict[str, str]]:
        """Every whole row as text; lines that do not fit the header are left out. Of another kind
        of table, none.

        Raises:
            UnreadableTableError: it is a results table that cannot be read.
        """
        try:
            return self._sheet().rows()
        except OtherFormError as error:
            if error.remedy is None:
                return []
            raise self._refused(error) from error

    def unwritable(self, error: OSError, rebuilding: str = "") -> UserError:
        """rebuilding: what that would do, if anything."""
        remedy = "make room there, or set record.table to a file that can"
        if rebuilding:
            remedy += f"; python -m mnist_sweep.report rebuild outputs multirun {rebuilding}"
        return UserError(
            f"record.table={self.path} cannot be written ({error.strerror or error}): {remedy}"
        )

    def _sheet(self) -> Sheet:
        return read_sheet(self.path.read_bytes()) if self.path.exists() else Sheet()

    def _plain_header(self) -> list[str] | None:
        """The columns of a table that rows can be written to the end of; None of any other one.
        Only what is new since the last append is looked through."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            status, first = os.fstat(file.fileno()), file.readline()
            seen = self.seen
            is_known = (seen.inode, seen.header) == (status.st_ino, first)
            start = seen.size if is_known and seen.size <= status.st_size else len(first)
            file.seek(start)
            new = file.read()
        line = first.replace(b"\r\n", b"\n")
        header = None if b"\r" in line else header_of(line)
        if header is None or csv_lines([header]).encode() != line:
            return None
        if not (new or first).endswith(b"\n") or b"\r" in new.replace(b"\r\n", b""):
            return None
        if b"run_id" in new and any(map(header_of, new.splitlines())):
            return None  # tables that were joined
        self.seen = _Seen(status.st_ino, first, start + len(new))
        return header

    def _write_on(self, lines: bytes) -> None:
        """Adds whole lines, or nothing."""
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                left = memoryview(lines)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:  # a full disk may have taken a part
                file.truncate(size)
                raise

    def _rewrite(self, new: list[dict[str, str]], names: list[str], *, replace: bool) -> None:
        """The same rows and new ones under a header with these columns too, missing cells empty.
        What is no row is set aside."""
        data = self.path.read_bytes() if self.path.exists() else b""
        sheet = read_sheet(data)
        rows, torn, columns = sheet.rows(), list(sheet.torn), sheet.header
        is_cut = not data.endswith((b"\n", b"\r"))
        if columns and is_cut and not (rows or torn) and columns[-1] not in names:
            torn, columns = [data], []  # a header cut within a name
        if torn:
            self._set_aside(torn)
        if replace:
            replaced = {row["run_id"] for row in new}
            rows = [old for old in rows if old["run_id"] not in replaced]
        header = list(dict.fromkeys([*columns, *names]))
        lines = [[cells.get(name, "") for name in header] for cells in [*rows, *new]]
        write_whole(self.path, csv_lines([header, *lines]))

    def _set_aside(self, lines: list[bytes]) -> None:
        aside = self.path.with_name(f"{self.path.name}.torn")
        before = aside.read_bytes() if aside.exists() else b""
        write_whole(aside, before + b"".join(line + b"\n" for line in lines))
        log.warning(
            "torn lines of %s, %d of them, are now in %s; if a run is missing, run "
            "python -m mnist_sweep.report rebuild",
            self.path,
            len(lines),
            aside,
        )

    def _refused(self, error: OtherFormError) -> UserError:
        if error.remedy is None:
            return UserError(
                f"record.table={self.path} is another kind of table ({error}): move it away, or "
                "set record.table to another file"
            )
        return UnreadableTableError(
            f"record.table={self.path} cannot be read ({error}): {error.remedy}, or make it again "
            f"with python -m mnist_sweep.report rebuild outputs multirun --table {self.path}"
        )


def last_trials(path: Path) -> dict[str, int]:
    """Study -> the largest number of a trial that has a row; of a table that cannot be read, none.
    Of a long table quicker than its rows."""
    try:
        sheet = read_sheet(path.read_bytes())
    except (OtherFormError, OSError):
        return {}
    found: dict[str, int] = {}
    for section in sheet.sections:
        if {"study", "trial"} <= set(section.header):
            for study, trial in section.columns("study", "trial"):
                if study and trial.isdecimal():
                    found[study] = max(found.get(study, -1), int(trial))
    return found
