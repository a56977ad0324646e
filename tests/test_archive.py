"""What an earlier version left behind is read, resumed, rerun and gone on with.

The files and how they were made: tests/archive/README.md.
"""

import csv
import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from mnist_sweep.config import resolved
from mnist_sweep.errors import UserError
from mnist_sweep.identity import config_hash
from mnist_sweep.report import load_results
from mnist_sweep.runs.lookup import find_run
from tests.conftest import Cli, read_result

ARCHIVE = Path(__file__).parent / "archive"
MADE_BY = (ARCHIVE / "README.md").read_text(encoding="utf-8").replace("\\\n", "").splitlines()

ENDED = ("finished", "rungs", "replicates", "grid")
"""Studies that have all their trials."""

RUN_DIRS = sorted(str(path.parent.relative_to(ARCHIVE)) for path in ARCHIVE.rglob("result.json"))
TABLES = sorted(str(path.relative_to(ARCHIVE)) for path in ARCHIVE.rglob("results.csv"))
MAIN_TABLE = "outputs/results.csv"

Row = dict[str, str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the archive, with this process and `cli` in it."""
    shutil.copytree(ARCHIVE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def report(here: Path, cli: Cli) -> Callable[..., str]:
    """`report("html", ...)` -> what the command says; it must succeed."""

    def call(*arguments: str) -> str:
        done = cli(*arguments, module="mnist_sweep.report")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def command_of(study: str) -> list[str]:
    """The arguments by which the search was begun."""
    [line] = [line for line in MADE_BY if f" hydra.sweeper.study_name={study} " in line]
    return shlex.split(line)[3:]


def rows_of(table: str | Path) -> list[Row]:
    with Path(table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


NEWER = ("host", "gpu", "code")
"""Columns that version 0.1.0 did not have."""


def with_newer_columns(row: Row) -> Row:
    """As a table has it that was written to since."""
    return {**row, **dict.fromkeys(NEWER, "")}


def of_status(status: str, rows: list[Row]) -> set[str]:
    return {row["run_id"] for row in rows if row["status"] == status}


def histories(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("history.csv")}


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(run_dir / "model.pt", weights_only=True)
    return weights


# The same bits need the same arithmetic


@cache
def arithmetic() -> dict[str, str]:
    """What this machine makes of a small training without any code of ours."""
    random = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.SiLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters())
    for _ in range(4):
        images = torch.rand(64, 1, 28, 28, generator=random)
        shifts = torch.eye(2, 3) + 0.1 * torch.randn(64, 2, 3, generator=random)
        grid = F.affine_grid(shifts, list(images.shape), align_corners=False)
        logits = net(F.grid_sample(images, grid, align_corners=False))
        loss = F.cross_entropy(logits, torch.randint(10, (64,), generator=random))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    numbers = b"".join(parameter.detach().numpy().tobytes() for parameter in net.parameters())
    return {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "weights_sha256": hashlib.sha256(numbers).hexdigest(),
    }


def is_same_arithmetic() -> bool:
    then: dict[str, str] = json.loads((ARCHIVE / "arithmetic.json").read_text())
    return then == arithmetic()


@pytest.fixture
def same_arithmetic() -> None:
    """Skips where this machine or its torch comes to other bits, whatever our code does."""
    if not is_same_arithmetic():
        pytest.skip(f"the archive was made by other arithmetic than {arithmetic()}")


# Read


def test_the_archive_is_small_and_names_no_machine() -> None:
    files = [path for path in ARCHIVE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    for path in files:
        if path.suffix != ".pt":
            assert not re.search(rb"/(home|root|tmp|work|Users)\b", path.read_bytes()), path


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_read_and_ranked(here: Path, report: Callable[..., str], table: str) -> None:
    rows = rows_of(table)
    runs = load_results(table)
    assert runs.attrs["skipped"] == ""
    assert list(runs.run_id) == [row["run_id"] for row in rows]
    assert list(runs.status) == [row["status"] for row in rows]
    for name in ("val_acc", "test_acc", "lr", "num_params", "seed", "trial"):
        cells = [float(row[name]) if row[name] else None for row in rows]
        assert runs[name].astype("object").where(runs[name].notna(), None).tolist() == cells, name
    ranked = [line["run_ids"] for line in json.loads(report(table, "--format", "json"))]
    repeats = "repeated runs left out" in report(table)
    found = {run_id for run_ids in ranked for run_id in run_ids}
    assert found <= of_status("completed", rows)
    assert repeats or found == of_status("completed", rows)


def test_every_run_is_found_by_each_of_its_names(here: Path) -> None:
    for run_dir in RUN_DIRS:
        record = read_result(Path(run_dir))
        run_id, study, trial = (record[name] for name in ("run_id", "study", "trial"))
        for name in (run_id, run_id[:6], run_dir, str(here / run_dir)):
            found = find_run(name)
            assert (found.record.run_id, found.run_dir.resolve()) == (run_id, here / run_dir)
            assert found.record.row() == {**record, **dict.fromkeys(NEWER)}
        if study is not None and "/seed_" not in run_dir:
            assert find_run(f"{study}/{trial}").record.run_id == run_id
    with pytest.raises(UserError, match="has not ended"):
        find_run("multirun/unfinished/1")


def test_every_recorded_config_has_its_recorded_hash(here: Path) -> None:
    for run_dir in RUN_DIRS:
        config: Any = OmegaConf.load(Path(run_dir) / ".hydra" / "config.yaml")
        assert config_hash(resolved(config)) == read_result(Path(run_dir))["config_hash"], run_dir


def test_the_table_is_made_again_from_the_run_directories(
    here: Path, report: Callable[..., str]
) -> None:
    before = {row["run_id"]: with_newer_columns(row) for row in rows_of(MAIN_TABLE)}
    report("rebuild", "outputs", "multirun")
    after = {row["run_id"]: row for row in rows_of(MAIN_TABLE)}
    assert after == before and len(after) == len(RUN_DIRS)


def test_pictures_and_pages_are_made_of_it(here: Path, report: Callable[..., str]) -> None:
    report("html", "outputs", "multirun", "-o", "all.html")
    assert "finished" in Path("all.html").read_text(encoding="utf-8")
    for study in ("rungs", "unfinished"):
        report("html", f"multirun/{study}", "-o", f"{study}.html")
        report("pruned", f"multirun/{study}", "-o", f"{study}.svg")
        assert f"Search {study}" in Path(f"{study}.html").read_text(encoding="utf-8")
    report("parallel", "multirun/grid")
    assert "optimizer.lr" in report("importance", "multirun/finished")
    report("curves", "outputs/runs/interrupted", "finished/0")
    report("front", "-o", "front.png")
    plain = [f"multirun/plain/{number}" for number in (0, 1)]
    assert "val_acc" in report("compare", *plain, MAIN_TABLE)


def test_a_saved_net_is_evaluated_as_it_was(here: Path, cli: Cli) -> None:
    run_dir = Path("outputs/runs/completed")
    done = cli(str(run_dir), module="mnist_sweep.evaluate")
    assert done.returncode == 0, done.stderr
    predictions = rows_of_predictions(run_dir / "predictions.csv")
    right = sum(row["label"] == row["prediction"] for row in predictions)
    assert right / len(predictions) == pytest.approx(read_result(run_dir)["test_acc"], abs=0.011)


def rows_of_predictions(path: Path) -> list[Row]:
    """Without the line that says of which net they are."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()[1:]))


# Run again

QUICK = [run_dir for run_dir in RUN_DIRS if run_dir.startswith(("outputs/", "multirun/finished/"))]
WITHOUT_EPOCH = ("outputs/runs/infeasible",)


@pytest.mark.parametrize(
    "run_dir",
    [
        pytest.param(run_dir, marks=[] if run_dir in QUICK else pytest.mark.slow)
        for run_dir in RUN_DIRS
        if run_dir not in WITHOUT_EPOCH
    ],
)
def test_a_rerun_comes_to_the_same_bits(
    same_arithmetic: None, here: Path, cli: Cli, run_dir: str
) -> None:
    done = cli(run_dir, "--check", "hydra.run.dir=outputs/again", module="mnist_sweep.rerun")
    assert done.returncode == 0, done.stderr
    assert "identical bit for bit" in done.stdout


@pytest.mark.parametrize(("name", "epochs"), [("interrupted", 16), ("interrupted_recipe", 8)])
def test_an_interrupted_run_is_resumed(here: Path, cli: Cli, name: str, epochs: int) -> None:
    run_dir = Path("outputs/runs") / name
    before = (run_dir / "history.csv").read_text()
    done = cli(f"resume={run_dir}")
    assert done.returncode == 0, done.stderr
    assert read_result(run_dir)["status"] == "completed"
    history = (run_dir / "history.csv").read_text()
    assert history.startswith(before) and history.count("\n") == 1 + epochs
    # A run's id is of its directory's whole path, so in this copy of the archive it is another.
    *_, row = (row for row in rows_of(MAIN_TABLE) if row["run_dir"] == str(run_dir))
    assert (row["status"], row["epochs_done"]) == ("completed", str(epochs))
    if not is_same_arithmetic():
        return
    if name == "interrupted":
        resumed, unbroken = map(weights_of, (run_dir, ARCHIVE / "outputs" / "runs" / "unbroken"))
        assert resumed.keys() == unbroken.keys()
        assert all(torch.equal(resumed[key], unbroken[key]) for key in resumed)
    done = cli(str(run_dir), "--check", module="mnist_sweep.rerun")
    assert "identical bit for bit" in done.stdout, done.stderr


# Gone on with


@pytest.mark.parametrize("study", ENDED)
def test_a_finished_search_says_so_and_trains_nothing(here: Path, cli: Cli, study: str) -> None:
    folder = here / "multirun" / study
    tables = [path.read_bytes() for path in (here / MAIN_TABLE, folder / "results.csv")]
    before, n_trials = histories(folder), n_trials_of(study)
    done = cli(*command_of(study))
    assert done.returncode == 0, done.stderr
    assert f"study   {study}: {n_trials} trials in all, {n_trials} of them before" in done.stdout
    assert histories(folder) == before
    assert [path.read_bytes() for path in (here / MAIN_TABLE, folder / "results.csv")] == tables


def n_trials_of(study: str) -> int:
    [argument] = [a for a in command_of(study) if a.startswith("hydra.sweeper.n_trials=")]
    return int(argument.partition("=")[2])


@pytest.mark.parametrize("study", ENDED[:-1])
def test_a_finished_search_is_given_more_trials(here: Path, cli: Cli, study: str) -> None:
    folder = here / "multirun" / study
    before, rows = histories(folder), rows_of(folder / "results.csv")
    n_trials = n_trials_of(study) + 1
    done = cli(*command_of(study), f"hydra.sweeper.n_trials={n_trials}")
    assert done.returncode == 0, done.stderr
    assert before.items() <= histories(folder).items(), "what was trained is trained again"
    after = rows_of(folder / "results.csv")
    assert after[: len(rows)] == list(map(with_newer_columns, rows))
    ended = of_status("completed", after) | of_status("pruned", after)
    trials = {row["trial"] for row in after if row["run_id"] in ended}
    assert len(trials) == n_trials


def test_a_study_of_other_settings_is_refused(here: Path, cli: Cli) -> None:
    done = cli(*command_of("finished"), "trainer.label_smoothing=0.1")
    assert done.returncode == 2
    assert "begun with other settings: trainer.label_smoothing (was 0.0, is 0.1)" in done.stderr


def test_a_killed_search_goes_on_to_its_exact_total(here: Path, cli: Cli) -> None:
    """Its second trial is taken up from the checkpoint that the killed one left."""
    folder = here / "multirun" / "unfinished"
    before = histories(folder / "0")
    cut = (folder / "1" / "history.csv").read_text()
    done = cli(*command_of("unfinished"))
    assert done.returncode == 0, done.stderr
    rows = rows_of(folder / "results.csv")
    completed = [row for row in rows if row["status"] == "completed"]
    assert len(completed) == 3 and len({row["config_hash"] for row in completed}) == 3
    assert [row["trial"] for row in rows if row["status"] == "interrupted"] == ["1"]
    assert histories(folder / "0") == before, "the finished trial is trained again"
    texts = {row["trial"]: (here / row["run_dir"] / "history.csv").read_text() for row in completed}
    assert {text.count("\n") for text in texts.values()} == {1 + 16}
    resumed = [trial for trial, text in texts.items() if text.startswith(cut)]
    assert resumed, "it was begun anew"
    if is_same_arithmetic():
        check = cli(f"unfinished/{resumed[0]}", "--check", module="mnist_sweep.rerun")
        assert "identical bit for bit" in check.stdout, check.stderr
