"""A database of Optuna's read for what is looked at, by a query for each part. `database.py` is for
those who write."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import DateTime, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from mnist_sweep.search.study.database import engine_settings
from mnist_sweep.search.study.lasting import StorageFailureError
from mnist_sweep.search.study.looking import Head, SeenStudy, Source, frozen
from mnist_sweep.vault import without_secrets

SCHEMA = "v3.2.0.a"
"""The version of Optuna's tables that the queries are for."""

NO_NUMBERS = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}

OF_STUDY = "JOIN trials USING (trial_id) WHERE trials.study_id = :study_id"


class DatabaseText(Source):
    """Raises a StorageFailureError where it cannot be read."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            SQLAlchemyError, ImportError, LookupError: it is not there, or no such database.
        """
        super().__init__()
        self.url = url
        self.engine = create_engine(url, **engine_settings(url))
        with self.engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if found != SCHEMA:
            raise LookupError(f"schema {found}")
        self.attribute = cache(self.attribute)  # type: ignore[method-assign]
        self.system_attrs = cache(self.system_attrs)  # type: ignore[method-assign]
        self.reported = cache(self.reported)  # type: ignore[method-assign]

    def _rows(self, query: str, *times: str, **values: Any) -> list[Any]:
        """times: columns that hold some."""
        statement = text(query)
        if times:
            statement = statement.columns(**dict.fromkeys(times, DateTime))  # type: ignore[assignment]
        try:
            with self.engine.connect() as connection:
                return list(connection.execute(statement, values))
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise StorageFailureError.refused(
                self.url, without_secrets(reason, self.url)
            ) from error

    def studies(self) -> Mapping[int, SeenStudy]:
        directions: dict[int, list[StudyDirection]] = {}
        query = "SELECT study_id, direction FROM study_directions ORDER BY study_id, objective"
        for study_id, direction in self._rows(query):
            directions.setdefault(study_id, []).append(StudyDirection[direction])
        parts = []
        for kind in ("user", "system"):
            attrs: dict[int, dict[str, Any]] = {}
            query = f"SELECT a.study_id, a.key, a.value_json FROM study_{kind}_attributes a"
            for study_id, key, value in self._rows(query):
                attrs.setdefault(study_id, {})[key] = json.loads(value)
            parts.append(attrs)
        return {
            study_id: SeenStudy(
                name, directions[study_id], *(attrs.get(study_id, {}) for attrs in parts)
            )
            for study_id, name in self._rows("SELECT study_id, study_name FROM studies")
        }

    def heads(self, study_id: int) -> list[Head]:
        values: dict[int, list[float]] = {}
        query = (
            f"SELECT trial_id, value, value_type FROM trial_values {OF_STUDY} ORDER BY objective"
        )
        for trial_id, value, kind in self._rows(query, study_id=study_id):
            values.setdefault(trial_id, []).append(NO_NUMBERS.get(kind, value))
        query = (
            "SELECT trial_id, state, datetime_start, datetime_complete FROM trials "
            "WHERE study_id = :study_id ORDER BY number"
        )
        rows = self._rows(query, "datetime_start", "datetime_complete", study_id=study_id)
        return [
            Head(
                *(study_id, trial_id, TrialState[state], values.get(trial_id)),
                *(_local(start), _local(complete)),
            )
            for trial_id, state, start, complete in rows
        ]

    def attribute(self, study_id: int, key: str) -> Mapping[int, Any]:
        of_key = f"FROM trial_user_attributes a {OF_STUDY} AND a.key = :key"
        query = f"SELECT trial_id, a.value_json {of_key}"
        return {n: json.loads(value) for n, value in self._rows(query, study_id=study_id, key=key)}

    def system_attrs(self, study_id: int) -> Mapping[int, Mapping[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        query = f"SELECT trial_id, a.key, a.value_json FROM trial_system_attributes a {OF_STUDY}"
        for trial_id, key, value in self._rows(query, study_id=study_id):
            found.setdefault(trial_id, {})[key] = json.loads(value)
        return found

    def reported(self, study_id: int) -> Mapping[int, Mapping[int, float]]:
        found: dict[int, dict[int, float]] = {}
        query = (
            "SELECT trial_id, step, intermediate_value, intermediate_value_type "
            f"FROM trial_intermediate_values {OF_STUDY}"
        )
        for trial_id, step, value, kind in self._rows(query, study_id=study_id):
            found.setdefault(trial_id, {})[step] = NO_NUMBERS.get(kind, value)
        return found

    def whole(self, head: Head, number: int) -> FrozenTrial:
        def rows(columns: str, table: str) -> list[Any]:
            query = f"SELECT {columns} FROM {table} a WHERE trial_id = :trial_id"
            return self._rows(query, trial_id=head.trial_id)

        points = rows("param_name, param_value, distribution_json", "trial_params")
        kinds = {name: json_to_distribution(kind) for name, _, kind in points}
        user_attrs, system_attrs = (
            {
                key: json.loads(value)
                for key, value in rows("a.key, a.value_json", f"trial_{kind}_attributes")
            }
            for kind in ("user", "system")
        )
        columns = "step, intermediate_value, intermediate_value_type"
        told = rows(columns, "trial_intermediate_values")
        return frozen(
            head,
            number,
            {name: kinds[name].to_external_repr(value) for name, value, _ in points},
            kinds,
            user_attrs,
            system_attrs,
            {step: NO_NUMBERS.get(kind, value) for step, value, kind in told},
        )


def _local(time: datetime | None) -> datetime | None:
    """time: UTC, as Optuna has it in databases."""
    return None if time is None else time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
