"""The life of a trial: from its first run, over more seeds and longer schedules, to its end.

begin -> a run ends -> with more seeds to come         the next seed's run
                    -> promoted to the next rung       its first run
                    -> otherwise                       completed, pruned or failed

In a race more seeds are to come as long as the trial can be the winner.
"""

from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import CHECKPOINT
from mnist_sweep.runs.record import RunName, RunRecord, Status
from mnist_sweep.search.engines.job import Ended, Job
from mnist_sweep.search.objectives import Objectives, standard_error
from mnist_sweep.search.points.proposing import Accepted
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import (
    ATTEMPT,
    ERROR,
    OVERRIDES,
    RETRY,
    RETRY_OF,
    STANDARD_ERROR,
)
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.trials.pruning import why_hopeless
from mnist_sweep.search.trials.records import is_left, leave
from mnist_sweep.search.trials.rows import Rows
from mnist_sweep.search.trials.rungs import note_rung, why_not_promoted
from mnist_sweep.search.trials.running import RunningTrial
from mnist_sweep.search.trials.seeds import Seeds

GIVEN_UP = "its controller was asleep for longer than its lease; it is tried again"


@dataclass(frozen=True)
class Verdict:
    """That a trial has ended."""

    trial: int
    error: str | None
    """Why it failed; None where it was completed or pruned."""


class Lifecycle:
    """The trials that this controller has under way. Says what is to be trained next; by whom, and
    when, is not its business.

    threads: that each run is to take; None leaves it as its config has it.
    """

    def __init__(
        self,
        settings: SearchSettings,
        objectives: Objectives,
        ledger: Ledger,
        rows: Rows,
        threads: int | None,
    ) -> None:
        self.settings = settings
        self.objectives = objectives
        self.ledger = ledger
        self.rows = rows
        self.records = rows.records
        self.layout = rows.records.layout
        self.seeds = Seeds(settings, objectives, ledger)
        self.threads = threads
        self.running: dict[int, RunningTrial] = {}

    def begin(self, accepted: Accepted) -> Job:
        """The first run of a new trial."""
        trial, candidate = accepted.trial, accepted.candidate
        accepted.note()
        # A directory of that name is of a trial that the study has lost (a cut journal).
        lost = self.layout.is_begun(trial.number)
        epochs = candidate.settings.trainer.epochs
        running = RunningTrial(trial, candidate.overrides, epochs, lost)
        self.running[trial.number] = running
        return self._next_run(running)

    def _next_run(self, running: RunningTrial) -> Job:
        seeds = self.layout.seeds
        seed = seeds[len(running.records)]
        overrides = list(running.overrides)
        rung = None
        if self.settings.rungs is not None:
            rung = self.settings.rungs[running.rung]
            overrides.append(f"trainer.epochs={rung}")
        if len(seeds) > 1:
            overrides.append(f"seed={seed}")
        if self.threads is not None:
            overrides.append(f"trainer.threads={self.threads}")
        if seed == seeds[0]:
            running.trial.set_user_attr(OVERRIDES, overrides)
        earlier = self._cut_short(running.trial.user_attrs.get(RETRY_OF), seed)
        name = RunName.of(self.layout.run_dir(running.number, seed))
        info = self.records.info(running.number, rung, earlier, name)
        return Job(info, tuple(overrides), self.layout.subdir(running.number, seed))

    def _cut_short(self, retry_of: int | None, seed: int) -> Path | None:
        """The directory of the run that this one goes on with. The last attempt may have been
        killed before it had taken over the checkpoint of the one before."""
        while retry_of is not None:
            run_dir = self.layout.run_dir(retry_of, seed).absolute()
            if (run_dir / CHECKPOINT).exists():
                return run_dir
            retry_of = self.ledger.trials()[retry_of].user_attrs.get(RETRY_OF)
        return None

    def on_epoch(self, job: Job, history: list[EpochMetrics]) -> str | None:
        """Why the run is to end: the pruner would end it, or another controller has ended the
        trial. The pruner goes by the first seed, where there are more."""
        running = self.running[job.info.trial]
        if self.ledger.has_ended(running.number):
            return GIVEN_UP
        if self.settings.pruner is None or running.records:
            return None
        told, running.told = running.told, len(history)  # several are new where a run is resumed
        objective = self.objectives.names[0]
        try:
            return why_hopeless(running.trial, objective, history, told, running.epochs)
        except UpdateFinishedTrialError:  # just now
            return GIVEN_UP

    def take(self, ended: Ended) -> Job | Verdict:
        """What follows from the end of a run: the trial's next run, or its own end."""
        running = self.running[ended.job.info.trial]
        record = ended.record
        if record is None:
            params, error = running.trial.params, str(ended.error)
            record = self.records.missing(ended.job, params, "failed", error)
        try:
            if not self.ledger.has_ended(running.number):
                return self._go_on(running, record)
        except UpdateFinishedTrialError:  # just now
            pass
        with self.rows.alone():
            return self._give_up(running, record)

    def _go_on(self, running: RunningTrial, record: RunRecord) -> Job | Verdict:
        running.records[record.run_id] = record
        if record.status == "pruned":
            return self._conclude(running, TrialState.PRUNED)
        if record.status != "completed":
            return self._fail(running, record)
        rungs, records = self.settings.rungs, list(running.records.values())
        is_last_rung = rungs is None or running.rung == len(rungs) - 1
        out = None
        if len(records) < self.seeds.number_at(is_last_rung=is_last_rung):
            out = self.seeds.why_out(records)
            if out is None:
                return self._next_run(running)
        value = self.objectives.value(records)
        if rungs is not None:
            note_rung(running.trial, rungs[running.rung], value)
        if rungs is not None and not is_last_rung:
            return self._climb(running, rungs)
        self.ledger.note(running.trial, self.seeds.notes(records, out))
        return self._conclude(running, TrialState.COMPLETE, value)

    def _climb(self, running: RunningTrial, rungs: tuple[int, ...]) -> Job | Verdict:
        """What follows from having come to the end of a rung that is not the last."""
        values = self.ledger.count().values_at(rungs[running.rung])
        reason = why_not_promoted(running.number, values, rungs, running.rung, self.objectives)
        if reason is not None:
            return self._conclude(running, TrialState.PRUNED, reason=reason)
        running.rung += 1
        running.records = {}  # the next rung's take their place
        return self._next_run(running)

    def _conclude(
        self,
        running: RunningTrial,
        state: TrialState,
        value: list[float] | None = None,
        reason: str | None = None,
    ) -> Verdict:
        """Row first: a trial that the study knows to have ended has its row. reason: of its end,
        where its runs do not know it."""
        records = list(running.records.values())
        with self.rows.alone():
            if not self.ledger.has_ended_by_now(running.number):
                status: Status = "pruned" if state == TrialState.PRUNED else "completed"
                self._write(running, status, reason)
                if state == TrialState.PRUNED:
                    self.ledger.note(running.trial, {ERROR: records[-1].error})
                elif self.settings.patience is not None:
                    error = standard_error(self.objectives.names[0], records)
                    self.ledger.note(running.trial, {STANDARD_ERROR: error})
                if self.ledger.tell(running.trial, state, value):
                    del self.running[running.number]
                    return Verdict(running.number, None)
            return self._give_up(running, records[-1])

    def _fail(self, running: RunningTrial, record: RunRecord) -> Verdict:
        attempt = running.trial.user_attrs.get(ATTEMPT, 0)
        retry = record.status == "failed" and attempt < self.settings.max_retries
        attrs = {RETRY: retry, ATTEMPT: attempt}
        with self.rows.alone():
            if self.ledger.has_ended_by_now(running.number):
                return self._give_up(running, record)
            if running.rung > 0:  # other seeds' runs stand as the rung before left them
                for other in self.layout.results(running.number).values():
                    running.records.setdefault(other.run_id, other)
            self._write(running)
            self.ledger.fail(running.trial, record.status, str(record.error), **attrs)
        del self.running[running.number]
        return Verdict(running.number, str(record.error))

    def _write(
        self, running: RunningTrial, status: Status | None = None, reason: str | None = None
    ) -> None:
        """result.json and rows of the trial's runs. status, reason: of all of them, unless they
        stay.

        Where result.json is not as the run left it, the run left none, or another controller took
        this one for dead and was itself ended before it told the study: it may have written rows.
        """
        is_others = False
        for record in running.records.values():
            is_as_left = is_left(record)
            is_others |= not is_as_left
            if status is not None and record.status != status:
                record.status, is_as_left = status, False
            if reason is not None:
                record.error, is_as_left = reason, False
            if not is_as_left:
                leave(record)
        records = list(running.records.values())
        self.rows.append(records, replace=running.replaces or is_others)

    def _give_up(self, running: RunningTrial, record: RunRecord) -> Verdict:
        """Leaves the trial as another controller ended it while this one was asleep for longer than
        its lease. record: of the run that it has just made."""
        del self.running[running.number]
        if self.ledger.trials()[running.number].state == TrialState.FAIL:
            record.status, record.error = "interrupted", GIVEN_UP
            leave(record)
            self.rows.append([record], replace=True)
        return Verdict(running.number, None)
