"""The trials of a study, as its controller knows them from what it wrote, and others' a moment old.

To list the trials that run, a database reads them all, with all that they have, which takes longer
the more there are; and a search looks at the list a dozen times a trial.
"""

import copy
import json
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.optuna_private import of_states
from mnist_sweep.search.study.lasting import LastingStorage

RECENT_S = 0.5
"""How old the view of other processes' trials may be."""

SHARE = 20
"""It may also be so many times as old as reading it took, whose share of the time is bounded so."""


@dataclass
class _View:
    """Of one study."""

    trials: list[FrozenTrial] = field(default_factory=list)
    """By number. They are shared with whom they are shown to, so none is ever changed."""
    open: set[int] = field(default_factory=set)
    """Numbers of those that had not ended."""
    until: float = 0.0
    """When it is too old."""

    def put(self, number: int, trial: FrozenTrial) -> None:
        self.trials[number : number + 1] = [trial]
        (self.open.discard if trial.state.is_finished() else self.open.add)(number)


class RecentTrials(LastingStorage):
    """A lasting storage whose list of all trials is as old as `RECENT_S`, but for the trials that
    this process writes. `get_trial` asks the storage itself.

    A trial that another process has made meanwhile is noticed when the next one is made here: its
    number is missing.
    """

    views: defaultdict[int, _View]
    places: dict[int, tuple[int, int]]
    """Trial id -> its study's id, and its number; of those that were read or made here one by
    one."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.views = defaultdict(_View)
        self.places = {}

    def forget(self) -> None:
        """The next list is of that moment."""
        for view in self.views.values():
            view.until = 0.0

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        view, start = self.views[study_id], time.monotonic()
        if start >= view.until:
            view.trials = list(super().get_all_trials(study_id, deepcopy=False))
            view.open = {t.number for t in view.trials if not t.state.is_finished()}
            now = time.monotonic()
            view.until = now + max(RECENT_S, SHARE * (now - start))
        trials = of_states(view.trials, sorted(view.open), states)
        return copy.deepcopy(trials) if deepcopy else trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        view, trial = self.views[study_id], super().get_trial(trial_id)
        if trial.number == len(view.trials):
            view.put(trial.number, trial)
        else:
            view.until = 0.0
        self.places[trial_id] = (study_id, trial.number)
        return trial_id

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        trial_id: int = super().get_trial_id_from_study_id_trial_number(study_id, trial_number)
        self.places[trial_id] = (study_id, trial_number)
        return trial_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial: FrozenTrial = super().get_trial(trial_id)
        self._note(trial_id, lambda _: trial)
        return trial

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        known = self._known(trial_id)
        return self.get_trial(trial_id).system_attrs if known is None else known.system_attrs

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        with self._refusals():
            is_set = super().set_trial_state_values(trial_id, state, values)
        if is_set and state.is_finished():
            self._note(trial_id, lambda trial: _ended(trial, state, values))
        else:
            self.forget()
        return is_set

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        with self._refusals():
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        value = distribution.to_external_repr(param_value_internal)

        def changed(trial: FrozenTrial) -> FrozenTrial:
            new = copy.copy(trial)
            new.distributions = {**trial.distributions, param_name: distribution}
            new.params = {**trial.params, param_name: value}
            return new

        self._note(trial_id, changed)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        with self._refusals():
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._note(trial_id, lambda t: _with(t, "intermediate_values", step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._refusals():
            super().set_trial_user_attr(trial_id, key, value)
        self._note(trial_id, lambda trial: _with(trial, "user_attrs", key, _stored(value)))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._refusals():
            super().set_trial_system_attr(trial_id, key, value)
        self._note(trial_id, lambda trial: _with(trial, "system_attrs", key, _stored(value)))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """What is refused tells that the view is old."""
        try:
            yield
        except Exception:
            self.forget()
            raise

    def _known(self, trial_id: int) -> FrozenTrial | None:
        study_id, number = self.places.get(trial_id, (None, -1))
        trials = [] if study_id is None else self.views[study_id].trials
        return trials[number] if 0 <= number < len(trials) else None

    def _note(self, trial_id: int, change: Callable[[FrozenTrial], FrozenTrial]) -> None:
        if (trial := self._known(trial_id)) is not None:
            study_id, number = self.places[trial_id]
            self.views[study_id].put(number, change(trial))
        else:
            self.forget()


def _with(trial: FrozenTrial, part: str, key: Any, value: Any) -> FrozenTrial:
    new = copy.copy(trial)
    setattr(new, part, {**getattr(trial, part), key: value})
    return new


def _ended(trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> FrozenTrial:
    new = copy.copy(trial)
    new.state, new.datetime_complete = state, datetime.now()
    if values is not None:
        new.values = list(values)
    return new


def _stored(value: Any) -> Any:
    """As the storage gives it back."""
    return json.loads(json.dumps(value))
