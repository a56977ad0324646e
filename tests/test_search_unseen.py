"""Searches whose workers see neither their directory nor the folder that they were started in."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from mnist_sweep.paths import INVITATION
from tests.books import check_books
from tests.elsewhere import start_elsewhere
from tests.searches import LR, Command, Search, search, wait_until
from tests.test_search_elsewhere import retries

__all__ = ["search"]  # a fixture


class Elsewhere:
    """Another machine, as it were."""

    def __init__(self, search: Search, home: Path) -> None:
        self.search = search
        self.home = home
        self.workers: list[subprocess.Popen[bytes]] = []

    def join(self, command: Command, **extra: str) -> "subprocess.Popen[bytes]":
        """With an invitation of this command's."""
        if not (self.home / "invitation.json").exists():
            wait_until((self.search.sweep_dir / INVITATION).exists, command)
        started = start_elsewhere(self.search.folder, self.search.sweep_dir, self.home, **extra)
        self.workers.append(started)
        return started

    def end(self, command: Command) -> None:
        """The search comes to its end; not where the last worker ends before."""
        wait_until(lambda: command.process.poll() is not None or self.workers[-1].poll())
        assert command.process.poll() == 0, f"{command}\n{self.said}"

    @property
    def said(self) -> str:
        return (self.home / "worker.txt").read_text()


@pytest.fixture
def elsewhere(search: Search, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """Its temporary files are looked for, too."""
    found = Elsewhere(search, tmp_path_factory.mktemp("elsewhere"))
    yield found
    for worker in found.workers:
        worker.kill()
        worker.wait()


def weights(search: Search) -> dict[str, torch.Tensor]:
    """Of all runs, by run directory and name."""
    return {
        f"{path.parent.relative_to(search.sweep_dir)} {name}": tensor
        for path in sorted(search.sweep_dir.rglob("model.pt"))
        for name, tensor in torch.load(path, weights_only=True).items()
    }


def files(search: Search) -> set[str]:
    names = (path.relative_to(search.sweep_dir) for path in search.sweep_dir.rglob("*"))
    return {str(name) for name in names if name.parts[0].isdecimal()}


def test_seeds_and_rungs_end_as_where_the_directory_is_seen(
    search: Search, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    fixed = [LR, "trainer.threads=1", "hydra.sweeper.n_trials=3", "hydra.sweeper.rungs=[1,3]"]
    fixed += ["hydra.sweeper.replicates=2", "hydra.sweeper.sampler.seed=0"]
    search.arguments = [*fixed, "hydra.sweeper.n_jobs=0"]
    command = search.start()
    worker = elsewhere.join(command)
    elsewhere.end(command)
    assert worker.wait(60) == 0, elsewhere.said
    assert "not seen from here" in elsewhere.said
    assert list(elsewhere.home.iterdir()) and not list(elsewhere.home.rglob("model.pt"))
    check_books(search, 3, replicates=2)

    (tmp_path / "seen").mkdir()
    seen = Search(tmp_path / "seen", [*fixed, "hydra.sweeper.n_jobs=1"])
    seen.run()
    assert files(search) == files(seen)
    here, there = weights(search), weights(seen)
    assert here.keys() == there.keys() and len(here) > 6
    assert all(torch.equal(here[key], there[key]) for key in here)
    timed = ["run_id", "started", "seconds", "train_seconds", "images_per_s", "peak_rss_mb"]
    timed += ["host", "gpu"]
    own, other = (
        s.table().drop(columns=timed, errors="ignore").sort_values(["trial", "seed"])
        for s in (search, seen)
    )
    pd.testing.assert_frame_equal(
        own.reset_index(drop=True), other.reset_index(drop=True), check_like=True
    )
    logs = [(s.sweep_dir / "0" / "seed_0" / "output.log").read_text() for s in (search, seen)]
    assert logs[0].count("model") == logs[1].count("model") >= 1
    recorded = (search.sweep_dir / "0" / "seed_0" / ".hydra" / "hydra.yaml").read_text()
    assert str(search.sweep_dir / "0" / "seed_0") in recorded and "_worker_" not in recorded


def test_a_killed_worker_costs_the_epoch_under_way_and_no_more(
    search: Search, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    long = [LR, "trainer.epochs=40", "trainer.threads=1", "hydra.sweeper.n_trials=1"]
    long += ["hydra.sweeper.sampler.seed=0"]
    search.arguments = [*long, "hydra.sweeper.n_jobs=0"]
    command = search.start()
    first = elsewhere.join(command)
    wait_until(lambda: len(_epochs(search.sweep_dir / "0")) > 2, command)
    first.kill()
    elsewhere.join(command)
    elsewhere.end(command)
    check_books(search, 1)
    [(again, lost)] = retries(search)
    assert "was lost" in lost.user_attrs["error"]
    output = (search.sweep_dir / str(again.number) / "output.log").read_text()
    assert f"resumes {lost.number}, which was cut short" in output

    (tmp_path / "seen").mkdir()
    unbroken = Search(tmp_path / "seen", [*long, "hydra.sweeper.n_jobs=1"])
    unbroken.run()
    [ours], [theirs] = (list(s.sweep_dir.rglob("model.pt")) for s in (search, unbroken))
    here, there = (torch.load(path, weights_only=True) for path in (ours, theirs))
    assert all(torch.equal(here[key], there[key]) for key in here)


def _epochs(run_dir: Path) -> list[str]:
    history, checkpoint = run_dir / "history.csv", run_dir / "checkpoint.pt"
    return history.read_text().splitlines() if history.exists() and checkpoint.exists() else []
