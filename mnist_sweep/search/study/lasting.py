"""A database that may go away for a while: what it does not answer is asked again."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from mnist_sweep.errors import FailureError
from mnist_sweep.search.study.credentials import without_credentials, without_secrets

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
"""Between two attempts; each pause is twice the one before."""

Operation = TypeVar("Operation", bound=Callable[..., Any])


class StorageLostError(FailureError, StorageInternalError):
    """The storage did not come back in time."""


def _patient(operation: Operation) -> Operation:
    """The operation, asked of the storage that `self` has."""
    name = operation.__name__

    @wraps(operation, updated=())  # it is not abstract
    def ask(self: "LastingStorage", *args: Any, **kwargs: Any) -> Any:
        return self.ask(getattr(self.storage, name), *args, **kwargs)

    return cast(Operation, ask)


class LastingStorage(BaseStorage):
    """Another storage, whose failures of connection are waited out, up to a limit.

    Only the main thread waits, which would have to end otherwise; others are told at once. An
    operation whose answer got lost may have been done, so each must bear to be done twice. A trial
    that is born twice does: one of the two has no controller, and is given up like a lost one.
    """

    def __init__(self, storage: BaseStorage, url: str) -> None:
        self.storage = storage
        self.url = url
        self.limit_s: float | None = None
        """For how long it is waited for. None: not at all, and the error is the storage's own."""
        self.say: Callable[[str], None] = print
        self.times_lost = 0

    def be_patient(self, limit_s: float, say: Callable[[str], None]) -> None:
        """From now on. say: is told, in one line, that the storage is away."""
        self.limit_s = limit_s
        self.say = say

    def ask(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """
        Raises:
            StorageLostError: it did not come back in time.
        """
        try:
            return self._ask(operation, *args, **kwargs)
        except KeyboardInterrupt:
            if self.limit_s is not None:
                self.limit_s = 0.0  # what remains to be done does not wait again
            raise

    def _ask(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        pause, deadline = SHORTEST_PAUSE_S, None
        while True:
            try:
                return operation(*args, **kwargs)
            except (SQLAlchemyError, StorageInternalError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                if self.limit_s is None or cause is None or not _is_of_connection(cause):
                    raise
                reason = self._reason(cause)
                if threading.current_thread() is not threading.main_thread():
                    raise StorageInternalError(reason) from error
                if deadline is None:
                    deadline = time.monotonic() + self.limit_s
                    self._note_loss(reason, self.limit_s)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._given_up(reason) from error
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _note_loss(self, reason: str, limit_s: float) -> None:
        self.times_lost += 1
        if limit_s:
            self.say(f"storage lost the connection ({reason}); waiting, {limit_s:g} s at most")

    def _given_up(self, reason: str) -> StorageLostError:
        error = StorageLostError(
            f"hydra.sweeper.storage={without_credentials(self.url)}: the connection was lost "
            f"({reason}) and did not come back within hydra.sweeper.storage_wait_s="
            f"{self.limit_s:g}; once it does, the same command goes on with the study"
        )
        self.limit_s = 0.0
        return error

    def _reason(self, cause: BaseException) -> str:
        own = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
        text = " ".join(str(own).split()) or type(own).__name__
        return without_secrets(text, self.url)[:120]

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        times_lost = self.times_lost
        arguments = trial_id, state, values
        try:
            return bool(self.ask(self.storage.set_trial_state_values, *arguments))
        except UpdateFinishedTrialError:
            if self.times_lost == times_lost:
                raise
            trial = self.get_trial(trial_id)  # it may have ended so, and only the answer got lost
            if (trial.state, trial.values or []) != (state, list(values or [])):
                raise
            return True

    create_new_study = _patient(BaseStorage.create_new_study)
    delete_study = _patient(BaseStorage.delete_study)
    set_study_user_attr = _patient(BaseStorage.set_study_user_attr)
    set_study_system_attr = _patient(BaseStorage.set_study_system_attr)
    get_study_id_from_name = _patient(BaseStorage.get_study_id_from_name)
    get_study_name_from_id = _patient(BaseStorage.get_study_name_from_id)
    get_study_directions = _patient(BaseStorage.get_study_directions)
    get_study_user_attrs = _patient(BaseStorage.get_study_user_attrs)
    get_study_system_attrs = _patient(BaseStorage.get_study_system_attrs)
    get_all_studies = _patient(BaseStorage.get_all_studies)
    create_new_trial = _patient(BaseStorage.create_new_trial)
    set_trial_param = _patient(BaseStorage.set_trial_param)
    get_trial_id_from_study_id_trial_number = _patient(
        BaseStorage.get_trial_id_from_study_id_trial_number
    )
    set_trial_intermediate_value = _patient(BaseStorage.set_trial_intermediate_value)
    set_trial_user_attr = _patient(BaseStorage.set_trial_user_attr)
    set_trial_system_attr = _patient(BaseStorage.set_trial_system_attr)
    get_trial = _patient(BaseStorage.get_trial)
    get_all_trials = _patient(BaseStorage.get_all_trials)


def _is_of_connection(cause: BaseException) -> bool:
    """Whether the same operation may succeed later: the server is away, starting, full or busy."""
    if isinstance(cause, DBAPIError) and cause.connection_invalidated:
        return True
    return isinstance(cause, OperationalError | InterfaceError | NoConnectionFree)
