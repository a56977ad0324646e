"""A storage that may go away for a while: what it does not answer is asked again.

Whether a connection was lost is said by SQLAlchemy's engine, or gRPC's channel, where it is known.
Optuna's storage takes some losses for invalid data, and asks again by itself, which could make a
trial twice.
"""

import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InterfaceError, OperationalError

from mnist_sweep.errors import FailureError
from mnist_sweep.search.study.credentials import without_credentials, without_secrets

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
"""Between two attempts; each pause is twice the one before."""

BIRTH = "birth"
"""System attribute of a trial: by it one is found that was made although no answer said so."""

Operation = TypeVar("Operation", bound=Callable[..., Any])


LOST = "storage lost the connection"

DISK_FULL = "53100"
"""PostgreSQL's code."""


class ConnectionLostError(Exception):
    """No error of SQLAlchemy's, which Optuna would take for another."""

    def __init__(self, reason: str) -> None:
        """reason: in the driver's words."""
        super().__init__(f"{LOST} ({reason})")
        self.reason = reason


def reason_of(text: str) -> str | None:
    """Of a ConnectionLostError that another process has put into words; None of another error."""
    found = re.search(rf"{LOST} \((.*)\)", text)
    return found and found[1]


class StorageFailureError(FailureError, StorageInternalError):
    """The storage did not come back in time, or what is wrong with it is not mended by waiting."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason

    @classmethod
    def lost(cls, url: str, reason: str, waited_s: float) -> "StorageFailureError":
        return cls(
            reason,
            f"hydra.sweeper.storage={without_credentials(url)}: the connection was lost "
            f"({reason}) and did not come back within hydra.sweeper.storage_wait_s="
            f"{waited_s:g}; once it does, the same command goes on with the study",
        )

    @classmethod
    def refused(cls, url: str, reason: str) -> "StorageFailureError":
        return cls(
            reason,
            f"hydra.sweeper.storage={without_credentials(url)} cannot be read or written "
            f"({reason[:160]}); once it can, the same command goes on with the study",
        )


def name_losses(engine: Engine, url: str) -> None:
    """From now on, a lost connection of the engine's is a ConnectionLostError, and what cannot be
    done, however long one waits, a StorageFailureError."""

    def name_loss(context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if error is None or (context.is_pre_ping and context.is_disconnect):
            return  # a Ctrl-C, after which no connection is used again; a pool that connects anew
        if context.is_disconnect or isinstance(error, OperationalError | InterfaceError):
            own = context.original_exception
            reason = without_secrets(" ".join(str(own).split()), url) or type(own).__name__
            if not context.is_disconnect and _stays(own):
                raise StorageFailureError.refused(url, reason)
            raise ConnectionLostError(reason[:120])

    event.listen(engine, "handle_error", name_loss)


def _stays(error: BaseException) -> bool:
    """Whether the same operation will not succeed later: all that a server says that is away,
    starting or busy is worth another attempt; of a file that it is locked, and no more."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return DISK_FULL in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None))


@dataclass
class OutageWait:
    """For how long, in seconds, a storage that is away is waited for. say: is told of it, in one
    line."""

    limit_s: float
    say: Callable[[str], None]

    def end(self) -> None:
        """What remains to be done does not wait again."""
        self.limit_s = 0.0


def _patient(operation: Operation) -> Operation:
    """The operation, asked of the storage that `self` has."""
    name = operation.__name__

    @wraps(operation, updated=())  # it is not abstract
    def ask(self: "LastingStorage", *args: Any, **kwargs: Any) -> Any:
        return self.ask(lambda: getattr(self.storage, name)(*args, **kwargs))

    return cast(Operation, ask)


class LastingStorage(BaseStorage):
    """Another storage, whose losses of connection are waited out, up to a limit.

    Only the main thread waits, which would have to end otherwise; others are told at once. An
    operation whose answer got lost may have been done. To set something twice changes nothing; a
    trial that was made, or ended, is looked for before that is done again. Whether it was this
    process that took a waiting trial cannot be told: that one has no controller, and is given up
    and tried again like a lost one.
    """

    def __init__(self, storage: BaseStorage, url: str) -> None:
        """storage: one that names its losses."""
        self.storage = storage
        self.url = url
        self.outage_wait: OutageWait | None = None
        """None: what is lost is an error at once."""

    def ask(self, operation: Callable[[], Any], again: Callable[[], Any] | None = None) -> Any:
        """again: what to do in the operation's place once an answer got lost.

        Raises:
            StorageInternalError: the connection was lost, and this is not to wait.
            StorageFailureError: it did not come back in time, or refuses.
        """
        pause, begin = SHORTEST_PAUSE_S, None
        while True:
            try:
                return operation()
            except ConnectionLostError as error:
                is_main = threading.current_thread() is threading.main_thread()
                if self.outage_wait is None or not is_main:
                    raise StorageInternalError(error.reason) from error
                limit_s = self.outage_wait.limit_s
                if begin is None:
                    begin = time.monotonic()
                    if limit_s:
                        self.outage_wait.say(f"{error}; waiting, {limit_s:g} s at most")
                left = begin + limit_s - time.monotonic()
                if left <= 0:
                    raise StorageFailureError.lost(self.url, error.reason, limit_s) from error
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                operation = again or operation

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        birth = uuid.uuid4().hex
        born = copy(template_trial or create_trial(state=TrialState.RUNNING))
        born.system_attrs = {**born.system_attrs, BIRTH: birth}

        def create() -> int:
            return self.storage.create_new_trial(study_id, born)

        def create_unless_made() -> int:
            for trial in reversed(self.storage.get_all_trials(study_id, deepcopy=False)):
                if trial.system_attrs.get(BIRTH) == birth:
                    return self.storage.get_trial_id_from_study_id_trial_number(
                        study_id, trial.number
                    )
            return create()

        return int(self.ask(create, create_unless_made))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        def set_() -> bool:
            return self.storage.set_trial_state_values(trial_id, state, values)

        def set_unless_ended_so() -> bool:
            trial = self.storage.get_trial(trial_id)
            is_same = (trial.state, trial.values or []) == (state, list(values or []))
            return True if state.is_finished() and is_same else set_()

        return bool(self.ask(set_, set_unless_ended_so))

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
    set_trial_param = _patient(BaseStorage.set_trial_param)
    get_trial_id_from_study_id_trial_number = _patient(
        BaseStorage.get_trial_id_from_study_id_trial_number
    )
    set_trial_intermediate_value = _patient(BaseStorage.set_trial_intermediate_value)
    set_trial_user_attr = _patient(BaseStorage.set_trial_user_attr)
    set_trial_system_attr = _patient(BaseStorage.set_trial_system_attr)
    get_trial = _patient(BaseStorage.get_trial)
    get_all_trials = _patient(BaseStorage.get_all_trials)
