"""`sweep list` and `sweep explain`: what is known of a study's trials, from any process."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment

ARCHIVE = Path(__file__).parent / "archive"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    shutil.copytree(ARCHIVE / "multirun", folder / "multirun")
    return folder


def sweep(here: Path, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "mnist_sweep.sweep", *arguments]
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def lines_of(shown: str) -> dict[str, str]:
    """By their first word."""
    return {line.split()[0]: line for line in shown.splitlines() if line.strip()}


def test_a_pruned_trial_is_explained(here: Path) -> None:
    shown = sweep(here, "explain", "finished/5")
    lines = lines_of(shown)
    assert lines["trial"] == "trial   finished/5: pruned"
    assert lines["asked"] == "asked   RandomSampler"
    assert lines["net"] == "net     850 params, 247,020 MACs, receptive field 40 pixels"
    assert lines["optimizer.lr"].split()[1:] == ["0.00194235", "0.001", "to", "0.1,", "log"]
    assert lines["1"].split()[3:] == [
        "0.0950",
        "0.1100,",
        *["the", "median", "of", "5", "completed"],
        "trials",
    ]
    assert lines["again"].endswith(
        "optimizer.lr=0.0019423549705812715 model.order=conv-act-bn model.head=gap"
    )


def test_a_trial_that_was_not_promoted_has_the_command_of_all_its_epochs(here: Path) -> None:
    lines = lines_of(sweep(here, "explain", "multirun/rungs/2"))
    assert lines["1"].split()[-3:] == ["0.1200,", "rung", "1"]
    assert lines["again"].endswith("trainer.epochs=1")
    assert lines["whole"].endswith("trainer.epochs=4")


def test_seeds_of_a_trial_are_told_apart(here: Path) -> None:
    shown = sweep(here, "explain", "replicates/1")
    assert "val_acc 0.1075" in shown
    rows = [line.split() for line in shown.splitlines() if line.split()[1:2] == ["1"]]
    assert [(row[0], row[-1]) for row in rows] == [("0", "0.1200"), ("1", "0.0950")]


def test_a_refused_point_and_one_that_nobody_trains_any_more(here: Path) -> None:
    refused = lines_of(sweep(here, "explain", "finished/2"))
    assert refused["trial"].endswith("infeasible")
    assert "1,010 parameters" in refused["ended"] and "again" not in refused
    running = lines_of(sweep(here, "explain", "unfinished/1"))
    assert running["trial"].endswith("running")  # on another machine, as far as is known here
    assert running["4"].split()[-1] == "0.1500"


def test_trials_are_listed(here: Path) -> None:
    shown = sweep(here, "list", "finished", "--top", "3")
    rows = [line.split()[:2] for line in shown.splitlines()[1:-1]]
    assert rows == [["11", "completed"], ["10", "infeasible"], ["9", "completed"]]
    assert shown.splitlines()[-1] == "9 more: --top 0 shows all"
    assert "budget.max_params=1010" in shown  # which a pipe does not cut
    best = sweep(here, "list", "finished", "--best", "--state", "completed").splitlines()
    assert best[1].split()[:3] == ["1", "completed", "0.1150"] and len(best) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("explain", "finished/99"),
            "finished/99: no such trial of the study; it has trials 0 to 11",
        ),
        (("explain", "finishd/1"), "did you mean finished"),
        (("explain", "7"), "give a study and the number of a trial"),
        (("explain", "finished/x"), "give a study and the number of a trial"),
    ],
)
def test_what_is_not_there_is_named(here: Path, arguments: tuple[str, str], says: str) -> None:
    assert says in sweep(here, *arguments, code=2)
