"""The search space and the budget, point by point: no command, no training."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from statistics import median
from typing import Any

import optuna
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import execution_whitelist
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler

from mnist_sweep.config import resolved
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import build_model
from mnist_sweep.paths import CONF
from mnist_sweep.profile import count_params
from mnist_sweep.search.points.candidate import Candidate, Candidates
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.fitting import Fitter
from mnist_sweep.search.points.space import Space, make_space
from mnist_sweep.search.settings import search_settings
from mnist_sweep.sets.shape import MNIST_SHAPE
from mnist_sweep.whitelist import TARGETS
from tests.conftest import make_experiment

Point = dict[str, Any]

# The space, against the stock sweeper's parser

WORD = st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True)
INTEGER = st.integers(-1000, 1000)
DECIMAL = st.decimals(-100, 100, places=3).map(lambda number: f"{number:.3f}")
VALUE = st.one_of(INTEGER.map(str), DECIMAL, WORD, st.sampled_from(["true", "false"]))
VALUES = st.lists(VALUE, min_size=2, max_size=5, unique=True).map(", ".join)


@st.composite
def interval(draw: st.DrawFn, lowest: int = -1000) -> str:
    low, high = sorted(draw(st.tuples(st.integers(lowest, 999), st.integers(lowest, 999))))
    whole = draw(st.booleans())
    return f"interval({low}, {high + 1})" if whole else f"interval({low / 8}, {high / 8 + 1})"


@st.composite
def steps(draw: st.DrawFn) -> str:
    start, count, step = draw(INTEGER), draw(st.integers(2, 20)), draw(st.integers(1, 9))
    if draw(st.booleans()):
        return f"range({start}, {start + count * step}, {step})"
    return f"range({start / 4}, {(start + count * step) / 4}, {step / 4})"


SWEEP = st.one_of(
    VALUES,
    VALUES.map("choice({})".format),
    VALUES.map("shuffle({})".format),
    interval(),
    interval(1).map("tag(log, {})".format),
    steps(),
    steps().map("shuffle({})".format),
)


def same(
    ours: dict[str, BaseDistribution], stock: dict[str, BaseDistribution], shuffled: set[str]
) -> bool:
    """A shuffle is another one each time."""

    def known(name: str, distribution: BaseDistribution) -> str:
        if name in shuffled:
            assert isinstance(distribution, CategoricalDistribution)
            return repr(sorted(map(repr, distribution.choices)))
        return repr(distribution)

    return {n: known(n, d) for n, d in ours.items()} == {n: known(n, d) for n, d in stock.items()}


@given(st.dictionaries(WORD, SWEEP, min_size=1, max_size=4), st.dictionaries(WORD, VALUE))
@settings(max_examples=100, deadline=None)
def test_a_space_is_what_the_stock_sweeper_makes_of_it(
    sweeps: dict[str, str], fixed: dict[str, str]
) -> None:
    """From the command line, from a file, and from both at once."""
    searched = {f"s.{key}": value for key, value in sweeps.items()}
    settled = {f"f.{key}": value for key, value in fixed.items()}
    arguments = [f"{key}={value}" for key, value in {**settled, **searched}.items()]
    stock, _, _ = create_params_from_overrides(arguments)
    shuffled = {key for key, value in searched.items() if "shuffle" in value}
    for params, command_line in (
        ({}, arguments),
        ({**searched, **settled}, []),
        (searched, [argument for argument in arguments if argument.startswith("f.")]),
        ({key: "choice(never, seen)" for key in searched}, arguments),
    ):
        space = make_space(params, command_line, {}, None)
        assert same(space.distributions, stock, shuffled)
        assert set(space.fixed) == {f"{key}={value}" for key, value in settled.items()}


def test_a_key_that_the_command_line_fixes_is_not_searched() -> None:
    params = {"a": "choice(1, 2)", "b": "interval(0, 1)", "c": 3}
    space = make_space(params, ["b=0.5", "~d", "+e=1"], {}, None)
    assert list(space.distributions) == ["a"]
    assert set(space.fixed) == {"b=0.5", "c=3", "~d", "+e=1"}
    assert list(make_space(params, ["c=4,5"], {}, None).distributions) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("sweep", "values"),
    [
        ("choice(a, b)", ["a", "b"]),
        ("3, 1, 2", [3, 1, 2]),
        ("range(2, 9, 3)", [2, 5, 8]),
        ("range(0.25, 1.1, 0.25)", [0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_a_grid_has_each_value_of_a_parameter_once(sweep: str, values: list[Any]) -> None:
    space = make_space({"a": sweep, "b": "choice(x, y)"}, [], {}, None)
    assert space.grid() == {"a": values, "b": ["x", "y"]}
    assert space.size() == 2 * len(values)


# Conditions

CONDITIONS: dict[str, dict[str, Sequence[Any]]] = {
    "stage2.*": {"num_stages": ["2", 3]},
    "stage3.*": {"num_stages": (3,), "stage2.residual": [True]},
    "stage3.pool": {"stage2.kernel": [5]},
}
STAGES = {
    "stage3.pool": "choice(max, avg)",
    "stage3.width": "range(4, 9)",
    "stage2.kernel": "choice(3, 5)",
    "stage2.residual": "choice(true, false)",
    "stage2.width": "range(4, 9)",
    "num_stages": "choice(1, 2, 3)",
    "order": "choice(a, b)",
}


def exists(name: str, point: Point) -> bool:
    """What CONDITIONS say, in Python."""
    stage2 = point["num_stages"] in (2, 3)
    stage3 = point["num_stages"] == 3 and point.get("stage2.residual") in (True, "true")
    if name.startswith("stage2."):
        return stage2
    if name == "stage3.pool":
        return stage3 and point.get("stage2.kernel") == 5
    return stage3 if name.startswith("stage3.") else True


@given(st.permutations(list(STAGES)), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_a_parameter_exists_where_its_conditions_hold_and_nowhere_else(
    order: list[str], seed: int
) -> None:
    """In whatever order the parameters are written."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = make_space({name: STAGES[name] for name in order}, [], CONDITIONS, None)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    for _ in range(4):
        point = space.suggest(study.ask(), {})
        assert set(point) == {name for name in STAGES if exists(name, point)}


def test_a_fixed_parent_decides_what_is_searched() -> None:
    assert "stage2.width" in make_space(STAGES, ["num_stages=2"], CONDITIONS, None).distributions
    space = make_space(STAGES, ["num_stages=1"], CONDITIONS, None)
    assert list(space.distributions) == ["order"]


@pytest.mark.parametrize(
    "conditions",
    [
        {"a": {"a": [1]}},
        {"a": {"b": [1]}, "b": {"a": [1]}},
        {"a": {"b": [1]}, "b": {"c": [1]}, "c": {"a": [1]}},
    ],
)
def test_conditions_in_a_circle_are_refused(conditions: dict[str, dict[str, list[int]]]) -> None:
    with pytest.raises(UserError, match="conditions: .*a.* circle"):
        make_space({"a": "1,2", "b": "1,2", "c": "1,2", "d": "1,2"}, [], conditions, None)


# Fitting to the budget


@contextmanager
def fitting(budget: int, *fit: str) -> Iterator[tuple[Space, Candidates]]:
    """What `sweep=arch_20k budget.max_params=<budget>` works with; fit: instead of its own."""
    overrides = ["sweep=arch_20k", f"budget.max_params={budget}"]
    with initialize_config_dir(str(CONF)):
        config = compose("config", overrides, return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        plain = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    assert isinstance(plain, dict)
    search = search_settings({str(key): plain[key] for key in plain if key != "_target_"})
    space = make_space(search.params or {}, overrides, search.conditions, None)
    chosen = (fit, ()) if fit else (search.fit, search.fit_rest)
    with execution_whitelist(TARGETS):
        composer = Composer(loader, config)
        yield space, Candidates(composer, space, Fitter(composer, space, *chosen))


def random_point(space: Space, seed: int) -> Point:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    return space.suggest(study.ask(), {})


def widths(candidate: Candidate) -> dict[str, int]:
    values = dict(override.split("=", 1) for override in candidate.overrides)
    return {key: int(value) for key, value in values.items() if key.endswith(".width")}


def size_with(candidate: Candidate, changed: dict[str, int]) -> int:
    """Parameters of the candidate's net with these widths changed."""
    cfg = OmegaConf.create(candidate.config)
    for key, value in changed.items():
        OmegaConf.update(cfg, key, value)
    with torch.device("meta"):
        return count_params(build_model(resolved(cfg), MNIST_SHAPE))


ALL_WIDTHS = "model.stage*.width"
# Budget, what is fitted (nothing: the sweep's own choice), and the share that is always used. The
# fewer widths and the smaller the net, the larger a part of it is one more channel.
FITS = [
    (20_000, [ALL_WIDTHS], 0.95), (5_000, [ALL_WIDTHS], 0.9), (1_500, [ALL_WIDTHS], 0.75),
    (20_000, [], 0.95),
]  # fmt: skip


@pytest.mark.parametrize(("budget", "fit", "least"), FITS)
def test_fitted_nets_use_the_budget_to_the_full(budget: int, fit: list[str], least: float) -> None:
    with fitting(budget, *fit) as (space, candidates):
        assert candidates.fitter is not None
        rest_patterns = candidates.fitter.rest

        @given(st.integers(0, 10**6))
        @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def check(seed: int) -> None:
            point = random_point(space, seed)
            candidate = candidates.make(point)
            assert candidate.reason is None and candidate.excess <= 0
            assert candidate.costs is not None
            assert least * budget <= candidate.costs.num_params <= budget
            # What is trained is this net, and the point is the same in all but its widths.
            found = widths(candidate)
            assert found.keys() == {key for key in point if key.endswith(".width")}
            rest = {key for key in found if any(fnmatch(key, p) for p in rest_patterns)}
            assert count_params(make_experiment(*candidate.overrides).model) == (
                candidate.costs.num_params
            )
            for key, width in found.items():
                assert OmegaConf.select(OmegaConf.create(candidate.config), key) == width
                assert size_with(candidate, {key: width + 1}) > budget, key
                assert width >= point[key] or key not in rest
            kept = {f"{key}={value}" for key, value in point.items() if key not in found}
            assert kept <= set(candidate.overrides)

        check()


def test_fitted_widths_keep_their_proportions_as_far_as_channels_are_whole() -> None:
    """The factor between the stage that was widened most and the one that was least."""
    factors = []
    with fitting(20_000, ALL_WIDTHS) as (space, candidates):
        for seed in range(30):
            point = random_point(space, seed)
            shares = [width / point[key] for key, width in widths(candidates.make(point)).items()]
            factors.append(max(shares) / min(shares))
    assert median(factors) < 1.15
    assert sum(factor < 1.6 for factor in factors) >= 27


def test_a_proportion_is_a_proportion() -> None:
    """Twice all widths is the same net."""
    with fitting(20_000, ALL_WIDTHS) as (space, candidates):
        point = {**random_point(space, 3), "model.stage1.width": 4, "model.stage2.width": 8}
        point = {key: value for key, value in point.items() if "stage3" not in key}
        point |= {"model.num_stages": 2}
        twice = {**point, "model.stage1.width": 8, "model.stage2.width": 16}
        assert widths(candidates.make(point)) == widths(candidates.make(twice))


def test_what_does_not_fit_at_one_channel_is_rejected() -> None:
    with fitting(30, ALL_WIDTHS) as (space, candidates):
        candidate = candidates.make(random_point(space, 0))
        assert candidate.reason is not None and "budget.max_params=30" in candidate.reason


def test_a_candidates_key_is_that_of_its_configuration() -> None:
    with fitting(20_000, ALL_WIDTHS) as (space, candidates):
        point, other = random_point(space, 0), random_point(space, 1)
        backwards = dict(reversed(list(point.items())))
        assert candidates.make(point).key == candidates.make(backwards).key
        assert candidates.make(point).key != candidates.make(other).key


# What a point becomes

KEYS = [
    *("seed", "optimizer.lr", "trainer.epochs", "trainer.device", "data.root", "budget.max_params"),
    *("model.stage1.width", "model.order", "model.stage2", "augmentation.affine.rotate"),
    *("optimizer.betas", "optimizer", "trainer.epoch", "optimizer.lr.high", "model.stage9.width"),
    *("scheduler", "augmentation", "~augmentation.affine", "+trainer.extra", "++seed"),
]
WORDS = [
    *("3", "-1", "0.5", "1e-3", "inf", "true", "null", "cosine", "word", "'a b'", "'3'", "'null'"),
    *("[1,2]", "[]", "{a:1}", "{width:7}", "???", "${seed}", "${oc.env:NOT_SET,none}", "'${seed}'"),
    *("${oc.env:NOT_SET}", "${nowhere}", "a${seed}b", r"'\\${seed}'", "[${seed}]", "''", "a=b"),
]


def test_a_point_becomes_what_hydra_makes_of_it() -> None:
    """Which composes each job from the files; where it refuses, so does the search."""
    with initialize_config_dir(str(CONF)):
        base = ["model=cnn_space", "model.stage2.width=${model.stage1.width}"]
        configs = [compose("config", base[:n], return_hydra_config=True) for n in (1, 2)]
        loader = GlobalHydra.instance().config_loader()
        composers = [Composer(loader, config) for config in configs]

        def from_files(config: DictConfig, overrides: list[str]) -> dict[str, Any]:
            cfg = loader.load_sweep_config(config, overrides)
            with open_dict(cfg):
                del cfg["hydra"]
            return resolved(cfg)

        def outcome(make: Callable[[], dict[str, Any]]) -> str:
            try:
                return repr(make())  # in which 1, 1.0 and True differ, and so does another order
            except (UserError, HydraException, OmegaConfBaseException, ValueError, TypeError):
                return "refused"

        outcomes = set()

        @given(
            st.sampled_from([0, 1]),
            st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(WORDS)), max_size=4),
        )
        @settings(max_examples=60, deadline=None)
        def check(which: int, chosen: list[tuple[str, str]]) -> None:
            overrides = [f"{key}={value}" for key, value in chosen]
            ours = outcome(lambda: composers[which].task(overrides)[0])
            assert ours == outcome(lambda: from_files(configs[which], overrides))
            outcomes.add(ours == "refused")

        check()
        assert outcomes == {True, False}
