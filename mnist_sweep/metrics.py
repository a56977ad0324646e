"""What one epoch measured: the record that training, schedulers and the run directory share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Monitor = Literal["train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc"]


@dataclass(frozen=True)
class Score:
    """loss: mean cross-entropy (nats, no label smoothing). acc: share of images, 0..1."""

    loss: float
    acc: float


@dataclass(frozen=True)
class EpochMetrics:
    """One row of history.csv. Losses in nats, accuracies as fractions of 1.

    val and test are of the averaged weights where weight averaging is on, `_raw` of the weights
    that the optimizer steps on. test is None unless the protocol watches the test set.
    """

    epoch: int
    lr: float
    """Learning rate of the epoch's last step."""
    train_loss: float
    """Mean over the epoch's batches as they were trained on: augmented, smoothed, with dropout."""
    train_acc: float
    val_loss: float | None
    val_acc: float | None
    val_loss_raw: float | None
    val_acc_raw: float | None
    test_loss: float | None
    test_acc: float | None
    seconds: float
    """Of training, without evaluation."""
    images_per_s: float

    @property
    def is_finite(self) -> bool:
        """Whether every loss that was measured is a number; the weights are of no use if not."""
        losses = (self.train_loss, self.val_loss, self.val_loss_raw, self.test_loss)
        return all(math.isfinite(loss) for loss in losses if loss is not None)


def best_epoch(history: Sequence[EpochMetrics]) -> int | None:
    """The first epoch with the highest val_acc; None without a validation set."""
    scored = [
        (metrics.val_acc, -metrics.epoch) for metrics in history if metrics.val_acc is not None
    ]
    return -max(scored)[1] if scored else None


def is_accuracy(name: str) -> bool:
    """Whether the values of this measure or column are fractions of 1, shown in percent."""
    return name.endswith(("_acc", "_acc_raw", "_acc_peak"))
