"""Disks that are full, and output that goes nowhere: one line, and nothing recorded is lost."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pandas as pd
import pytest

from mnist_sweep.runs.record import write_result
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, Cli, Done, cli_in, read_table, start
from tests.results import record, write

SMALL = 3 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, but: int = 0) -> Path:
    """A file that takes all that is free, but for some bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        status = os.statvfs(disk)
        left = status.f_bavail * status.f_frsize - but
        while left > 0:
            left -= file.write(b"\1" * min(left, 2**16))
    return filler


def listing(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(name for name in files if not name.endswith(".lock"))


def assert_one_line(done: Done, code: int, *words: str) -> None:
    assert done.returncode == code and done.stderr.count("\n") == 1, done
    assert all(word in done.stderr for word in words), done.stderr


def test_rebuild_on_a_full_disk_changes_nothing(disk: Path) -> None:
    cli = cli_in(disk)
    runs = [record(number, error="long " * 2000) for number in range(20)]
    table = write(disk / "outputs" / "results.csv", *runs)
    for run in runs:
        (disk / run.run_dir).mkdir(parents=True)
        write_result(disk / run.run_dir, run)
    before = table.read_bytes()
    filler = fill(disk)
    files = listing(disk)
    for _ in range(3):
        done = cli("rebuild", "outputs", "multirun", module="mnist_sweep.report")
        assert_one_line(done, 2, "outputs/results.csv cannot be written", "No space left")
        assert table.read_bytes() == before and listing(disk) == files
    filler.unlink()
    fill(disk, but=len(before) + 50_000)  # room for the backup alone
    files = listing(disk)
    done = cli("rebuild", "outputs", "multirun", module="mnist_sweep.report")
    assert_one_line(done, 2, "outputs/results.csv cannot be written", "No space left")
    assert table.read_bytes() == before and listing(disk) == files
    filler.unlink()
    assert cli("rebuild", "outputs", "multirun", module="mnist_sweep.report").returncode == 0
    assert (disk / "outputs" / "results.csv.bak").read_bytes() == before


def test_an_append_on_a_full_disk_leaves_no_part_of_a_row(disk: Path) -> None:
    table = ResultsTable(write(disk / "results.csv", record(1)))
    before = table.path.read_bytes()
    filler = fill(disk)
    for number in range(2, 200):  # until the file's last block is full
        try:
            table.append(record(number, error="long " * 100))
        except Exception as error:
            assert "results.csv cannot be written (No space left" in str(error)
            break
        before = table.path.read_bytes()
    else:
        raise AssertionError("the disk was not full")
    assert table.path.read_bytes() == before
    filler.unlink()
    table.append(record(500))
    assert table.path.read_bytes().startswith(before)
    assert listing(disk) == ["results.csv"]


def test_a_run_on_a_full_disk_is_refused_in_one_line(disk: Path) -> None:
    fill(disk)
    done = cli_in(disk)(*TINY)
    assert_one_line(done, 2, "cannot be written", "No space left")
    assert "train_loss" not in done.stdout


@pytest.mark.parametrize("left", [1_100_000, 1_200_000, 1_400_000])
def test_a_disk_that_gets_full_in_a_run_is_one_line(left: int, disk: Path) -> None:
    cli = cli_in(disk)
    write(disk / "outputs" / "results.csv", record(1))
    before = (disk / "outputs" / "results.csv").read_bytes()
    filler = fill(disk, but=left)
    done = cli(*TINY, "trainer.epochs=30", "optimizer.lr=0.003", "model=rf_cnn")
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr, done.stderr
    assert_one_line(done, 2, "disk/outputs/", "cannot be written (No space left")
    assert (disk / "outputs" / "results.csv").read_bytes().startswith(before)
    filler.unlink()
    assert cli(*TINY).returncode == 0
    assert list(read_table(disk).run_id)[0] == "r000000001"


@pytest.mark.parametrize("left", [24_000, 40_000, 1_700_000])
def test_a_search_on_a_full_disk_ends_in_one_line_and_goes_on_with_room(
    left: int, disk: Path
) -> None:
    search = [*TINY, "-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", "model=rf_cnn"]
    search += ["hydra.sweeper.n_jobs=1", "optimizer.lr=interval(0.01,0.02)"]
    cli = cli_in(disk)
    filler = fill(disk, but=left)
    done = cli(*search, "hydra.sweeper.n_trials=20")
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done
    assert "No space left" in done.stderr
    filler.unlink()
    done = cli(*search, "hydra.sweeper.n_trials=1")
    assert done.returncode == 0, done.stderr
    table, own = read_table(disk), pd.read_csv(disk / "multirun" / "s" / "results.csv")
    assert table.run_id.is_unique and sorted(table.run_id) == sorted(own.run_id)
    assert (table.status == "completed").sum() >= 1


def test_a_database_in_a_file_whose_disk_is_full_is_said_at_once(
    disk: Path, tmp_path: Path
) -> None:
    """It is no lost connection, which would be waited for."""
    search = [*TINY, "-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s"]
    search += ["model=ds_cnn_v3_code", "hydra.sweeper.n_jobs=1", "optimizer.lr=interval(0.01,0.02)"]
    search += [
        f"hydra.sweeper.storage=sqlite:///{disk}/study.db",
        "hydra.sweeper.storage_wait_s=600",
    ]
    cli = cli_in(tmp_path)
    assert cli(*search, "hydra.sweeper.n_trials=1").returncode == 0
    filler = fill(disk)
    done = cli(*search, "hydra.sweeper.n_trials=50")
    assert_one_line(done, 1, f"hydra.sweeper.storage=sqlite:///{disk}/study.db cannot", "is full")
    assert "lost the connection" not in done.stdout
    filler.unlink()
    done = cli(*search, "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stderr
    own = pd.read_csv(tmp_path / "multirun" / "s" / "results.csv")
    assert own.run_id.is_unique and (own.status == "completed").sum() == 2


def with_full_output(folder: Path, module: str, *arguments: str) -> Done:
    """The command with `> /dev/full`."""
    with NamedTemporaryFile("r") as stderr:
        process = start(folder, module, arguments, ["/dev/full", stderr.name])
        process.join(240)
        return Done(process.exitcode, "", stderr.read())


def test_a_run_needs_no_output(tmp_path: Path) -> None:
    done = with_full_output(tmp_path, "mnist_sweep", *TINY)
    assert_one_line(done, 0, "warning: standard output cannot be written (No space left")
    assert list(read_table(tmp_path).status) == ["completed"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "seed=0,1"],
        ["-m", "hydra/sweeper=search", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1",
         "optimizer.lr=interval(0.01,0.02)"],
        ["-m", "hydra/sweeper=search", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2",
         "optimizer.lr=interval(0.01,0.02)"],
    ],
    ids=["grid", "search", "pool"],
)  # fmt: skip
def test_a_sweep_needs_no_output(arguments: list[str], tmp_path: Path) -> None:
    done = with_full_output(tmp_path, "mnist_sweep", *TINY, *arguments)
    assert_one_line(done, 0, "warning: standard output cannot be written")
    assert list(read_table(tmp_path).status) == ["completed"] * 2


def test_neither_output_nor_errors_are_needed(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m mnist_sweep {' '.join(TINY)} > /dev/full 2>&1"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path).returncode == 0
    assert list(read_table(tmp_path).status) == ["completed"]


def test_a_report_without_output_is_a_failure_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "results.csv", record(1))
    for arguments in ([], ["--format", "csv"], ["--help"]):
        done = with_full_output(tmp_path, "mnist_sweep.report", *arguments)
        assert_one_line(done, 1, "error: standard output cannot be written (No space left")


def test_a_rerun_needs_no_output(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY, "hydra.run.dir=outputs/one").returncode == 0
    done = with_full_output(tmp_path, "mnist_sweep.rerun", "outputs/one")
    assert done.returncode == 0, done.stderr
    assert list(read_table(tmp_path).status) == ["completed"] * 2


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "results.csv", record(1))
    expected = cli("--format", "csv", module="mnist_sweep.report").stdout
    done = cli("--format", "csv", "-o", "/dev/stdout", module="mnist_sweep.report")
    assert (done.returncode, done.stdout) == (0, expected), done
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        done = cli("-o", str(pipe), module="mnist_sweep.report")
        assert reader.communicate()[0] == expected, done
    assert pipe.is_fifo()
    if not os.access("/dev/full", os.W_OK):
        return
    done = cli("-o", "/dev/full", module="mnist_sweep.report")
    assert_one_line(done, 2, "-o /dev/full cannot be written (No space left on device)")
    assert Path("/dev/full").is_char_device()


def test_a_table_is_a_file(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert_one_line(cli(*TINY, "record.table=pipe"), 2, "record.table=pipe", "it is no file")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    "line",
    [
        ["-o", "out.csv"],
        ["front", "-o", "out.png"],
        ["html", "-o", "out.html"],
    ],
)
def test_what_a_report_writes_is_whole_or_not_there(line: list[str], disk: Path) -> None:
    cli = cli_in(disk)
    write(disk / "outputs" / "results.csv", record(1))
    before = b"as it was"
    (disk / line[-1]).write_bytes(before)
    filler = fill(disk)
    done = cli(*line, module="mnist_sweep.report")
    assert_one_line(done, 2, f"-o {line[-1]}", "cannot be written (No space left on device)")
    assert (disk / line[-1]).read_bytes() == before
    filler.unlink()
    assert cli(*line, module="mnist_sweep.report").returncode == 0
    assert (disk / line[-1]).read_bytes() != before
    assert sorted(path.name for path in disk.iterdir()) == sorted([line[-1], "outputs"])
