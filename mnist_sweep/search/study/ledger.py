"""The rules by which several controllers share a study.

A controller is a process that runs this sweep. Any number of them may work on one study, and any
may be killed at any moment. What keeps the totals exact, with nothing but Optuna's storage:

- A trial's number is its ticket. A new trial is trained only if fewer than `n_trials` trials with
  lower numbers are finished, running or waiting. Numbers are handed out one by one by the storage,
  and a trial that has failed or been rejected stays so; so there are never too many.
- A controller renews a lease. A running trial whose controller is gone is lost: it is failed, which
  the storage lets only one controller do, and tried again under a new number. A controller that was
  asleep for longer than its lease finds its trial ended so, and gives it up.
- A trial that is to be tried again says so itself; whoever comes by queues it. If two do, the
  lower number counts. So it is with points that are to be tried first.
"""

import hashlib
import json
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from mnist_sweep.errors import UserError
from mnist_sweep.search.optuna_private import (
    fixed_point,
    given_point,
    look_anew,
    read_trial,
    says_ended_before,
    says_sampler_is_done,
    set_user_attr,
)
from mnist_sweep.search.study.attributes import (
    ATTEMPT,
    CONFIG,
    CONTROLLER,
    ERROR,
    FIRST,
    FIRST_OF,
    LOSSES,
    RETRY_OF,
    SETTINGS,
    STATUS,
    is_rejected,
)
from mnist_sweep.search.study.leases import Leases
from mnist_sweep.search.study.tally import Tally

TOLD = 50
"""Of so many rejected points every sampler is told; then only of those nearer to the budget than
all but `NEAREST`. A sampler learns from few of them, and the time that it takes grows with all."""

NEAREST = 25  # as many as TPE takes for good ones, at most

OPEN = (TrialState.RUNNING, TrialState.WAITING)


class Ledger:
    """A study as seen by one controller. `with` it: the lease is renewed as long as it is open."""

    def __init__(self, study: Study, lease_s: float, rungs: Sequence[int] | None = None) -> None:
        self.study = study
        self.leases = Leases(study, lease_s)
        self.settings = study.user_attrs.get(SETTINGS)
        """What the commands on the study have in common."""
        self.tally = Tally(rungs or ())
        """Of the trials as they last were."""
        self.told: list[float] | None = None
        """By how much the rejected points missed that samplers know of, least first."""
        self.sampler_is_done = False
        """Whether the sampler has said that it has tried every point."""

    def __enter__(self) -> "Ledger":
        """
        Raises:
            UserError: the study grew since it was opened.
        """
        self.leases.__enter__()
        if self.study.user_attrs.get(SETTINGS) != self.settings:
            self.leases.__exit__()
            raise UserError(
                f"hydra.sweeper.study_name={self.study.study_name}: another command made the study "
                "grow just now: give the command again"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.leases.__exit__()

    def trials(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False)
        self.tally.update(trials)
        return trials

    def count(self) -> Tally:
        """As the trials are now."""
        self.trials()
        return self.tally

    def has_waiting(self) -> bool:
        return bool(self.count().of_state(TrialState.WAITING))

    def has_open(self) -> bool:
        """Whether a trial waits, or runs, be it another controller's, which may be killed yet."""
        return bool(self.count().open)

    def claim(self, n_trials: int | None) -> Trial | None:
        """A new or waiting trial that is this controller's to train; None if there is no place.

        n_trials: finished ones that the study is to have; None: who asks knows of a place."""
        if n_trials is not None and self.count().taken(TrialState.RUNNING) >= n_trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr(CONTROLLER, self.leases.name)
        tally = self.count()
        retry_of = trial.user_attrs.get(RETRY_OF)
        if retry_of is not None and (sooner := tally.retries[retry_of]) < trial.number:
            self.fail(trial, "duplicate", f"trial {sooner} is the retry already")
            return None
        first = trial.user_attrs.get(FIRST)
        if first is not None and (sooner := tally.first[first]) < trial.number:
            self.fail(trial, "duplicate", f"trial {sooner} is for that point already")
            return None
        if n_trials is not None and tally.taken(*OPEN, before=trial.number) >= n_trials:
            self.fail(trial, "surplus", "another controller began the last trial at the same time")
            return None
        return trial

    def is_over(self, n_trials: int) -> bool:
        return self.count().taken() >= n_trials

    def fail(self, trial: Trial | FrozenTrial, status: str, error: str, **attrs: Any) -> None:
        """Ends the trial without a value, unless another controller did so before."""
        self.note(trial, {STATUS: status, ERROR: error, **attrs})
        self.tell(trial, TrialState.FAIL)

    def note(self, trial: Trial | FrozenTrial, attrs: Mapping[str, Any]) -> None:
        """Writes attributes of the trial, unless another controller ended it before."""
        for name, value in attrs.items():
            with suppress(UpdateFinishedTrialError):
                set_user_attr(self.study, trial, name, value)

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

    def has_ended(self, number: int) -> bool:
        """Whether the trial is nobody's any more, as far as is known. One that this controller
        trains may have been ended by another, if this one was asleep for longer than its lease."""
        return self.trials()[number].state.is_finished()

    def has_ended_by_now(self, number: int) -> bool:
        """The same, as the storage has it."""
        return read_trial(self.study, number).state.is_finished()

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
            if says_ended_before(error):
                return False
            raise
        except RuntimeError as error:
            if not says_sampler_is_done(error):
                raise
            self.sampler_is_done = True
        return True

    def queue_retries(self) -> None:
        """Makes a waiting trial of each that is to be tried again and is not yet."""
        for trial in self.count().to_retry:
            attempt = trial.user_attrs.get(ATTEMPT, 0)
            attrs = {
                RETRY_OF: trial.number,
                ATTEMPT: attempt + (trial.user_attrs[STATUS] == "failed"),
            }
            if LOSSES in trial.user_attrs:
                attrs[LOSSES] = trial.user_attrs[LOSSES]
            self.study.add_trial(
                create_trial(
                    state=TrialState.WAITING, system_attrs=given_point(trial), user_attrs=attrs
                )
            )

    def queue_first(self, points: Iterable[Mapping[str, Any]], giver: str) -> None:
        """Makes a waiting trial of each of these points, or parts of points, that the study has had
        none for. giver: who wants it tried."""
        known = self.count().first.keys()
        for key, point in {_short_name(point): point for point in points}.items():
            if key not in known:
                attrs = {FIRST: key, FIRST_OF: giver}
                self.study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        system_attrs=fixed_point(point),
                        user_attrs=attrs,
                    )
                )

    def lost(self) -> list[FrozenTrial]:
        """Running trials whose controller is gone."""
        look_anew(self.study)
        return self.leases.unheld(self.count().of_state(TrialState.RUNNING))

    def known(self) -> dict[str, int]:
        """Configuration -> the trial that has or is trying it."""
        running = self.count().of_state(TrialState.RUNNING)
        trying = {t.user_attrs[CONFIG]: t.number for t in running if CONFIG in t.user_attrs}
        return self.tally.configs | trying


def _short_name(point: Mapping[str, Any]) -> str:
    """The same for the same values."""
    text = json.dumps(point, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
