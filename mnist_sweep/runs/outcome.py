"""Whether two runs came out the same, bit for bit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from mnist_sweep.errors import FailureError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import HISTORY, MODEL, RESULT
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.saved import SavedRun

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_sweep.train import Weights

OF_THE_CLOCK = ("seconds", "images_per_s")
"""Columns of history.csv that no run repeats."""

RESULTS = (
    *("val_acc", "val_loss", "val_acc_raw", "val_loss_raw", "weights_epoch"),
    *("test_acc", "test_loss", "test_acc_raw", "test_loss_raw", "test_acc_peak"),
)
"""Columns of the record that --check compares, in all their digits."""


@dataclass(frozen=True)
class Outcome:
    """What a run measured, and the weights that it saved, if it got so far."""

    record: RunRecord
    history: list[EpochMetrics]
    weights: "Weights | None"

    @property
    def is_over(self) -> bool:
        """Whether the run came to its end, and so has results."""
        return self.record.status in ("completed", "diverged")

    @classmethod
    def of(cls, run: SavedRun) -> "Outcome":
        """
        Raises:
            UserError: the run finished no epoch, or a file of it is damaged.
        """
        weights = run.weights() if (run.run_dir / MODEL).exists() else None
        return cls(run.record, run.history(), weights)


def compare(before: Outcome, after: Outcome) -> str:
    """Says that two runs are identical, bit for bit as far as the first one got.

    Raises:
        FailureError: they are not; it names the first difference.
    """
    differences = [*_differences(before, after)]
    if differences:
        more = f" (and {len(differences) - 1:,} more differences)" if differences[1:] else ""
        raise FailureError(f"not identical: {differences[0]}{more}")
    accs = {"val_acc": before.record.val_acc, "test_acc": before.record.test_acc}
    shown = "".join(f", {name} {acc:.4f}" for name, acc in accs.items() if acc is not None)
    epochs = f"{len(before.history)} epoch{'s' * (len(before.history) > 1)} of {HISTORY}"
    if not before.is_over:
        return f"identical bit for bit{shown}: the {epochs} before it was {before.record.status}"
    parts = [epochs, RESULT]
    if before.weights is not None:
        parts.append(f"{MODEL} ({sum(w.numel() for w in before.weights.values()):,} numbers)")
    return f"identical bit for bit{shown}: {', '.join(parts)}"


def _differences(before: Outcome, after: Outcome) -> Iterator[str]:
    """In the order in which the runs came to them."""
    for old, new in zip(before.history, after.history, strict=False):
        for column in fields(EpochMetrics):
            if column.name not in OF_THE_CLOCK:
                yield from _difference(
                    f"epoch {old.epoch} {column.name}",
                    getattr(old, column.name),
                    getattr(new, column.name),
                )
    done, now_done = len(before.history), len(after.history)
    if now_done < done or (before.is_over and now_done != done):
        yield f"{now_done} epochs, recorded are {done}"
    if not before.is_over:
        return
    for name in RESULTS:
        yield from _difference(name, getattr(before.record, name), getattr(after.record, name))
    if before.weights is None:
        return
    theirs = after.weights or {}
    if list(before.weights) != list(theirs):
        yield f"{MODEL} has other tensors"
        return
    for name, tensor in before.weights.items():
        yield from _tensor_difference(name, tensor, theirs[name])


def _difference(what: str, old: float | None, new: float | None) -> Iterator[str]:
    if old is None or new is None:
        if old is not new:
            yield f"{what} is {new}, recorded is {old}"
    elif old != new and not (math.isnan(old) and math.isnan(new)):
        yield f"{what} is {new:.9g}, recorded is {old:.9g} (off by {abs(new - old):.1g})"


def _tensor_difference(name: str, old: "Tensor", new: "Tensor") -> Iterator[str]:
    if (old.shape, old.dtype) != (new.shape, new.dtype):
        yield f"{MODEL}: {name} has another shape or type"
    elif old.numpy().tobytes() != new.numpy().tobytes():  # so that -0 and NaN count as they are
        wrong = int((old != new).sum())
        largest = float((old - new).abs().max())
        count = f"{wrong:,} of {old.numel():,}"
        yield f"{MODEL}: {name}: {count} numbers are off by up to {largest:.1g}"
