"""A journal read for what is looked at: its lines are sorted by what they are about, and few of
them decoded. `journal.py` is for those who write."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.search.optuna_private import Operation
from mnist_sweep.search.study.journal import decode
from mnist_sweep.search.study.looking import Head, SeenStudy, Source, frozen

BEGIN = b'{"op_code":'
"""Of every line, as Optuna and `JournalFile` write it: the operation comes next."""

REST = b',"distributions":'
"""In the line that makes a trial all at once: what comes before says how it ended."""


@dataclass
class _Trial:
    state: TrialState
    values: Sequence[float] | None
    start: str | None
    complete: str | None
    begin: int
    """Place of the line that made it."""
    end: int
    """Of the one that ended it, or of the last line: what is written of it later does not count."""


@dataclass
class _Study:
    name: str
    directions: list[int]
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    trials: list[int] = field(default_factory=list)


class JournalText(Source):
    """Raises a UserError where a line that is looked at is damaged."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: a line is no operation of Optuna's.
        """
        super().__init__()
        self.path = path
        self.lines = path.read_bytes().split(b"\n")[:-1]
        """Without the last one, which is being written where it has no end."""
        at = len(BEGIN)
        self.places: dict[int, list[int]] = {ord(digit): [] for digit in "0123456789"}
        """Of the lines, by the digit of their operation."""
        for place, line in enumerate(self.lines):
            if line.startswith(BEGIN) and line[at + 1 : at + 2] == b"," and line[at] in self.places:
                self.places[line[at]].append(place)
            else:  # one of two digits, none of which says how a trial stands
                decode(line, path)
        self.known: dict[int, _Study] = {}
        self.trials: list[_Trial] = []
        """By their ids."""
        self._replay()

    def _of(self, *operations: Operation) -> list[int]:
        """Places of their lines."""
        return sorted(place for one in operations for place in self.places[ord(str(int(one)))])

    def _decoded(self, places: Sequence[int], rest: bytes | None = None) -> list[tuple[int, Any]]:
        """Places and what their lines say. rest: what begins a part that is left out."""
        lines = [self.lines[place] for place in places]
        if rest is not None:
            lines = [line.partition(rest)[0] + b"}" if rest in line else line for line in lines]
        try:
            logs = json.loads(b"[%s]" % b",".join(lines))
        except (ValueError, RecursionError):
            logs = [decode(line, self.path) for line in lines]
        return list(zip(places, logs, strict=True))

    def _replay(self) -> None:
        """How the trials stand, as Optuna's own storage goes through a journal."""
        last = len(self.lines)
        states = self._of(
            *(Operation.CREATE_STUDY, Operation.DELETE_STUDY, Operation.SET_STUDY_USER_ATTR),
            *(Operation.SET_STUDY_SYSTEM_ATTR, Operation.CREATE_TRIAL),
            Operation.SET_TRIAL_STATE_VALUES,
        )
        born = 0
        for place, log in self._decoded(states, REST):
            match log["op_code"]:
                case Operation.CREATE_STUDY:
                    if all(study.name != log["study_name"] for study in self.known.values()):
                        self.known[born] = _Study(log["study_name"], log["directions"])
                        born += 1
                case Operation.CREATE_TRIAL:
                    self._create(place, log, last)
                case Operation.SET_TRIAL_STATE_VALUES:
                    self._set_state(place, log)
                case operation if (study := self.known.get(log.get("study_id"))) is not None:
                    if operation == Operation.DELETE_STUDY:
                        del self.known[log["study_id"]]
                    elif operation == Operation.SET_STUDY_USER_ATTR:
                        study.user_attrs |= log["user_attr"]
                    elif operation == Operation.SET_STUDY_SYSTEM_ATTR:
                        study.system_attrs |= log["system_attr"]

    def _create(self, place: int, log: dict[str, Any], last: int) -> None:
        study = self.known.get(log["study_id"])
        if study is None:
            return
        state = TrialState(log.get("state", TrialState.RUNNING.value))
        value = log.get("value")
        values = log.get("values") or (None if value is None else [value])
        end = place if state.is_finished() else last
        study.trials.append(len(self.trials))
        times = log["datetime_start"], log.get("datetime_complete")
        self.trials.append(_Trial(state, values, *times, place, end))

    def _set_state(self, place: int, log: dict[str, Any]) -> None:
        trial = self.trials[log["trial_id"]] if log["trial_id"] < len(self.trials) else None
        state = TrialState(log["state"])
        if trial is None or trial.state.is_finished() or state == trial.state == TrialState.RUNNING:
            return
        trial.state = state
        if state == TrialState.RUNNING:
            trial.start = log["datetime_start"]
        if state.is_finished():
            trial.complete, trial.end = log["datetime_complete"], place
        if log["values"] is not None:
            trial.values = log["values"]

    def studies(self) -> Mapping[int, SeenStudy]:
        return {
            study_id: SeenStudy(
                study.name,
                [StudyDirection(direction) for direction in study.directions],
                study.user_attrs,
                study.system_attrs,
            )
            for study_id, study in self.known.items()
        }

    def heads(self, study_id: int) -> list[Head]:
        trials = ((trial_id, self.trials[trial_id]) for trial_id in self.known[study_id].trials)
        return [
            Head(
                *(study_id, trial_id, trial.state, trial.values),
                *(_local(trial.start), _local(trial.complete)),
            )
            for trial_id, trial in trials
        ]

    def attribute(self, study_id: int, key: str) -> Mapping[int, Any]:
        if key not in self.attributes:
            self.attributes[key] = self._attribute(key)
        return self.attributes[key]

    @cached_property
    def attributes(self) -> dict[str, dict[int, Any]]:
        """Those that were asked for: key -> trial id -> value."""
        return {}

    def _attribute(self, key: str) -> dict[int, Any]:
        name = json.dumps(key).encode() + b":"
        begin = b'"user_attr":{' + name
        born = {trial.begin: number for number, trial in enumerate(self.trials)}
        created = [place for place in born if name in self.lines[place]]
        given = ((born[at], log.get("user_attrs", {})) for at, log in self._decoded(created))
        found = {trial_id: attrs[key] for trial_id, attrs in given if key in attrs}
        places = [p for p in self._of(Operation.SET_TRIAL_USER_ATTR) if begin in self.lines[p]]
        for trial_id, log in self._counting(places):
            if key in log["user_attr"]:
                found[trial_id] = log["user_attr"][key]
        return found

    def _counting(self, places: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Trial ids and operations, of those that a trial had not ended before."""
        for place, log in self._decoded(places):
            trial_id = log["trial_id"]
            if trial_id < len(self.trials) and place <= self.trials[trial_id].end:
                yield trial_id, log

    @cached_property
    def _given(self) -> dict[int, dict[str, Any]]:
        """Trial id -> what the line says that made it, of those that were made with more than their
        number."""
        made = {t.begin: n for n, t in enumerate(self.trials) if REST in self.lines[t.begin]}
        return {made[place]: log for place, log in self._decoded(list(made))}

    @cached_property
    def _system_attrs(self) -> dict[int, dict[str, Any]]:
        found = {trial_id: dict(log["system_attrs"]) for trial_id, log in self._given.items()}
        for trial_id, log in self._counting(self._of(Operation.SET_TRIAL_SYSTEM_ATTR)):
            found.setdefault(trial_id, {}).update(log["system_attr"])
        return found

    def system_attrs(self, study_id: int) -> Mapping[int, Mapping[str, Any]]:
        return self._system_attrs

    @cached_property
    def _reported(self) -> dict[int, dict[int, float]]:
        found = {number: _by_step(log) for number, log in self._given.items()}
        for trial_id, log in self._counting(self._of(Operation.SET_TRIAL_INTERMEDIATE_VALUE)):
            found.setdefault(trial_id, {})[log["step"]] = log["intermediate_value"]
        return found

    def reported(self, study_id: int) -> Mapping[int, Mapping[int, float]]:
        return self._reported

    def whole(self, head: Head, number: int) -> FrozenTrial:
        trial, name = self.trials[head.trial_id], b'"trial_id":%d,' % head.trial_id
        [(_, born)] = self._decoded([trial.begin])
        places = [p for p in range(trial.begin + 1, trial.end) if name in self.lines[p]]
        kinds = {n: json_to_distribution(kind) for n, kind in born.get("distributions", {}).items()}
        points = {n: kinds[n].to_external_repr(v) for n, v in born.get("params", {}).items()}
        user_attrs, system_attrs = (dict(born.get(k, {})) for k in ("user_attrs", "system_attrs"))
        reported = _by_step(born)
        for _, log in self._decoded(places):
            if log.get("trial_id") != head.trial_id:
                continue
            match log["op_code"]:
                case Operation.SET_TRIAL_PARAM:
                    kind = kinds[log["param_name"]] = json_to_distribution(log["distribution"])
                    points[log["param_name"]] = kind.to_external_repr(log["param_value_internal"])
                case Operation.SET_TRIAL_USER_ATTR:
                    user_attrs |= log["user_attr"]
                case Operation.SET_TRIAL_SYSTEM_ATTR:
                    system_attrs |= log["system_attr"]
                case Operation.SET_TRIAL_INTERMEDIATE_VALUE:
                    reported[log["step"]] = log["intermediate_value"]
        return frozen(head, number, points, kinds, user_attrs, system_attrs, reported)


def _by_step(log: dict[str, Any]) -> dict[int, float]:
    return {int(step): value for step, value in log.get("intermediate_values", {}).items()}


def _local(time: str | None) -> datetime | None:
    return None if time is None else datetime.fromisoformat(time).astimezone().replace(tzinfo=None)
