"""Learning-rate schedules: pure functions of the step and of what the epochs so far measured.

Nothing here keeps state, so a resumed run needs none, and a schedule is tested by a table of
values.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from mnist_sweep.config import Count, CountFromZero, Schema
from mnist_sweep.metrics import EpochMetrics, Monitor

Epochs = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Clock:
    """step: from 0, over the whole run. history: one entry a finished epoch."""

    step: int
    steps_per_epoch: int
    epochs: int
    history: Sequence[EpochMetrics]

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    @property
    def num_steps(self) -> int:
        return self.steps_per_epoch * self.epochs


class Scheduler(Schema):
    @abstractmethod
    def factor(self, clock: Clock) -> float:
        """What the optimizer's lr is multiplied by at this step, 0..1."""


class Warmed(Scheduler):
    warmup_epochs: Epochs
    """Rise linearly from 0 over so many epochs, at most half the run."""

    def factor(self, clock: Clock) -> float:
        steps = self.warmup_steps(clock)
        if clock.step < steps:
            return (clock.step + 1) / (steps + 1)
        return self.after_warmup(clock)

    def warmup_steps(self, clock: Clock) -> int:
        return min(round(self.warmup_epochs * clock.steps_per_epoch), clock.num_steps // 2)

    @abstractmethod
    def after_warmup(self, clock: Clock) -> float: ...


class Constant(Warmed):
    def after_warmup(self, clock: Clock) -> float:
        return 1.0


class Step(Warmed):
    """Multiplied by gamma every step_size epochs (torch's StepLR)."""

    step_size: Count
    """In epochs."""
    gamma: Annotated[float, Field(gt=0, le=1)]

    def after_warmup(self, clock: Clock) -> float:
        return self.gamma ** (clock.epoch // self.step_size)


class Plateau(Warmed):
    """Multiplied by gamma when the monitored figure stops improving (torch's ReduceLROnPlateau)."""

    monitor: Monitor
    """A loss is better lower, an accuracy higher."""
    gamma: Annotated[float, Field(gt=0, lt=1)]
    patience: CountFromZero
    """Epochs without improvement that are let pass."""
    threshold: Annotated[float, Field(ge=0, lt=1)]
    """Improvement that counts, as a share of the best so far."""

    def after_warmup(self, clock: Clock) -> float:
        factor, bad_epochs = 1.0, 0
        best = math.inf if self.monitor.endswith("_loss") else -math.inf
        for metrics in clock.history:
            value = getattr(metrics, self.monitor)
            if self.improves(value, best):
                best, bad_epochs = value, 0
            else:
                bad_epochs += 1
            if bad_epochs > self.patience:
                factor, bad_epochs = factor * self.gamma, 0
        return factor

    def improves(self, value: float, best: float) -> bool:
        if self.monitor.endswith("_loss"):
            return value < best * (1 - self.threshold)
        return value > best * (1 + self.threshold)


class OneCycle(Scheduler):
    """Up over the first part of the run, down over the rest, step by step.

    Source: Smith and Topin 2018, without momentum cycling. The peak is `warmup` of the way from the
    first of N steps to the last, at step warmup * (N - 1); torch's OneCycleLR has it at
    pct_start * N - 1. Both ends are shares of the peak; torch's last is one of its first.
    """

    warmup: Fraction
    """Share of all steps spent rising."""
    shape: Literal["linear", "cosine"]
    start: Fraction
    """Factor at the first step."""
    final: Fraction
    """Factor at the last step."""

    def factor(self, clock: Clock) -> float:
        last = max(clock.num_steps - 1, 1)
        top = self.warmup * last
        if clock.step < top:
            return self.between(self.start, 1.0, clock.step / top)
        return self.between(1.0, self.final, (clock.step - top) / ((last - top) or 1))

    def between(self, begin: float, end: float, share: float) -> float:
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return begin + (end - begin) * share


class Cosine(Warmed):
    """Half a cosine from 1 down to `final` (torch's CosineAnnealingLR, taken at every step)."""

    final: Fraction

    def after_warmup(self, clock: Clock) -> float:
        warmup = self.warmup_steps(clock)
        share = (clock.step - warmup) / max(clock.num_steps - warmup, 1)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2
