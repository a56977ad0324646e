"""Optuna's private names, the keys and texts of its own included: all that an update may take."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import GridSampler
from optuna.storages import BaseStorage, RDBStorage, _CachedStorage
from optuna.storages.journal._storage import JournalOperation
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

# Attributes that Optuna itself gives a trial.
GRID_ID = "grid_id"
SEARCH_SPACE = "search_space"
FIXED_PARAMS = "fixed_params"


NEWEST_OPERATION = int(max(JournalOperation))
"""The largest `op_code` of a journal that this version of Optuna knows."""


def cached(database: RDBStorage) -> BaseStorage:
    """As `create_study` takes it, which reads only what is new in a database."""
    return _CachedStorage(database)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """As `Trial.suggest_...`, of any distribution."""
    return trial._suggest(name, distribution)


def set_user_attr(study: Study, trial: Trial | FrozenTrial, name: str, value: Any) -> None:
    """As `Trial.set_user_attr`, also of a trial that another process has asked for.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def set_grid_id(study: Study, trial: FrozenTrial, grid_id: int) -> None:
    """Lets a grid's trial be another of the grid's points."""
    study._storage.set_trial_system_attr(trial._trial_id, GRID_ID, grid_id)


def grid_point(sampler: GridSampler, grid_id: int) -> dict[str, Any]:
    """Parameter -> its value."""
    return dict(zip(sampler._param_names, sampler._all_grids[grid_id], strict=True))


def grid_size(sampler: GridSampler) -> int:
    return len(sampler._all_grids)


def unvisited(sampler: GridSampler, study: Study) -> set[int]:
    """Grid ids that no trial has begun; when all are begun, those that none has finished."""
    return set(sampler._get_unvisited_grid_ids(study))


def is_given(trial: FrozenTrial) -> bool:
    """Whether the trial's point was settled before a sampler was asked."""
    return not trial.system_attrs.keys().isdisjoint({GRID_ID, FIXED_PARAMS})


def given_point(trial: FrozenTrial) -> dict[str, Any]:
    """System attributes with which a new trial gets the point of this one."""
    params: Mapping[str, Any] = trial.system_attrs.get(FIXED_PARAMS, trial.params)
    fixed = {FIXED_PARAMS: params} if params else {}
    grid = {
        key: trial.system_attrs[key] for key in (GRID_ID, SEARCH_SPACE) if key in trial.system_attrs
    }
    return {**fixed, **grid}


def says_ended_before(error: ValueError) -> bool:
    """Whether `Study.tell` refused because the trial had ended."""
    return "Cannot tell a" in str(error)


def says_sampler_is_done(error: RuntimeError) -> bool:
    """Whether a sampler that has been through all its points asked to stop an `optimize` that is
    not there."""
    return "Study.stop" in str(error)
