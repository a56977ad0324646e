"""Opens a study: a new one, or one to go on with that was begun with the same settings."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import Study

from mnist_sweep.config import NotIn, unchecked
from mnist_sweep.data import find
from mnist_sweep.errors import UserError
from mnist_sweep.identity import flat_config, keys
from mnist_sweep.paths import JOURNAL
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import OVERRIDES, SEARCHED, SETTINGS
from mnist_sweep.search.study.storage import open_storage
from mnist_sweep.search.study.zipped import keys_of

SEED = "seed"
"""An attribute of the study, and the key that it holds. A version that did not compare it wrote
none."""


def open_study(name: str, storage: BaseStorage, settings: SearchSettings) -> Study:
    """A new one, or one whose settings are still to be compared.

    Raises:
        UserError: the storage will not do, or its study has other directions.
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
    check_directions(study, settings)
    _name_objectives(study, settings.objective)
    return study


def check_directions(study: Study, settings: SearchSettings) -> None:
    """
    Raises:
        UserError: the study has others.
    """
    found = tuple(direction.name.lower() for direction in study.directions)
    if found != settings.direction:
        raise UserError(
            f"hydra.sweeper.direction={list(settings.direction)}: the study {study.study_name} has "
            f"{list(found)}; use these, or another hydra.sweeper.study_name"
        )


def attrs_of(name: str, url: str | None, sweep_dir: Path) -> Mapping[str, Any]:
    """Of a study that there is; empty where it is to be made. Makes nothing.

    Raises:
        UserError: the storage will not do.
    """
    if url is None and not (sweep_dir / JOURNAL).exists():
        return {}
    known = open_storage(url, sweep_dir).get_all_studies()
    return next((study.user_attrs for study in known if study.study_name == name), {})


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
    data = unchecked(config).data
    images = {"images": find(data)} if data.is_measured else {}  # whose path says nothing of them
    may_differ = keys(NotIn.STUDY, SearchSettings)
    searched_keys = [key for name in searched for key in keys_of(name)]
    return {
        **flat_config(config, (*keys(NotIn.STUDY), *searched_keys)),
        **images,
        **{f"hydra.sweeper.{key}": own[key] for key in own if key not in may_differ},
        **{f"{SEARCHED}{key}": text for key, text in searched.items()},
        SEED: None if SEED in searched_keys else config[SEED],
    }


def as_stored(shared: Mapping[str, Any]) -> dict[str, Any]:
    """What `in_common` says, as a study gives it back."""
    return dict(json.loads(json.dumps(shared, default=str)))


def settings_of_study(study: Study) -> dict[str, Any] | None:
    """What its commands have in common, as stored; None of a new one, or one of another program."""
    before = study.user_attrs.get(SETTINGS)
    if before is None:
        return None
    searched = (key.removeprefix(SEARCHED) for key in before if key.startswith(SEARCHED))
    is_swept = any(SEED in keys_of(name) for name in searched)
    return {**before, SEED: None if is_swept else study.user_attrs.get(SEED, _seed_of(study))}


def attributes_of(shared: Mapping[str, Any]) -> dict[str, Any]:
    """The study's attributes that hold what `in_common` says."""
    now = as_stored(shared)
    seed = now.pop(SEED)
    return {SETTINGS: now} if seed is None else {SETTINGS: now, SEED: seed}


def check_same(study: Study, shared: Mapping[str, Any]) -> None:
    """
    Raises:
        UserError: the study was begun with other settings, or by another program.
    """
    before = settings_of_study(study)
    if before is None:
        if study.get_trials(deepcopy=False):
            raise UserError(
                f"hydra.sweeper.study_name={study.study_name}: that study was not made by "
                "hydra/sweeper=search; use another name"
            )
        return
    now = as_stored(shared)
    if before[SEED] is None:  # of an earlier version
        before[SEED] = now[SEED]
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
    for name, value in attributes_of(shared).items():
        if name not in study.user_attrs:
            study.set_user_attr(name, value)


def _seed_of(study: Study) -> int | None:
    """That the trials of an earlier version were given, where an override said so."""
    for trial in study.get_trials(deepcopy=False):
        for override in reversed(trial.user_attrs.get(OVERRIDES, ())):
            key, _, value = str(override).partition("=")
            if key == SEED and value.isdecimal():
                return int(value)
    return None
