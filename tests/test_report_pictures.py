"""The commands that draw: what is printed and drawn is what tables, runs and searches say."""

import io
import json
import math
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sklearn.datasets import load_digits

from mnist_sweep.errors import exit_code
from mnist_sweep.figures.augmentation import augmentation
from mnist_sweep.report.__main__ import main
from mnist_sweep.report.analysis.importance import FEWEST_COMPLETED
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, Cli, environment
from tests.drawn import NASTY, legend_of, points_of
from tests.results import alone, history

Report = Callable[..., str]


@pytest.fixture
def report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Report:
    """`report("front", ...)` runs the command in an empty folder, in this process; returns what
    it printed. With `code`, what it said to standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNIST_SWEEP_DATA", raising=False)

    def call(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["report", *words])
        capsys.readouterr()
        assert exit_code(main) == code
        out, err = capsys.readouterr()
        if code:
            assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
        return err if code else out

    return call


def leave(folder: Path, *records: RunRecord) -> None:
    table = ResultsTable(folder / "outputs" / "results.csv")
    table.extend(list(records))


def test_front_prints_the_front_of_each_track(report: Report, tmp_path: Path) -> None:
    leave(
        tmp_path,
        alone(1, model="small", num_params=1000, val_acc=0.97),
        alone(2, model="twice", seed=0, num_params=2000, val_acc=0.98),
        alone(
            3,
            model="twice",
            seed=1,
            num_params=2000,
            val_acc=0.99,
            config_hash="c2",
        ),
        alone(4, model="beaten", num_params=3000, val_acc=0.984),
        alone(5, model="pruned", num_params=10, val_acc=1.0, status="pruned"),
        alone(
            6,
            model="whole",
            protocol="final",
            val_acc=None,
            val_images=None,
            test_acc=0.9,
        ),
    )
    select, final = report("front").split("\n\n")[:2]
    rows = [line.split() for line in select.splitlines()]
    assert [row[:3] for row in rows if row[0].isdigit()] == [
        ["1", "small", "1,000"],
        ["2", "twice", "2,000"],
    ]
    assert "97.00 ± ?" in select and "98.50 ± 0.71" in select
    assert "select" in select and "beaten" not in select and "pruned " not in select
    assert "final" in final and "whole" in final and "90.00 ± ?" in final
    assert "the best of 3 configurations by val_acc" in select

    table = json.loads(report("front", "--format", "json"))
    assert [row["label"] for row in table] == ["small", "twice", "whole"]
    assert [row["rank"] for row in table] == [1, 2, 1] and table[1]["n"] == 2
    frame = pd.read_csv(io.StringIO(report("front", "--format", "csv", "-o", "f.svg")))
    assert frame.label.tolist() == ["small", "twice", "whole"]
    assert ElementTree.parse(tmp_path / "f.svg")

    by_test = report("front", "--where", "1500 < params < 4000", "--score", "test_acc")
    by_test = " ".join(by_test.split())  # lines end where the terminal does
    assert "twice" in by_test and "a choice by the test set" in by_test


def test_known_records_are_drawn_beside_test_accuracies_on_mnist_only(
    report: Report, tmp_path: Path
) -> None:
    leave(tmp_path, alone(1), alone(2, num_params=2000, val_acc=0.98))
    said = "known records are not drawn"
    assert said in report("front", "-o", "a.svg")
    assert said in report("front", "-o", "a.svg", "--score", "test_acc", "--cost", "macs")
    by_test = report("front", "-o", "a.svg", "--score", "test_acc")
    assert said not in by_test and "2 known records not drawn: under 1,000" not in by_test
    assert re.search(r"\d known records not drawn: under 1,000 or over 10,000", by_test)
    assert by_test.rstrip().endswith("picture a.svg")
    leave(tmp_path, alone(3, data="digits"))
    only = ("--where", "data == 'digits'", "--score", "test_acc")
    assert said in report("front", "-o", "a.svg", *only)


def test_a_front_that_cannot_be_is_one_line(report: Report, tmp_path: Path) -> None:
    assert "outputs/results.csv" in report("front", code=2)
    leave(tmp_path, alone(1, status="pruned"), alone(2, macs=None))
    assert "--cost" in report("front", "--cost", "seconds", code=2)
    assert "--score" in report("front", "--score", "test_acc_peak", code=2)
    assert "a.gif" in report("front", "-o", "a.gif", code=2)
    assert "cannot be written" in report("front", "-o", "no/a.png", code=2)
    assert "none of the 2 runs" in report("front", "--cost", "macs", code=2)
    assert "holds for none" in report("front", "--where", "seed == 9", code=2)
    assert "params" in report("front", "--cost", "params")


def leave_run(folder: Path, number: int, epochs: int, **changes: Any) -> RunRecord:
    run_dir = folder / "multirun" / str(number)
    run_dir.mkdir(parents=True)
    run = alone(number, epochs_done=epochs, **changes)
    write_result(run_dir, run)
    if epochs:
        write_history(run_dir, history(epochs))
    leave(folder, run)
    return run


def test_curves_of_runs_by_name(report: Report, tmp_path: Path) -> None:
    leave_run(tmp_path, 1, 3)
    leave_run(tmp_path, 2, 2, study="s", trial=4)
    leave_run(tmp_path, 3, 0, status="failed")
    assert report("curves", "r000000001") == "picture curves.png\n"
    assert (tmp_path / "curves.png").exists()
    report("curves", "multirun/1", "s/4", "-o", "two.svg")
    svg = (tmp_path / "two.svg").read_text()
    assert "ds_cnn, seed 0 (r000000001)" in svg and "(r000000002)" in svg
    assert "has no history" in report("curves", "r000000003", code=2)
    assert "did you mean r000000001" in report("curves", "r00000001", code=2)
    assert "RUN" in report("curves", code=2)
    assert "cannot be written" in report("curves", "multirun/1", "-o", "no/a.png", code=2)


# Searches

SEARCH = [
    *("-m", "--config-dir=mine", "sweep=tiny", "hydra.sweep.dir=multirun/tiny"),
    *("optimizer=adamw", "trainer.epochs=2", "trainer.threads=1", "budget.max_params=5000", *TINY),
]
TINY_SWEEP = """# @package _global_
defaults:
  - override /hydra/sweeper: search
  - override /hydra/sweeper/sampler: random
  - override /hydra/sweeper/pruner: successive_halving
hydra:
  sweeper:
    study_name: tiny
    n_trials: 8
    n_jobs: 1
    sampler:
      seed: 3
    params:
      model: choice(ds_cnn_v3_code, ds_cnn)  # the second is over budget
      optimizer.lr: tag(log, interval(0.001, 0.1))
      trainer.batch_size: choice(32, 64)
      trainer.label_smoothing: interval(0, 0.1)
    conditions:
      trainer.label_smoothing: {trainer.batch_size: [32]}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of eight trials, some pruned, some points rejected."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "mine" / "sweep").mkdir(parents=True)
    (folder / "mine" / "sweep" / "tiny.yaml").write_text(TINY_SWEEP)
    done = subprocess.run(
        [sys.executable, "-m", "mnist_sweep", *SEARCH],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "multirun" / "tiny"


def trials_of(search: Path) -> list[FrozenTrial]:
    """As Optuna's own reader has them."""
    storage = JournalStorage(JournalFileBackend(str(search / "study.journal")))
    return optuna.load_study(study_name="tiny", storage=storage).get_trials()


def kept(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Figure]:
    """The pictures that a function of `figures`, such as curves.pruned, draws from now on."""
    drawn: list[Figure] = []
    place = f"mnist_sweep.figures.{name}"
    draw = resolve_name(place)

    def draw_and_keep(*data: Any, **options: Any) -> Figure:
        drawn.append(draw(*data, **options))
        return drawn[-1]

    monkeypatch.setattr(place, draw_and_keep)
    return drawn


def test_the_pictures_of_a_search_are_of_its_trials(
    searched: Path, report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(searched.parent.parent)
    trials = trials_of(searched)
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    rejected = [trial for trial in trials if trial.user_attrs.get("status") == "infeasible"]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    pruned = [trial for trial in pruned if trial not in rejected]
    assert rejected and pruned and len(completed) >= FEWEST_COMPLETED
    journal = searched / "study.journal"
    before = journal.read_bytes(), journal.stat().st_mtime_ns, sorted(searched.iterdir())

    functions = ("pruned.pruned", "parallel.parallel", "importance.importance")
    drawn = {name.partition(".")[2]: kept(monkeypatch, name) for name in functions}
    out = tmp_path / "p.png"
    assert report("pruned", "-o", str(out)).endswith(f"picture {out}\n")
    report("parallel", "multirun", "-o", str(out))
    table = report("importance", str(searched), "-o", str(out))
    after = journal.read_bytes(), journal.stat().st_mtime_ns, sorted(searched.iterdir())
    assert after == before, "reading leaves a search as it is"

    histories = {
        trial.number: pd.read_csv(searched / str(trial.number) / "history.csv").val_acc
        for trial in [*completed, *pruned]
    }
    ends = sorted(
        points_of(line)[-1] for line in drawn["pruned"][0].axes[0].lines if points_of(line)
    )
    expected = sorted((len(accs), 100 * accs.iloc[-1]) for accs in histories.values())
    np.testing.assert_allclose(ends, expected)

    axes = drawn["parallel"][0].axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [
        *("model", "optimizer.lr", "trainer.batch_size", "trainer.label_smoothing", "val_acc")
    ]
    assert legend_of(drawn["parallel"][0]) == [
        f"{len(completed)} completed",
        f"{len(pruned)} pruned",
    ]
    lrs = sorted(points_of(line)[1][0] for line in axes.lines if len(points_of(line)) == len(rows))
    wanted = [math.log(t.params["optimizer.lr"] / 0.001, 100) for t in [*completed, *pruned]]
    np.testing.assert_allclose(lrs, sorted(wanted))

    bars = drawn["importance"][0].axes[0]
    assert {label.get_text() for label in bars.get_yticklabels()} == set(rows[1:-1])
    assert "optimizer.lr" in table and f"of {len(completed)} completed trials" in table
    assert "Left out, for they do not vary among these: model" in table


def test_without_a_search_there_is_no_picture(
    report: Report, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("pruned", "parallel", "importance"):
        assert "multirun does not exist" in report(command, code=2)
        assert "nothing does not exist" in report(command, "nothing", code=2)
    leave_run(tmp_path, 1, 2)
    for command in ("pruned", "parallel", "importance"):
        assert "multirun holds no search" in report(command, "multirun", code=2)
        assert "an argument is empty" in report(command, "", code=2)
        assert "is no folder" in report(command, "outputs/results.csv", code=2)
    assert "--objective=loss" in report("parallel", str(searched), "--objective", "loss", code=2)

    for name in ("one", "two"):
        folder = tmp_path / "multirun" / name
        folder.mkdir()
        (folder / "study.journal").write_bytes((searched / "study.journal").read_bytes())
    assert "multirun holds 2 searches: give one" in report("parallel", "multirun", code=2)
    assert "search  multirun/two, the newest of 2" in report("parallel")
    assert "multirun/two: no run of the search in it" in report("pruned", code=2)

    lines = (tmp_path / "multirun" / "one" / "study.journal").read_text().splitlines()
    ends = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] == 6]
    (tmp_path / "multirun" / "one" / "study.journal").write_text("\n".join(lines[: ends[2]]) + "\n")
    few = report("importance", "multirun/one", code=2)
    assert re.search(r"multirun/one: \d completed trials? of \d, and importance needs", few)
    (tmp_path / "multirun" / "one" / "study.journal").write_text("no journal\n")
    assert "multirun/one/study.journal is damaged" in report("parallel", "multirun/one", code=2)
    (tmp_path / "multirun" / "one" / "study.journal").write_text("")
    assert "multirun/one/study.journal" in report("parallel", "multirun/one", code=2)


def test_a_trial_whose_files_are_gone_is_left_out_and_counted(
    report: Report, searched: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "multirun" / "tiny"
    shutil.copytree(searched, copy)
    first, second, *rest = sorted(path.parent for path in copy.glob("*/history.csv"))
    (first / "history.csv").unlink()
    (second / "result.json").write_text("{")
    said = report("pruned")
    assert "left out: 2 runs" in said and "picture pruned.png" in said and rest


def test_a_search_kept_in_a_database_is_read_from_there(
    report: Report, searched: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="tiny", storage=url, direction="maximize")
    study.add_trials(trials_of(searched))
    folder = tmp_path / "multirun" / "tiny"
    folder.mkdir(parents=True)
    (folder / "results.csv").write_bytes((searched / "results.csv").read_bytes())
    assert "give --storage URL" in report("parallel", "multirun/tiny", code=2)
    assert "picture parallel.png" in report("parallel", "multirun/tiny", "--storage", url)
    other = f"sqlite:///{tmp_path}/other.db"
    assert "holds no study tiny" in report("parallel", "multirun/tiny", "--storage", other, code=2)


# Augmentation


def test_augmentation_shows_each_choice(report: Report, tmp_path: Path) -> None:
    report("augmentation", "affine,none,affine+elastic", "-o", "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    for shown in ("original", "affine", "none", "affine+elastic", "digits"):
        assert f">{shown}<" in svg or f" {shown}" in svg
    assert "did you mean elastic" in report("augmentation", "elastik", code=2)
    assert "one of affine" in report("augmentation", "../model/ds_cnn", code=2)
    assert "cannot be written" in report("augmentation", "none", "-o", "no/a.png", code=2)


def test_augmented_digits_are_what_training_sees(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, np.ndarray] = {}
    monkeypatch.setattr(
        "mnist_sweep.figures.augmentation.augmentation",
        lambda rows, title: seen.update(rows) or augmentation(rows, title),
    )
    assert report("augmentation") == "picture augmentation.png\n"
    original = seen["original"]
    assert original.shape == (1, 10, 28, 28)
    assert list(seen) == ["original", "affine", "crop_rotate", "elastic", "shear_after_norm"]
    assert seen["affine"].shape == (2, 10, 28, 28)
    assert (seen["affine"] != original).any(axis=(2, 3)).all()
    digits = load_digits()
    for digit in range(10):
        small = F.interpolate(
            torch.from_numpy(digits.images[digits.target == digit]).float().unsqueeze(1),
            size=28,
            mode="bilinear",
        )
        distance = (small.squeeze(1) * 255 / 16 - torch.from_numpy(original[0, digit])).abs()
        assert distance.flatten(1).max(dim=1).values.min() <= 1, "it is one of this digit"


def test_the_command_as_a_process(cli: Cli, tmp_path: Path) -> None:
    leave(tmp_path, alone(1, model=NASTY))
    done = cli("front", "-o", "front.png", module="mnist_sweep.report")
    assert done.returncode == 0 and done.stderr == ""
    assert "picture front.png" in done.stdout and "größer" in done.stdout
