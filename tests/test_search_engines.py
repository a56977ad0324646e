"""What every engine owes a search: one suite, run over each of them, with real trainings."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext
from hydra.utils import execution_whitelist
from omegaconf import open_dict

from mnist_sweep.hydra_private import Callbacks
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import CONF
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.provenance import TrialInfo, code_of
from mnist_sweep.runs.record import read_result
from mnist_sweep.search.engines.crew import Crew
from mnist_sweep.search.engines.engine import Engine, make_engine
from mnist_sweep.search.engines.inline import Inline
from mnist_sweep.search.engines.job import Ended, Job, OnEpoch, SweepContext
from mnist_sweep.search.engines.pool import Pool
from mnist_sweep.whitelist import TARGETS
from tests.conftest import TINY
from tests.elsewhere import start_elsewhere

PATIENCE_S = 120

ENGINES: dict[str, tuple[str, int, type]] = {
    "inline": ("basic", 1, Inline),
    "pool": ("basic", 2, Pool),
    "joblib": ("joblib", 1, Pool),
    "submitit_local": ("submitit_local", 2, Crew),
    "elsewhere": ("basic", 0, Crew),
}
"""`elsewhere`: workers that do not see the sweep's directory."""


@pytest.fixture(scope="module", params=ENGINES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def context(kind: str, tmp_path_factory: pytest.TempPathFactory) -> SweepContext:
    """Of a sweep of small trainings in a directory of its own."""
    overrides = ["hydra/sweeper=search", *TINY, "model=ds_cnn_v3_code", "trainer.epochs=2"]
    overrides[1:1] = [f"hydra/launcher={ENGINES[kind][0]}"]
    with initialize_config_dir(str(CONF)):
        cfg = compose("config", overrides, return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
    with open_dict(cfg):
        cfg.hydra.sweep.dir = str(tmp_path_factory.mktemp("sweep"))
        cfg.hydra.job.name = "mnist_sweep"
        cfg.hydra.overrides.task = overrides[2:]
    return SweepContext(HydraContext(loader, Callbacks(), TARGETS), cfg)


@pytest.fixture
def engine(
    kind: str, context: SweepContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    launcher, n_jobs, its_type = ENGINES[kind]
    sweep_dir = Path(context.config.hydra.sweep.dir)
    monkeypatch.chdir(sweep_dir)
    with execution_whitelist(TARGETS):
        engine = make_engine(n_jobs, context, launcher)
        assert isinstance(engine, its_type)
        engine.open()
        joined = start_elsewhere(sweep_dir, sweep_dir, tmp_path) if kind == "elsewhere" else None
        wait_for_room(engine)
        yield engine
        engine.close()
    if joined is not None:
        assert joined.wait(PATIENCE_S) == 0
        assert "not seen from here" in (tmp_path / "worker.txt").read_text()


def wait_for_room(engine: Engine) -> None:
    start = monotonic()
    while not engine.has_room:
        engine.next(0.5, never)
        assert monotonic() - start < PATIENCE_S


def job(number: int, *overrides: str) -> Job:
    fixed = [*TINY, "model=ds_cnn_v3_code", "trainer.epochs=2", "record.table=all.csv"]
    return Job(TrialInfo("study", number, None, code_of({})), (*fixed, *overrides), f"{number}")


def run_dir(job: Job) -> Path:
    return Path(job.subdir)


def never(job: Job, history: list[EpochMetrics]) -> str | None:
    return None


def train(engine: Engine, jobs: list[Job], on_epoch: OnEpoch = never) -> list[Ended]:
    """Has the engine do all of them, each begun as soon as there is room."""
    waiting, start = list(jobs), monotonic()
    ended: list[Ended] = []
    while len(ended) < len(jobs):
        while waiting and engine.has_room:
            engine.submit(waiting.pop(0))
        assert not engine.is_idle
        found = engine.next(0.5, on_epoch)
        ended += [] if found is None else [found]
        assert monotonic() - start < PATIENCE_S
    assert engine.is_idle and engine.has_room
    return sorted(ended, key=lambda ended: ended.job.info.trial)


def test_each_job_ends_once_with_its_record(engine: Engine) -> None:
    assert engine.is_idle and engine.has_room
    epochs: dict[int, list[int]] = {}

    def on_epoch(job: Job, history: list[EpochMetrics]) -> str | None:
        epochs.setdefault(job.info.trial, []).append(len(history))
        return None

    jobs = [job(number, f"seed={number}") for number in range(3)]
    for one, ended in zip(jobs, train(engine, jobs, on_epoch), strict=True):
        assert ended.job == one and ended.error is None and ended.record is not None
        assert (ended.record.status, ended.record.seed) == ("completed", one.info.trial)
        assert ended.record == read_result(run_dir(one))
        assert epochs[one.info.trial] == [1, 2]
        assert "val" in (run_dir(one) / "output.log").read_text()
    assert engine.next(0.01, never) is None, "there is nothing more to end"


def test_a_run_is_pruned_where_its_epoch_is_answered_so(engine: Engine) -> None:
    [ended] = train(engine, [job(10)], lambda job, history: "a reason")
    assert ended.record is not None
    assert (ended.record.status, ended.record.error) == ("pruned", "a reason")
    assert len(read_history(run_dir(ended.job))) == 1


@pytest.mark.parametrize("override", ["trainer.nothing=1", "trainer.epochs=-1"])
def test_a_job_that_cannot_begin_ends_with_a_reason_and_costs_no_other(
    engine: Engine, override: str
) -> None:
    bad, good = train(engine, [job(20, override), job(21)])
    assert bad.record is None and bad.error is not None
    assert override.partition("=")[0] in bad.error and "\n" not in bad.error
    assert good.record is not None and good.record.status == "completed"


def test_an_engine_that_is_stopped_is_idle_and_can_be_closed(engine: Engine) -> None:
    engine.submit(job(30))
    engine.stop()
    assert engine.is_idle
    engine.close()
