"""Whether a search still gets better: it may end after so many trials that brought no gain.

What it goes by is in the study's trials alone, so that all controllers, and a later command, come
to the same.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.objectives import Objectives, format_noise
from mnist_sweep.search.study.attributes import STANDARD_ERROR
from mnist_sweep.search.study.ledger import Ledger


@dataclass(frozen=True)
class Standstill:
    trials: int
    """Finished since the last gain; 0 where none is completed."""
    noise: float
    """A gain is more than this, in the objective's unit."""


class Patience:
    """limit: finished trials without a gain; None: there is no end to it."""

    def __init__(self, limit: int | None, ledger: Ledger, objectives: Objectives) -> None:
        self.limit = limit
        self.ledger = ledger
        self.objectives = objectives
        self.counted = 0
        """Finished trials of which `last` is."""
        self.last = Standstill(0, 0.0)

    @property
    def is_over(self) -> bool:
        """It may be not over again, once a trial that still runs has brought a gain."""
        return self.limit is not None and self._standstill(self.limit).trials >= self.limit

    def why(self) -> str:
        beyond = f" beyond {format_noise(self.last.noise)}" if self.last.noise else ""
        return (
            f"no gain{beyond} in {self.last.trials} trials (hydra.sweeper.patience={self.limit}; "
            "a larger one goes on)"
        )

    def _standstill(self, limit: int) -> Standstill:
        finished = self.ledger.count().finished
        if len(finished) != self.counted and len(finished) >= limit:
            self.counted = len(finished)
            trials = self.ledger.trials()
            self.last = standstill([trials[number] for number in finished], self.objectives)
        return self.last


def standstill(finished: Sequence[FrozenTrial], objectives: Objectives) -> Standstill:
    """finished: completed or pruned trials, in any order. There is one objective."""
    noise = _noise(finished, objectives)
    best, since = -math.inf, 0
    for trial in sorted(finished, key=_end):
        since += 1
        if trial.state == TrialState.COMPLETE:
            [score] = objectives.scores(trial.values)
            if score > best + noise:
                best, since = score, 0
    return Standstill(0 if best == -math.inf else since, noise)


def _end(trial: FrozenTrial) -> tuple[float, int]:
    end = trial.datetime_complete
    return (0.0 if end is None else end.timestamp(), trial.number)


def _noise(finished: Sequence[FrozenTrial], objectives: Objectives) -> float:
    """The median standard error of the better half: bad trials are noisier, and that of a single
    one is known badly where it is of a few seeds. 0 where no trial says."""
    completed = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    completed.sort(key=lambda trial: objectives.scores(trial.values), reverse=True)
    better = completed[: (len(completed) + 1) // 2]
    known = [t.user_attrs[STANDARD_ERROR] for t in better if STANDARD_ERROR in t.user_attrs]
    return statistics.median(known) if known else 0.0
