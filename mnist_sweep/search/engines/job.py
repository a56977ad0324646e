"""One run of a trial, as an engine gets it, and how any engine's worker trains it."""

from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict, read_write

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import JOB_OUTPUT
from mnist_sweep.runs.attempt import PrunedError
from mnist_sweep.runs.provenance import TrialInfo
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.run import run_trial
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.settled import Source


@dataclass(frozen=True)
class Job:
    """One run of a trial."""

    info: TrialInfo
    overrides: tuple[str, ...]
    subdir: str
    """Of the sweep's directory."""


@dataclass(frozen=True)
class Ended:
    """How a job ended; record is None where it left none."""

    job: Job
    record: RunRecord | None
    error: str | None
    """One line: why there is no record."""
    cut: Literal["left", "lost"] | None = None
    """Of a run that did not come to its end: whether its worker left, as it was told to, or is
    lost, perhaps together with others, and through no fault of the run."""


OnEpoch = Callable[[Job, list[EpochMetrics]], str | None]
"""Told the metrics of each epoch so far; says why to prune the run, or None."""


@dataclass(frozen=True)
class SweepContext:
    """What a worker needs to know of the sweep; it is sent to each once."""

    hydra: HydraContext
    config: DictConfig
    own: Mapping[str, Source] = field(default_factory=dict)
    """Modules of the user's own that the runs need."""
    fixed: tuple[str, ...] = ()
    """Overrides that all jobs have."""
    data: str | None = None
    """The set that the search trains on, by its fixed overrides; None: whatever each job finds."""
    data_root: str | None = None
    """Where this machine has it, if not where the config says."""

    def composer(self) -> Composer:
        return Composer(self.hydra.config_loader, self.config)


def execute(job: Job, context: SweepContext, composer: Composer, on_epoch: OnEpoch) -> Ended:
    """Composes and runs a job as Hydra runs any; its output goes to a file in its directory."""
    try:
        config = _composed(job, context, composer)
        run_dir = Path(config.hydra.sweep.dir) / job.subdir
        run_dir.mkdir(parents=True, exist_ok=True)

        def after_epoch(history: list[EpochMetrics]) -> None:
            if (reason := on_epoch(job, history)) is not None:
                raise PrunedError(reason)

        def task(cfg: DictConfig) -> RunRecord:
            return run_trial(cfg, job.info, after_epoch)

        with (
            (run_dir / JOB_OUTPUT).open("a", encoding="utf-8", buffering=1) as output,
            redirect_stdout(output),
            redirect_stderr(output),
        ):
            HydraConfig.instance().set_config(config)
            done = run_job(
                task_function=task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=context.hydra,
                configure_logging=False,
            )
            record: RunRecord = done.return_value
    except Exception as error:
        text = " ".join(str(error).split())
        reason = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
        return Ended(job, None, reason)
    return Ended(job, record, None)


def _composed(job: Job, context: SweepContext, composer: Composer) -> DictConfig:
    config = composer.job(job.overrides)
    with open_dict(config):
        config.hydra.sweep.dir = context.config.hydra.sweep.dir
        config.hydra.sweep.subdir = job.subdir
        config.hydra.job.id = f"{config.hydra.job.name}_{job.info.trial}"
        config.hydra.job.num = job.info.trial
        if context.data_root is not None:
            config.data.root = context.data_root
    with read_write(config.hydra.runtime):
        config.hydra.runtime.cwd = context.config.hydra.runtime.cwd
    return config
