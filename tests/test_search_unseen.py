"""Searches whose workers see neither their directory nor the folder that they were started in."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext

from mnist_sweep.data import FILES
from mnist_sweep.errors import UserError
from mnist_sweep.hydra_private import Callbacks
from mnist_sweep.paths import CHECKPOINT, CONF, HISTORY, INVITATION
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.record import read_result
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.engines.own_data import with_own_data
from mnist_sweep.search.launching.staff import LEAVE
from mnist_sweep.whitelist import TARGETS
from tests.books import check_books
from tests.elsewhere import start_elsewhere
from tests.searches import LR, Command, Search, search, wait_until
from tests.test_search_elsewhere import retries, sweep

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
    fixed = [LR, "trainer.threads=1", "hydra.sweeper.n_trials=2", "hydra.sweeper.rungs=[1,3]"]
    fixed += ["hydra.sweeper.replicates=2", "hydra.sweeper.sampler.seed=0"]
    search.arguments = [*fixed, "hydra.sweeper.n_jobs=0"]
    left, others = (elsewhere.home / f"mnist_sweep_worker_{name}" for name in ("left", "others"))
    for folder in (left, others):
        (folder / "0").mkdir(parents=True)
        os.utime(folder, (0, 0))
    command = search.start()
    with FileLock(others / ".lock"):
        os.utime(others, (0, 0))
        worker = elsewhere.join(command, TMPDIR=str(elsewhere.home))
        elsewhere.end(command)
        assert worker.wait(60) == 0, elsewhere.said
    assert (others / "0").exists() and not left.exists()
    assert "not seen from here" in elsewhere.said
    assert list(elsewhere.home.iterdir()) and not list(elsewhere.home.rglob("model.pt"))
    check_books(search, 2, replicates=2)

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


@pytest.mark.slow
def test_whatever_ends_a_worker_costs_the_epoch_under_way_and_no_more(
    search: Search, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    long = [LR, "trainer.epochs=80", "trainer.threads=1", "hydra.sweeper.n_trials=1"]
    long += ["hydra.sweeper.sampler.seed=0"]
    search.arguments = [*long, "hydra.sweeper.n_jobs=0"]
    command = search.start()

    first = elsewhere.join(command)
    wait_until(lambda: epochs_done(search, 0) > 2, command)
    first.kill()
    second = elsewhere.join(command)
    wait_until(lambda: epochs_done(search, 1) > epochs_done(search, 0), command)
    second.send_signal(LEAVE)
    assert second.wait(60) == 0
    third = elsewhere.join(command)
    wait_until(lambda: epochs_done(search, 2) > epochs_done(search, 1), command)
    sweep(search, "stop", "--now")
    assert command.wait() == 130, command
    assert third.wait(60) == 0
    assert read_result(search.sweep_dir / "2").status == "interrupted"

    (elsewhere.home / "invitation.json").unlink()  # it was that search's
    command = search.start()
    elsewhere.join(command)
    elsewhere.end(command)
    check_books(search, 1)
    reasons = [lost.user_attrs["error"] for _, lost in retries(search)]
    for reason, part in zip(reasons, ("was lost", "time was up", "stopped"), strict=True):
        assert part in reason
    for number in (1, 2, 3):
        output = (search.sweep_dir / str(number) / "output.log").read_text()
        assert f"resumes {number - 1}, which was cut short" in output

    (tmp_path / "seen").mkdir()
    unbroken = Search(tmp_path / "seen", [*long, "hydra.sweeper.n_jobs=1"])
    unbroken.run()
    [ours], [theirs] = (list(s.sweep_dir.rglob("model.pt")) for s in (search, unbroken))
    here, there = (torch.load(path, weights_only=True) for path in (ours, theirs))
    assert all(torch.equal(here[key], there[key]) for key in here)


def epochs_done(search: Search, trial: int) -> int:
    """That have come back from the worker."""
    run_dir = search.sweep_dir / str(trial)
    there = [(run_dir / name).exists() for name in (CHECKPOINT, HISTORY)]
    return len(read_history(run_dir)) if all(there) else 0


def test_a_worker_that_cannot_work_says_so_and_leaves(search: Search, elsewhere: Elsewhere) -> None:
    data = search.folder / "data"
    for file in FILES:
        (data / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
        (data / "MNIST" / "raw" / file).touch()
    search.arguments = [LR, "data=mnist", "hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=0"]
    command = search.start()
    worker = elsewhere.join(command)
    assert worker.wait(60) == 2
    assert elsewhere.said.splitlines()[-1].startswith("error: data=mnist: put the four files")
    assert elsewhere.said.count("error") == 1 and "Traceback" not in elsewhere.said
    assert not search.trials() or search.run_dirs() == []

    copy = str(elsewhere.home / "invitation.json")
    assert "leave" in sweep(search, "join", "multirun/s", "--invitation", copy, code=2)
    Path(copy).chmod(0o644)
    assert f"chmod 600 {copy}" in sweep(search, "join", "--invitation", copy, code=2)
    Path(copy).unlink()
    assert "no search that workers" in sweep(search, "join", "--invitation", copy, code=2)


@pytest.mark.parametrize(
    ("overrides", "name", "own", "root"),
    [
        ("data=mnist data.root={there}", "mnist", "{here}", "{here}"),
        ("data=mnist data.root={here}", "mnist", None, None),
        ("data=mnist data.root=here", "mnist", None, None),  # of the worker's own folder
        ("data=auto data.root={there}", "mnist", "{here}", "{here}"),
        ("data=mnist data.root={there}", "mnist", "{there}", "put the four files"),
        ("data=auto", "mnist", None, "put the four files"),
        ("data=auto", "digits", None, None),
        ("data=digits", "digits", "{here}", None),
        ("data=auto", "digits", "{here}", "start it with data=digits"),
    ],
)
def test_a_workers_data_are_its_own(
    overrides: str,
    name: str,
    own: str | None,
    root: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """own: its MNIST_SWEEP_DATA. root: in the place of the config's, or the error."""
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    (tmp_path / "here" / "MNIST" / "raw").mkdir(parents=True)
    for file in FILES:
        (tmp_path / "here" / "MNIST" / "raw" / file).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNIST_SWEEP_DATA", raising=False)
    if own is not None:
        monkeypatch.setenv("MNIST_SWEEP_DATA", own.format(here=here, there=there))
    with initialize_config_dir(str(CONF)):
        cfg = compose("config", ["hydra/sweeper=search"], return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
    fixed = tuple(overrides.format(here=here, there=there).split())
    context = SweepContext(HydraContext(loader, Callbacks(), TARGETS), cfg, {}, fixed, name)
    if root is None or "{" in root:
        found = with_own_data(context, context.composer())
        assert found.data_root == (None if root is None else root.format(here=here))
    else:
        with pytest.raises(UserError, match=root):
            with_own_data(context, context.composer())
