"""A study of three trials that has come to its end: gone on with, and over damaged files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mnist_sweep.paths import JOURNAL
from tests.books import check_books, trained
from tests.conftest import read_result
from tests.searches import LR, Search

pytestmark = pytest.mark.timeout(600)

# Gone on with, from a study of three trials that has come to its end


THREE = [LR, "hydra.sweeper.n_jobs=1"]


@pytest.fixture(scope="module")
def three_trials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with such a study, and a copy of that."""
    folder = tmp_path_factory.mktemp("three")
    search = Search(folder, THREE)
    search.run("hydra.sweeper.n_trials=3")
    check_books(search, 3)
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return folder, copy


@pytest.fixture
def ended(three_trials: tuple[Path, Path]) -> Iterator[Search]:
    """The study as it was at its end, in its own place: its runs are known by their paths."""
    folder, copy = three_trials
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    search = Search(folder, THREE)
    yield search
    search.clean_up()


def test_the_same_command_does_nothing_more_and_a_higher_number_goes_on(ended: Search) -> None:
    run_dirs, before, trials = ended.run_dirs(), trained(ended), len(ended.trials())
    again = ended.run("hydra.sweeper.n_trials=3")
    assert "3 trials in all, 3 of them before" in again.out.read_text()
    assert ended.run_dirs() == run_dirs and trained(ended) == before
    assert len(ended.trials()) == trials
    check_books(ended, 3)
    ended.run("hydra.sweeper.n_trials=5")
    check_books(ended, 5)
    assert before.items() <= trained(ended).items()
    fewer = ended.run("hydra.sweeper.n_trials=2")
    assert "2 trials in all, 5 of them before" in fewer.out.read_text()
    check_books(ended, 5)


# A damaged journal


@pytest.mark.parametrize(
    ("text", "keep", "is_kept"),
    [
        pytest.param("", -1, True, id="last-line-end"),
        pytest.param("", 5, True, id="last-line"),
        pytest.param('"op_code":6', 40, True, id="end-of-a-trial"),
        pytest.param('"num_params"', 40, True, id="after-the-point"),
        pytest.param('"config"', 40, False, id="before-the-point"),
    ],
)
def test_a_journal_cut_short_is_gone_on_with(
    ended: Search, text: str, keep: int, is_kept: bool
) -> None:
    """As a power failure leaves it: rows and runs may be on the disk sooner than all of the journal
    but the births of trials.

    keep: bytes of the last line that has this text; the rest of the file is lost.
    """
    before = trained(ended)
    journal = ended.journal.read_bytes()
    lines = journal.splitlines(keepends=True)
    number = max(number for number, line in enumerate(lines) if text.encode() in line)
    ended.journal.write_bytes(b"".join(lines[:number]) + lines[number][:keep])
    ended.run("hydra.sweeper.n_trials=4")
    check_books(ended, 4)
    kept = before.items() <= trained(ended).items()
    assert kept or not is_kept, "what was trained is trained again"


@pytest.mark.parametrize("content", ["", '{"run_id": "r1", "sta', "[]", '{"seed": "x"}'])
def test_a_search_goes_on_over_a_damaged_result(ended: Search, content: str) -> None:
    """Of a trial whose end the study has lost: the run is trained again, and the file is named."""
    lines = ended.journal.read_bytes().splitlines(keepends=True)
    number = max(number for number, line in enumerate(lines) if b'"op_code":6' in line)
    ended.journal.write_bytes(b"".join(lines[:number]))
    lost = max(trial.number for trial in ended.trials() if trial.state == TrialState.RUNNING)
    path = ended.sweep_dir / str(lost) / "result.json"
    path.write_text(content)
    command = ended.run("hydra.sweeper.n_trials=4")
    assert f"{lost}/result.json cannot be read" in command.out.read_text(), command
    check_books(ended, 4)
    assert read_result(path.parent)["status"] == "interrupted"


def test_a_journal_of_a_newer_version_is_named_with_the_remedy(ended: Search) -> None:
    with ended.journal.open("a") as file:
        file.write('{"op_code":42,"worker_id":"w","more":1}\n')
    command = ended.run("hydra.sweeper.n_trials=4", code=2)
    text = command.err.read_text()
    assert text.count("\n") == 1 and f"multirun/s/{JOURNAL}" in text, command
    assert f"newer Optuna than {optuna.__version__}" in text and "--upgrade optuna" in text


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x00\xff\x00garbage\n", id="bytes"),
        pytest.param(b'{"op_code":6}\n', id="no-keys"),
        pytest.param(b'{"op_code":99,"worker_id":"w"}\n', id="unknown-operation"),
        pytest.param(b'{"op_code":2,"worker_id":"w","study_', id="half-a-line"),
    ],
)
def test_a_journal_with_garbage_is_refused_and_left_alone(ended: Search, garbage: bytes) -> None:
    lines = ended.journal.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    damaged = b"".join([*lines[:middle], garbage, *lines[middle:]])
    ended.journal.write_bytes(damaged)
    table = (ended.sweep_dir / "results.csv").read_bytes()
    command = ended.run("hydra.sweeper.n_trials=4", code=2)
    text = command.err.read_text()
    assert text.count("\n") == 1 and f"multirun/s/{JOURNAL} is damaged" in text, command
    assert ended.journal.read_bytes() == damaged
    assert (ended.sweep_dir / "results.csv").read_bytes() == table
    assert len(ended.run_dirs()) == 3
