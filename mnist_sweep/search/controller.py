"""The loop of a search: give each free worker a run, wait for the next run to end, handle its end.

Runs one sweep, alone or beside other controllers on the same study.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from optuna.exceptions import UpdateFinishedTrialError

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.search.display.progress import Progress
from mnist_sweep.search.display.summary import Summary
from mnist_sweep.search.engines.engine import Engine
from mnist_sweep.search.engines.job import Ended, Job
from mnist_sweep.search.failures import Failures
from mnist_sweep.search.interrupts import Interrupts
from mnist_sweep.search.patience import Patience
from mnist_sweep.search.points.proposing import Accepted, Proposer, Rejected
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import is_finished
from mnist_sweep.search.study.ended import note_begin, note_end
from mnist_sweep.search.study.lasting import OutageWait, StorageFailureError
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.study.requests import Requests
from mnist_sweep.search.trials.lifecycle import Lifecycle, Verdict
from mnist_sweep.search.trials.recovery import Recovery
from mnist_sweep.search.trials.rows import Rows

WAIT_S = 0.5
"""For the end of a run, or of another controller's."""


BY_HAND = "stopped by hand"


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C; the study can be gone on with."""


class Controller:
    def __init__(
        self,
        settings: SearchSettings,
        n_trials: int,
        *,
        engine: Engine,
        outage_wait: OutageWait,
        ledger: Ledger,
        proposer: Proposer,
        lifecycle: Lifecycle,
        recovery: Recovery,
        rows: Rows,
        failures: Failures,
        patience: Patience,
        progress: Progress,
        summary: Summary,
    ) -> None:
        """n_trials: finished ones that the study is to have in all."""
        self.n_trials = n_trials
        self.max_minutes = settings.max_minutes
        self.engine = engine
        self.outage_wait = outage_wait
        self.ledger = ledger
        self.proposer = proposer
        self.lifecycle = lifecycle
        self.recovery = recovery
        self.rows = rows
        self.failures = failures
        self.patience = patience
        self.progress = progress
        self.summary = summary
        self.interrupts = Interrupts(self._say_stopping, outage_wait.end)
        self.requests = Requests(ledger.study, ledger.leases.name)
        self.start = time.monotonic()

    def run(self, on_start: Callable[[], None] | None = None) -> None:
        """on_start: called when nothing more can be refused.

        Raises:
            UserError: no point fits the budget, or the study cannot be written.
            SearchFailedError: too many trials failed.
            StorageFailureError: the storage went away and did not come back in time, or refuses.
            SearchInterrupted: Ctrl-C; what was running is finished, or will be tried again.
        """
        with self.ledger, self.progress, self.interrupts:
            try:
                self.recovery.write_rejected()
                self.recovery.recover()
                note_begin(self.ledger.study)
                self.engine.open()
                if on_start is not None:
                    on_start()
                while not self._step():
                    pass
                self.recovery.recover()  # of a controller that was killed beside this one
                self.recovery.write_rejected()
            except BaseException as error:
                self._abandon_after(error)
                raise
            finally:
                self.engine.close()
                self.rows.flush()
        self.summary.show(self.ledger.trials(), time.monotonic() - self.start)
        self._say_why_ended()

    def _step(self) -> bool:
        """Whether the search is over."""
        self._heed()
        self._fill()
        if self.engine.is_idle:
            if self._is_done():
                return True
            self.engine.next(WAIT_S, self._on_epoch)  # for a worker, or other controllers
            self.recovery.recover()
        elif (ended := self.engine.next(WAIT_S, self._on_epoch)) is not None:
            self._handle(ended)
        self.progress.update()
        return False

    def _on_epoch(self, job: Job, history: list[EpochMetrics]) -> str | None:
        self._heed()
        if job.info.trial in self.requests.trials:
            return BY_HAND
        return self.lifecycle.on_epoch(job, history)

    def _heed(self) -> None:
        """Does what people ask of this search.

        Raises:
            KeyboardInterrupt: it is to stop at once.
        """
        self.requests.look()
        if self.requests.stop == "now":
            raise KeyboardInterrupt
        if self.requests.stop is not None:
            self.interrupts.stop()

    def _fill(self) -> None:
        """Gives every free worker a run, as far as there are trials to begin."""
        self.ledger.queue_retries()
        while self.engine.has_room and not self._is_ending:
            try:
                if not self._offer():
                    return
            except UpdateFinishedTrialError:  # by another controller, while this one was asleep
                continue

    def _offer(self) -> bool:
        """Gives a worker the next point, if it is one to train; False if there is none to try."""
        match self.proposer.propose():
            case None:
                return False
            case Accepted() as accepted:
                self.rows.flush()
                self.engine.submit(self.lifecycle.begin(accepted))
            case Rejected() as rejected:
                self._reject(rejected)
        return True

    def _reject(self, rejected: Rejected) -> None:
        self.rows.reject(rejected.trial, rejected.candidate, rejected.reason)
        if self.rows.is_full:
            self.rows.flush()
            self.progress.update()
        is_hopeless = self.proposer.is_exhausted and not self.lifecycle.running
        if is_hopeless and not any(map(is_finished, self.ledger.trials())):
            raise self.proposer.nothing_fits(rejected)

    def _handle(self, ended: Ended) -> None:
        number = ended.job.info.trial
        if ended.cut == "left" or (ended.cut == "lost" and self.recovery.may_be_chance(number)):
            self._abandon(number, str(ended.error))
            self.progress.ended(self.ledger.trials(), number)
            return
        match self.lifecycle.take(ended):
            case Job() as job:
                self.engine.submit(job)
            case Verdict() as verdict:
                self.failures.count(verdict)
                self.progress.ended(self.ledger.trials(), verdict.trial)
                self.failures.check()

    def _abandon_after(self, error: BaseException) -> None:
        """
        Raises:
            SearchInterrupted: in the error's place, where that was Ctrl-C (or SIGTERM), or there is
                one now.
        """
        try:
            if isinstance(error, KeyboardInterrupt | StorageFailureError):
                self.outage_wait.end()
            with suppress(StorageFailureError):  # the next command on the study does it
                self._abandon_all()
        except KeyboardInterrupt:
            self.outage_wait.end()
            error = KeyboardInterrupt()
        if isinstance(error, KeyboardInterrupt) or self.interrupts.is_over:
            raise SearchInterrupted(
                "stopped at once; the same command goes on with the study"
            ) from error

    def _abandon_all(self) -> None:
        """Ends what runs, so that the next command on the study tries it again."""
        self.engine.stop()
        for number in list(self.lifecycle.running):
            self._abandon(number, "it was stopped")

    def _abandon(self, number: int, why: str) -> None:
        self.recovery.abandon(self.ledger.trials()[number], why)
        self.lifecycle.running.pop(number)

    @property
    def _is_ending(self) -> bool:
        """Whether no more trials are to begin, for all that there is room for some."""
        return self.interrupts.is_stopping or self._is_late or self.patience.is_over

    @property
    def _is_late(self) -> bool:
        limit = self.max_minutes
        return limit is not None and time.monotonic() - self.start > 60 * limit

    def _is_done(self) -> bool:
        if self._is_ending or self.proposer.is_over:
            return True
        return self.proposer.is_exhausted and not self.ledger.has_open()

    def _say_stopping(self) -> None:
        running = len(self.lifecycle.running)
        self.progress.note(f"finishing {running} running trials; Ctrl-C again stops them at once")

    def _say_why_ended(self) -> None:
        study = self.ledger.study
        if self.ledger.is_over(self.n_trials):
            note_end(study, f"all {self.n_trials} trials are finished")
            return
        if self.interrupts.is_stopping:
            note_end(study, "it was stopped by hand")
            raise SearchInterrupted("stopped; the same command goes on with the study")
        reason = self._why_before_all()
        note_end(study, reason)
        self.progress.note(f"ended   before {self.n_trials} trials: {reason}")
        if not self._is_late and not self.patience.is_over:
            self.failures.check_end(any_finished=any(map(is_finished, self.ledger.trials())))

    def _why_before_all(self) -> str:
        if self._is_late:
            return f"hydra.sweeper.max_minutes={self.max_minutes:g} have passed"
        if self.patience.is_over:
            return self.patience.why()
        return self.proposer.why_exhausted()
