"""A study's journal beside other programs that write into it, killed ones among them."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileSymlinkLock,
)

from mnist_sweep.search.study.journal import BLOCK, JournalFile
from mnist_sweep.search.study.storage import open_storage
from tests.books import check_books
from tests.conftest import TINY, cli_in
from tests.searches import LR, Search, search, wait_until

__all__ = ["search"]

# Optuna's own backend, as a dashboard uses it, which is done when there is a file `stop`.
WRITER = """
import sys
from pathlib import Path
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
storage = JournalStorage(JournalFileBackend(sys.argv[1]))
number = 0
while not Path("stop").exists():
    text = "x" * (5_000 + 7_919 * number % 95_000)
    storage.set_study_system_attr(0, f"theirs:{number}", text)
    number += 1
print(number)
"""


def entry(name: str, size: int = 0) -> dict[str, Any]:
    return {"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {name: "x" * size}}


def names(path: Path) -> list[str]:
    """Of the attributes that the file's lines set, each of which is whole."""
    return [next(iter(json.loads(line)["user_attr"])) for line in path.read_text().splitlines()]


def test_no_line_of_a_dashboard_is_lost_beside_a_search(search: Search) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    command = search.start()
    wait_until(lambda: search.run_dirs(), command)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(search.journal)],
        cwd=search.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.wait() == 0, command
    (search.folder / "stop").touch()
    number = int(writer.communicate(timeout=60)[0])
    assert number
    check_books(search, 4)
    for reader in (
        open_storage(None, search.sweep_dir),
        JournalStorage(JournalFileBackend(str(search.journal))),
    ):
        written = [key for key in reader.get_study_system_attrs(0) if key.startswith("theirs:")]
        assert len(written) == number


@pytest.mark.parametrize("kind", [JournalFileSymlinkLock, JournalFileOpenLock])
def test_a_line_that_another_program_is_writing_is_waited_for(
    tmp_path: Path, kind: type[JournalFileSymlinkLock] | type[JournalFileOpenLock]
) -> None:
    path = tmp_path / "study.journal"
    ours = JournalFile(path)
    lock = kind(str(path))
    lock.acquire()
    line = json.dumps(entry("theirs", 9_000))
    path.write_text(line[:5_000])
    thread = threading.Thread(target=ours.append_logs, args=([entry("ours")],))
    thread.start()
    thread.join(0.5)
    assert path.read_text() == line[:5_000]
    with path.open("a") as file:
        file.write(line[5_000:] + "\n")
    lock.release()
    thread.join()
    assert names(path) == ["theirs", "ours"]
    assert os.listdir(tmp_path) == ["study.journal"]


@pytest.mark.timeout(20)  # after 30 s Optuna would take its lock from anybody
def test_a_search_that_was_killed_while_it_wrote_keeps_no_other_waiting(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    killed = f"""
import os, signal
from pathlib import Path
from mnist_sweep.search.study.journal import JournalFile
journal = JournalFile(Path({str(path)!r}))
with journal._alone():
    os.write(journal.file.fileno(), b'{{"op_code":2,"wor')
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", killed], check=False)
    assert done.returncode == -signal.SIGKILL
    assert set(os.listdir(tmp_path)) == {"study.journal", "study.journal.lock"}
    JournalFile(path).append_logs([entry("ours")])
    assert names(path) == ["ours"]
    assert os.listdir(tmp_path) == ["study.journal"]


def test_what_a_full_disk_cuts_short_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    ours = JournalFile(path)
    ours.append_logs([entry("first")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.raises(OSError, match="study.journal"):
            ours.append_logs([entry("second", 9_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes().endswith(b"\n") and names(path) == ["first"]
    ours.append_logs([entry("third")])
    assert names(path) == ["first", "third"]


def test_it_is_read_in_pieces_whatever_the_length_of_its_lines(tmp_path: Path) -> None:
    writer, reader = (JournalFile(tmp_path / "study.journal") for _ in range(2))
    sizes = [0, 1, BLOCK - len(json.dumps(entry("2"))), BLOCK, 0, 3 * BLOCK, 7]
    logs = [entry(str(number), size) for number, size in enumerate(sizes)]
    for number, log in enumerate(logs):
        writer.append_logs([log])
        assert list(reader.read_logs(number)) == [log]
        assert list(reader.read_logs(number + 1)) == []
        assert list(JournalFile(writer.path).read_logs(0)) == logs[: number + 1]
    assert list(reader.read_logs(2)) == logs[2:]


def test_a_study_that_lost_trials_is_refused_by_all_who_open_it(search: Search) -> None:
    """Cut within its first trial, its second one, or replaced by that of another search."""
    search.arguments = [LR, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    search.run()
    cli, whole = cli_in(search.folder), search.journal.read_bytes()
    table = (search.sweep_dir / "results.csv").read_bytes()
    lines = whole.splitlines(keepends=True)
    begins = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] == 4]
    for left in (whole[:200], b"".join(lines[: begins[1]]), lines[0]):
        search.journal.write_bytes(left)
        for done in (
            cli("status", module="mnist_sweep.sweep"),
            cli("parallel", module="mnist_sweep.report"),
            cli(
                "-m",
                "hydra/sweeper=search",
                "hydra.sweeper.study_name=s",
                *TINY,
                "model=ds_cnn_v3_code",
                "trainer.epochs=1",
                *search.arguments,
            ),
        ):
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done
            assert "the search's table has trial 1: the study was cut short" in done.stderr, done
    search.journal.write_bytes(whole)
    search.run("hydra.sweeper.n_trials=3")
    assert (search.sweep_dir / "results.csv").read_bytes().startswith(table)
    check_books(search, 3)
