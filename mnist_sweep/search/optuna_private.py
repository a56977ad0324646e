"""Optuna's private names, the keys and texts of its own included: all that an update may take."""

import copy
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import (
    _split_trials,
    default_gamma,
    default_gamma_multiobjective,
)
from optuna.storages import GrpcStorageProxy, JournalStorage, RDBStorage, _CachedStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

# Attributes that Optuna itself gives a trial.
FIXED_PARAMS = "fixed_params"
COMPLETED_RUNG = "completed_rung_"
"""And the rung's number, from 0: the value there."""


Operation = JournalOperation
BIRTH_OF_A_TRIAL = int(JournalOperation.CREATE_TRIAL)
NEWEST_OPERATION = int(max(JournalOperation))
"""The largest `op_code` of a journal that this version of Optuna knows."""


def of_states(
    trials: Sequence[FrozenTrial], still_open: Iterable[int], states: Container[TrialState] | None
) -> list[FrozenTrial]:
    """Those in one of these states, or all; still_open: numbers of those that have not ended, which
    alone are gone through where no ended ones are asked for."""
    if states is None:
        return list(trials)
    if any(state.is_finished() and state in states for state in TrialState):
        return [trial for trial in trials if trial.state in states]
    return [trials[number] for number in still_open if trials[number].state in states]


class _Known:
    """The trials of a study by number. An ended one never changes, so only the others are looked up
    again, and a long study costs its controller hardly more than a short one."""

    def __init__(self) -> None:
        self.trials: list[FrozenTrial] = []
        self.open: list[int] = []
        """Numbers of those that had not ended."""

    def in_states(
        self,
        states: Container[TrialState] | None,
        size: int,
        look_up: Callable[[int], FrozenTrial],
        deepcopy: bool,
    ) -> list[FrozenTrial]:
        """size: so many trials there are."""
        self._update(size, look_up)
        trials = of_states(self.trials, self.open, states)
        return copy.deepcopy(trials) if deepcopy else trials

    def _update(self, size: int, look_up: Callable[[int], FrozenTrial]) -> None:
        new = range(len(self.trials), size)
        self.trials += map(look_up, new)
        for number in self.open:
            self.trials[number] = look_up(number)
        may_be_open = [*self.open, *new]
        self.open = [n for n in may_be_open if not self.trials[n].state.is_finished()]


class Journal(JournalStorage):
    """Optuna's, which makes the list of all trials anew whenever it is asked for it."""

    def __init__(self, backend: BaseJournalBackend) -> None:
        super().__init__(backend)
        self.known: defaultdict[int, _Known] = defaultdict(_Known)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        with self._thread_lock:
            self._sync_with_backend()
            replay = self._replay_result
            ids = replay._study_id_to_trial_ids[study_id]
            return self.known[study_id].in_states(
                states, len(ids), lambda number: replay._trials[ids[number]], deepcopy
            )

    def delete_study(self, study_id: int) -> None:
        super().delete_study(study_id)
        self.known.pop(study_id, None)


class CachedDatabase(_CachedStorage):
    """A database as `create_study` takes it, which reads only what is new in it; and its list of
    all trials as `Journal` has it."""

    def __init__(self, database: RDBStorage) -> None:
        super().__init__(database)
        self.engine = database.engine
        self.known: defaultdict[int, _Known] = defaultdict(_Known)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        self._read_trials_from_remote_storage(study_id)
        with self._lock:
            by_number = self._studies[study_id].trials
            return self.known[study_id].in_states(
                states, len(by_number), by_number.__getitem__, deepcopy
            )

    def delete_study(self, study_id: int) -> None:
        super().delete_study(study_id)
        self.known.pop(study_id, None)  # SQLite gives its number away again


class CachedProxy(GrpcStorageProxy):
    """A client of Optuna's gRPC proxy, over a channel of our own; and its list of all trials as
    `Journal` has it."""

    def __init__(self, channel: Any) -> None:
        # Optuna's own makes a channel that waits for minutes before it connects anew.
        from optuna.storages._grpc.auto_generated.api_pb2_grpc import StorageServiceStub
        from optuna.storages._grpc.client import GrpcClientCache

        self._channel = channel
        self._stub = StorageServiceStub(channel)
        self._cache = GrpcClientCache(self._stub)
        self.known: defaultdict[int, _Known] = defaultdict(_Known)

    def check(self, timeout_s: float) -> None:
        """Asks for a study that is not there. Raises what the channel does where that is not the
        answer."""
        from grpc import RpcError, StatusCode
        from optuna.storages._grpc.auto_generated.api_pb2 import GetStudyIdFromNameRequest

        try:
            request = GetStudyIdFromNameRequest(study_name="")
            self._stub.GetStudyIdFromName(request, timeout=timeout_s)
        except RpcError as error:
            if error.code() is not StatusCode.NOT_FOUND:
                raise

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        with self._cache.lock:
            self._cache._read_trials_from_remote_storage(study_id)
            by_number = self._cache.studies[study_id].trials
            return self.known[study_id].in_states(
                states, len(by_number), by_number.__getitem__, deepcopy
            )

    def delete_study(self, study_id: int) -> None:
        super().delete_study(study_id)
        self.known.pop(study_id, None)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """As `Trial.suggest_...`, of any distribution."""
    return trial._suggest(name, distribution)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a number is one that may be suggested."""
    return bool(distribution._contains(distribution.to_internal_repr(value)))


def read_trial(study: Study, number: int) -> FrozenTrial:
    """As the storage has it now."""
    storage = study._storage
    return storage.get_trial(
        storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    )


def look_anew(study: Study) -> None:
    """The next list of trials is of that moment, where the storage keeps an older one."""
    if (forget := getattr(study._storage, "forget", None)) is not None:
        forget()


def set_user_attr(study: Study, trial: Trial | FrozenTrial, name: str, value: Any) -> None:
    """As `Trial.set_user_attr`, also of a trial that another process has asked for.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def is_given(trial: FrozenTrial) -> bool:
    """Whether the trial's point was settled before a sampler was asked."""
    return FIXED_PARAMS in trial.system_attrs


def given_point(trial: FrozenTrial) -> dict[str, Any]:
    """System attributes with which a new trial gets the point of this one."""
    params = {**trial.system_attrs.get(FIXED_PARAMS, {}), **trial.params}
    return fixed_point(params) if params else {}


def fixed_point(params: Mapping[str, Any]) -> dict[str, Any]:
    """System attributes with which a new trial gets these values; the others are its sampler's."""
    return {FIXED_PARAMS: dict(params)}


def says_ended_before(error: ValueError) -> bool:
    """Whether `Study.tell` refused because the trial had ended."""
    return "Cannot tell a" in str(error)


def says_sampler_is_done(error: RuntimeError) -> bool:
    """Whether a sampler that has been through all its points asked to stop an `optimize` that is
    not there."""
    return "Study.stop" in str(error)


# What TPE goes by


class Excerpt:
    """A study, of which a sampler sees these trials."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


def excerpt(study: Study, trials: Sequence[FrozenTrial]) -> Study:
    return cast(Study, Excerpt(study, trials))


def with_told(study: Study, told: Sequence[FrozenTrial]) -> Study:
    """The study, of which a sampler sees these trials, too."""
    return excerpt(study, [*told, *study._get_trials(deepcopy=False)]) if told else study


def groups_parameters(sampler: TPESampler) -> bool:
    """Whether it looks for parameters that come together, going through all ended trials."""
    return bool(sampler._group)


def good_and_others(
    study: Study, trials: list[FrozenTrial], size: int
) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """trials: ended ones. Those that TPE takes for good ones, as many as of `size` trials; and the
    others. Both by number."""
    gamma = default_gamma if len(study.directions) == 1 else default_gamma_multiobjective
    return _split_trials(study, trials, gamma(size))


# What pruners go by


@dataclass(frozen=True)
class Cut:
    """What a pruned trial was measured by: `value` was worse than `cut`."""

    value: float
    cut: float
    of: str
    """What has this cut, such as `rung 1`."""
    which: str = ""
    """What value it is, where it is not the last epoch's."""


def cut_of_pruner(
    pruner: BasePruner, study: Study, trial: FrozenTrial, seen: dict[Any, Any] | None = None
) -> Cut | None:
    """What made the pruner end the trial just now; None of a pruner that has no cut, or whose cut
    is not known here. seen: what such calls gathered of the same study, which they add to."""
    seen = {} if seen is None else seen
    match pruner:
        case HyperbandPruner():
            bracket = pruner._get_bracket_id(study, trial)

            def is_peer(other: FrozenTrial) -> bool:
                return bool(pruner._get_bracket_id(study, other) == bracket)

            return _cut_of_halving(
                pruner, study, trial, is_peer, f" of bracket {bracket + 1}", seen
            )
        case SuccessiveHalvingPruner():
            return _cut_of_halving(pruner, study, trial, lambda _: True, "", seen)
        case PercentilePruner():
            return _cut_of_percentile(pruner, study, trial, seen)
        case PatientPruner():
            if pruner._wrapped_pruner is not None:
                return cut_of_pruner(pruner._wrapped_pruner, study, trial, seen)
            return _cut_of_patience(pruner, study, trial)
        case ThresholdPruner():
            return _cut_of_threshold(pruner, study, trial)
    return None


def _cut_of_halving(
    pruner: Any,
    study: Study,
    trial: FrozenTrial,
    is_peer: Callable[[FrozenTrial], bool],
    where: str,
    seen: dict[Any, Any],
) -> Cut | None:
    rung = sum(key.startswith(COMPLETED_RUNG) for key in trial.system_attrs) - 1
    key = f"{COMPLETED_RUNG}{rung}"
    if (key, where) not in seen:
        all_there = [t for t in study.get_trials(deepcopy=False) if key in t.system_attrs]
        seen[key, where] = sorted(t.system_attrs[key] for t in all_there if is_peer(t))
    values = seen[key, where]
    if rung < 0 or len(values) <= pruner._bootstrap_count:
        return None
    last = max(1, len(values) // pruner._reduction_factor)
    cut = values[-last] if study.direction == StudyDirection.MAXIMIZE else values[last - 1]
    return Cut(trial.system_attrs[key], cut, f"rung {rung + 1}{where}")


def _cut_of_percentile(
    pruner: PercentilePruner, study: Study, trial: FrozenTrial, seen: dict[Any, Any]
) -> Cut | None:
    step, percent = trial.last_step, pruner._percentile
    is_max = study.direction == StudyDirection.MAXIMIZE
    if step not in seen:
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        values = (t.intermediate_values for t in completed)
        peers = [at[step] for at in values if step in at]
        share = 100 - percent if is_max else percent
        seen[step] = len(peers), float(np.nanpercentile(peers, share)) if peers else 0.0
    number, cut = seen[step]
    if not number or step is None:
        return None
    best = (max if is_max else min)(trial.intermediate_values.values())
    name = "the median" if isinstance(pruner, MedianPruner) else f"the best {percent:g} %"
    peers_words = f"{number} completed trial{'s' * (number > 1)}"
    which = "" if best == trial.intermediate_values[step] else " at best"
    return Cut(best, cut, f"{name} of {peers_words}", which)


def _cut_of_patience(pruner: PatientPruner, study: Study, trial: FrozenTrial) -> Cut:
    """The best before the epochs that it was given to improve on that."""
    values = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    is_max = study.direction == StudyDirection.MAXIMIZE
    best = max if is_max else min
    before, after = values[: -pruner._patience - 1], values[-pruner._patience - 1 :]
    cut = best(before) - pruner._min_delta if is_max else best(before) + pruner._min_delta
    which = "" if len(after) == 1 else f" at best in {len(after)} epochs"
    return Cut(best(after), cut, "the epochs before", which)


def _cut_of_threshold(pruner: ThresholdPruner, study: Study, trial: FrozenTrial) -> Cut | None:
    """Of the end of the allowed range that is the bad one for the study."""
    assert trial.last_step is not None
    is_max = study.direction == StudyDirection.MAXIMIZE
    cut = pruner._lower if is_max else pruner._upper
    return Cut(trial.intermediate_values[trial.last_step], cut, "the allowed range")
