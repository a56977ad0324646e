"""What is private to Optuna and used all the same: a test that says so when an update takes it."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import optuna
import pytest
from optuna.samplers import GridSampler

from mnist_sweep.search import optuna_private

UPDATED = "Optuna has changed what mnist_sweep/search/optuna_private.py relies on: "


@contextmanager
def private(what: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, TypeError, KeyError, AssertionError) as error:
        raise AssertionError(f"{UPDATED}{what} ({error!r})") from error


def test_what_is_private_to_optuna_is_still_there() -> None:
    study = optuna.create_study()
    distribution = optuna.distributions.IntDistribution(1, 3)
    with private("Trial._suggest"):
        trial = study.ask()
        assert optuna_private.suggest(trial, "a", distribution) == trial.params["a"]
    with private("Study._storage, Trial._trial_id"):
        optuna_private.set_user_attr(study, trial, "key", 1)
        optuna_private.set_user_attr(study, study.trials[0], "other", 2)
        assert study.trials[0].user_attrs == {"key": 1, "other": 2}
    with private("the text of Study.tell's ValueError"):
        study.tell(trial, 1.0)
        with pytest.raises(ValueError) as refused:
            study.tell(trial.number, 2.0)
        assert optuna_private.says_ended_before(refused.value)
        assert not optuna_private.says_ended_before(ValueError("another one"))
    with private("the system attribute fixed_params"):
        study.enqueue_trial({"a": 2})
        assert [optuna_private.is_given(trial) for trial in study.trials] == [False, True]
        assert optuna_private.given_point(study.trials[1]) == {"fixed_params": {"a": 2}}
        assert optuna_private.given_point(study.trials[0])["fixed_params"] == trial.params


def test_what_is_private_to_optunas_grid_is_still_there() -> None:
    grid: dict[str, list[str | float | int | bool | None]] = {"a": [1, 2], "b": ["x", "y", "z"]}
    sampler = GridSampler(grid, seed=0)
    study = optuna.create_study(sampler=sampler)
    with private("GridSampler._all_grids, ._param_names"):
        points = [
            optuna_private.grid_point(sampler, number)
            for number in range(optuna_private.grid_size(sampler))
        ]
        assert sorted((p["a"], p["b"]) for p in points) == [*product((1, 2), ("x", "y", "z"))]
    with private("GridSampler._get_unvisited_grid_ids, the system attribute grid_id"):
        trial = study.ask()
        assert optuna_private.is_given(study.trials[0])
        assert optuna_private.unvisited(sampler, study) == set(range(6)) - {0}
        optuna_private.set_grid_id(study, study.trials[0], 4)
        assert optuna_private.unvisited(sampler, study) == set(range(6)) - {4}
        trial = optuna.trial.Trial(study, study.trials[0]._trial_id)
        chosen = {name: trial.suggest_categorical(name, values) for name, values in grid.items()}
        assert chosen == points[4]
    with private("the text of Study.stop's RuntimeError"):
        study.tell(trial.number, 1.0)
        with pytest.raises(RuntimeError) as done:
            for _ in range(6):
                study.tell(study.ask().number, 1.0)
        assert optuna_private.says_sampler_is_done(done.value)


def private_names(path: Path) -> list[str]:
    """Names with an underscore that a module takes from another or from an object not its own."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")
            if node.attr.startswith("_") and not node.attr.startswith("__") and not is_own:
                found.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.name.startswith("_")]
    return found


def test_private_names_are_used_in_their_adapter_alone() -> None:
    folder = Path(optuna_private.__file__).parent
    users = {path.stem for path in folder.rglob("*.py") if private_names(path)}
    assert users == {"optuna_private"}
