"""Opens a study: a new one, or one to go on with that was begun with the same settings."""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import Study

from mnist_sweep.config import NotIn
from mnist_sweep.errors import UserError
from mnist_sweep.identity import flat_config, keys
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import OVERRIDES
from mnist_sweep.search.study.zipped import keys_of

SETTINGS = "settings"
"""Attribute of the study: what all commands on it have in common."""

SEED = "seed"
"""Another one, and the key that it holds. A version that did not compare it wrote none."""


def open_study(
    name: str, storage: BaseStorage, settings: SearchSettings, shared: Mapping[str, Any]
) -> Study:
    """shared: what `in_common` says of this command.

    Raises:
        UserError: the storage will not do, or its study is not this one.
    """
    try:
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=list(settings.direction),
            load_if_exists=True,
        )
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"hydra.sweeper.storage: the study {name} cannot be made or read "
            f"({type(error).__name__}): it must be writable, and no other kind of file"
        ) from error
    check_study(study, settings, shared)
    note_shared(study, shared)
    _name_objectives(study, settings.objective)
    return study


def check_study(study: Study, settings: SearchSettings, shared: Mapping[str, Any]) -> None:
    """Whether a command may go on with it; writes nothing. shared: of `in_common`.

    Raises:
        UserError: it may not.
    """
    found = tuple(direction.name.lower() for direction in study.directions)
    if found != settings.direction:
        raise UserError(
            f"hydra.sweeper.direction={list(settings.direction)}: the study {study.study_name} has "
            f"{list(found)}; use these, or another hydra.sweeper.study_name"
        )
    check_same(study, shared)


def _name_objectives(study: Study, objectives: Sequence[str]) -> None:
    """For Optuna's own programs, which number them otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if study.metric_names != list(objectives):
            study.set_metric_names(list(objectives))


def in_common(
    settings: SearchSettings, config: Mapping[str, Any], searched: Mapping[str, str]
) -> dict[str, Any]:
    """What all commands on one study share: of the fixed configuration, of `hydra.sweeper`, and of
    what is searched (parameter -> its distribution as text)."""
    own = settings.model_dump(mode="json")
    may_differ = keys(NotIn.STUDY, SearchSettings)
    unzipped_keys = [key for name in searched for key in keys_of(name)]
    return {
        **flat_config(config, (*keys(NotIn.STUDY), *unzipped_keys)),
        **{f"hydra.sweeper.{key}": own[key] for key in own if key not in may_differ},
        **{f"search of {key}": text for key, text in searched.items()},
        SEED: config[SEED],
    }


def check_same(study: Study, shared: Mapping[str, Any]) -> None:
    """
    Raises:
        UserError: the study was begun with other settings, or by another program.
    """
    now, seed = _as_noted(shared)
    before = study.user_attrs.get(SETTINGS)
    if before is None:
        if study.get_trials(deepcopy=False):
            raise UserError(
                f"hydra.sweeper.study_name={study.study_name}: that study was not made by "
                "hydra/sweeper=search; use another name"
            )
        return
    seed_before = study.user_attrs.get(SEED, _seed_of(study))
    if seed_before is not None:
        before, now = {**before, SEED: seed_before}, {**now, SEED: seed}
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        shown = [f"{key} (was {before.get(key)}, is {now.get(key)})" for key in changed[:5]]
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise UserError(
            f"hydra.sweeper.study_name={study.study_name}: the study was begun with other "
            f"settings: {', '.join(shown)}{more}; restore them, or give the study another name"
        )


def note_shared(study: Study, shared: Mapping[str, Any]) -> None:
    """What a study has of it that was noted before stays."""
    now, seed = _as_noted(shared)
    if SETTINGS not in study.user_attrs:
        study.set_user_attr(SETTINGS, now)
    if SEED not in study.user_attrs:
        study.set_user_attr(SEED, seed)


def _as_noted(shared: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """In the types of JSON; and the seed, which has an attribute of its own."""
    now = json.loads(json.dumps(shared, default=str))
    seed = now.pop(SEED)
    return now, seed


def check_whole(study: Study, recorded: Iterable[Mapping[str, str]]) -> None:
    """recorded: rows of the search's table, read before the study was.

    Raises:
        UserError: the study lacks trials that have rows, whose numbers others would get.
    """
    known = len(study.get_trials(deepcopy=False))
    rows = (row for row in recorded if row.get("study") == study.study_name)
    last = max((int(row["trial"]) for row in rows if row.get("trial", "").isdecimal()), default=-1)
    if last >= known:
        raise UserError(
            f"hydra.sweeper.storage: the study {study.study_name} has {known} trials, and the "
            f"search's table has trial {last}: the study was cut short or replaced; put the whole "
            "one back, or begin a new one with another hydra.sweeper.study_name"
        )


def _seed_of(study: Study) -> int | None:
    """That the trials of an earlier version were given, where an override said so."""
    for trial in study.get_trials(deepcopy=False):
        for override in reversed(trial.user_attrs.get(OVERRIDES, ())):
            key, _, value = str(override).partition("=")
            if key == SEED and value.isdecimal():
                return int(value)
    return None
