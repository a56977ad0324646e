"""What becomes of trials that nobody runs any more: their controller was killed or stopped."""

from collections.abc import Mapping, Sequence
from itertools import takewhile

from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.paths import SO_FAR
from mnist_sweep.runs.record import RunRecord, run_id_of
from mnist_sweep.search.engines.job import Job
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.optuna_private import is_given
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import (
    ATTEMPT,
    CONFIG,
    ERROR,
    LOSSES,
    OVERRIDES,
    RETRY,
    is_rejected,
)
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.trials.records import leave
from mnist_sweep.search.trials.rows import Rows
from mnist_sweep.search.trials.seeds import Seeds

MOST_LOSSES = 4
"""Workers that one point may cost before it counts as failed."""


class Recovery:
    def __init__(
        self,
        settings: SearchSettings,
        objectives: Objectives,
        ledger: Ledger,
        rows: Rows,
    ) -> None:
        self.ledger = ledger
        self.rows = rows
        self.records = rows.records
        self.layout = rows.records.layout
        self.objectives = objectives
        self.seeds = Seeds(settings, objectives, ledger)
        self.last_rung = None if settings.rungs is None else settings.rungs[-1]

    def recover(self) -> None:
        """Ends what controllers that are gone were running."""
        for trial in self.ledger.lost():
            self.abandon(trial, "its controller died, or was asleep for longer than its lease")

    def write_rejected(self) -> None:
        """Rows of rejected points that a controller of this machine was killed before writing."""
        rejected = [trial for trial in self.ledger.trials() if is_rejected(trial)]
        with self.rows.alone():  # nor does another write them
            written = self.rows.written()
            for trial in rejected:
                run_id = run_id_of(self.layout.sweep_dir / str(trial.number))
                if run_id not in written and self.ledger.leases.was_here(trial):
                    candidate = self.records.candidates.make(trial.params)
                    self.rows.reject(trial.number, candidate, trial.user_attrs[ERROR])
            self.rows.flush()

    def may_be_chance(self, number: int) -> bool:
        """Notes that the trial's worker vanished. False where that has happened to its point time
        and again, so that the point is to blame, as one that takes too much memory."""
        trial = self.ledger.trials()[number]
        losses = trial.user_attrs.get(LOSSES, 0) + 1
        self.ledger.note(trial, {LOSSES: losses})
        return bool(losses < MOST_LOSSES)

    def abandon(self, trial: FrozenTrial, why: str) -> None:
        """Ends a trial that nobody runs any more: as it ended, if it did, else to be retried."""
        with self.rows.alone():
            if not self.ledger.has_ended_by_now(
                trial.number
            ):  # nor did its controller wake up meanwhile
                self._end(trial, why)

    def _end(self, trial: FrozenTrial, why: str) -> None:
        found = self.layout.results(trial.number)
        if CONFIG not in trial.user_attrs:
            self._forget(trial, list(found.values()), why)
        elif reasons := [r.error for r in found.values() if r.status == "pruned"]:
            for record in found.values():  # of some it may not have been written yet
                record.status, record.error = "pruned", reasons[0]
                leave(record)
            self.rows.append(list(found.values()), replace=True)
            self.ledger.note(trial, {ERROR: reasons[0]})
            self.ledger.tell(trial, TrialState.PRUNED)
        else:
            self._end_by_seeds(trial, found, why)

    def _end_by_seeds(self, trial: FrozenTrial, found: dict[int, RunRecord], why: str) -> None:
        unfinished = [s for s in self.layout.seeds if not self._is_finished(found.get(s))]
        done = [found[s] for s in takewhile(lambda s: s not in unfinished, self.layout.seeds)]
        out = self.seeds.why_out(done)
        if unfinished and out is None:
            self._interrupt(trial, found, self._next(unfinished, found), why)
        else:
            self.rows.append(list(found.values()), replace=True)
            self.ledger.note(trial, self.seeds.notes(done, out))
            self.ledger.tell(trial, TrialState.COMPLETE, self.objectives.value(done))

    def _next(self, unfinished: Sequence[int], found: Mapping[int, RunRecord]) -> int:
        """Runs go from seed to seed, and then to the next rung; in a race up the rungs first."""
        by_rung = min(unfinished, key=lambda seed: _rung(found.get(seed)))
        return unfinished[0] if self.seeds.races else by_rung

    def _is_finished(self, record: RunRecord | None) -> bool:
        if record is None:
            return False
        return record.status == "completed" and record.rung == self.last_rung

    def _forget(self, trial: FrozenTrial, found: list[RunRecord], why: str) -> None:
        """Ends a trial that had not begun, as far as the study knows. It is tried again only where
        its point is not the sampler's, which would propose others as good."""
        for record in found:
            record.status, record.error = "interrupted", why
            leave(record)
        if found:
            self.rows.append(found, replace=True)
        self.ledger.fail(trial, "interrupted", why, **{RETRY: is_given(trial)})

    def _interrupt(
        self, trial: FrozenTrial, found: dict[int, RunRecord], seed: int, why: str
    ) -> None:
        """Ends a trial that was under way, to be tried again. seed: of the run that was cut short,
        or would have been next."""
        so_far = self.layout.run_dir(trial.number, seed) / SO_FAR
        is_of_shorter_rung = seed in found and found[seed].status == "completed"
        if seed not in found or (is_of_shorter_rung and so_far.exists()):
            found[seed] = self._cut_short(trial, seed)
        found[seed].status = "interrupted"
        found[seed].error = f"{why}; it is tried again"
        leave(found[seed])
        self.rows.append(list(found.values()), replace=True)
        attempt = trial.user_attrs.get(ATTEMPT, 0)
        self.ledger.fail(trial, "interrupted", why, **{RETRY: True, ATTEMPT: attempt})

    def _cut_short(self, trial: FrozenTrial, seed: int) -> RunRecord:
        """Of a run that left no record."""
        last = trial.user_attrs.get(OVERRIDES)  # of the first seed
        if last is None:  # no run was begun
            last = self.records.candidates.make(trial.params).overrides
        overrides = tuple(last)
        if len(self.layout.seeds) > 1:  # else it may be the point's own
            overrides = tuple(f"seed={seed}" if o.startswith("seed=") else o for o in last)
        info = self.records.info(trial.number)
        job = Job(info, overrides, self.layout.subdir(trial.number, seed))
        record = self.records.missing(job, trial.params, "interrupted", "")
        if self.last_rung is not None and OVERRIDES in trial.user_attrs:
            record.rung = record.epochs
        return record


def _rung(record: RunRecord | None) -> int:
    """That the run has come to the end of; 0 where it came to none."""
    return record.rung or 0 if record is not None and record.status == "completed" else 0
