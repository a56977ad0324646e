"""optuna-dashboard on a search's own journal, while the search goes on."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import create_study

from mnist_sweep.search.study.storage import open_storage
from tests.conftest import TINY, Cli

pytestmark = pytest.mark.skipif(
    find_spec("optuna_dashboard") is None, reason="needs the extra dashboard"
)

SEARCH = [
    *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"),
    *(*TINY, "optimizer.lr=tag(log,interval(0.001,0.01))"),
]


class Dashboard:
    """The command of docs/search.md, on a free port."""

    def __init__(self, journal: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = Path(sys.executable).with_name("optuna-dashboard")
        self.process = subprocess.Popen(
            [command, str(journal), "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(600):
            try:
                self.ask("/api/studies")
                return
            except OSError:
                assert self.process.poll() is None, "it has ended"
                time.sleep(0.1)
        raise AssertionError("it does not answer")

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")


@pytest.fixture
def dashboards() -> Iterator[list[Dashboard]]:
    """Those that are to be stopped."""
    started: list[Dashboard] = []
    yield started
    for dashboard in started:
        dashboard.process.terminate()
        dashboard.process.wait()


def test_it_shows_a_search_that_goes_on_and_what_is_noted_there_does_no_harm(
    cli: Cli, dashboards: list[Dashboard], tmp_path: Path
) -> None:
    done = cli(*SEARCH, "hydra.sweeper.n_trials=1")
    assert done.returncode == 0, done.stderr
    journal = tmp_path / "multirun" / "s" / "study.journal"
    before = hashlib.sha256(journal.read_bytes()).digest()
    dashboard = Dashboard(journal)
    dashboards.append(dashboard)

    [study] = dashboard.ask("/api/studies")["study_summaries"]
    assert study["study_name"] == "s" and study["directions"] == ["maximize"]
    url = f"/api/studies/{study['study_id']}"
    [trial] = dashboard.ask(f"{url}?after=0")["trials"]
    row = pd.read_csv(tmp_path / "multirun" / "s" / "results.csv").iloc[0]
    assert trial["state"] == "Complete"
    assert trial["values"] == [pytest.approx(row.val_acc)]
    assert float(trial["params"][0]["param_external_value"]) == pytest.approx(row.lr)
    assert hashlib.sha256(journal.read_bytes()).digest() == before, "looking writes nothing"

    dashboard.ask(f"{url}/note", "PUT", {"body": "watch this", "version": 1})
    done = cli(*SEARCH, "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stderr
    for _ in range(60):  # it looks again every few seconds
        shown = dashboard.ask(f"{url}?after=0")
        if len(shown["trials"]) == 2:
            break
        time.sleep(0.5)
    assert [trial["state"] for trial in shown["trials"]] == ["Complete", "Complete"]
    assert shown["note"]["body"] == "watch this"


WRITER = """
import sys
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
storage = JournalStorage(JournalFileBackend(sys.argv[1]))
for number in range(300):
    storage.set_study_system_attr(0, f"theirs:{number}", number)
"""


def test_operations_of_optunas_own_journal_and_of_ours_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    storage = open_storage(None, tmp_path)
    study = create_study(storage=storage)
    other = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    for number in range(300):
        study.set_user_attr(f"ours:{number}", number)
    assert other.wait(60) == 0
    for reader in (open_storage(None, tmp_path), JournalStorage(JournalFileBackend(str(path)))):
        assert len(reader.get_study_system_attrs(0)) == 300
        assert len(reader.get_study_user_attrs(0)) == 300
