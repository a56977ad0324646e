"""What a study knows, and the rules by which several controllers share it.

A controller is a process that runs this sweep. Any number of them may work on one study, and any
may be killed at any moment. What keeps the totals exact, with nothing but Optuna's storage:

- A trial's number is its ticket. A new trial is trained only if fewer than `n_trials` trials with
  lower numbers are finished, running or waiting. Numbers are handed out one by one by the storage,
  and a trial that has failed or been rejected stays so; so there are never too many.
- A controller renews a lease. A running trial whose controller is gone is lost: it is failed, which
  the storage lets only one controller do, and tried again under a new number.
- A trial that is to be tried again says so itself; whoever comes by queues it. If two do, the
  lower number counts.
"""

import os
import socket
import threading
import time
import uuid
from bisect import insort
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

LEASE = "controller:"
"""Prefix of the study's attributes that hold the leases."""

# Attributes of a trial
CONTROLLER = "controller"
CONFIG = "config"
STATUS = "status"
ERROR = "error"
NUM_PARAMS = "num_params"
OVERRIDES = "overrides"
"""Of the trial's last run, in Hydra's grammar: what runs it again."""
RETRY = "retry"
"""Whether a failed trial is to be tried again."""
RETRY_OF = "retry_of"
ATTEMPT = "attempt"

TOLD = 50
"""Of so many rejected points every sampler is told; then only of those nearer to the budget than
all but `NEAREST`. A sampler learns from few of them, and the time that it takes grows with all."""

NEAREST = 25  # as many as TPE takes for good ones, at most

OPEN = (TrialState.RUNNING, TrialState.WAITING)


def is_rejected(trial: FrozenTrial) -> bool:
    """Ended without having been trained: over budget, or no valid net."""
    return trial.user_attrs.get(STATUS) == "infeasible"


def is_finished(trial: FrozenTrial) -> bool:
    """Completed or pruned, so that it counts towards `n_trials`."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended and not is_rejected(trial)


@dataclass(frozen=True)
class Lease:
    """Who a controller is, and that it lives: `beat` changes as long as it does."""

    host: str
    pid: int
    created: float
    """When the process began, so that another one with its number is not taken for it."""
    beat: int

    @classmethod
    def of_this_process(cls) -> "Lease":
        return cls(_host(), os.getpid(), psutil.Process().create_time(), 0)


def _host() -> str:
    """This boot of this machine, and this space of process numbers (containers have theirs)."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.exists() and space.exists():  # Linux
        parts += [boot.read_text().strip(), os.readlink(space)]
    return " ".join(parts)


class Ledger:
    """A study as seen by one controller. `with` it: the lease is renewed as long as it is open."""

    def __init__(self, study: Study, lease_s: float) -> None:
        self.study = study
        self.lease_s = lease_s
        self.name = uuid.uuid4().hex[:12]
        self.lease = Lease.of_this_process()
        self.seen: dict[str, tuple[int, float]] = {}
        """Other controllers' beats, and when each was first seen here."""
        self.over = 0
        """So many trials, from the first one on, have all ended."""
        self.finished_of_over = 0
        self.told: list[float] | None = None
        """By how much the rejected points missed that samplers know of, least first."""
        self.sampler_is_done = False
        """Whether the sampler has said that it has tried every point."""
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> "Ledger":
        self._beat(0)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.thread.join()
        self._beat(-1)

    def _renew(self) -> None:
        beat = 0
        while not self.closing.wait(self.lease_s / 4):
            beat += 1
            with suppress(StorageInternalError, OSError):  # the next beat may get through
                self._beat(beat)

    def _beat(self, beat: int) -> None:
        """-1: this controller has ended."""
        self.study.set_user_attr(f"{LEASE}{self.name}", asdict(self.lease) | {"beat": beat})

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def claim(self, n_trials: int) -> Trial | None:
        """A new or waiting trial that is this controller's to train; None if there is no place."""
        if self._taken(TrialState.RUNNING) >= n_trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr(CONTROLLER, self.name)
        retry_of = trial.user_attrs.get(RETRY_OF)
        if retry_of is not None:
            trials = self.trials()[: trial.number]
            sooner = [t for t in trials if t.user_attrs.get(RETRY_OF) == retry_of]
            if sooner:
                self.fail(trial, "duplicate", f"trial {sooner[0].number} is the retry already")
                return None
        if self._taken(*OPEN, before=trial.number) >= n_trials:
            self.fail(trial, "surplus", "another controller began the last trial at the same time")
            return None
        return trial

    def _taken(self, *states: TrialState, before: int | None = None) -> int:
        """Trials that are finished or in one of these states, of those with lower numbers.

        A search asks once a proposal, so it does not go through all that ended long ago.
        """
        trials = self.trials()
        while self.over < len(trials) and trials[self.over].state.is_finished():
            self.finished_of_over += is_finished(trials[self.over])
            self.over += 1
        rest = trials[self.over : before]
        return self.finished_of_over + sum(is_finished(t) or t.state in states for t in rest)

    def is_over(self, n_trials: int) -> bool:
        return self._taken() >= n_trials

    def fail(self, trial: Trial | FrozenTrial, status: str, error: str, **attrs: Any) -> bool:
        """Ends the trial without a value; False if another controller did so before."""
        for name, value in {STATUS: status, ERROR: error, **attrs}.items():
            self._set(trial, name, value)
        return self.tell(trial, TrialState.FAIL)

    def reject(self, trial: Trial, error: str, excess: float) -> None:
        """Tells Optuna that the point is out of bounds, by how much, and never to be trained.

        Samplers learn from pruned trials, and pass over failed ones.
        """
        if self.told is None:
            known = (t for t in self.trials() if is_rejected(t) and t.state == TrialState.PRUNED)
            self.told = sorted(max(t.constraints.values(), default=0.0) for t in known)
        trial.set_user_attr(STATUS, "infeasible")
        trial.set_user_attr(ERROR, error)
        trial.set_constraint("budget", excess)
        if len(self.told) < TOLD or excess < self.told[NEAREST - 1]:
            insort(self.told, excess)
            self.tell(trial, TrialState.PRUNED)
        else:
            self.tell(trial, TrialState.FAIL)

    def tell(
        self,
        trial: Trial | FrozenTrial,
        state: TrialState,
        values: list[float] | None = None,
    ) -> bool:
        """False if the trial had ended before."""
        try:
            self.study.tell(trial.number, values, state)
        except UpdateFinishedTrialError:
            return False
        except ValueError as error:
            if "Cannot tell a" in str(error):
                return False
            raise
        except RuntimeError as error:  # of a sampler that has been through its whole grid
            if "Study.stop" not in str(error):
                raise
            self.sampler_is_done = True
        return True

    def _set(self, trial: Trial | FrozenTrial, name: str, value: Any) -> None:
        with suppress(UpdateFinishedTrialError):
            self.study._storage.set_trial_user_attr(trial._trial_id, name, value)

    def queue_retries(self) -> None:
        """Makes a waiting trial of each that is to be tried again and is not yet."""
        trials = self.trials()
        queued = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.FAIL and trial.user_attrs.get(RETRY):
                if trial.number in queued:
                    continue
                grid: dict[str, Any] = {
                    key: trial.system_attrs[key]
                    for key in ("grid_id", "search_space")
                    if key in trial.system_attrs
                }
                params = trial.system_attrs.get("fixed_params", trial.params)
                fixed = {"fixed_params": params} if params else {}
                attempt = trial.user_attrs.get(ATTEMPT, 0)
                self.study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        system_attrs={**fixed, **grid},
                        user_attrs={
                            RETRY_OF: trial.number,
                            ATTEMPT: attempt + (trial.user_attrs[STATUS] == "failed"),
                        },
                    )
                )

    def lost(self) -> list[FrozenTrial]:
        """Running trials whose controller is gone."""
        running = [trial for trial in self.trials() if trial.state == TrialState.RUNNING]
        if not running:
            return []
        leases = self._leases()
        return [trial for trial in running if not self._is_held(trial, leases)]

    def was_here(self, trial: FrozenTrial) -> bool:
        """Whether a controller that has ended on this machine ran the trial."""
        name = str(trial.user_attrs.get(CONTROLLER))
        lease = self._leases().get(name)
        return lease is not None and lease.host == self.lease.host and not self._lives(name, lease)

    def _is_held(self, trial: FrozenTrial, leases: dict[str, Lease]) -> bool:
        name = str(trial.user_attrs.get(CONTROLLER))
        if name not in leases:  # killed, or not yet there, between two operations
            return not self._is_old(f"trial {trial.number}", 0)
        return name == self.name or self._lives(name, leases[name])

    def _lives(self, name: str, lease: Lease) -> bool:
        if lease.beat < 0:
            return False
        if lease.host == self.lease.host:
            try:
                process = psutil.Process(lease.pid)
                if process.status() == psutil.STATUS_ZOMBIE:
                    return False
                if abs(process.create_time() - lease.created) < 1:
                    return True
            except psutil.NoSuchProcess:
                return False
        return not self._is_old(name, lease.beat)

    def _is_old(self, name: str, beat: int) -> bool:
        """Whether this was seen with this beat for a whole lease, by this machine's clock."""
        now = time.monotonic()
        if self.seen.get(name, (None, 0.0))[0] != beat:
            self.seen[name] = (beat, now)
        return now - self.seen[name][1] > self.lease_s

    def _leases(self) -> dict[str, Lease]:
        return {
            key.removeprefix(LEASE): Lease(**value)
            for key, value in self.study.user_attrs.items()
            if key.startswith(LEASE)
        }

    def known(self) -> dict[str, int]:
        """Configuration -> the trial that has or is trying it."""
        return {
            trial.user_attrs[CONFIG]: trial.number
            for trial in self.trials()
            if CONFIG in trial.user_attrs
            and (
                is_finished(trial)
                or trial.state == TrialState.RUNNING
                or trial.user_attrs.get(STATUS) == "diverged"  # and would again
            )
        }
