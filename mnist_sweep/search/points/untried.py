"""What is left of a small space, so that a search of it ends when its last point is tried."""

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.optuna_private import look_anew
from mnist_sweep.search.points.space import Space
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import CONFIG, STATUS, is_finished
from mnist_sweep.search.study.ledger import OPEN, Ledger

MOST_LISTED = 10_000
"""Points of a space that is small enough to be listed; that takes a moment."""

TRIED = ("infeasible", "diverged")
"""Statuses of trials that would end so again."""

TRIED_HERE = ("failed", "duplicate")
"""Those of trials that may end otherwise in another command."""

Key = tuple[tuple[str, str], ...]


class Untried:
    """The points that no trial of the study has. A trial that failed counts for the command that
    saw it alone: the next one may have mended the reason."""

    def __init__(self, points: Mapping[Key, dict[str, Any]], ledger: Ledger) -> None:
        self.left = dict(points)
        self.all = frozenset(points)
        self.ledger = ledger
        self.first = len(ledger.trials())
        """Number of this command's first trial."""
        self.seen = 0
        """So many trials, from the first one on, have ended and are taken off."""

    def points(self) -> list[dict[str, Any]]:
        return list(self._left().values())

    @property
    def size(self) -> int:
        return len(self.all)

    @property
    def is_empty(self) -> bool:
        return not self._left()

    def has(self, params: Mapping[str, Any]) -> bool:
        """Whether the point has not been tried by a trial that has ended."""
        self._take_off()
        return point_key(params) in self.left

    def place(self, number: int | None = None) -> dict[str, Any] | None:
        """The first point that is left for the trial of this number, or for the next one; None if
        there is none. Trials with lower numbers whose points are not yet to be seen, as another
        controller has just begun them, come first."""
        left = list(self._left().values())
        before = sum(
            not self._shows(trial)
            for trial in self.ledger.count().of_state(TrialState.RUNNING)
            if number is None or trial.number < number
        )
        return left[before] if before < len(left) else None

    def others_at(self, params: Mapping[str, Any], number: int) -> list[int]:
        """Trials that run at this point, but for the one of this number."""
        look_anew(self.ledger.study)
        key = point_key(params)
        running = self.ledger.count().of_state(TrialState.RUNNING)
        return [t.number for t in running if t.number != number and point_key(t.params) == key]

    def _shows(self, trial: FrozenTrial) -> bool:
        """Whether it has all of its point: it is one of these, or its training is decided."""
        return CONFIG in trial.user_attrs or point_key(trial.params) in self.all

    def _left(self) -> dict[Key, dict[str, Any]]:
        """Without those that are being tried."""
        self._take_off()
        running = {point_key(t.params) for t in self.ledger.trials()[self.seen :] if self._uses(t)}
        return {key: point for key, point in self.left.items() if key not in running}

    def _take_off(self) -> None:
        trials = self.ledger.trials()
        while self.seen < len(trials) and trials[self.seen].state.is_finished():
            if self._uses(trials[self.seen]):
                self.left.pop(point_key(trials[self.seen].params), None)
            self.seen += 1

    def _uses(self, trial: FrozenTrial) -> bool:
        status = trial.user_attrs.get(STATUS)
        if trial.number >= self.first and status in TRIED_HERE:
            return True
        return trial.state in OPEN or is_finished(trial) or status in TRIED


def listed(space: Space, settings: SearchSettings) -> dict[Key, dict[str, Any]] | None:
    """The points of a space, each once; None if they are too many or not known, if the sampler
    itself goes through them, or if they may be tried again and again."""
    if settings.tries_every_point or not settings.skip_repeats:
        return None
    points = space.points(MOST_LISTED)
    return None if points is None else by_key(points)


def by_key(points: Iterable[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Each of them once, in their order."""
    return {point_key(point): point for point in points}


def point_key(params: Mapping[str, Any]) -> Key:
    """The same for the same values, whatever they have been through (1, 1.0 and true differ)."""
    return tuple(sorted((name, _text(value)) for name, value in params.items()))


def _text(value: Any) -> str:
    return f"{value:.12g}f" if isinstance(value, float) else repr(value)
