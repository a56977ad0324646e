"""How many seeds a trial is trained with: a fixed number, or as long as it can be the winner."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from mnist_sweep.runs.record import RunRecord
from mnist_sweep.search.objectives import Objectives, format_value
from mnist_sweep.search.settings import Race, SearchSettings
from mnist_sweep.search.study.attributes import OUT, SEED_VALUES
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.trials.racing import lag


def num_seeds(settings: SearchSettings) -> int:
    """That a configuration is trained with, at most."""
    replicates = settings.replicates
    return replicates.max if isinstance(replicates, Race) else replicates


def is_race(settings: SearchSettings) -> bool:
    replicates = settings.replicates
    return isinstance(replicates, Race) and replicates.race


class Seeds:
    """A trial's value is the mean of the seeds that it had, also where it had fewer than others:
    that of a configuration which nobody has chosen yet is as good an estimate with few."""

    def __init__(self, settings: SearchSettings, objectives: Objectives, ledger: Ledger) -> None:
        self.races = is_race(settings)
        self.num_seeds = num_seeds(settings)
        self.objectives = objectives
        self.ledger = ledger

    def number_at(self, *, is_last_rung: bool) -> int:
        """At most. On the way up the rungs a race is run with one seed."""
        return self.num_seeds if is_last_rung or not self.races else 1

    def why_out(self, records: Sequence[RunRecord]) -> str | None:
        """Why a trial that ran with these seeds needs no more; None if it does."""
        if not (self.races and records):
            return None
        rivals = [t for t in self.ledger.count().completed if SEED_VALUES in t.user_attrs]
        values = [self._score(value) for value in self._values(records)]
        others = [[self._score(v) for v in trial.user_attrs[SEED_VALUES]] for trial in rivals]
        behind = lag(values, others, self.num_seeds)
        if behind is None or not behind.is_out:
            return None
        n, best = len(values), rivals[behind.best]
        same = fmean(best.user_attrs[SEED_VALUES][:n])
        return (
            f"after {n} of {self.num_seeds} seeds: {format_value(fmean(self._values(records)))} "
            f"against {format_value(same)} of trial {best.number} with the same; "
            f"{format_value(behind.bound)} may be chance"
        )

    def notes(self, records: Sequence[RunRecord], out: str | None) -> dict[str, Any]:
        """What the study is to know of a completed trial. out: as of `why_out`."""
        if self.num_seeds == 1 or len(self.objectives.names) > 1:
            return {}
        notes: dict[str, Any] = {SEED_VALUES: self._values(records)}
        return notes if out is None else {**notes, OUT: out}

    def _values(self, records: Sequence[RunRecord]) -> list[float]:
        return [self.objectives.value([record])[0] for record in records]

    def _score(self, value: float) -> float:
        return self.objectives.scores([value])[0]
