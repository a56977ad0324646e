"""Studies that grow, without training: what a command asks for, and how the study is rewritten."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_sweep.errors import UserError
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.growth import Grower, Growth, grid_points, holds, recorded_space
from mnist_sweep.search.points.space import Space, make_space
from mnist_sweep.search.points.untried import point_key
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.leases import Leases
from mnist_sweep.search.study.opening import as_stored, in_common
from mnist_sweep.search.study.rewriting import Rewriting, rewrite
from mnist_sweep.search.study.storage import open_storage
from tests.test_search_parts import SMALL, Parts, composed

GRID = {"_target_": "optuna.samplers.GridSampler", "_partial_": True}
KEYS: dict[str, list[Any]] = {
    "optimizer": ["soap", "sgd", "adam", "adamw"],
    "trainer.epochs": [8, 1, 2, 3],
    "seed": [0, 1, 2, 3],
}
"""Key -> its values; the first one is what a command has that does not say."""


@cache
def sweeper(folder: Path) -> SearchSettings:
    space = {"optimizer": "choice(sgd, adam)"}
    return Parts(folder, space, sampler=GRID, n_trials=None).settings


@cache
def composer() -> Composer:
    cfg, loader = composed()
    return Composer(loader, cfg)


class Commands:
    """What several commands make of a study, one after another."""

    def __init__(self, folder: Path) -> None:
        self.composer = composer()
        self.sweeper = sweeper(folder)
        self.settings: dict[str, Any] | None = None
        self.trials: list[FrozenTrial] = []

    def shared(self, config: Mapping[str, Any], searched: Mapping[str, str]) -> dict[str, Any]:
        return as_stored(in_common(self.sweeper, config, searched))

    def give(self, arguments: list[str]) -> None:
        """A command, which trains what is missing of its grid."""
        own = make_space({}, [*SMALL, *arguments], {}, None)
        space = own
        if self.settings is not None:
            grower = Grower(own, self.composer, self.shared, is_grid=True)
            growth = grower.grow(self.settings)
            self.trials = list(map(rewriting_of(growth).of, self.trials))
            space = growth.now
        config, _ = self.composer.task(space.fixed)
        self.settings = self.shared(config, space.describe())
        assert recorded_space(self.settings)[0] == space.distributions
        done = {point_key(trial.params) for trial in self.trials}
        for point in grid_points(own, space, self.composer, 1000):
            if point_key(point) not in done:
                config, choices = self.composer.task(space.overrides(point))
                name = {"what": [choices["optimizer"], config["trainer"]["epochs"], config["seed"]]}
                used = dict(space.distributions)
                trial = create_trial(params=point, distributions=used, value=0, user_attrs=name)
                self.trials.append(trial)


def rewriting_of(growth: Growth, **attributes: Any) -> Rewriting:
    return Rewriting(
        None, growth.changed, growth.added, holds, growth.now.exists, lambda _: attributes
    )


def of_key(key: str) -> Any:
    values = st.lists(st.sampled_from(KEYS[key]), min_size=1, max_size=4, unique=True)
    return st.none() | values


@settings(max_examples=20, deadline=None, phases=[Phase.generate])
@given(commands=st.lists(st.fixed_dictionaries({key: of_key(key) for key in KEYS}), max_size=5))
def test_a_grid_has_what_its_commands_asked_for_and_nothing_twice(
    commands: list[dict[str, list[Any] | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = Commands(tmp_path_factory.getbasetemp())
    wanted: list[tuple[Any, ...]] = []
    swept: set[str] = set()
    for command in commands:
        said = {
            key: values
            for key, values in command.items()
            if values is not None and (len(values) > 1 or key in swept)  # else another recipe
        }
        if not any(len(values) > 1 for values in said.values()):
            continue  # no sweep
        swept |= {key for key, values in said.items() if len(values) > 1}
        study.give([f"{key}={','.join(map(str, values))}" for key, values in said.items()])
        full = [said.get(key) or KEYS[key][:1] for key in KEYS]
        wanted += [(a, b, c) for a in full[0] for b in full[1] for c in full[2]]
        trained = [tuple(trial.user_attrs["what"]) for trial in study.trials]
        assert sorted(trained) == sorted(set(wanted))
        for trial in study.trials:
            for name, distribution in trial.distributions.items():
                assert holds(distribution, trial.params[name])
                assert distribution == study.trials[0].distributions[name], "else Optuna refuses"


# What may change


def searched(before: str, now: str, tmp_path: Path) -> Growth:
    """Of a search whose command said one thing, and says another one."""
    commands, parts = Commands(tmp_path), Parts(tmp_path)
    spaces = [make_space({}, [*SMALL, *words.split("; ")], {}, None) for words in (before, now)]
    config, _ = commands.composer.task(spaces[0].fixed)
    commands.sweeper = parts.settings
    settings = commands.shared(config, spaces[0].describe())
    return Grower(spaces[1], commands.composer, commands.shared, is_grid=False).grow(settings)


LR = "optimizer.lr=tag(log, interval(0.01, 0.1))"

GROWS = {
    "nothing": (LR, LR, {}),
    "order": ("optimizer=sgd,adam", "optimizer=adam,sgd", {}),
    "choice": (
        "optimizer=sgd,adam", "optimizer=adamw,adam,sgd",
        {"optimizer": CategoricalDistribution(["sgd", "adam", "adamw"])},
    ),
    "larger": (
        LR, "optimizer.lr=tag(log, interval(0.001, 0.1))",
        {"optimizer.lr": FloatDistribution(0.001, 0.1, log=True)},
    ),
    "smaller": (
        "trainer.epochs=range(1, 9)", "trainer.epochs=range(2, 5)",
        {"trainer.epochs": IntDistribution(2, 4)},
    ),
    "number that was fixed": (
        LR, f"{LR}; trainer.epochs=range(1, 9)", {"trainer.epochs": IntDistribution(1, 8)},
    ),
    "group that was the default": (
        "trainer.epochs=range(1, 9)", "trainer.epochs=range(1, 9); optimizer=sgd,soap",
        {"optimizer": CategoricalDistribution(["sgd", "soap"])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GROWS)
def test_a_search_takes_in(case: str, tmp_path: Path) -> None:
    before, now, expected = GROWS[case]
    growth = searched(before, now, tmp_path)
    new = {**growth.changed, **{name: d for name, (d, _) in growth.added.items()}}
    assert new == expected
    assert growth.earlier == {k: KEYS[k][0] for k in expected if k not in growth.changed}


REFUSED = {
    "log": (LR, "optimizer.lr=interval(0.01, 0.1)", "optimizer.lr was 0.01 to 0.1 (log)"),
    "kind": (LR, "optimizer.lr=0.01,0.1", "its kind cannot change"),
    "lost choice": ("optimizer=sgd,adam,adamw", "optimizer=adam,sgd", "add adamw"),
    "without what they had": (
        LR, f"{LR}; trainer.epochs=range(1, 3)", "all trials of the study had 8",
    ),
    "group without what they had": (LR, f"{LR}; optimizer=sgd,adam", "had soap"),
    "another recipe": (
        LR, f"{LR}; trainer.epochs=range(1, 9); trainer.batch_size=7",
        "trainer.batch_size (was 64, is 7)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_search_refuses(case: str, tmp_path: Path) -> None:
    before, now, words = REFUSED[case]
    with pytest.raises(UserError) as refused:
        searched(before, now, tmp_path)
    assert words in str(refused.value) and "\n" not in str(refused.value)


@given(
    before=st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True),
    more=st.lists(st.integers(-9, 9), min_size=1, max_size=4),
    kind=st.sampled_from(["choices", "range", "floats"]),
)
@settings(max_examples=30, deadline=None, phases=[Phase.generate])
def test_a_grids_parameter_holds_all_values_it_ever_had(
    before: list[int], more: list[int], kind: str
) -> None:
    distribution: BaseDistribution = CategoricalDistribution(before)
    if kind == "range":
        distribution = IntDistribution(min(before), min(before) + 6, step=3)
    if kind == "floats":
        distribution = FloatDistribution(min(before), min(before) + 6, step=1.5)  # of four steps
    own = Space({"optimizer.lr": CategoricalDistribution(more)}, (), {}, None)
    text = {"search of optimizer.lr": f"{distribution} where always"}
    growth = Grower(own, composer(), lambda *_: {}, is_grid=True).grow(text)
    [now] = growth.now.distributions.values()
    old = before if kind == "choices" else []
    assert all(holds(now, value) for value in [*old, *more])
    points = grid_points(own, growth.now, composer(), 100)
    assert {point["optimizer.lr"] for point in points} == set(more)
    if isinstance(distribution, CategoricalDistribution):
        assert isinstance(now, CategoricalDistribution)
        assert now.choices[: len(before)] == distribution.choices, "what is stored stays valid"


# How a study is rewritten


def a_study(storage: BaseStorage) -> Study:
    """With a trial of each kind."""
    study = optuna.create_study(study_name="s", storage=storage, directions=["maximize"])
    study.set_user_attr("settings", {"old": 1})
    choices = CategoricalDistribution(["a", "b"])
    number = FloatDistribution(0.1, 1.0, log=True)
    both: dict[str, BaseDistribution] = {"c": choices, "x": number}
    now = datetime.now()
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING):
        ended = state.is_finished()
        trial = optuna.trial.FrozenTrial(
            number=-1, trial_id=-1, state=state, value=None,
            values=[0.5] if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
            datetime_start=now, datetime_complete=now if ended else None,
            params={"c": "b", "x": 0.2 if ended else 0.9}, distributions=both,
            user_attrs={"config": "k"}, system_attrs={"fixed_params": {"c": "b", "x": 0.2}},
            intermediate_values={1: 0.25, 2: 0.5},
        )  # fmt: skip
        study.add_trial(trial)
    study.enqueue_trial({"c": "a", "x": 0.3})
    return study


@pytest.fixture(params=["journal", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


WIDER = Rewriting(
    before={"old": 1},
    changed={
        "c": CategoricalDistribution(["a", "b", "new"]),
        "x": FloatDistribution(0.1, 0.5, log=True),
    },
    added={"e": (IntDistribution(1, 3), 2)},
    holds=holds,
    exists=lambda name, params: params["c"] == "b",
    attributes=lambda study: {"settings": {"new": 2}, "changes": [1]},
)


def reloaded(url: str | None, folder: Path) -> Study:
    return optuna.load_study(study_name="s", storage=open_storage(url, folder))


def test_a_study_that_is_rewritten_keeps_all_else(url: str | None, tmp_path: Path) -> None:
    study = a_study(open_storage(url, tmp_path))
    before = study.trials
    rewrite(study, url, tmp_path, 60.0, WIDER)
    now = reloaded(url, tmp_path)
    assert now.user_attrs == {"settings": {"new": 2}, "changes": [1]}
    assert now.directions == study.directions
    for old, new in zip(before, now.trials, strict=True):
        for name in ("number", "state", "values", "intermediate_values", "user_attrs"):
            assert getattr(new, name) == getattr(old, name)
        assert (new.datetime_start, new.datetime_complete) == (
            *(old.datetime_start, old.datetime_complete),
        )
        if old.state == TrialState.WAITING:
            assert new.system_attrs["fixed_params"] == {"c": "a", "x": 0.3}
            continue
        assert new.system_attrs["fixed_params"] == {"c": "b", "x": 0.2, "e": 2}
        assert new.params == {**old.params, "e": 2}
        is_out = old.params["x"] > 0.5
        assert new.distributions == {
            "c": WIDER.changed["c"],
            "x": old.distributions["x"] if is_out else WIDER.changed["x"],
            "e": IntDistribution(1, 3),
        }
    trial = now.ask()  # the one that waited; then one of a choice that is new
    assert trial.number == 4 and trial.suggest_categorical("c", ["a", "b", "new"]) == "a"
    now.enqueue_trial({"c": "new", "x": 0.2})
    assert now.ask().suggest_categorical("c", ["a", "b", "new"]) == "new"


def test_a_study_that_changed_meanwhile_is_left_alone(url: str | None, tmp_path: Path) -> None:
    study = a_study(open_storage(url, tmp_path))
    late = reloaded(url, tmp_path)
    rewrite(study, url, tmp_path, 60.0, WIDER)
    trials = reloaded(url, tmp_path).trials
    if url is None:  # its journal is not the study's any more
        with pytest.raises(UserError, match="is another file than a moment ago"):
            late.set_user_attr("lost", 1)
    else:
        rewrite(late, url, tmp_path, 60.0, WIDER)
    assert reloaded(url, tmp_path).trials == trials


def test_a_study_at_work_does_not_grow(url: str | None, tmp_path: Path) -> None:
    study = a_study(open_storage(url, tmp_path))
    trials = study.trials
    with Leases(study, 60.0), pytest.raises(UserError, match=r"process \d+, is at work on it"):
        rewrite(study, url, tmp_path, 60.0, WIDER)
    assert reloaded(url, tmp_path).trials == trials
    rewrite(study, url, tmp_path, 60.0, WIDER)
    assert reloaded(url, tmp_path).trials != trials


def test_a_study_does_not_grow_through_a_proxy(tmp_path: Path) -> None:
    study = optuna.create_study()
    with pytest.raises(UserError, match="give the command once with the database's own URL"):
        rewrite(study, "grpc://localhost:13000", tmp_path, 60.0, WIDER)
