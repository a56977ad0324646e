"""What a run leaves behind: its directory, and its row in the results table.

The table is a CSV that many processes append to: under a lock, with one write and one fsync. A row
is one line, always, so a line cut short by a power failure is found and mended by the next append.
`rebuild` makes the table anew from the run directories.
"""

import csv
import errno
import hashlib
import io
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics, best_epoch

log = logging.getLogger(__name__)

Status = Literal["completed", "diverged", "interrupted", "failed", "pruned", "infeasible"]

HISTORY = "history.csv"
RESULT = "result.json"
CHECKPOINT = "checkpoint.pt"
MODEL = "model.pt"

csv.field_size_limit(1 << 30)  # an error's text may be long

LOCK_POLL_S = 0.002  # an append takes about 4 ms


@dataclass
class RunRecord:
    """One row of the results table, in the order of its columns; None is an empty cell.

    Accuracies are fractions of 1, losses nats, times seconds.
    """

    run_id: str
    status: Status
    groups: dict[str, str | None]
    """The choice of each config group, a column each; `data` is the set really used."""
    seed: int
    num_params: int | None = None
    macs: int | None = None
    receptive_field: int | None = None
    epochs: int | None = None
    epochs_done: int = 0
    batch_size: int | None = None
    lr: float | None = None
    """The optimizer's, at the top of the schedule."""
    train_images: int | None = None
    val_images: int | None = None
    test_images: int | None = None
    train_acc: float | None = None
    train_loss: float | None = None
    val_acc: float | None = None
    """Of the weights that are tested; averaged ones where weight averaging is on."""
    val_loss: float | None = None
    val_acc_raw: float | None = None
    val_loss_raw: float | None = None
    best_epoch: int | None = None
    """The first epoch with the highest val_acc."""
    weights_epoch: int | None = None
    """The epoch whose weights were tested and saved."""
    test_acc: float | None = None
    test_loss: float | None = None
    test_acc_raw: float | None = None
    test_loss_raw: float | None = None
    test_acc_peak: float | None = None
    """protocol=published only: the best epoch's, picked on test. Not a result; never rank by it."""
    test_peak_epoch: int | None = None
    seconds: float | None = None
    """Of the whole run in its last process, loading and evaluation included."""
    train_seconds: float | None = None
    images_per_s: float | None = None
    peak_rss_mb: float | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    mnist_sweep_version: str | None = None
    torch_version: str | None = None
    python_version: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    config_hash: str | None = None
    """Equal for runs that differ in nothing but the seed."""
    overrides: str = ""
    run_dir: str = ""
    started: str = ""
    """ISO 8601, UTC."""
    error: str | None = None
    study: str | None = None
    """Of a search: its name, and the number of the trial in it."""
    trial: int | None = None
    rung: int | None = None
    """Epochs of the longest schedule that the trial got to, where a search goes by rungs."""

    def row(self) -> dict[str, Any]:
        """Column -> value, with a column for each group."""
        flat: dict[str, Any] = {}
        for name, value in asdict(self).items():
            flat.update(value if name == "groups" else {name: value})
        return flat

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "RunRecord":
        """The record that `row` made (result.json holds one); other columns are groups."""
        names = {column.name for column in fields(cls)}
        own = {name: value for name, value in row.items() if name in names}
        groups = {name: value for name, value in row.items() if name not in names}
        return cls(**own, groups=groups)

    def learn(self, history: Sequence[EpochMetrics]) -> None:
        """Takes over what the epochs so far measured."""
        last = history[-1]
        self.epochs_done = last.epoch
        self.train_acc, self.train_loss = last.train_acc, last.train_loss
        self.val_acc, self.val_loss = last.val_acc, last.val_loss
        self.val_acc_raw, self.val_loss_raw = last.val_acc_raw, last.val_loss_raw
        self.train_seconds = sum(metrics.seconds for metrics in history)
        self.images_per_s = sum(m.images_per_s * m.seconds for m in history) / self.train_seconds
        self.best_epoch = best_epoch(history)
        watched = [(m.test_acc, -m.epoch) for m in history if m.test_acc is not None]
        if watched:
            self.test_acc_peak, negative_epoch = max(watched)
            self.test_peak_epoch = -negative_epoch


def run_id_of(run_dir: Path) -> str:
    """A short name for the run in this directory; a letter first, so that no reader takes it for
    a number."""
    return "r" + hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:9]


def write_whole(path: Path, text: str) -> None:
    """Writes a file (the one a link leads to) whole or not at all, and onto the disk."""
    path = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):  # a Ctrl-C may come just after the file is in its place
            os.unlink(temporary)
        raise


def write_history(run_dir: Path, history: Sequence[EpochMetrics]) -> None:
    names = [column.name for column in fields(EpochMetrics)]
    rows = [[_cell(getattr(metrics, name)) for name in names] for metrics in history]
    write_whole(run_dir / HISTORY, _lines([names, *rows]))


def write_result(run_dir: Path, record: RunRecord) -> None:
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.row().items()
    }
    write_whole(run_dir / RESULT, json.dumps(finite, indent=1, allow_nan=False) + "\n")


def check_writable(run_dir: Path) -> None:
    """
    Raises:
        UserError: the directory takes no file of the size that a run writes.
    """
    try:
        with tempfile.TemporaryFile(dir=run_dir) as probe:
            probe.write(b"\0" * (1 << 20))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise UserError(
            f"hydra.run.dir={run_dir} cannot be written ({error.strerror}): "
            "make room there, or choose another directory"
        ) from error


@dataclass
class ResultsTable:
    path: Path
    lock: FileLock = field(init=False)

    def __post_init__(self) -> None:
        whole = self.path.resolve()
        if not whole.name:
            raise UserError(f"record.table={self.path} is no file: set record.table to one")
        self.lock = FileLock(whole.with_name(f".{whole.name}.lock"), poll_interval=LOCK_POLL_S)

    def check(self) -> None:
        """Whether a row could be appended now; changes nothing that is there.

        Raises:
            UserError: the path is a directory, cannot be written, or holds another kind of table.
        """
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.lock, self.path.open("ab"):
                self._header()
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
        new = [{name: _cell(value) for name, value in record.row().items()} for record in records]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.lock:
                self._mend()
                header = self._header()
                missing = [name for row in new for name in row if name not in header]
                if missing or replace:
                    self._rewrite([*header, *dict.fromkeys(missing)], new, replace=replace)
                    return
                lines = _lines([row.get(name, "") for name in header] for row in new).encode()
                with self.path.open("ab", buffering=len(lines) + 1) as file:  # so, one write
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from error

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
        write_whole(self.path, _lines([header, *lines]))

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


def rebuild(table: ResultsTable, roots: Sequence[Path]) -> int:
    """Writes the table anew from every result.json below `roots`; returns the number of runs.

    The old table, if there is one, is kept as `<table>.bak`, `.bak2` and so on. A run whose
    result.json cannot be read is named in a warning and left out.

    Raises:
        UserError: no run was found, or the table cannot be written.
    """
    table.check()
    with table.lock:
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(file for root in roots for file in root.rglob(RESULT)):
            try:
                row = json.loads(path.read_text(encoding="utf-8"))
                found[row["run_id"]] = row
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("%s is left out: %r", path, error)
        if not found:
            raise UserError(f"no {RESULT} below {', '.join(map(str, roots))}: name other folders")
        rows = sorted(found.values(), key=lambda row: str(row.get("started")))
        header = list(dict.fromkeys(name for row in rows for name in row))
        lines = [[_cell(row.get(name)) for name in header] for row in rows]
        if table.path.stat().st_size:
            shutil.copyfile(table.path, _free_name(table.path))
        write_whole(table.path, _lines([header, *lines]))
    return len(rows)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.bak{n}") for n in chain([""], count(2)))
    return next(name for name in names if not name.exists())


def _cell(value: Any) -> str:
    """A value as one line of text; None, NaN and infinities are empty."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        short = f"{value:.8g}"
        return short if "." in short or "e" in short else f"{short}.0"  # a float to all readers
    text = str(value).encode("utf-8", "backslashreplace").decode()  # file names may be no text
    return " ".join(text.replace("\0", "").split())


def _lines(rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _last_byte(file: io.BufferedRandom) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
