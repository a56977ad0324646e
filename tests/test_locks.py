"""Locks of what several processes write, as on a local disk and as on a network file system."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from mnist_sweep import locks
from mnist_sweep.errors import UserError
from mnist_sweep.locks import Lock, network_file_system
from mnist_sweep.runs.directory import check_free, held
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.study.journal import JournalFile
from mnist_sweep.search.study.storage import open_storage
from tests.results import record

KINDS = ("kernel", "link")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(locks.VARIABLE, request.param)
    return str(request.param)


@pytest.mark.parametrize(
    ("mounted", "found"),
    [
        ({"/": "ext4", "/home": "nfs4"}, "nfs4"),
        ({"/": "ext4", "/home": "fuse.sshfs"}, "fuse.sshfs"),
        ({"/": "nfs", "/home": "xfs"}, None),
        ({"/": "nfs", "/home/else": "xfs"}, "nfs"),
        ({"/": "overlay", "/home": "fuseblk"}, None),
        ({}, None),
    ],
)
def test_a_network_file_system_is_known_by_its_type(
    mounted: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def partitions(all: bool) -> list[object]:
        kind = type("Mount", (), {})
        mounts = []
        for place, name in mounted.items():
            mount = kind()
            mount.mountpoint, mount.fstype = place, name
            mounts.append(mount)
        return mounts

    monkeypatch.delenv(locks.VARIABLE, raising=False)
    monkeypatch.setattr(psutil, "disk_partitions", partitions)
    assert network_file_system(Path("/home/someone/not/there/yet")) == found


def write_rows(table: Path, number: int, rows: int) -> None:
    for row in range(rows):
        ResultsTable(table).append(record(1000 * number + row))


@pytest.mark.parametrize("rows", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_table_that_many_processes_write_is_whole(tmp_path: Path, kind: str, rows: int) -> None:
    table = tmp_path / "results.csv"
    writers = [
        multiprocessing.get_context("fork").Process(target=write_rows, args=(table, n, rows))
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = pd.read_csv(table)
    assert set(found.run_id) == {f"r{1000 * n + row:09d}" for n in range(8) for row in range(rows)}
    assert len(found) == 8 * rows


@pytest.mark.parametrize("lines", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_journal_that_many_processes_write_is_whole(
    tmp_path: Path, kind: str, lines: int
) -> None:
    def write(number: int) -> None:
        journal = JournalFile(tmp_path / "study.journal")
        for line in range(lines):
            journal.append_logs([{"op_code": 0, "study_name": f"{number}.{line}"}])

    writers = [
        multiprocessing.get_context("fork").Process(target=write, args=(n,)) for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = [log["study_name"] for log in JournalFile(tmp_path / "study.journal").read_logs(0)]
    assert sorted(found) == sorted(f"{n}.{line}" for n in range(8) for line in range(lines))


HOLDER = """
import sys, time
from pathlib import Path
from mnist_sweep import locks
from mnist_sweep.runs.directory import held
locks.EXPIRY_S = 3
path = Path(sys.argv[1])
with held(path) if path.is_dir() else locks.Lock(path)():
    print("held", flush=True)
    time.sleep(600)
"""


def test_who_holds_a_lock_and_is_killed_blocks_others_for_its_expiry_at_most(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".results.csv.lock"
    holder = holding(path)
    monkeypatch.setattr(locks, "EXPIRY_S", 3)
    waiter = multiprocessing.get_context("fork").Process(target=take, args=(path,))
    waiter.start()
    waiter.join(7)
    assert waiter.is_alive(), "a holder that lives keeps its lock beyond the expiry"
    holder.kill()
    holder.wait()
    waiter.join(60)
    assert waiter.exitcode == 0
    lock = Lock(path)
    with lock(), lock():  # it may be taken twice by its holder
        pass


def holding(path: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    return holder


def test_a_run_directory_is_one_runs_until_that_is_over_or_killed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = holding(tmp_path)
    monkeypatch.setattr(locks, "EXPIRY_S", 3)
    files = sorted(tmp_path.iterdir())
    assert locks.has_someone_in(tmp_path)
    for attempt in (check_free, lambda path: held(path).__enter__()):
        with pytest.raises(UserError, match="a run is under way there"):
            attempt(tmp_path)
    assert sorted(tmp_path.iterdir()) == files
    holder.kill()
    holder.wait()
    assert not locks.has_someone_in(tmp_path)
    with held(tmp_path):
        pass
    assert not locks.has_someone_in(tmp_path) and not locks.has_someone_in(tmp_path / "none")
    check_free(tmp_path)


def take(path: Path) -> None:
    with Lock(path)():
        pass


def test_sqlite_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(locks.VARIABLE, "link")
    with pytest.raises(UserError, match="SQLite damages its file"):
        open_storage(f"sqlite:///{tmp_path}/study.db", tmp_path)


def test_a_network_file_system_without_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def symlink(target: str, place: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setenv(locks.VARIABLE, "link")
    monkeypatch.setattr(os, "symlink", symlink)
    with pytest.raises(UserError, match="record.table"):
        ResultsTable(tmp_path / "results.csv").check(["run_id"])
