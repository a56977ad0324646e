"""Trackers beside a run: what their own readers find, and that none of them can hurt the run."""

import csv
import math
import os
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnist_sweep.config import resolved
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import build_loggers
from mnist_sweep.identity import result_key
from mnist_sweep.loggers import Loggers, RunStart
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import HISTORY, MODEL
from tests.conftest import TINY, Cli, hash_of, make_config, read_result, read_table

MISSING = [name for name in ("tensorboard", "mlflow", "wandb") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs the extras {', '.join(MISSING)}")

ALL = "tensorboard,mlflow,wandb"

MY_LOGGERS = '''
import os
from mnist_sweep.loggers import Logger, RunLog

class Raises(Logger):
    """Raises where it is told to, as many times as it is called."""
    where: str

    def open(self, run):
        if self.where == "open":
            raise RuntimeError("no [bold]open[/bold]\\nand more")
        return RaisesLog(self.where)

class RaisesLog(RunLog):
    def __init__(self, where):
        self.where = where

    def epoch(self, metrics):
        if self.where == "epoch":
            raise OSError(28, "No space left on device")
        if self.where == "ctrl-c" and metrics.epoch == 2 and "GO_ON" not in os.environ:
            raise KeyboardInterrupt

    def close(self, end, result):
        if self.where == "close":
            raise ConnectionResetError("lost")
'''


@pytest.fixture(autouse=True)
def trackers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also puts back what the loggers set in this process."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture
def mine(tmp_path: Path) -> dict[str, str]:
    """Loggers of the user's own: `logger=raises_<where>`; the environment that allows them."""
    (tmp_path / "my_loggers.py").write_text(MY_LOGGERS)
    folder = tmp_path / "mine" / "logger"
    folder.mkdir(parents=True)
    for where in ("open", "epoch", "close", "ctrl-c"):
        text = f"raises_{where}:\n  _target_: my_loggers.Raises\n  where: {where}\n"
        (folder / f"raises_{where}.yaml").write_text(text)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return {"MNIST_SWEEP_TARGETS": "my_loggers.*", "PYTHONPATH": path}


# What the trackers' own readers find


def tensorboard_of(run_dir: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir))
    events.Reload()
    return events


def text_of(events: Any, name: str) -> str:
    [tensor] = events.Tensors(f"{name}/text_summary")
    return str(tensor.tensor_proto.string_val[0].decode())


def session_of(events: Any) -> tuple[dict[str, Any], str]:
    """TensorBoard's table of hyperparameters: the config and how the session ended."""
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    contents = events.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(contents["_hparams_/session_start_info"])
    end = HParamsPluginData.FromString(contents["_hparams_/session_end_info"])
    values = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in start.session_start_info.hparams.items()
    }
    return values, api_pb2.Status.Name(end.session_end_info.status)


def columns_of(events: Any) -> set[str]:
    """The results beside the hyperparameters in that table."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events.PluginTagToContent("hparams")["_hparams_/experiment"]
    return {info.name.tag for info in HParamsPluginData.FromString(content).experiment.metric_infos}


def mlflow_client(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(folder.resolve().as_uri())


def mlflow_runs(folder: Path) -> list[Any]:
    client = mlflow_client(folder)
    experiment = client.get_experiment_by_name("mnist_sweep")
    return list(client.search_runs([experiment.experiment_id]))


def wandb_records(run_dir: Path) -> list[Any]:
    """Records of the newest offline run (LevelDB's log format, which `wandb sync` reads)."""
    record_type = import_module("wandb.proto.wandb_internal_pb2").Record
    [path] = (run_dir / "wandb" / "latest-run").glob("*.wandb")
    data, place, record, records = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(record_type.FromString(record))
            record = b""
    return records


def of_kind(records: list[Any], kind: str) -> list[Any]:
    return [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]


def as_numbers(items: Any) -> dict[str, float]:
    named = {(item.key or "/".join(item.nested_key)): item.value_json for item in items}
    return {key: float(text) for key, text in named.items() if not key.startswith("_")}


@pytest.mark.slow
def test_an_interrupted_and_resumed_run_is_logged_once_and_has_the_same_bits(
    cli: Cli, mine: dict[str, str], tmp_path: Path
) -> None:
    settings = [*TINY, "trainer.epochs=3"]
    assert cli(*settings, "hydra.run.dir=plain").returncode == 0
    logger = f"logger=[{ALL},raises_ctrl-c]"
    stopped = cli(*settings, logger, "--config-dir=mine", "hydra.run.dir=logged", **mine)
    assert stopped.returncode == 130, stopped.stderr

    run_dir, store = tmp_path / "logged", tmp_path / "outputs" / "mlruns"
    assert session_of(tensorboard_of(run_dir))[1] == "STATUS_FAILURE"
    assert [run.info.status for run in mlflow_runs(store)] == ["KILLED"]
    [exit_record] = of_kind(wandb_records(run_dir), "exit")
    assert exit_record.exit_code == 255

    done = cli("resume=logged", "--config-dir=mine", GO_ON="1", **mine)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout and done.stderr == ""

    plain, logged = read_result(tmp_path / "plain"), read_result(run_dir)
    assert list(plain) == list(logged), "no column for the logger"
    assert plain["config_hash"] == logged["config_hash"]
    weights = [torch.load(tmp_path / d / MODEL, weights_only=True) for d in ("plain", "logged")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    history = list(csv.DictReader((run_dir / HISTORY).open()))
    steps = [int(row["epoch"]) for row in history]
    assert steps == [1, 2, 3]
    measured = {name for name, value in history[0].items() if value} - {"epoch"}
    tags = {
        "run_id": logged["run_id"],
        "model": "ds_cnn",
        "num_params": "17418",
        "macs": "1417568",
        "protocol": "select",
        "data": "digits",
        "seed": "0",
    }

    events = tensorboard_of(run_dir)
    assert len(list(run_dir.glob("events.out.tfevents.*"))) == 1
    assert {name for name in events.Tags()["scalars"] if "/" not in name} == measured
    for name in measured:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == steps, name
        if name not in ("seconds", "images_per_s"):
            expected = [float(row[name]) for row in history]
            assert [value for _, value in found] == pytest.approx(expected, rel=1e-6)
    assert events.Scalars("result/test_acc")[0].value == pytest.approx(logged["test_acc"])
    assert text_of(events, "result/status") == "completed"
    assert all(f"| {name} | `{value}` |" in text_of(events, "run") for name, value in tags.items())
    config, status = session_of(events)
    assert status == "STATUS_SUCCESS"
    assert config["trainer.epochs"] == 3 and config["optimizer.lr"] == 0.01
    assert not any(key.startswith("logger") for key in config)

    [run] = mlflow_runs(store)
    client = mlflow_client(store)
    assert run.info.status == "FINISHED"
    assert {name: run.data.tags[name] for name in tags} == tags
    assert run.data.tags["status"] == "completed"
    assert run.data.params["trainer.epochs"] == "3" and run.data.params["optimizer.lr"] == "0.01"
    assert run.data.metrics["result/test_acc"] == logged["test_acc"]
    for name in measured:
        found = client.get_metric_history(run.info.run_id, name)
        assert sorted(metric.step for metric in found) == steps, name
    losses = client.get_metric_history(run.info.run_id, "val_loss")
    by_step = [metric.value for metric in sorted(losses, key=lambda metric: int(metric.step))]
    assert by_step == pytest.approx([float(row["val_loss"]) for row in history], rel=1e-6)

    records = wandb_records(run_dir)
    [start] = of_kind(records, "run")
    values = {item.key: item.value_json for item in start.config.update}
    assert start.run_id == logged["run_id"] and start.project == "mnist_sweep"
    assert values["trainer.epochs"] == "3" and '"num_params":17418' in values["run"]
    assert [record.step.num for record in of_kind(records, "history")] == steps
    for record, row in zip(of_kind(records, "history"), history, strict=True):
        logged_now = as_numbers(record.item)
        assert logged_now.keys() == measured
        assert logged_now["train_loss"] == pytest.approx(float(row["train_loss"]), rel=1e-6)
    [exit_record] = of_kind(records, "exit")
    assert exit_record.exit_code == 0
    summary = [item for record in of_kind(records, "summary") for item in record.update]
    assert {item.key: item.value_json for item in summary}["result/status"] == '"completed"'


def metrics_of(epoch: int, loss: float = 0.5) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        lr=0.01,
        train_loss=loss,
        train_acc=0.5,
        val_loss=None,
        val_acc=None,
        val_loss_raw=None,
        val_acc_raw=None,
        test_loss=0.5,
        test_acc=0.75,
        seconds=1.0,
        images_per_s=100.0,
    )


@pytest.mark.parametrize(
    ("status", "session", "mlflow_status", "exit_code"),
    [
        ("completed", "STATUS_SUCCESS", "FINISHED", 0),
        ("pruned", "STATUS_FAILURE", "KILLED", 255),
        ("interrupted", "STATUS_FAILURE", "KILLED", 255),
        ("diverged", "STATUS_FAILURE", "FAILED", 1),
        ("failed", "STATUS_FAILURE", "FAILED", 1),
    ],
)
def test_every_end_of_a_run_has_its_status_and_no_random_number_is_drawn(
    status: str,
    session: str,
    mlflow_status: str,
    exit_code: int,
    tmp_path: Path,
) -> None:
    before = random_states()
    store = tmp_path / "a # folder" / "mlruns"
    cfg = make_config(f"logger=[{ALL}]", f"logger.mlflow.folder='{store}'")
    warnings: list[str] = []
    loggers = Loggers(build_loggers_of(cfg), warnings.append)
    tags: dict[str, str | int] = {"run_id": "r1", "model": "<script>|`x`", "trial": 3}
    config = {"a.b": 1, "none": None, "list": [1, 2.5], "text": "ü" * 7000, "flag": True}
    loggers.open(RunStart("r1", tmp_path, config, tags, "a study", is_resumed=False))
    history = [metrics_of(1), metrics_of(2, math.nan if status == "diverged" else 0.25)]
    loggers.epoch(history[:1])
    loggers.epoch(history)
    loggers.epoch(history)
    loggers.close(status, {"test_acc": None, "val_acc": 0.5})
    loggers.close(status, {})
    assert warnings == []
    assert random_states() == before

    events = tensorboard_of(tmp_path)
    assert session_of(events)[1] == session and text_of(events, "result/status") == status
    assert [event.step for event in events.Scalars("test_acc")] == [1, 2]
    assert "result/test_acc" not in events.Tags()["scalars"]
    [run] = mlflow_runs(store)
    assert run.info.status == mlflow_status and run.data.tags["status"] == status
    assert run.data.tags["model"] == "<script>|`x`" and run.data.tags["trial"] == "3"
    assert run.data.metrics["result/val_acc"] == 0.5
    records = wandb_records(tmp_path)
    until = time.monotonic() + 30  # its own process writes the file
    while not of_kind(records, "exit") and time.monotonic() < until:
        time.sleep(0.2)
        records = wandb_records(tmp_path)
    assert [record.exit_code for record in of_kind(records, "exit")] == [exit_code]
    assert [record.run_group for record in of_kind(records, "run")] == ["a study"]


def random_states() -> list[Any]:
    """Of the generators that a run draws from. A tracker's threads may use Python's own, which no
    module of the package does."""
    numpys = np.random.get_state(legacy=False)["state"]
    return [
        numpys["key"].tolist(),
        numpys["pos"],
        torch.get_rng_state().tolist(),
    ]


def build_loggers_of(cfg: Any) -> Any:
    from hydra.utils import execution_whitelist

    from mnist_sweep.whitelist import TARGETS

    with execution_whitelist(TARGETS):
        return build_loggers(resolved(cfg))


# Nothing of a logger's hurts the run


def test_failing_loggers_cost_a_line_each_and_nothing_else(
    cli: Cli, mine: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mlruns").write_text("a file where the store's folder should be")
    (tmp_path / "failing").mkdir()
    (tmp_path / "failing" / "wandb").write_text("as well")
    done = cli(
        *TINY,
        "logger=[mlflow,wandb,raises_open,raises_epoch,raises_close,tensorboard]",
        "logger.mlflow.folder=mlruns",
        "--config-dir=mine",
        "hydra.run.dir=failing",
        **mine,
    )
    assert done.returncode == 0 and done.stderr == ""
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    off = "is off for the rest of this run, which goes on"
    assert [line.split()[1] for line in warnings] == [
        *("logger=mlflow", "logger=wandb", "logger=raises_open"),
        *("logger=raises_epoch", "logger=raises_close"),
    ]
    assert all(off in line for line in warnings)
    assert warnings[2].endswith("(RuntimeError: no [bold]open[/bold] and more)")
    assert warnings[3].endswith("(OSError: [Errno 28] No space left on device)")
    [row] = read_table(tmp_path).to_dict("records")
    assert row["status"] == "completed" and row["epochs_done"] == 2
    assert [e.step for e in tensorboard_of(tmp_path / "failing").Scalars("lr")] == [1, 2]


NEEDS = "logger={0} needs the package {0}: pip install 'mnist-sweep[{0}]'"


@pytest.mark.parametrize("extra", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_the_users_to_install(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, extra, None)  # so that importing it fails
    with pytest.raises(UserError) as caught:
        build_loggers_of(make_config(f"logger={extra}"))
    assert str(caught.value) == NEEDS.format(extra)


def test_a_search_with_a_missing_package_does_not_begin(new_python: Cli, tmp_path: Path) -> None:
    stub = tmp_path / "stub" / "wandb"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ModuleNotFoundError('No module', name='wandb')")
    path = os.pathsep.join([str(stub.parent), os.environ.get("PYTHONPATH", "")])
    search = ["hydra/sweeper=search", "hydra.sweeper.n_trials=1", "optimizer.lr=interval(0.001,1)"]
    done = new_python("-m", *search, *TINY, "logger=wandb", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {NEEDS.format('wandb')}\n"
    assert not (tmp_path / "outputs" / "results.csv").exists()


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("logger.wandb.project=''", "logger.wandb.project=: string should have at least 1"),
        ("logger.wandb.project=3", "logger.wandb.project=3: input should be a valid string"),
        ("+logger.wandb.key=x", "logger.wandb.key: no such key"),
        ("+logger.x={_target_:os.system}", "logger.x._target_=os.system: cannot be used"),
        ("+logger.x=3", "logger.x=3: is no choice"),
    ],
)
def test_mistakes(mistake: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        build_loggers_of(make_config("logger=wandb", mistake))
    assert said in str(caught.value)


# It is no part of what is trained


def test_a_logger_changes_no_hash_and_a_study_goes_on_without_it(cli: Cli, tmp_path: Path) -> None:
    plain, logged = make_config(), make_config("logger=[tensorboard,wandb]")
    assert hash_of(plain) == hash_of(logged)
    assert result_key(resolved(plain)) == result_key(resolved(logged))
    search = [
        *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"),
        *(*TINY, "optimizer.lr=tag(log,interval(0.001,0.01))"),
    ]
    done = cli(*search, "hydra.sweeper.n_trials=1", "logger=tensorboard")
    assert done.returncode == 0, done.stderr
    events = tensorboard_of(tmp_path / "multirun" / "s" / "0")
    assert [event.step for event in events.Scalars("val_acc")] == [1, 2]
    assert "| study | `s` |\n| trial | `0` |" in text_of(events, "run")
    shown, row = session_of(events)[0], read_result(tmp_path / "multirun" / "s" / "0")
    choices = {"data": "digits", "model": "ds_cnn", "optimizer": "soap", "scheduler": "onecycle"}
    wanted = {**choices, "trial": 0, "num_params": 17418, "optimizer.lr": row["lr"]}
    assert {name: shown[name] for name in wanted} == wanted
    assert {"result/val_acc", "result/test_acc"} <= columns_of(events)
    assert events.Scalars("result/val_acc")[0].value == pytest.approx(row["val_acc"])
    done = cli(*search, "hydra.sweeper.n_trials=1")
    assert done.returncode == 0, done.stderr
    assert list(read_table(tmp_path).trial) == [0]
    assert "logger" not in read_table(tmp_path).columns
