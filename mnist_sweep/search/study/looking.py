"""A study as those see it who only look at it: what nobody asks for is not read.

Of 10,000 trials `status` wants to know how they ended, and of ten of them what they are. A trial
here is one of Optuna's, whose parts are read when they are looked at: of few trials one by one, and
who looks at more is given a part of all of them at once.
"""

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


@dataclass(frozen=True)
class SeenStudy:
    study_name: str
    directions: Sequence[StudyDirection]
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any]


@dataclass(frozen=True)
class Head:
    """What is read of every trial. Times are local, without a zone, as Optuna's."""

    study_id: int
    trial_id: int
    state: TrialState
    values: Sequence[float] | None
    start: datetime | None
    complete: datetime | None


FEW = 20
"""Of so many trials a part is read one by one; who looks at more looks at all."""


class Source(ABC):
    """Where studies are read from, as they were at one moment."""

    def __init__(self) -> None:
        self.looked_at: Counter[str] = Counter()
        """How often a part of a trial that was not yet read was asked for."""

    @abstractmethod
    def studies(self) -> Mapping[int, SeenStudy]:
        """By their ids."""

    @abstractmethod
    def heads(self, study_id: int) -> list[Head]:
        """Of all trials, by number."""

    @abstractmethod
    def attribute(self, study_id: int, key: str) -> Mapping[int, Any]:
        """Trial id -> its value of this user attribute, of those of the study that have it, or of
        all."""

    @abstractmethod
    def system_attrs(self, study_id: int) -> Mapping[int, Mapping[str, Any]]:
        """Trial id -> all that it has."""

    @abstractmethod
    def reported(self, study_id: int) -> Mapping[int, Mapping[int, float]]:
        """Trial id -> its intermediate values by step."""

    @abstractmethod
    def whole(self, head: Head, number: int) -> FrozenTrial:
        """With all that is known of it."""


def frozen(
    head: Head,
    number: int,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    user_attrs: dict[str, Any],
    system_attrs: dict[str, Any],
    intermediate_values: dict[int, float],
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        state=head.state,
        value=None,
        values=head.values,
        datetime_start=head.start,
        datetime_complete=head.complete,
        params=params,
        distributions=distributions,
        user_attrs=user_attrs,
        system_attrs=system_attrs,
        intermediate_values=intermediate_values,
        trial_id=head.trial_id,
    )


class SeenTrial(FrozenTrial):
    """One whose parts are read when they are looked at."""

    def __init__(self, source: Source, head: Head, number: int) -> None:
        self.source = source
        self.head = head
        self.read: FrozenTrial | None = None
        self.told: dict[str, Any] = {}
        """Parts that were set, of a copy."""
        super().__init__(
            number=number,
            state=head.state,
            value=None,
            values=head.values,
            datetime_start=head.start,
            datetime_complete=head.complete,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=head.trial_id,
        )
        self.told = {}

    @property
    def whole(self) -> FrozenTrial:
        if self.read is None:
            self.read = self.source.whole(self.head, self.number)
        return self.read

    def is_read(self, part: str) -> bool:
        """Whether it is, alone, be it now; else it is to be looked up in what all trials have."""
        if self.read is None and self.source.looked_at[part] < FEW:
            self.source.looked_at[part] += 1
            self.read = self.source.whole(self.head, self.number)
        return self.read is not None

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTrial:
        return copy.deepcopy(self.whole, memo)

    @property  # type: ignore[misc]
    def params(self) -> dict[str, Any]:
        return self.whole.params

    @property  # type: ignore[misc]
    def distributions(self) -> dict[str, BaseDistribution]:
        return self.whole.distributions

    @property  # type: ignore[misc]
    def user_attrs(self) -> Any:
        return _UserAttrs(self)

    @property
    def system_attrs(self) -> Any:
        if "system_attrs" in self.told:
            return self.told["system_attrs"]
        if self.is_read("system_attrs"):
            return self.whole.system_attrs
        return self.source.system_attrs(self.head.study_id).get(self.head.trial_id, {})

    @system_attrs.setter
    def system_attrs(self, attrs: Any) -> None:
        self.told = {**self.told, "system_attrs": attrs}

    @property
    def intermediate_values(self) -> Any:
        if "intermediate_values" in self.told:
            return self.told["intermediate_values"]
        if self.is_read("intermediate_values"):
            return self.whole.intermediate_values
        return self.source.reported(self.head.study_id).get(self.head.trial_id, {})

    @intermediate_values.setter
    def intermediate_values(self, values: Any) -> None:
        self.told = {**self.told, "intermediate_values": values}


class _UserAttrs(Mapping[str, Any]):
    """Of a trial."""

    def __init__(self, trial: SeenTrial) -> None:
        self.trial = trial

    def __getitem__(self, key: str) -> Any:
        if self.trial.is_read(f"user_attrs {key}"):
            return self.trial.whole.user_attrs[key]
        head = self.trial.head
        return self.trial.source.attribute(head.study_id, key)[head.trial_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.trial.whole.user_attrs)

    def __len__(self) -> int:
        return len(self.trial.whole.user_attrs)


class SeenStorage(BaseStorage):
    """A source behind Optuna's interface. It writes nothing."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.trials: dict[int, list[SeenTrial]] = {}

    def _study(self, study_id: int) -> SeenStudy:
        return self.source.studies()[study_id]

    def get_study_id_from_name(self, study_name: str) -> int:
        for study_id, study in self.source.studies().items():
            if study.study_name == study_name:
                return study_id
        raise KeyError(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._study(study_id).study_name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return list(self._study(study_id).directions)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return dict(self._study(study_id).user_attrs)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return dict(self._study(study_id).system_attrs)

    def get_all_studies(self) -> Any:
        return list(self.source.studies().values())

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        if study_id not in self.trials:
            heads = self.source.heads(study_id)
            self.trials[study_id] = [SeenTrial(self.source, h, n) for n, h in enumerate(heads)]
        trials = self.trials[study_id]
        found: list[FrozenTrial] = [t for t in trials if states is None or t.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        for study_id in self.source.studies():
            for number, head in enumerate(self.source.heads(study_id)):
                if head.trial_id == trial_id:
                    return self.get_all_trials(study_id, deepcopy=False)[number]
        raise KeyError(trial_id)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self.source.heads(study_id)[trial_number].trial_id

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError("who looks at a study writes nothing")

    create_new_study = _refuse
    delete_study = _refuse
    set_study_user_attr = _refuse
    set_study_system_attr = _refuse
    create_new_trial = _refuse
    set_trial_param = _refuse
    set_trial_state_values = _refuse
    set_trial_intermediate_value = _refuse
    set_trial_user_attr = _refuse
    set_trial_system_attr = _refuse
