"""Private names of Hydra and Optuna are still what our adapter modules take them for.

When an update takes one away, these tests name the module to mend.
"""

import argparse
import ast
import logging
import pickle
import re
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import execution_whitelist
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BruteForceSampler, TPESampler

import mnist_sweep
from mnist_sweep import hydra_private
from mnist_sweep.paths import CONF
from mnist_sweep.search import optuna_private
from tests.conftest import Cli

PACKAGE = Path(mnist_sweep.__file__).parent
ADAPTERS = (Path(hydra_private.__file__), Path(optuna_private.__file__))

OF_OTHERS = {
    "loggers.py": ["_get_file_writer"],  # tensorboard's, for the table of hyperparameters
    "optimizers.py": ["_BatchNorm"],  # torch's, of all dimensions
    "report/__main__.py": ["_actions"],  # argparse's, to offer the nearest option
    "train.py": ["_DropoutNd", "_foreach_lerp_"],  # torch's; its own optimizers go by the latter
}
"""Private names that are neither Hydra's nor Optuna's. Where each has one user, an adapter would
only move it."""


OF_CONFIGS = ("_target_", "_convert_", "_self_")
"""Hydra's keys, which are public."""


@contextmanager
def of_hydra(what: str) -> Iterator[None]:
    with _taken_away(f"Hydra {hydra.__version__}", what, "mnist_sweep/hydra_private.py"):
        yield


@contextmanager
def of_optuna(what: str) -> Iterator[None]:
    adapter = "mnist_sweep/search/optuna_private.py"
    with _taken_away(f"Optuna {optuna.__version__}", what, adapter):
        yield


@contextmanager
def _taken_away(library: str, what: str, adapter: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, ImportError, LookupError, TypeError, AssertionError) as error:
        message = f"{library} took away or changed {what}: mend {adapter} ({error!r})"
        raise AssertionError(message) from error


# Hydra


class Callback:
    """Notes what it is told of."""

    told: list[str] = []

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        self.told.append("start")

    def on_run_end(self, config: DictConfig, **_: object) -> None:
        self.told.append("end")


def test_hydras_callbacks_are_called() -> None:
    listed = {"hydra": {"callbacks": {"mine": {"_target_": f"{__name__}.Callback"}}}}
    config = OmegaConf.create(listed)
    with of_hydra("hydra._internal.callbacks.Callbacks"):
        with execution_whitelist([f"{__name__}.Callback"]):
            callbacks = hydra_private.Callbacks(config)
        callbacks.on_run_start(config=config, config_name="config")
        callbacks.on_run_end(config=config, config_name="config", job_return=JobReturn())
        assert Callback.told == ["start", "end"]


def test_hydras_launcher_can_be_hushed() -> None:
    with of_hydra("hydra._internal.core_plugins.basic_launcher.log"):
        from hydra._internal.core_plugins import basic_launcher

        hydra_private.hush_launcher()
        assert not basic_launcher.log.isEnabledFor(logging.INFO)
        basic_launcher.log.setLevel(logging.NOTSET)


def test_a_config_is_seen_before_it_is_composed() -> None:
    with of_hydra("ConfigLoaderImpl._load_single_config, or where Hydra makes its loader"):
        hydra_private.use_loader()
        with initialize_config_dir(str(CONF)):
            loader = GlobalHydra.instance().config_loader()
            assert type(loader) is hydra_private.Loader
            assert "_load_single_config" in vars(ConfigLoaderImpl)


def test_config_files_can_be_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hydra_private.use_loader()
    group = tmp_path / "b"
    group.mkdir()
    searchpath = "hydra: {searchpath: ['pkg://settled_package']}\n"
    (tmp_path / "config.yaml").write_text(f"defaults: [b: one, c: only]\n{searchpath}")
    (tmp_path / "settled_package" / "c").mkdir(parents=True)
    (tmp_path / "settled_package" / "__init__.py").touch()
    (tmp_path / "settled_package" / "c" / "only.yaml").write_text("d: 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (group / "one.yaml").write_text("# @package _global_\na: 1\n")
    (group / "two.yaml").write_text("a: 2\n")
    (group / "notes.txt").write_text("")
    with (
        of_hydra("FileConfigSource, _parse_overrides_and_create_caching_repo or `delegate`"),
        initialize_config_dir(str(tmp_path)),
    ):
        loader = GlobalHydra.instance().config_loader()

        def composed(loader: Any, *overrides: str) -> Any:
            cfg = loader.load_configuration("config", list(overrides), RunMode.RUN)
            return OmegaConf.to_container(cfg)

        options, plain = loader.get_group_options("b"), composed(loader)
        hydra_private.settle_configs(loader)
        assert composed(loader) == plain and (plain["a"], plain["c"]) == (1, {"d": 3})
        assert loader.get_group_options("b") == options
        shutil.rmtree(group)
        (tmp_path / "config.yaml").write_text("edited: true\n")
        shutil.rmtree(tmp_path / "settled_package")
        for one in (loader, pickle.loads(pickle.dumps(loader))):
            assert composed(one) == plain
            assert composed(one, "b=two")["b"] == {"a": 2}
            with pytest.raises(HydraException, match="three"):
                composed(one, "b=three")


def test_a_yaml_is_as_omegaconf_writes_it() -> None:
    values = {
        "name": "optuna",
        "solutions": [
            {"params": {"a.b": 1e-05, "c": text}, "values": [0.5, 1.0], "command": "x " * 100}
            for text in (
                "1e3",
                "true",
                "null",
                "1",
                "ü: y",
                "",
                " a",
                "#",
                None,
                False,
                10**20,
                "a\nb",
            )
        ],
        "none": [],
    }
    with of_hydra("get_omega_conf_dumper (OmegaConf's)"):
        assert hydra_private.as_yaml(values) == OmegaConf.to_yaml(OmegaConf.create(values))


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("a=x", 'a="X"'),
        ("++a.b='x'", "++a.b='X'"),
        ("a={b: 'x y', c: 1, d: [x, null]}", "a={b:'X Y',c:1,d:[\"X\",null]}"),
        ("a=1", "a=1"),
    ],
)
def test_the_texts_of_an_override_can_be_changed(override: str, changed: str) -> None:
    with of_hydra("Override._value, Override._get_value_element_as_str or QuotedString"):
        assert hydra_private.with_texts(override, str.upper) == changed
        assert hydra_private.with_texts(override, str) == override
        with pytest.raises(HydraException):
            hydra_private.with_texts("a=x,y", str.upper)


def test_what_a_job_raised_can_be_read() -> None:
    job, error = JobReturn(), ValueError("no")
    with of_hydra("JobReturn._return_value"):
        job.status, job.return_value = JobStatus.FAILED, error
        assert hydra_private.raised_by(job) is error
        job.status, job.return_value = JobStatus.COMPLETED, 0.5
        assert hydra_private.raised_by(job) is None


def test_an_error_over_a_choice_is_known_by_its_module(cli: Cli) -> None:
    with initialize_config_dir(str(CONF)), pytest.raises(Exception) as raised:
        compose("config", ["optimizer=3"])
    with of_hydra("hydra._internal.defaults_list"):
        *_, (frame, _) = traceback.walk_tb(raised.value.__traceback__)
        module = str(frame.f_globals["__name__"])
        assert hydra_private.is_of_defaults_list(module) and hydra_private.is_of_hydra(module)
        assert not hydra_private.is_of_hydra(__name__)
    with of_hydra("hydra._internal, where flags that do not go together are refused"):
        done = cli("--cfg", "job", "--multirun", "--info")
        assert (done.returncode, done.stderr[:7]) == (2, "error: "), done.stderr


def test_hydras_flags_can_be_told_from_overrides() -> None:
    with of_hydra("hydra._internal.utils.get_args_parser"):
        flags, unknown = hydra_private.parse_flags(["-m", "a=1", "--nothing", "-p", "trainer"])
        assert (flags.multirun, flags.package, flags.overrides) == (True, "trainer", ["a=1"])
        assert unknown == ["--nothing"] and "--multirun" in hydra_private.flag_names()
        for wrong in (["--cfg"], ["--cfg", "x"]):
            with pytest.raises(argparse.ArgumentError):
                hydra_private.parse_flags(wrong)


@pytest.mark.parametrize(
    ("override", "distribution"),
    [
        ("a=interval(0.1, 1)", FloatDistribution(0.1, 1)),
        ("a=tag(log, interval(0.1, 1))", FloatDistribution(0.1, 1, log=True)),
        ("a=range(1, 4)", IntDistribution(1, 3)),
        ("a=x,y", CategoricalDistribution(["x", "y"])),
        ("a=choice(1, 2)", CategoricalDistribution([1, 2])),
        ("a=1", None),
    ],
)
def test_the_stock_sweeper_makes_the_same_of_an_override(
    override: str, distribution: BaseDistribution | None
) -> None:
    with of_hydra("create_params_from_overrides of hydra_optuna_sweeper._impl"):
        expected = {} if distribution is None else {"a": distribution}
        assert hydra_private.distributions_of(override) == expected


def test_the_stock_sweeper_lists_a_grids_values() -> None:
    with of_hydra("OptunaSweeperImpl._to_grid_sampler_choices"):
        assert hydra_private.grid_values(CategoricalDistribution(["x", "y"])) == ["x", "y"]
        assert hydra_private.grid_values(IntDistribution(1, 5, step=2)) == [1, 3, 5]
        assert hydra_private.grid_values(FloatDistribution(0, 1, step=0.5)) == [0, 0.5, 1]
        with pytest.raises(ValueError):
            hydra_private.grid_values(FloatDistribution(0, 1))


# Optuna


def test_what_is_private_to_optuna_is_still_there() -> None:
    study = optuna.create_study()
    distribution = IntDistribution(1, 3)
    with of_optuna("Trial._suggest"):
        trial = study.ask()
        assert optuna_private.suggest(trial, "a", distribution) == trial.params["a"]
    with of_optuna("Study._storage or Trial._trial_id"):
        optuna_private.set_user_attr(study, trial, "key", 1)
        optuna_private.set_user_attr(study, study.trials[0], "other", 2)
        assert study.trials[0].user_attrs == {"key": 1, "other": 2}
    with of_optuna("optuna.storages.journal._storage.JournalOperation"):
        assert 0 < optuna_private.NEWEST_OPERATION < 99
    with of_optuna("the text of Study.tell's ValueError"):
        study.tell(trial, 1.0)
        with pytest.raises(ValueError) as refused:
            study.tell(trial.number, 2.0)
        assert optuna_private.says_ended_before(refused.value)
        assert not optuna_private.says_ended_before(ValueError("another one"))
    with of_optuna("the system attribute fixed_params"):
        study.enqueue_trial({"a": 2})
        assert [optuna_private.is_given(trial) for trial in study.trials] == [False, True]
        assert optuna_private.given_point(study.trials[1]) == {"fixed_params": {"a": 2}}
        assert optuna_private.given_point(study.trials[0])["fixed_params"] == trial.params


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_is_private_to_optunas_tpe_is_still_there() -> None:
    study = optuna.create_study()
    for value in range(30):
        trial = study.ask()
        optuna_private.suggest(trial, "a", IntDistribution(1, 3))
        study.tell(trial, value)
    with of_optuna("Study._study_id"):
        assert optuna_private.read_trial(study, 7) == study.trials[7]
    with of_optuna("optuna.samplers._tpe.sampler._split_trials or its default_gamma"):
        good, others = optuna_private.good_and_others(study, study.trials, 30)
        assert [trial.number for trial in good] == [0, 1, 2] and len(others) == 27
    with of_optuna("TPESampler._group"):
        sampler = TPESampler(multivariate=True, group=True)
        assert optuna_private.groups_parameters(sampler)
    with of_optuna("Study._get_trials, by which TPESampler asks for trials"):
        empty: Any = optuna_private.Excerpt(study, [])
        assert sampler.infer_relative_search_space(empty, study.trials[0]) == {}
        assert sampler.infer_relative_search_space(study, study.trials[0]) != {}


def test_how_a_sampler_of_every_point_says_that_it_is_done() -> None:
    study = optuna.create_study(sampler=BruteForceSampler())
    with of_optuna("the text of Study.stop's RuntimeError"):
        with pytest.raises(RuntimeError) as done:
            for _ in range(3):
                trial = study.ask()
                trial.suggest_categorical("a", [1, 2])
                study.tell(trial, 1.0)
        assert optuna_private.says_sampler_is_done(done.value)


PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "rung 2": lambda: optuna.pruners.SuccessiveHalvingPruner(1, reduction_factor=2),
    "rung 2 of bracket 1": lambda: optuna.pruners.HyperbandPruner(
        max_resource=1, reduction_factor=2
    ),
    "the median of 1 completed trial": lambda: optuna.pruners.MedianPruner(n_startup_trials=1),
    "the best 25 % of 1 completed trial": lambda: optuna.pruners.PercentilePruner(
        25, n_startup_trials=1
    ),
    "the epochs before": lambda: optuna.pruners.PatientPruner(None, patience=0),
    "the allowed range": lambda: optuna.pruners.ThresholdPruner(lower=0.5),
}


@pytest.mark.parametrize("of", PRUNERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_made_a_pruner_end_a_trial_can_be_told(of: str) -> None:
    pruner = PRUNERS[of]()
    study = optuna.create_study(study_name="a", direction="maximize", pruner=pruner)
    for last in (0.9, 0.3):
        trial = study.ask()
        ended = False
        for step, value in enumerate((0.6, last), start=1):
            trial.report(value, step)
            ended = trial.should_prune()
        if not ended:
            study.tell(trial, last)
    assert ended
    with of_optuna(f"what {type(pruner).__name__} goes by"):
        cut = optuna_private.cut_of_pruner(pruner, study, study.trials[1])
        assert cut is not None
        assert cut.of == of and cut.value < cut.cut and cut.value in (0.3, 0.6)


# Nowhere else


def private_names(source: str) -> list[str]:
    """Names with one underscore in front that a module takes from another module, or from an
    object that is not its own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls" | "os")):
                pass
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                pass
            case ast.Attribute(attr=attr):
                names = [attr]
            case ast.ImportFrom(module=module):
                names = [*(module or "").split("."), *(alias.name for alias in node.names)]
            case ast.Import():
                names = [part for alias in node.names for part in alias.name.split(".")]
            case ast.Constant(value=str(text)) if re.fullmatch(r"(hydra|optuna)[\w.]*", text):
                names = text.split(".")
        found += [name for name in names if re.match("_[^_]", name) and name not in OF_CONFIGS]
    return found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import hydra._internal.utils", ["_internal"]),
        ("from hydra_plugins.hydra_optuna_sweeper import _impl", ["_impl"]),
        ("from hydra._internal.callbacks import Callbacks", ["_internal"]),
        ("study._storage.set(trial._trial_id)", ["_storage", "_trial_id"]),
        ("raised_in(error).startswith('hydra._internal.')", ["_internal"]),
        ("self._own + cls._own + object.__doc__ + config.get('_target_')", []),
    ],
)
def test_private_names_are_seen(source: str, names: list[str]) -> None:
    assert sorted(private_names(source)) == sorted(names)


def test_private_names_of_libraries_are_used_in_the_adapters_alone() -> None:
    used = {
        path.relative_to(PACKAGE).as_posix(): private_names(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path not in ADAPTERS
    }
    assert {path: names for path, names in used.items() if names} == OF_OTHERS
