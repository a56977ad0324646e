"""Whose a run directory is: no command writes over what another one's run has left there."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import psutil
import pytest

from mnist_sweep.runs.rebuild import rebuild
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, Cli, Done, environment, read_result, read_table

SEARCH = (
    *("-m", "hydra/sweeper=search", *TINY, "model=ds_cnn_v3_code", "trainer.epochs=1"),
    *("hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1"),
    "optimizer.lr=choice(0.01,0.02)",
)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_refused(done: Done, *words: str) -> None:
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def wait_until_there(path: Path, process: "subprocess.Popen[str]", lines: int = 1) -> None:
    for _ in range(2400):
        if path.exists() and len(path.read_text().splitlines()) >= lines:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"no {path} within two minutes")


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """In a process group of its own, as a terminal's command has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_sweep", *arguments],
        cwd=folder,
        env=environment(PYTHONUNBUFFERED="1"),
        process_group=0,
        # Under nohup, tests inherit an ignored SIGINT; a terminal sends a real one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_into_the_directory_of_another_is_refused(cli: Cli, tmp_path: Path) -> None:
    here = "hydra.run.dir=outputs/exp"
    assert cli(*TINY, here, "seed=0").returncode == 0
    assert cli(*TINY, "hydra.run.dir=outputs/other").returncode == 0
    before = contents(tmp_path)
    for arguments in (
        [here, "seed=1"],
        [here, "seed=0"],
        ["hydra.run.dir=outputs/../outputs/exp", "optimizer=sgd"],
    ):
        done = cli(*TINY, *arguments)
        check_refused(done, "exp holds the run", "(completed)", "hydra.run.dir", "resume=outputs")
    sweep = ["-m", *TINY, "hydra.sweep.dir=outputs", "hydra.sweep.subdir=exp", "seed=1"]
    check_refused(cli(*sweep), "outputs/exp holds the run", "hydra.sweep.dir")
    done = cli("outputs/other", here, module="mnist_sweep.rerun")
    assert done.returncode == 2 and "outputs/exp holds the run" in done.stderr
    assert contents(tmp_path) == before


def test_a_damaged_result_is_no_free_place(cli: Cli, tmp_path: Path) -> None:
    arguments = [*TINY, "hydra.run.dir=outputs/exp"]
    assert cli(*arguments).returncode == 0
    (tmp_path / "outputs" / "exp" / "result.json").write_text("{")
    check_refused(cli(*arguments), "outputs/exp holds a run", "result.json is damaged")


def test_a_run_after_its_directory_was_deleted_leaves_one_row(cli: Cli, tmp_path: Path) -> None:
    arguments = [*TINY, "hydra.run.dir=outputs/exp"]
    assert cli(*arguments, "seed=0").returncode == 0
    (tmp_path / "outputs" / "exp").rename(tmp_path / "elsewhere")
    assert cli(*arguments, "seed=1").returncode == 0
    assert list(read_table(tmp_path).seed) == [1]


def test_a_sweep_into_the_directory_of_another_is_refused(cli: Cli, tmp_path: Path) -> None:
    sweep = ["-m", *TINY, "hydra.sweep.dir=multirun/a"]
    assert cli(*sweep, "seed=0,1").returncode == 0
    before = contents(tmp_path)
    for more in (["seed=0,1"], ["seed=7"], ["model=ds_cnn_v3_code"], SEARCH[1:]):
        check_refused(cli(*sweep, *more), "multirun/a", "hydra.sweep.dir", "resume=multirun/a/")
    kept = {path: text for path, text in contents(tmp_path).items() if path in before}
    assert kept == before
    assert len(read_table(tmp_path)) == 2


def test_a_sweep_into_the_directory_of_a_search_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli(*SEARCH, "hydra.sweep.dir=multirun/a").returncode == 0
    done = cli("-m", *TINY, "hydra.sweep.dir=multirun/a", "seed=0,1")
    check_refused(done, "multirun/a/0 holds the run")
    other = cli(*SEARCH, "hydra.sweep.dir=multirun/a", "hydra.sweeper.study_name=another")
    check_refused(other, "holds runs of study multirun/a", "hydra.sweeper.study_name")
    assert cli(*SEARCH, "hydra.sweep.dir=multirun/a", "hydra.sweeper.n_trials=2").returncode == 0
    assert list(read_table(tmp_path).status) == ["completed"] * 2
    done = cli("resume=multirun/a/0")
    assert done.returncode == 2


def test_a_trial_is_gone_on_with_by_its_search_alone(cli: Cli, tmp_path: Path) -> None:
    assert cli(*SEARCH, "hydra.sweep.dir=multirun/a").returncode == 0
    result = tmp_path / "multirun" / "a" / "0" / "result.json"
    result.write_text(result.read_text().replace("completed", "interrupted"))
    check_refused(cli("resume=multirun/a/0"), "the command of the search goes on with it")


def test_a_sweep_may_go_on_beside_the_runs_of_another(cli: Cli, tmp_path: Path) -> None:
    sweep = ["-m", *TINY, "hydra.sweep.dir=multirun/a", "hydra.sweep.subdir=seed_${seed}"]
    for seeds in ("0,1", "2,3"):
        done = cli(*sweep, f"seed={seeds}")
        assert done.returncode == 0, done
    check_refused(cli(*sweep, "seed=4,3"), "multirun/a/seed_3 holds the run")
    for table in (read_table(tmp_path), pd.read_csv(tmp_path / "multirun" / "a" / "results.csv")):
        assert list(table.seed) == [0, 1, 2, 3]


@pytest.mark.parametrize("subdir", ["x", "lr_${optimizer.lr}"])
def test_two_jobs_in_one_directory_are_refused(cli: Cli, tmp_path: Path, subdir: str) -> None:
    done = cli("-m", *TINY, f"hydra.sweep.subdir={subdir}", "seed=0,1")
    check_refused(done, f"hydra.sweep.subdir={subdir}", "jobs 0 and 1", "${hydra.job.num}")
    assert not list(tmp_path.rglob("result.json"))


def test_what_was_cut_short_is_begun_anew_by_its_own_command_alone(
    cli: Cli, tmp_path: Path
) -> None:
    arguments = ["data=digits", "trainer.epochs=14", "seed=5", "hydra.run.dir=outputs/exp"]
    process = start(tmp_path, *arguments)
    wait_until_there(tmp_path / "outputs" / "exp" / "history.csv", process, lines=3)
    process.send_signal(signal.SIGSTOP)
    header = read_table(tmp_path)
    assert len(header) == 0 and {"run_id", "optimizer", "val_acc"} <= set(header.columns)
    before = contents(tmp_path)
    for command in (arguments, ["resume=outputs/exp"]):
        check_refused(cli(*command), "outputs/exp: a run is under way there")
    assert contents(tmp_path) == before
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert list(read_table(tmp_path).status) == ["interrupted"]

    check_refused(cli(*arguments, "seed=6"), "holds the run", "(interrupted)", "resume=outputs/exp")
    done = cli(*arguments)
    assert done.returncode == 0 and "begins again" in done.stdout, done
    [row] = read_table(tmp_path).to_dict("records")
    assert (row["status"], row["epochs_done"]) == ("completed", 14)
    assert list(read_table(tmp_path).columns) == list(header.columns)


def test_an_impatient_ctrl_c_leaves_a_row_too(tmp_path: Path) -> None:
    """The lock of the table is held meanwhile, as by another process that writes."""
    process = start(tmp_path, "data=digits", "trainer.epochs=2000", "hydra.run.dir=outputs/exp")
    wait_until_there(tmp_path / "outputs" / "exp" / "history.csv", process, lines=3)
    with ResultsTable(tmp_path / "outputs" / "results.csv").locked():
        for _ in range(5):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert list(read_table(tmp_path).status) == ["interrupted"]
    assert read_result(tmp_path / "outputs" / "exp")["status"] == "interrupted"


@pytest.mark.parametrize("mode", [(), ("-m", "seed=0,1"), SEARCH])
def test_another_folder_for_each_job_is_refused(
    cli: Cli, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    check_refused(cli(*TINY, *mode, "hydra.job.chdir=true"), "hydra.job.chdir=true", "leave it out")
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_runs_of_killed_workers_have_their_rows(tmp_path: Path, how: signal.Signals) -> None:
    if find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        pytest.skip("the launcher joblib is not installed")
    process = start(
        tmp_path,
        *("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=multirun/a"),
        *("data=digits", "trainer.epochs=2000", "seed=0,1,2,3"),
    )
    sweep_dir = tmp_path / "multirun" / "a"
    for number in (0, 1):
        wait_until_there(sweep_dir / str(number) / "history.csv", process, lines=3)
    os.killpg(process.pid, how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    check_rows_of_killed(tmp_path, out)


@pytest.mark.parametrize(
    "launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.slow)]
)
def test_runs_whose_processes_are_killed_have_their_rows(tmp_path: Path, launcher: str) -> None:
    if find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher") is None:
        pytest.skip(f"the launcher {launcher} is not installed")
    process = start(
        tmp_path,
        *("-m", f"hydra/launcher={launcher}", "hydra.sweep.dir=multirun/a"),
        *("data=digits", "trainer.epochs=2000", "seed=0,1"),
    )
    sweep_dir = tmp_path / "multirun" / "a"
    for number in (0, 1):
        wait_until_there(sweep_dir / str(number) / "history.csv", process, lines=3)
    for child in psutil.Process(process.pid).children(recursive=True):
        line = " ".join(child.cmdline())
        if "LokyProcess" in line or "submitit.core._submit" in line:
            child.kill()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, (out, err)
    assert "a worker of the launcher was killed" in err and "Traceback" not in err
    check_rows_of_killed(tmp_path, out)


def check_rows_of_killed(folder: Path, out: str) -> None:
    """Each run of the sweep `a` that was begun has its one row everywhere, `interrupted`."""
    sweep_dir = folder / "multirun" / "a"
    begun = [path for path in sweep_dir.iterdir() if (path / "result.json").exists()]
    assert {path.name for path in begun} >= {"0", "1"}
    assert f"{len(begun)} interrupted" in out
    again = ResultsTable(folder / "again.csv")
    assert rebuild(again, [folder / "multirun"]) == len(begun)
    for table in (read_table(folder), pd.read_csv(sweep_dir / "results.csv")):
        assert table.run_id.is_unique
        assert set(table.run_dir) == {str(path.relative_to(folder)) for path in begun}
        assert set(table.status) == {"interrupted"}
        rows = {row["run_id"]: row["status"] for row in again.rows()}
        assert rows == dict(zip(table.run_id, table.status, strict=True))
        trained = table[table.seed.isin([0, 1])]
        assert (trained.epochs_done >= 2).all() and (trained.seconds > 0).all()
        assert trained.num_params.notna().all() and trained.config_hash.nunique() == 1
    for path in begun:
        assert read_result(path)["status"] == "interrupted"
