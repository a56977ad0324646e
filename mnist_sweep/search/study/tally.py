"""What the trials of a study come to, without going through all of them again and again."""

from bisect import bisect_left, insort
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.study.attributes import (
    CONFIG,
    FIRST,
    RETRY,
    RETRY_OF,
    STATUS,
    at_rung,
    is_finished,
    is_rejected,
)


class Tally:
    """An ended trial never changes, so each is counted once; those that have not ended are few.

    It knows what its last `update` was given.
    """

    def __init__(self, rungs: Sequence[int] = ()) -> None:
        self.seen = 0
        """Trials, ended or not."""
        self.open: list[FrozenTrial] = []
        """Those that run or wait, as they were last seen, by number."""
        self.finished: list[int] = []
        """Numbers of the finished ones, in their order."""
        self.completed: list[FrozenTrial] = []
        """In the order in which they were seen to be."""
        self.rejected = 0
        self.configs: dict[str, int] = {}
        """Configuration -> the ended trial that has tried it."""
        self.retries: dict[int, int] = {}
        """Trial -> the first one that is its retry."""
        self.first: dict[str, int] = {}
        """Point to try first -> the first trial that is for it."""
        self.to_retry: list[FrozenTrial] = []
        """Ended trials that are to be tried again, and have no retry yet."""
        self.values: dict[int, dict[int, list[float]]] = {epochs: {} for epochs in rungs}
        """Epochs of a rung -> ended trial -> its objectives there."""

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """trials: all of the study, by number."""
        new = trials[self.seen :]
        self.seen = len(trials)
        for trial in new:
            if RETRY_OF in trial.user_attrs:
                self.retries.setdefault(trial.user_attrs[RETRY_OF], trial.number)
            if FIRST in trial.user_attrs:
                self.first.setdefault(trial.user_attrs[FIRST], trial.number)
        still_open = []
        for trial in [*(trials[trial.number] for trial in self.open), *new]:
            if trial.state.is_finished():
                self._count(trial)
            else:
                still_open.append(trial)
        self.open = still_open
        to_retry = (trial for trial in self.to_retry if trial.number not in self.retries)
        self.to_retry = sorted(to_retry, key=lambda trial: trial.number)

    def _count(self, trial: FrozenTrial) -> None:
        attrs = trial.user_attrs
        if is_finished(trial):
            insort(self.finished, trial.number)
        if trial.state == TrialState.COMPLETE:
            self.completed.append(trial)
        self.rejected += is_rejected(trial)
        if CONFIG in attrs and (is_finished(trial) or attrs.get(STATUS) == "diverged"):
            self.configs[attrs[CONFIG]] = trial.number  # a diverged one would diverge again
        if trial.state == TrialState.FAIL:
            if attrs.get(RETRY):
                self.to_retry.append(trial)
            return
        for epochs, values in self.values.items():
            if (found := at_rung(trial, epochs)) is not None:
                values[trial.number] = found

    def of_state(self, state: TrialState) -> list[FrozenTrial]:
        """Those of the open ones."""
        return [trial for trial in self.open if trial.state == state]

    def taken(self, *states: TrialState, before: int | None = None) -> int:
        """Trials that are finished or in one of these states, of those with lower numbers."""
        end = self.seen if before is None else before
        rest = sum(trial.number < end and trial.state in states for trial in self.open)
        return bisect_left(self.finished, end) + rest

    def values_at(self, epochs: int) -> dict[int, list[float]]:
        """Trial -> its objectives, of all that came to the end of this rung and did not fail."""
        reported = ((trial.number, at_rung(trial, epochs)) for trial in self.open)
        return self.values[epochs] | {n: found for n, found in reported if found is not None}

    @property
    def pruned(self) -> int:
        return len(self.finished) - len(self.completed)
