"""What becomes of trials that nobody runs any more: their controller was killed or stopped."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.runs.provenance import TrialInfo
from mnist_sweep.runs.record import RunRecord, run_id_of
from mnist_sweep.search.engines.job import Job
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.optuna_private import is_given
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

MOST_LOSSES = 4
"""Workers that one point may cost before it counts as failed."""


class Recovery:
    def __init__(
        self,
        ledger: Ledger,
        rows: Rows,
        objectives: Objectives,
        rungs: Sequence[int] | None,
    ) -> None:
        self.ledger = ledger
        self.rows = rows
        self.records = rows.records
        self.layout = rows.records.layout
        self.objectives = objectives
        self.last_rung = None if rungs is None else rungs[-1]

    def recover(self) -> None:
        """Takes over what controllers that are gone were running."""
        for trial in self.ledger.lost():
            self.abandon(trial, "its controller died, or was asleep for longer than its lease")
        self.ledger.queue_retries()

    def write_rejected(self) -> None:
        """Rows of rejected points that a controller of this machine was killed before writing."""
        written = self.rows.written()
        for trial in self.ledger.trials():
            run_id = run_id_of(self.layout.sweep_dir / str(trial.number))
            if is_rejected(trial) and run_id not in written and self.ledger.leases.was_here(trial):
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
            if not self.ledger.has_ended(trial.number):  # nor did its controller wake up meanwhile
                self._end(trial, why)

    def _end(self, trial: FrozenTrial, why: str) -> None:
        found = self.layout.results(trial.number)
        if CONFIG not in trial.user_attrs:
            self._forget(trial, list(found.values()), why)
        elif reasons := [r.error for r in found.values() if r.status == "pruned"]:
            for record in found.values():
                record.status, record.error = "pruned", reasons[0]
            self.rows.append(list(found.values()), replace=True)
            self.ledger.note(trial, {ERROR: reasons[0]})
            self.ledger.tell(trial, TrialState.PRUNED)
        elif unfinished := [s for s in self.layout.seeds if not self._is_finished(found.get(s))]:
            self._interrupt(trial, found, unfinished[0], why)
        else:
            self.rows.append(list(found.values()), replace=True)
            self.ledger.tell(trial, TrialState.COMPLETE, self.objectives.value(found.values()))

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
        if seed not in found:
            info = TrialInfo(self.ledger.study.study_name, trial.number, None)
            overrides = tuple(trial.user_attrs.get(OVERRIDES, ()))
            job = Job(info, overrides, self.layout.subdir(trial.number, seed))
            found[seed] = self.records.missing(job, trial.params, "interrupted", "")
        found[seed].status = "interrupted"
        found[seed].error = f"{why}; it is tried again"
        leave(found[seed])
        self.rows.append(list(found.values()), replace=True)
        attempt = trial.user_attrs.get(ATTEMPT, 0)
        self.ledger.fail(trial, "interrupted", why, **{RETRY: True, ATTEMPT: attempt})
