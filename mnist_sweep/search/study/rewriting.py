"""Changes what a study has searched so far, all of it or nothing, while nobody works on it.

Optuna refuses a parameter that has other choices than in the study's first trial, and no trial that
has ended takes another parameter. So the trials are rewritten: their distributions, and a parameter
that they had without naming it. Numbers, values, states and times stay.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import Study
from optuna.trial import FrozenTrial
from sqlalchemy import BindParameter, Connection, bindparam, column, select, table

from mnist_sweep.errors import UserError
from mnist_sweep.paths import JOURNAL
from mnist_sweep.search.optuna_private import FIXED_PARAMS, CachedDatabase, Journal
from mnist_sweep.search.study.attributes import SETTINGS
from mnist_sweep.search.study.journal import JournalFile
from mnist_sweep.search.study.lasting import ConnectionLostError, StorageFailureError
from mnist_sweep.search.study.leases import Leases
from mnist_sweep.search.study.storage import PROXY, open_remote

STUDIES = table("studies", column("study_id"), column("study_name"))
TRIALS = table("trials", column("trial_id"), column("study_id"), column("number"))
ATTRIBUTES = table("study_user_attributes", column("study_id"), column("key"), column("value_json"))
PARAMS = table(
    "trial_params",
    *(column("trial_id"), column("param_name"), column("param_value")),
    column("distribution_json"),
)
SYSTEM_ATTRIBUTES = table(
    "trial_system_attributes", column("trial_id"), column("key"), column("value_json")
)
"""Of Optuna's database."""


@dataclass(frozen=True)
class Rewriting:
    before: Any
    """What the study's commands had in common when this was decided."""
    changed: Mapping[str, BaseDistribution]
    """Parameters that trials have, and what they are searched over from now on."""
    added: Mapping[str, tuple[BaseDistribution, Any]]
    """New parameters, and the value that all trials so far had."""
    holds: Callable[[BaseDistribution, Any], bool]
    exists: Callable[[str, Mapping[str, Any]], bool]
    """Whether a parameter exists beside these values of others."""
    attributes: Callable[[Study], Mapping[str, Any]]
    """Of the study, from now on."""

    def of(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as it is to be; one without a point stays as it is."""
        new = copy.copy(trial)
        new.distributions = {
            name: self.changed[name]
            if name in self.changed and self.holds(self.changed[name], trial.params[name])
            else distribution
            for name, distribution in trial.distributions.items()
        }
        new.params = dict(trial.params)
        for name, (distribution, value) in self.added.items():
            if trial.params and self.exists(name, new.params):
                new.params[name] = value
                new.distributions[name] = distribution
        if fixed := trial.system_attrs.get(FIXED_PARAMS):  # of a trial that waits, or is to
            fixed = dict(fixed)
            for name, (_, value) in self.added.items():
                if self.exists(name, fixed):
                    fixed.setdefault(name, value)
            new.system_attrs = {**trial.system_attrs, FIXED_PARAMS: fixed}
        return new


def rewrite(
    study: Study, url: str | None, sweep_dir: Path, lease_s: float, rewriting: Rewriting
) -> None:
    """Whoever has the study open must open it anew. Does nothing if it has changed since this was
    decided. url: of its storage; None: the journal in the sweep's directory.

    Raises:
        UserError: somebody works on the study, or the storage does not allow it.
    """
    if url is None:
        file = JournalFile(sweep_dir / JOURNAL)

        def change() -> Sequence[Mapping[str, Any]] | None:
            storage = Journal(JournalFile(sweep_dir / JOURNAL))
            now = optuna.load_study(study_name=study.study_name, storage=storage)
            if now.user_attrs.get(SETTINGS) != rewriting.before:
                return None
            check_idle(now, lease_s)
            return _logs(storage, now, rewriting)

        file.replace(change)
    elif url.lower().startswith(PROXY):
        raise UserError(
            f"hydra.sweeper.storage={PROXY}...: a study does not grow through a proxy: give the "
            "command once with the database's own URL, then go on as before"
        )
    else:
        try:
            _rewrite_database(url, study.study_name, lease_s, rewriting)
        except ConnectionLostError as error:
            raise StorageFailureError.lost(url, error.reason, 0) from error


def check_idle(study: Study, lease_s: float) -> None:
    """
    Raises:
        UserError: somebody works on it.
    """
    for lease in Leases(study, lease_s).at_work().values():
        raise UserError(
            f"hydra.sweeper.study_name={study.study_name}: {lease.host.split()[0]}, process "
            f"{lease.pid}, is at work on it, and a study grows only while nobody is: wait for its "
            "end, or stop it (python -m mnist_sweep.sweep stop), and give the command again"
        )


# In a journal


class _Logs(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += logs


def _logs(storage: BaseStorage, study: Study, rewriting: Rewriting) -> list[dict[str, Any]]:
    """Of a journal that has the same studies, but this one rewritten."""
    backend = _Logs()
    target = Journal(backend)
    for frozen in storage.get_all_studies():
        own = frozen.study_name == study.study_name
        new_id = target.create_new_study(frozen.directions, frozen.study_name)
        for key, value in frozen.system_attrs.items():
            target.set_study_system_attr(new_id, key, value)
        more = rewriting.attributes(study) if own else {}
        for key, value in {**frozen.user_attrs, **more}.items():
            target.set_study_user_attr(new_id, key, value)
        old_id = storage.get_study_id_from_name(frozen.study_name)
        for trial in storage.get_all_trials(old_id, deepcopy=False):
            target.create_new_trial(new_id, rewriting.of(trial) if own else trial)
    return backend.logs


# In a database


def _rewrite_database(url: str, name: str, lease_s: float, rewriting: Rewriting) -> None:
    database = open_remote(url, "hydra.sweeper.storage")
    assert isinstance(database, CachedDatabase)
    study = optuna.load_study(study_name=name, storage=database)
    with database.engine.begin() as connection:
        study_id = _lock(connection, name)
        if study.user_attrs.get(SETTINGS) == rewriting.before:
            check_idle(study, lease_s)
            _write(connection, study_id, study, rewriting)
    database.engine.dispose()


def _lock(connection: Connection, name: str) -> int:
    """Nobody else comes by here, nor gives the study a new attribute, such as a lease, until the
    transaction ends: the first statement locks a file, the second one a server's row."""
    is_it = STUDIES.c.study_name == name
    connection.execute(STUDIES.update().where(is_it).values(study_name=name))
    found = connection.execute(select(STUDIES.c.study_id).where(is_it).with_for_update())
    return int(found.scalar_one())


def _write(connection: Connection, study_id: int, study: Study, rewriting: Rewriting) -> None:
    numbered = select(TRIALS.c.number, TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
    ids = {number: trial_id for number, trial_id in connection.execute(numbered)}
    attributes = rewriting.attributes(study)  # it is not read while the file is being written
    other: list[dict[str, Any]] = []
    more: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    for trial in study.get_trials(deepcopy=False):
        new, own = rewriting.of(trial), {"trial": ids[trial.number]}
        for name, distribution in new.distributions.items():
            if trial.distributions.get(name) == distribution:
                continue
            value = distribution.to_internal_repr(new.params[name])
            row = {**own, "name": name, "value": value, "text": distribution_to_json(distribution)}
            (other if name in trial.params else more).append(row)
        if new.system_attrs != trial.system_attrs:
            given.append({**own, "text": json.dumps(new.system_attrs[FIXED_PARAMS])})
    params, attrs = PARAMS.c, SYSTEM_ATTRIBUTES.c
    is_trials = params.trial_id == bindparam("trial")
    of_name = params.param_name == bindparam("name")
    text: BindParameter[str] = bindparam("text")
    if other:
        is_it = is_trials & of_name
        update = PARAMS.update().where(is_it).values(distribution_json=text)
        connection.execute(update, [{k: r[k] for k in ("trial", "name", "text")} for r in other])
    if more:
        columns = ("trial_id", "param_name", "param_value", "distribution_json")
        words = ("trial", "name", "value", "text")
        values: Any = dict(zip(columns, map(bindparam, words), strict=True))
        connection.execute(PARAMS.insert().values(**values), more)
    if given:
        is_it = (attrs.trial_id == bindparam("trial")) & (attrs.key == FIXED_PARAMS)
        connection.execute(SYSTEM_ATTRIBUTES.update().where(is_it).values(value_json=text), given)
    for key, value in attributes.items():
        of_study = {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
        is_it = (ATTRIBUTES.c.study_id == study_id) & (ATTRIBUTES.c.key == key)
        connection.execute(ATTRIBUTES.delete().where(is_it))
        connection.execute(ATTRIBUTES.insert().values(**of_study))
