"""hydra.sweeper.preview: what a search would do and take, said without beginning it."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_sweep.search.preview.savings import share_trained
from mnist_sweep.search.settings import search_settings
from tests.conftest import Cli, Done, make_whole_config
from tests.test_search import GRID, LR, ONE_JOB, RANDOM, SEARCH, rows_of, small

PREVIEW = "hydra.sweeper.preview=true"


def files_in(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """All that is there, and when it was written."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    folders = {path: (0, b"") for path in folder.rglob("*") if path.is_dir()}
    return folders | {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def lines_of(done: Done) -> dict[str, str]:
    """By their labels; lines that go on with the one before are joined to it."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    found: dict[str, str] = {}
    label = ""
    for line in done.stdout.splitlines():
        assert len(line) <= 80, line
        label = line[:10].strip() or label
        found[label] = f"{found.get(label, '')} {line[10:]}".strip()
    return found


@pytest.fixture
def search(cli: Cli) -> Cli:
    def call(*arguments: str, **extra: str) -> Done:
        return cli(*SEARCH, *small(*arguments), *arguments, **extra)

    return call


def test_a_preview_shows_the_points_that_come_and_writes_nothing(
    search: Cli, tmp_path: Path
) -> None:
    """Of a study to go on with, by a sampler that learns nothing."""
    command = [LR, "trainer.batch_size=choice(32, 64)", *RANDOM]
    fresh = lines_of(search(*command, ONE_JOB, PREVIEW, "hydra.sweeper.n_trials=3"))
    assert not list(tmp_path.iterdir())
    assert fresh["study"].endswith("study.journal: it is new")
    assert {"0", "1", "2"} < fresh.keys() and "3" not in fresh
    assert search(*command, ONE_JOB, "hydra.sweeper.n_trials=2").returncode == 0
    before = files_in(tmp_path)
    lines = lines_of(search(*command, ONE_JOB, PREVIEW, "hydra.sweeper.n_trials=4"))
    assert files_in(tmp_path) == before
    assert "2 trials finished" in lines["study"] and "2 to come" in lines["study"]
    assert "sweep/results.csv: 2 rows now" in lines["table"]
    assert lines["space"] == "2 keys, continuous"
    assert "1,000 (100.0%) of 1,000 random points" in lines["budget"]
    assert lines["all points"].split()[-1] == "4,538"
    assert re.search(r"\d+ s to (\d+ min )?\d+ s with 1 worker", lines["time"]), lines["time"]
    assert re.fullmatch(r"about \d\.\d GB", lines["memory"])
    assert search(*command, ONE_JOB, "hydra.sweeper.n_trials=4").returncode == 0
    rows = rows_of(tmp_path).set_index("trial")
    for shown, trials in ((fresh, [0, 1]), (lines, [2, 3])):
        for trial in trials:
            assert_shows(shown[str(trial)], rows.loc[trial])


def assert_shows(line: str, row: Any) -> None:
    """A point's line has the values that its trial was trained with."""
    given = dict(override.split("=", 1) for override in shlex.split(str(row.overrides)))
    shown = dict(pair.split("=", 1) for pair in line.split() if "=" in pair)
    assert set(shown) == {"optimizer.lr", "trainer.batch_size"}
    for key, value in shown.items():
        assert float(value) == pytest.approx(float(given[key]), rel=1e-3)


def test_what_the_search_refuses_its_preview_refuses_too(search: Cli, tmp_path: Path) -> None:
    command = ["optimizer.lr=0.01,0.02", GRID, ONE_JOB]
    assert search(*command).returncode == 0
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    cases = (
        "trainer.batch_size=7",
        "record.table=other.csv",
        "hydra.sweeper.direction=minimize",
        "hydra.sweeper.zip=[[optimizer.lr]]",
        "hydra.sweeper.storage=sqlite:///nowhere/study.db",
    )
    real = [search(*command, wrong) for wrong in cases]
    before = files_in(tmp_path)
    for wrong, refused in zip(cases, real, strict=True):
        done = search(*command, wrong, PREVIEW)
        assert (done.returncode, done.stderr) == (2, refused.stderr), wrong
    assert files_in(tmp_path) == before


def test_a_database_that_is_not_there_is_not_made(search: Cli, tmp_path: Path) -> None:
    storage = "hydra.sweeper.storage=sqlite:///study.db"
    command = ["optimizer.lr=0.01,0.02,0.04", GRID, ONE_JOB, storage]
    assert lines_of(search(*command, PREVIEW))["study"].endswith("it is new")
    assert not list(tmp_path.iterdir())


# Its parts


@pytest.mark.parametrize(
    ("changed", "low", "high"),
    [
        ({}, 1.0, 1.0),
        ({"rungs": (1, 3, 8)}, 0.15, 0.5),  # of 12 epochs each
        ({"pruner": {"_target_": "optuna.pruners.MedianPruner"}}, 0.15, 0.7),
        ({"pruner": {"_target_": "optuna.pruners.SuccessiveHalvingPruner"}}, 0.1, 0.6),
        ({"pruner": {"_target_": "optuna.pruners.HyperbandPruner", "max_resource": 8}}, 0.1, 0.9),
    ],
)
def test_a_pruner_saves_what_it_would_of_trials_in_a_random_order(
    changed: dict[str, object], low: float, high: float
) -> None:
    plain = OmegaConf.to_container(make_whole_config("hydra/sweeper=search").hydra.sweeper)
    assert isinstance(plain, dict)
    given = {str(key): value for key, value in plain.items() if key != "_target_"}
    for direction in ("maximize", "minimize"):
        settings = search_settings({**given, **changed, "direction": direction})
        assert low <= share_trained(settings, 8, 60) <= high


@pytest.mark.slow
def test_the_shipped_search_is_previewed(cli: Cli, tmp_path: Path) -> None:
    """It scales nets to its budget, prunes, and has two workers."""
    lines = lines_of(cli("-m", "sweep=arch_20k", "hydra.sweeper.n_jobs=2", "data=digits", PREVIEW))
    assert not list(tmp_path.iterdir())
    assert re.search(r"scaled to it, 200 \(100.0%\) of the first 200", lines["budget"])
    assert int(lines["scaled"].split()[-1].replace(",", "")) <= 20_000
    assert "with 2 workers: from" in lines["time"] and "(median)" in lines["epoch"]
    assert sum(label.isdecimal() for label in lines) == 10
