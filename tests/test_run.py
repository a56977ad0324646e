"""Whole runs through the real command line: what they print, leave behind and survive."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch

from mnist_sweep.config import ProtocolConfig
from mnist_sweep.data import load
from mnist_sweep.runs.rebuild import rebuild
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.train import evaluate, settle, train
from tests.conftest import (
    TINY,
    Cli,
    environment,
    make_config,
    make_experiment,
    read_result,
    read_table,
)


def run_dirs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("outputs/*/*/.hydra"))


def test_a_run_leaves_its_directory_and_a_typed_row(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "model=separable_cnn", "optimizer=sgd", "seed=3")
    assert done.returncode == 0, done.stderr
    [run_dir] = run_dirs(tmp_path)
    assert {path.name for path in run_dir.iterdir()} >= {
        ".hydra",
        "history.csv",
        "result.json",
        "model.pt",
    }
    [row] = read_table(tmp_path).to_dict("records")
    assert row["status"] == "completed"
    assert (row["data"], row["model"], row["optimizer"]) == ("digits", "separable_cnn", "sgd")
    assert (row["augmentation"], row["protocol"]) == ("affine", "select")
    assert (row["seed"], row["epochs"], row["epochs_done"]) == (3, 2, 2)
    assert (row["train_images"], row["val_images"], row["test_images"]) == (128, 100, 100)
    assert row["num_params"] == 15866 and row["lr"] == 0.1
    assert 0 <= row["test_acc"] <= 1 and row["peak_rss_mb"] > 100
    assert Path(tmp_path / row["run_dir"]) == run_dir
    assert pd.isna(row["test_acc_peak"]) and pd.isna(row["error"])
    history = pd.read_csv(run_dir / "history.csv")
    assert list(history.epoch) == [1, 2]
    assert history.val_acc.iloc[-1] == pytest.approx(row["val_acc"])
    assert history.test_acc.isna().all(), "select must not look at test before the end"
    assert read_result(run_dir)["test_acc"] == pytest.approx(row["test_acc"])


def test_several_augmentations_are_all_in_the_row(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY, "augmentation=[elastic,affine]").returncode == 0
    assert read_table(tmp_path).augmentation[0] == "elastic+affine"


def test_a_closed_pipe_leaves_a_row_that_says_so(tmp_path: Path) -> None:
    command = f"{sys.executable} -m mnist_sweep {' '.join(TINY)} trainer.epochs=30 | head -n 3"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), timeout=120)
    [row] = read_table(tmp_path).to_dict("records")
    assert row["status"] == "failed" and "standard output" in row["error"]


def test_the_output_has_data_layers_epochs_and_result_in_lines(cli: Cli) -> None:
    out = cli(*TINY, "model=rf_cnn").stdout
    assert "digits: 128 train, 100 val, 100 test images" in out
    assert "conv 32-16 1x1, ReLU, BN" in out and "19,642 of 20,000 parameters, 358 left" in out
    header = next(line for line in out.splitlines() if "train_loss" in line)
    for name in ("epoch", "train_acc", "val_loss", "val_acc", "lr", "s", "images/s"):
        assert name in header.split()
    assert sum(line.strip().startswith(("1/2", "2/2")) for line in out.splitlines()) == 2
    assert "test_acc" in out and "outputs/results.csv (completed)" in out
    assert "\x1b" not in out, "no colours or cursor moves without a terminal"
    assert max(map(len, out.splitlines())) <= 100


def test_the_recorded_test_accuracy_is_that_of_the_saved_weights(cli: Cli, tmp_path: Path) -> None:
    overrides = ["data=digits", "trainer.epochs=3", "optimizer.lr=0.02"]
    assert cli(*overrides).returncode == 0
    [run_dir] = run_dirs(tmp_path)
    experiment = make_experiment(*overrides)
    weights = torch.load(run_dir / "model.pt", weights_only=True)
    experiment.model.load_state_dict(weights)
    data = load(experiment.settings.data, experiment.settings.protocol)
    experiment.model.eval()
    with torch.no_grad():
        images, labels = data.test.batch(torch.arange(len(data.test)))
        predictions = experiment.model((images - data.mean[0]) / data.std[0]).argmax(1)
    accuracy = (predictions == labels).double().mean().item()
    assert read_table(tmp_path).test_acc[0] == pytest.approx(accuracy)


def test_same_seed_same_weights_bit_for_bit_other_seed_others(cli: Cli, tmp_path: Path) -> None:
    for seed in (1, 1, 2):
        assert cli(*TINY, f"seed={seed}").returncode == 0
    first, again, other = (
        torch.load(path / "model.pt", weights_only=True) for path in run_dirs(tmp_path)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("protocol", "train_images", "measured", "not_measured"),
    [("final", 1437, [], ["val_acc", "test_acc"]), ("published", 1437, ["test_acc"], ["val_acc"])],
)
def test_protocols_measure_what_they_say(
    cli: Cli,
    tmp_path: Path,
    protocol: str,
    train_images: int,
    measured: list[str],
    not_measured: list[str],
) -> None:
    done = cli("data=digits", "trainer.epochs=2", f"protocol={protocol}")
    assert done.returncode == 0, done.stderr
    [row] = read_table(tmp_path).to_dict("records")
    history = pd.read_csv(run_dirs(tmp_path)[0] / "history.csv")
    assert (row["protocol"], row["train_images"]) == (protocol, train_images)
    assert history[measured].notna().all(axis=None)
    assert history[not_measured].isna().all(axis=None)
    assert pd.isna(row["val_acc"]) and 0 < row["test_acc"] <= 1
    if protocol == "published":
        assert row["test_acc"] == pytest.approx(history.test_acc.iloc[-1])
        assert row["test_acc_peak"] == pytest.approx(history.test_acc.max())
        assert row["test_peak_epoch"] == history.epoch.iloc[int(history.test_acc.argmax())]
        assert "picked on test" in done.stdout
    else:
        assert pd.isna(row["test_acc_peak"])


def test_a_net_over_budget_is_refused_before_data_is_looked_for(cli: Cli, tmp_path: Path) -> None:
    done = cli("model=pointwise_cnn", "data=mnist", "data.download=false")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "24,210" in done.stderr and "budget.max_params=20000" in done.stderr
    [row] = read_table(tmp_path).to_dict("records")
    assert (row["status"], row["num_params"]) == ("infeasible", 24210)
    again = cli(*TINY, "model=pointwise_cnn", "budget.max_params=24210")
    assert again.returncode == 0


def test_max_macs_is_a_budget_too(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "budget.max_macs=1000000")
    assert done.returncode == 2 and "1,417,568" in done.stderr
    assert read_table(tmp_path).status[0] == "infeasible"


def test_a_diverging_run_ends_as_diverged_with_its_epoch(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "optimizer=sgd", "optimizer.lr=1e30", "model=pointwise_cnn",
               "budget.max_params=30000", "trainer.epochs=5")  # fmt: skip
    assert done.returncode == 1
    [row] = read_table(tmp_path).to_dict("records")
    assert row["status"] == "diverged" and row["epochs_done"] < 5
    assert f"in epoch {row['epochs_done']}" in row["error"]
    assert "optimizer.lr" in done.stderr and "Traceback" not in done.stderr


LONG = ["data=digits", "trainer.epochs=14", "seed=5", "optimizer.lr=0.003"]


def start(tmp_path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_sweep", *LONG],
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED="1"),
        # Under nohup, tests inherit an ignored SIGINT; a terminal sends a real one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(process: "subprocess.Popen[str]", folder: Path, count: int) -> Path:
    for _ in range(1200):
        for history in folder.glob("outputs/*/*/history.csv"):
            if len(history.read_text().splitlines()) > count:
                return history.parent
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("no epoch within a minute")


@pytest.mark.parametrize(
    "how",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_an_ended_run_resumes_to_the_unbroken_result(
    cli: Cli, tmp_path: Path, how: signal.Signals
) -> None:
    process = start(tmp_path)
    run_dir = wait_for_epochs(process, tmp_path, 2)
    process.send_signal(how)
    process.communicate(timeout=60)
    if how == signal.SIGKILL:
        assert not (run_dir / "result.json").exists()
    else:
        assert process.returncode == 130
        [row] = read_table(tmp_path).to_dict("records")
        assert row["status"] == "interrupted" and 2 <= row["epochs_done"] < 14

    if how == signal.SIGKILL:
        so_far = json.loads((run_dir / "so_far.json").read_text())
    else:
        so_far = read_result(run_dir)
    before = pd.read_csv(run_dir / "history.csv")
    assert so_far["seconds"] > before.seconds.sum()

    resumed = cli(f"resume={run_dir.relative_to(tmp_path)}")
    assert resumed.returncode == 0, resumed.stderr
    after = pd.read_csv(run_dir / "history.csv")
    result = read_result(run_dir)
    assert result["seconds"] > so_far["seconds"] + after.seconds[len(before) :].sum()
    assert result["started"] == so_far["started"]
    assert not (run_dir / "so_far.json").exists()
    unbroken = cli(*LONG)
    assert unbroken.returncode == 0, unbroken.stderr
    table = read_table(tmp_path)
    assert list(table.status) == ["completed", "completed"], "one row a run"
    assert list(table.overrides) == [" ".join(LONG)] * 2
    assert table.run_dir[0] == str(run_dir.relative_to(tmp_path))
    [other_dir] = [path for path in run_dirs(tmp_path) if path != run_dir]
    ours, theirs = (
        torch.load(path / "model.pt", weights_only=True) for path in (run_dir, other_dir)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    columns = ["epoch", "lr", "train_loss", "train_acc", "val_loss", "val_acc"]
    histories = [pd.read_csv(path / "history.csv")[columns] for path in (run_dir, other_dir)]
    pd.testing.assert_frame_equal(histories[0], histories[1])


def test_a_new_run_in_the_directory_of_an_ended_one_starts_anew(cli: Cli, tmp_path: Path) -> None:
    process = start(tmp_path)
    run_dir = wait_for_epochs(process, tmp_path, 2)
    process.kill()
    process.communicate()
    assert (run_dir / "checkpoint.pt").exists()
    for arguments in ([f"hydra.run.dir={run_dir}"], []):
        assert cli(*TINY, "seed=9", *arguments).returncode == 0
    assert len(pd.read_csv(run_dir / "history.csv")) == 2
    same, fresh = (torch.load(path / "model.pt", weights_only=True) for path in run_dirs(tmp_path))
    assert all(torch.equal(same[name], fresh[name]) for name in fresh)


def test_a_run_killed_after_its_last_epoch_resumes_to_a_full_row(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY).returncode == 0
    [run_dir] = run_dirs(tmp_path)
    unbroken = read_result(run_dir)
    # The state between the last checkpoint and the end: no result yet, no history.
    experiment = make_experiment(*TINY)
    data = load(experiment.settings.data, experiment.settings.protocol).limited(128, 100, 512)
    train(
        experiment, data, settle(experiment.settings.trainer), checkpoint=run_dir / "checkpoint.pt"
    )
    (run_dir / "result.json").unlink()
    (run_dir / "history.csv").unlink()
    done = cli(f"resume={run_dir}")
    assert done.returncode == 0, done.stderr
    resumed = read_result(run_dir)
    for name in ("epochs_done", "train_acc", "val_acc", "test_acc", "best_epoch"):
        assert resumed[name] == pytest.approx(unbroken[name]), name
    assert len(pd.read_csv(run_dir / "history.csv")) == 2
    assert len(read_table(tmp_path)) == 1


def test_resume_says_what_cannot_be_resumed(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY).returncode == 0
    [run_dir] = run_dirs(tmp_path)
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ([f"resume={run_dir}"], "has ended (completed)"),
        (["resume=empty"], "resume=empty is not a run directory"),
        (["resume=nowhere"], "resume=nowhere is not a run directory"),
        ([f"resume={run_dir}", "seed=4"], "leave out seed=4"),
    ):
        done = cli(*arguments)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1


def test_resume_refuses_a_damaged_checkpoint_and_another_config(cli: Cli, tmp_path: Path) -> None:
    process = start(tmp_path)
    run_dir = wait_for_epochs(process, tmp_path, 1)
    process.kill()
    process.communicate()
    checkpoint = run_dir / "checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    done = cli(f"resume={run_dir}")
    assert done.returncode == 2 and "checkpoint.pt is damaged" in done.stderr
    checkpoint.write_bytes(whole)
    saved = run_dir / ".hydra" / "config.yaml"
    saved.write_text(saved.read_text().replace("batch_size: 64", "batch_size: 32"))
    done = cli(f"resume={run_dir}")
    assert done.returncode == 2 and "trainer.batch_size" in done.stderr


def test_resume_names_a_damaged_file_and_what_to_do(cli: Cli, tmp_path: Path) -> None:
    process = start(tmp_path)
    run_dir = wait_for_epochs(process, tmp_path, 1).relative_to(tmp_path)
    process.kill()
    process.communicate()
    for name, contents, remedy in (
        ("result.json", ("", "{", "[]", '{"run_id": 1}'), "delete it"),
        (".hydra/overrides.yaml", ("", "a: 1\n", "- [1]\n", "[", "\0"), ".hydra/hydra.yaml"),
        (".hydra/config.yaml", ("", "[1]", "a: [", "\0"), "start the run again"),
    ):
        path = tmp_path / run_dir / name
        before = path.read_text() if path.exists() else None
        for content in contents:
            path.write_text(content)
            done = cli(f"resume={run_dir}")
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
            assert f"{run_dir / name} is damaged" in done.stderr and remedy in done.stderr
            assert path.read_text() == content
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
    assert cli(f"resume={run_dir}").returncode == 0
    assert list(read_table(tmp_path).status) == ["completed"]


def test_a_failure_in_the_middle_is_a_failed_row_and_exit_code_1(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "    def train(self, mode=True):\n"
        "        if mode and getattr(self, 'calls', 0) > 0: raise RuntimeError('out of luck')\n"
        "        self.calls = getattr(self, 'calls', 0) + mode\n"
        "        return super().train(mode)\n"
    )
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "broken.yaml").write_text("_target_: broken.Net\n")
    arguments = ["--config-dir", "mine", *TINY, "model=broken", "trainer.ema_horizon=0"]
    done = cli(*arguments, MNIST_SWEEP_TARGETS="broken.*", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "RuntimeError: out of luck" in done.stderr and "Traceback" not in done.stderr
    [row] = read_table(tmp_path).to_dict("records")
    assert row["status"] == "failed" and "out of luck" in row["error"]
    done = cli(
        *arguments,
        MNIST_SWEEP_TARGETS="broken.*",
        PYTHONPATH=str(tmp_path),
        HYDRA_FULL_ERROR="1",
    )
    assert (
        "Traceback" in done.stderr
        and 'raise RuntimeError("out of luck")' in done.stderr.replace("'", '"')
    )


def test_a_multirun_compares_variants_in_its_own_table(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *TINY, "model=ds_cnn_v3_code,pointwise_cnn", "optimizer=sgd,adam", "seed=0,1")
    assert done.returncode == 0, done.stderr
    whole = read_table(tmp_path)
    [own_path] = tmp_path.glob("multirun/*/*/results.csv")
    own = pd.read_csv(own_path)
    pd.testing.assert_frame_equal(whole, own)
    assert len(own) == 8 and own.run_id.is_unique
    assert dict(own.groupby("model").status.unique().map(list)) == {
        "ds_cnn_v3_code": ["completed"],
        "pointwise_cnn": ["infeasible"],
    }
    by_config = own[own.status == "completed"].groupby("config_hash").seed.apply(list)
    assert list(by_config) == [[0, 1], [0, 1]], "a config's hash is the same for all seeds"
    assert "job 8 of 8" in done.stdout and "4 completed, 4 infeasible" in done.stdout
    again = ResultsTable(tmp_path / "again.csv")
    assert rebuild(again, [tmp_path / "multirun"]) == 8
    assert {row["run_id"] for row in again.rows()} == set(own.run_id)


def test_a_grids_end_takes_seeds_together(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *TINY, "model=ds_cnn_v3_code", "optimizer=sgd,adam", "seed=0,1,2")
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout[done.stdout.index("6 completed in") :].splitlines()[1:4]
    assert head.split() == ["optimizer", "n", "params", "val_acc", "test_acc", "status"]
    runs = read_table(tmp_path)
    for line, (optimizer, own) in zip(lines, runs.groupby("optimizer", sort=False), strict=True):
        measured = [
            word
            for name in ("val_acc", "test_acc")
            for word in (f"{own[name].mean():.4f}", "±", f"{own[name].std():.4f}")
        ]
        assert line.split() == [optimizer, "3", "4538", *measured, "completed"]
    assert "never ran" not in done.stdout


FAILS = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, number: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.number = number

    def train(self, mode=True):
        if mode and self.number == 1:
            raise RuntimeError("out of luck")
        return super().train(mode)
"""


def test_a_grid_with_a_failed_job_names_each_job_once_and_counts_it(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(FAILS)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "failing.yaml").write_text(
        "_target_: mine.Net\nnumber: ${seed}\n"
    )
    given = ["--config-dir", "mine", *TINY, "model=failing,ds_cnn_v3_code", "seed=0,1,2"]
    done = cli("-m", *given, MNIST_SWEEP_TARGETS="mine.Net")
    assert done.returncode == 1, done.stdout + done.stderr
    shown = (done.stdout + done.stderr).splitlines()
    for model in ("failing", "ds_cnn_v3_code"):
        for seed in range(3):
            named = [line for line in shown if f"model={model} seed={seed}" in line]
            assert len(named) == 1, named
    assert [line for line in shown if "Launching" in line] == []
    assert "5 completed, 1 failed in" in done.stdout
    [failing] = [line.split() for line in shown if line.startswith("failing ")]
    [whole] = [line.split() for line in shown if line.startswith("ds_cnn_v3_code ")]
    assert failing[:3] == ["failing", "2", "7850"] and failing[-4:] == [
        *("2", "completed,", "1", "failed")
    ]
    assert whole[:2] == ["ds_cnn_v3_code", "3"] and whole[-1] == "completed"
    assert "never ran" not in done.stdout


STOPS = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, stops: bool) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.stops = stops

    def train(self, mode=True):
        if mode and self.stops:
            raise KeyboardInterrupt
        return super().train(mode)
"""


def test_a_grid_that_was_stopped_says_what_never_ran(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STOPS)
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "stopping.yaml").write_text("_target_: mine.Net\nstops: false\n")
    given = ["--config-dir", "mine", *TINY, "model=stopping", "hydra.sweep.dir=sweep"]
    swept = ["optimizer=sgd,adam", "model.stops=False,True"]
    done = cli("-m", *given, *swept, MNIST_SWEEP_TARGETS="mine.Net")
    assert done.returncode == 130, done.stdout + done.stderr
    assert list(read_table(tmp_path).status) == ["completed", "interrupted"]
    said = done.stdout[done.stdout.index("never ran") :].splitlines()
    assert said[0] == "never ran (no row): 2 of 4 jobs; each by itself:"
    *commands, study = [
        shlex.split(line)[3:] for line in said if line.startswith("python -m mnist_sweep ")
    ]
    assert said[3] == "all 2 of them, as a study, which goes on after Ctrl-C:"
    assert study[:3] == ["-m", "sweep=grid", "hydra.sweeper.study_name=grid_sweep"]
    assert study[-2:] == ["optimizer=adam", "model.stops=False,True"]
    assert [command[-2:] for command in commands] == [
        ["optimizer=adam", f"model.stops={stops}"] for stops in (False, True)
    ]
    done = cli(*commands[0], MNIST_SWEEP_TARGETS="mine.Net")
    assert done.returncode == 0, done.stderr
    assert read_table(tmp_path).iloc[-1].optimizer == "adam"


def test_a_limit_of_validation_is_none_of_test(cli: Cli, tmp_path: Path) -> None:
    """And of a run from before the key `limit_test`, whose one limit was for both, it is."""
    plain = ["data=digits", "trainer.epochs=1", "trainer.limit_train=64", "model=ds_cnn_v3_code"]
    for limits, images in (
        (["trainer.limit_val=50"], (50, 360)),
        (["trainer.limit_val=50", "trainer.limit_test=70"], (50, 70)),
    ):
        done = cli(*plain, *limits)
        assert done.returncode == 0, done.stderr
        row = read_table(tmp_path).iloc[-1]
        assert (row.val_images, row.test_images) == images
    assert read_table(tmp_path).config_hash.nunique() == 1
    path = Path(tmp_path / row.run_dir) / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("  limit_test: 70\n", ""))
    done = cli(row.run_dir, module="mnist_sweep.rerun")
    assert done.returncode == 0, done.stderr
    row = read_table(tmp_path).iloc[-1]
    assert (row.val_images, row.test_images) == (50, 50)


LAUNCHERS = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra.launcher.timeout_min=5"],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2", "hydra.launcher.ray.init.address=local"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_parallel_launchers_workers_share_one_table(
    new_python: Cli, tmp_path: Path, launcher: str
) -> None:
    if find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher") is None:
        pytest.skip(f"the launcher {launcher} is not installed")
    options = [f"hydra/launcher={launcher}", *LAUNCHERS[launcher]]
    done = new_python("-m", *TINY, *options, "seed=0,1")
    assert done.returncode == 0, done.stderr
    table = read_table(tmp_path)
    assert sorted(table.seed) == [0, 1] and set(table.status) == {"completed"}


def test_a_sweep_with_an_objective_needs_validation(cli: Cli) -> None:
    done = cli(
        "-m", *TINY, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "protocol=final",
        "optimizer.lr=interval(0.001, 0.03)",
    )  # fmt: skip
    assert done.returncode == 2
    assert "protocol=final" in done.stderr and "protocol=select" in done.stderr


def test_the_stock_optuna_sweeper_maximises_val_acc(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "-m",
        *TINY,
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1",
        "hydra.sweeper.direction=maximize",
        "optimizer.lr=tag(log, interval(0.001, 0.03))",
    )
    assert done.returncode == 0, done.stderr
    table = read_table(tmp_path)
    assert len(table) == 3 and table.lr.between(0.001, 0.03).all()
    [results] = tmp_path.glob("multirun/*/*/optimization_results.yaml")
    best = float(results.read_text().split("best_value:")[1].split()[0])
    assert best == pytest.approx(table.val_acc.max())


def test_workers_do_not_download(new_python: Cli, tmp_path: Path) -> None:
    """In a sweep the controller fetches; a worker that finds nothing says so and fails."""
    done = new_python(
        "-m", "data=mnist", "data.download=false", "hydra/launcher=joblib", "seed=0,1",
        "hydra.launcher.n_jobs=2",
    )  # fmt: skip
    assert done.returncode == 2
    assert "data=mnist" in done.stderr and "MNIST_SWEEP_DATA" in done.stderr


def test_overfit_preset_learns_one_batch_by_heart(cli: Cli, tmp_path: Path) -> None:
    done = cli("data=digits", "debug=overfit")
    assert done.returncode == 0, done.stderr
    assert read_table(tmp_path).train_acc[0] == 1.0


def test_evaluation_is_the_same_for_any_batch_size() -> None:
    experiment = make_experiment("data=digits")
    machine = settle(experiment.settings.trainer)
    data = load(experiment.settings.data, experiment.settings.protocol)
    whole = evaluate(experiment.model, data.test, data, machine, 1000)
    parts = evaluate(experiment.model, data.test, data, machine, 7)
    assert parts.acc == whole.acc and parts.loss == pytest.approx(whole.loss, rel=1e-5)


@pytest.mark.mnist
def test_a_few_steps_on_real_mnist(cli: Cli, tmp_path: Path, mnist_root: str) -> None:
    done = cli("debug=fast", "data=mnist", f"data.root={mnist_root}")
    assert done.returncode == 0, done.stderr
    assert read_table(tmp_path).data[0] == "mnist"
    auto = cli("debug=fast", MNIST_SWEEP_DATA=mnist_root)
    assert "mnist: 512 train" in auto.stdout and "NOT MNIST" not in auto.stdout


def test_auto_without_mnist_says_loudly_that_it_uses_digits(cli: Cli, tmp_path: Path) -> None:
    done = cli("debug=fast", "data.download=false", "trainer.limit_train=64")
    assert done.returncode == 0
    assert "NOT MNIST" in done.stdout and "1,797 small digits" in done.stdout
    assert read_table(tmp_path).data[0] == "digits"


def test_protocol_config_is_what_the_yaml_says() -> None:
    protocol = make_config("protocol=select").protocol
    assert ProtocolConfig(**protocol).val_one_in == 6
    assert os.path.basename(make_config().record.table) == "results.csv"
