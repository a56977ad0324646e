"""Experiment trackers that a run may write to besides its own files: TensorBoard, MLflow, W&B.

All stay on this machine. Their libraries are imported only where chosen, and what they raise during
a run costs that log and nothing else.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import Field

from mnist_sweep.config import Schema
from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics

Name = Annotated[str, Field(min_length=1)]

End = Literal["finished", "killed", "failed"]
"""All that the trackers tell apart; the exact status of a run is among its results."""

ENDS: dict[str, End] = {"completed": "finished", "pruned": "killed", "interrupted": "killed"}

TIMEOUT_S = 30.0
"""How long a run waits for another process, of a tracker's or at a tracker's files."""


@dataclass(frozen=True)
class RunStart:
    """What is known of a run before its first epoch."""

    run_id: str
    run_dir: Path
    config: dict[str, Any]
    """Dotted key -> value."""
    tags: dict[str, str | int]
    """What was chosen of each group, and what the run is."""
    group: str | None
    """The study that it belongs to."""
    is_resumed: bool


class RunLog(ABC):
    """One run's log, open. Whatever it raises closes it for good."""

    @abstractmethod
    def epoch(self, metrics: EpochMetrics) -> None:
        """Told every epoch in its order; a resumed run begins with those before it once more."""

    @abstractmethod
    def close(self, end: End, result: Mapping[str, str | float]) -> None:
        """result: names and values of the run's end, `status` among them."""


class Logger(Schema):
    """A choice of the group `logger`."""

    @abstractmethod
    def open(self, run: RunStart) -> RunLog: ...


def _require(module: str, extra: str) -> None:
    """
    Raises:
        UserError: the module is not installed.
    """
    try:
        import_module(module)
    except ImportError as error:
        raise UserError(
            f"logger={extra} needs the package {error.name or module}: "
            f"pip install 'mnist-sweep[{extra}]'"
        ) from error
    except Exception:
        return  # a broken package: `open` meets it again, at the cost of that log alone


class TensorBoard(Logger):
    """Event files in the run directory, so that TensorBoard names runs as their directories."""

    def model_post_init(self, context: Any) -> None:
        _require("torch.utils.tensorboard", "tensorboard")

    def open(self, run: RunStart) -> RunLog:
        return _TensorBoardLog(run)


class _TensorBoardLog(RunLog):
    def __init__(self, run: RunStart) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.old = list(run.run_dir.glob("events.out.tfevents.*"))
        # Tells a TensorBoard that is looking that all steps come anew.
        self.writer = SummaryWriter(str(run.run_dir), purge_step=0)
        self.epochs_done = 0
        simple = {key: _simple(value) for key, value in {**run.config, **run.tags}.items()}
        shown = {"result/test_acc": 0, "result/val_acc": 0}  # columns; the values come as scalars
        experiment, start, self.session_end = hparams(simple, shown)
        for summary in (experiment, start):
            self._events.add_summary(summary)
        self.writer.add_text("run", _markdown(run.tags))
        self.writer.add_text("config", _markdown(run.config))
        self.writer.flush()

    @property
    def _events(self) -> Any:
        return self.writer._get_file_writer()

    def epoch(self, metrics: EpochMetrics) -> None:
        while self.old:  # of an earlier attempt, whose epochs come once more
            self.old.pop().unlink(missing_ok=True)
        self.epochs_done = metrics.epoch
        for name, value in _measured(metrics).items():
            self.writer.add_scalar(name, value, metrics.epoch)
        self.writer.flush()  # what is written survives a kill, and what fails is known now

    def close(self, end: End, result: Mapping[str, str | float]) -> None:
        from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

        for name, value in result.items():
            if isinstance(value, str):
                self.writer.add_text(f"result/{name}", value, self.epochs_done)
            else:
                self.writer.add_scalar(f"result/{name}", value, self.epochs_done)
        # torch's summary of the end says success, always.
        plugin = self.session_end.value[0].metadata.plugin_data
        data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
        success = end == "finished"
        data.session_end_info.status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
        data.session_end_info.end_time_secs = time.time()
        plugin.content = data.SerializeToString()
        self._events.add_summary(self.session_end)
        self.writer.close()


class Mlflow(Logger):
    folder: Name
    """Of MLflow's file store; made if it is missing."""
    experiment: Name
    """MLflow's name for what keeps runs together."""

    def model_post_init(self, context: Any) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # which begins with the import
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        _require("mlflow", "mlflow")

    def open(self, run: RunStart) -> RunLog:
        return _MlflowLog(run, Path(self.folder).resolve(), self.experiment)


class _MlflowLog(RunLog):
    def __init__(self, run: RunStart, folder: Path, experiment: str) -> None:
        from mlflow import MlflowClient

        folder.parent.mkdir(parents=True, exist_ok=True)
        # The store makes its folder, and an experiment of a name, as if it were alone.
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=TIMEOUT_S):
            self.client = MlflowClient(folder.as_uri())
            known = self.client.get_experiment_by_name(experiment)
            experiment_id = (
                self.client.create_experiment(experiment) if known is None else known.experiment_id
            )
        before: Sequence[Any] = ()
        if run.is_resumed:
            before = self.client.search_runs([experiment_id], f"tags.run_id = '{run.run_id}'")
        self.logged: set[int] = set()
        if before:
            self.id = before[0].info.run_id
            self.client.update_run(self.id, "RUNNING")
            history = self.client.get_metric_history(self.id, "train_loss")
            self.logged = {metric.step for metric in history}
            return
        created = self.client.create_run(experiment_id, tags=run.tags, run_name=run.run_id)
        self.id = created.info.run_id
        for key, value in run.config.items():
            self.client.log_param(self.id, key, value)

    def epoch(self, metrics: EpochMetrics) -> None:
        from mlflow.entities import Metric

        if metrics.epoch in self.logged:
            return
        now = int(time.time() * 1000)
        values = _measured(metrics).items()
        self.client.log_batch(
            self.id, metrics=[Metric(name, value, now, metrics.epoch) for name, value in values]
        )

    def close(self, end: End, result: Mapping[str, str | float]) -> None:
        for name, value in result.items():
            if isinstance(value, str):
                self.client.set_tag(self.id, name, value)
            else:
                self.client.log_metric(self.id, f"result/{name}", value)
        self.client.set_terminated(self.id, end.upper())


class Wandb(Logger):
    """Weights & Biases, offline: nothing leaves the machine until the user syncs it."""

    project: Name

    def model_post_init(self, context: Any) -> None:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # its telemetry, which begins with the import
        _require("wandb", "wandb")

    def open(self, run: RunStart) -> RunLog:
        return _WandbLog(run, self.project)


class _WandbLog(RunLog):
    def __init__(self, run: RunStart, project: str) -> None:
        import wandb

        # wandb would take a temporary folder instead, and not say so.
        (run.run_dir / "wandb").mkdir(exist_ok=True)
        self.run = wandb.init(
            mode="offline",
            project=project,
            id=run.run_id,
            name=run.run_id,
            group=run.group,
            config={**run.config, "run": run.tags},
            dir=run.run_dir,
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=TIMEOUT_S,
                finish_timeout=TIMEOUT_S,
                disable_code=True,
                disable_git=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )

    def epoch(self, metrics: EpochMetrics) -> None:
        self.run.log(_measured(metrics), step=metrics.epoch, commit=True)

    def close(self, end: End, result: Mapping[str, str | float]) -> None:
        import wandb

        try:
            for name, value in result.items():
                self.run.summary[f"result/{name}"] = value
            self.run.finish(exit_code={"finished": 0, "killed": 255, "failed": 1}[end])
        except Exception:
            # The next run gets a new service process, and no traceback of this one comes at exit.
            with suppress(Exception, SystemExit):
                wandb.teardown()
            raise


class Loggers:
    """A run's logs as one, none of which can hurt the run: one that raises is off from then on.

    warn: told so, in one line.
    """

    def __init__(self, loggers: Mapping[str, Logger], warn: Callable[[str], None]) -> None:
        self.loggers = loggers
        self.warn = warn
        self.logs: dict[str, RunLog] = {}
        self.epochs = 0
        """How many of them the logs know."""

    def open(self, run: RunStart) -> None:
        for name, logger in self.loggers.items():
            try:
                self.logs[name] = logger.open(run)
            except Exception as error:
                self._tell(name, error)

    def epoch(self, history: Sequence[EpochMetrics]) -> None:
        new = history[self.epochs :]
        self.epochs = len(history)
        for name, run_log in list(self.logs.items()):
            try:
                for metrics in new:
                    run_log.epoch(metrics)
            except Exception as error:
                self._tell(name, error)
                del self.logs[name]
                with suppress(Exception):  # for its files and threads
                    run_log.close("failed", {})

    def close(self, status: str, result: Mapping[str, float | None]) -> None:
        known = {name: value for name, value in result.items() if value is not None}
        for name in list(self.logs):
            run_log = self.logs.pop(name)
            try:
                run_log.close(ENDS.get(status, "failed"), {"status": status, **known})
            except Exception as error:
                self._tell(name, error)

    def _tell(self, name: str, error: Exception) -> None:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        self.warn(f"logger={name} is off for the rest of this run, which goes on ({text[:200]})")


def _measured(metrics: EpochMetrics) -> dict[str, float]:
    values = asdict(metrics)
    del values["epoch"]
    return {name: value for name, value in values.items() if value is not None}


def _simple(value: Any) -> bool | int | float | str:
    """As TensorBoard's table of hyperparameters takes it."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _markdown(values: Mapping[str, Any]) -> str:
    """A table; backticks, since a value is text and no markup."""
    rows = [f"| {key} | `{value}` |" for key, value in values.items()]
    return "\n".join(["| key | value |", "|---|---|", *rows])
