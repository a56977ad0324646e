"""What is recorded of a run: one typed record, in its directory as result.json."""

import hashlib
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics, best_epoch
from mnist_sweep.paths import RESULT
from mnist_sweep.writing import write_whole

Status = Literal["completed", "diverged", "interrupted", "failed", "pruned", "infeasible"]


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
    """Of the whole run in all its processes, loading and evaluation included."""
    train_seconds: float | None = None
    images_per_s: float | None = None
    peak_rss_mb: float | None = None
    device: str | None = None
    host: str | None = None
    """Name of the machine on which it ran last."""
    gpu: str | None = None
    """Which one of that machine's, and its name: `1: NVIDIA H100`."""
    precision: str | None = None
    threads: int | None = None
    mnist_sweep_version: str | None = None
    torch_version: str | None = None
    python_version: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    code: str | None = None
    """Equal for runs of the same sources, of this package and of the user's own modules."""
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

    @property
    def columns(self) -> list[str]:
        return list(self.row())

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "RunRecord":
        """The record that `row` made (result.json holds one); other columns are groups.

        Raises:
            TypeError, ValueError: a value is missing, or is none that its column can have.
        """
        names = {column.name for column in fields(cls)}
        own = {name: value for name, value in row.items() if name in names}
        groups = {name: value for name, value in row.items() if name not in names}
        record = cls(**own, groups=groups)
        for name, hint in get_type_hints(cls).items():
            if not _fits(getattr(record, name), get_args(hint) or (hint,)):
                raise ValueError(f"{name} cannot be {str(getattr(record, name))[:40]!r}")
        return record

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


def _fits(value: Any, kinds: Sequence[Any]) -> bool:
    """kinds: types, or the words that a column may hold."""
    if isinstance(value, bool) or value is None:
        return type(value) in kinds
    if isinstance(value, int):
        return (int in kinds or float in kinds) and abs(value) <= sys.maxsize
    if isinstance(value, dict):  # the groups
        return all(not isinstance(choice, list | dict) for choice in value.values())
    return type(value) in kinds or value in kinds


@dataclass(frozen=True)
class RunName:
    """By which the tables know a run."""

    run_id: str
    run_dir: str
    """As seen from the folder in which the command was started."""

    @classmethod
    def of(cls, run_dir: Path) -> "RunName":
        return cls(run_id_of(run_dir), os.path.relpath(run_dir))


def run_id_of(run_dir: Path) -> str:
    """A short name for the run in this directory; a letter first, so that no reader takes it for
    a number."""
    return "r" + hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:9]


def write_result(run_dir: Path, record: RunRecord) -> None:
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.row().items()
    }
    write_whole(run_dir / RESULT, json.dumps(finite, indent=1, allow_nan=False) + "\n")


def read_result(run_dir: Path) -> RunRecord:
    """
    Raises:
        UserError: result.json is missing or damaged; its cause is what was raised.
    """
    path = run_dir / RESULT
    try:
        return RunRecord.from_row(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); choose another run") from error
