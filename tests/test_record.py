"""The results table under concurrency, power cuts, odd text and foreign files; its rebuilding."""

import csv
import io
import json
import logging
import math
import os
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_sweep.errors import UserError
from mnist_sweep.identity import config_hash
from mnist_sweep.runs.rebuild import rebuild
from mnist_sweep.runs.record import RunRecord, run_id_of, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import Cli, environment

FOREIGN_TABLES = {
    "another csv": b"name,phone\nann,1\n",
    "without a last line end": b"name,phone\nann,1",
    "half of our columns": b"run_id,phone\nann,1\n",
    "json": b'{\n "run_id": 1,\n "status": 2\n}\n',
    "binary": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a first line of blanks": b"\nname,phone\nann,1\n",
}


def record(run_id: str = "r000000001", **changes: Any) -> RunRecord:
    given = {
        "status": "completed",
        "groups": {"data": "digits", "model": "ds_cnn", "experiment": None},
        "seed": 0,
    }
    return RunRecord(run_id=run_id, **{**given, **changes})


def full_record(number: int, **changes: Any) -> RunRecord:
    """A completed run's, with every kind of column filled."""
    values: dict[str, Any] = {
        "seed": number,
        "num_params": 17418,
        "epochs": 8,
        "epochs_done": 8,
        "batch_size": 128,
        "lr": 0.01,
        "train_images": 50_000,
        "train_loss": 0.125 + number,
        "train_acc": 0.9875,
        "val_acc": 0.99 + number / 1e4,
        "test_acc": 1 / 3,
        "best_epoch": 7,
        "seconds": 12345.6789,
        "images_per_s": 1234.5,
        "device": "cpu",
        "threads": 2,
        "mnist_sweep_version": "0.1.0",
        "git_commit": "0123456789" * 3 + "abcdef0123",
        "git_dirty": number % 2 == 0,
        "config_hash": "c00012345678",
        "overrides": f"seed={number} 'model.widths=[[8, 16], [32]]'",
        "run_dir": f"multirun/{number}",
        "started": f"2026-01-02T03:04:{number:02d}+00:00",
    }
    return record(f"r00000{number:04d}", **{**values, **changes})


def filled(path: Path, *run_ids: str) -> ResultsTable:
    table = ResultsTable(path)
    for run_id in run_ids:
        table.append(record(run_id))
    return table


def run_ids(table: ResultsTable) -> list[str]:
    return [row["run_id"] for row in table.rows()]


def assert_whole(table: ResultsTable) -> None:
    """Every line ends, has the header's width, and belongs to another run."""
    content = table.path.read_bytes()
    assert content.endswith(b"\n")
    header, *rows = csv.reader(io.StringIO(content.decode()))
    assert content.count(b"\n") == 1 + len(rows)
    assert {len(row) for row in rows} <= {len(header)}
    ids = [row[header.index("run_id")] for row in rows]
    assert len(set(ids)) == len(ids) and "run_id" not in ids


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A full disk for this process: writing beyond `size` bytes of any file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Many processes

APPENDER = """
import sys
from pathlib import Path
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.runs.record import RunRecord

path, name, count, distinct = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
table = ResultsTable(Path(path))
for number in range(count):
    run_id = f"r{name}_{number % distinct}"
    record = RunRecord(run_id=run_id, status="completed", groups={"model": "a"}, seed=number)
    table.append(record, replace=number >= distinct)
    print(run_id, flush=True)
"""


def start_appender(
    table: ResultsTable, name: str, count: int, distinct: int
) -> subprocess.Popen[str]:
    """A process that appends `count` rows of `distinct` runs, and names each once it is written."""
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(table.path), name, str(count), str(distinct)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_eight_processes_append_eight_thousand_whole_rows(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    workers = [start_appender(table, str(name), 1000, 1000) for name in range(8)]
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    assert_whole(table)
    assert set(run_ids(table)) == {f"r{name}_{n}" for name in range(8) for n in range(1000)}
    assert len(run_ids(table)) == 8000
    assert not table.path.with_name("results.csv.torn").exists()


@pytest.mark.parametrize("distinct", [10**6, 3], ids=["appending", "replacing"])
def test_a_killed_process_leaves_no_torn_and_no_doubled_row(distinct: int, tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    written: list[str] = []
    chance = random.Random(0)
    for kill in range(5):
        worker = start_appender(table, str(kill), 10**6, distinct)
        assert worker.stdout is not None
        # Into the midst of whatever the next append is doing when these lines have come.
        for _ in range(chance.randint(1, 30)):
            written.append(worker.stdout.readline().strip())
        worker.kill()
        written += worker.stdout.read().split()
        worker.wait()
        worker.stdout.close()
        table.append(record(f"rafter{kill}"))
        written.append(f"rafter{kill}")
        assert_whole(table)
    if distinct > 1000:  # a run that is being replaced may be between its two rows
        assert set(written) <= set(run_ids(table))


# Torn lines


def test_a_last_line_cut_anywhere_is_set_aside_by_the_next_append(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    before = table.path.read_bytes()
    # Cuts inside a quoted cell and inside a character of several bytes are among them.
    table.append(record("r2", overrides='model.widths=[[8, 16]] "größer" 数字', error="a, b"))
    last_line = table.path.read_bytes()[len(before) :]
    table.path.write_bytes(before)
    table.append(record("r3"))
    mended = table.path.read_bytes()
    aside = tmp_path / "results.csv.torn"
    for cut in range(1, len(last_line) - 1):  # without its end alone, it is whole
        table.path.write_bytes(before + last_line[:cut])
        aside.unlink(missing_ok=True)
        caplog.clear()
        table.append(record("r3"))
        assert table.path.read_bytes() == mended, cut
        assert aside.read_bytes() == last_line[:cut] + b"\n", cut
        assert "results.csv.torn" in caplog.text and "rebuild" in caplog.text, cut


def test_a_last_line_without_its_end_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = filled(tmp_path / "results.csv", "r1", "r2")
    table.path.write_bytes(table.path.read_bytes().rstrip(b"\n"))
    table.append(record("r3"))
    assert_whole(table)
    assert run_ids(table) == ["r1", "r2", "r3"] and caplog.text == ""
    assert not (tmp_path / "results.csv.torn").exists()


def test_every_torn_line_is_kept(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    for fragment in (b"r2,compl", b"r3,fai", b"\0\0\0"):
        with table.path.open("ab") as file:
            file.write(fragment)
        table.append(record(f"after{fragment!r}"))
    assert_whole(table)
    assert len(run_ids(table)) == 4
    kept = (tmp_path / "results.csv.torn").read_bytes()
    assert kept == b"r2,compl\nr3,fai\n\0\0\0\n"


def test_a_cut_header_is_set_aside_or_the_table_refused(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    header = table.path.read_bytes().partition(b"\n")[0]
    table.path.unlink()
    table.append(record("r2"))
    anew = table.path.read_bytes()
    aside = tmp_path / "results.csv.torn"
    recognisable = len(b"run_id,status")
    for cut in (*range(1, 3 * recognisable), len(header) // 2, len(header)):
        table.path.write_bytes(header[:cut])
        aside.unlink(missing_ok=True)
        if cut < recognisable:  # it might be anything: nothing of it may be lost
            with pytest.raises(UserError, match="another kind of table"):
                table.append(record("r2"))
            assert table.path.read_bytes() == header[:cut] and not aside.exists()
        else:
            table.append(record("r2"))
            assert table.path.read_bytes() == anew, cut
            is_whole = header[cut : cut + 1] in (b"", b",")
            assert is_whole or aside.read_bytes() == header[:cut] + b"\n", cut
            assert aside.exists() != is_whole


def test_a_row_is_not_taken_for_written_when_the_disk_is_full(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    before = table.path.read_bytes()
    with (
        files_no_larger_than(len(before)),
        pytest.raises(UserError, match="record.table=.* cannot be written"),
    ):
        table.append(record("r2"))
    table.append(record("r3"))
    assert run_ids(table) == ["r1", "r3"]
    assert_whole(table)


def test_a_row_that_fits_the_disk_in_part_is_an_error(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    with (
        files_no_larger_than(table.path.stat().st_size + 5),
        pytest.raises(UserError, match="record.table=.* cannot be written"),
    ):
        table.append(record("r2"))


# Other columns, other tables


def test_rows_of_an_older_version_keep_their_cells(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("status,run_id,note,seed\ncompleted,r1,dear to me,3\nfailed,r2,,4\n")
    table = ResultsTable(path)
    table.append(record("r3", seed=5, val_acc=0.5))
    assert path.read_text().startswith("status,run_id,note,seed,"), "columns keep their places"
    frame = pd.read_csv(path, index_col="run_id")
    assert list(frame["seed"]) == [3, 4, 5]
    assert list(frame["status"]) == ["completed", "failed", "completed"]
    assert frame["note"]["r1"] == "dear to me" and frame["note"].isna().sum() == 2
    assert frame["val_acc"]["r3"] == 0.5 and frame["val_acc"].isna().sum() == 2
    assert_whole(table)


def test_a_new_group_gives_a_new_column(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    before = table.path.read_text().splitlines()
    table.append(record("r2", groups={"data": "mnist", "model": "rf_cnn", "search": "tpe"}))
    table.append(record("r3"))
    lines = table.path.read_text().splitlines()
    assert lines[:2] == [before[0] + ",search", before[1] + ","]
    assert [row["search"] for row in table.rows()] == ["", "tpe", ""]
    assert [row["model"] for row in table.rows()] == ["ds_cnn", "rf_cnn", "ds_cnn"]
    assert_whole(table)


def test_a_table_saved_with_other_line_ends_goes_on(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1", "r2")
    table.path.write_bytes(table.path.read_bytes().replace(b"\n", b"\r\n"))
    table.append(record("r3"))
    assert run_ids(table) == ["r1", "r2", "r3"]
    table.append(record("r2"), replace=True)
    assert run_ids(table) == ["r1", "r3", "r2"]
    assert_whole(table)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            content,
            id=name,
        )
        for name, content in FOREIGN_TABLES.items()
    ],
)
def test_a_foreign_table_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    table = ResultsTable(path)
    for attempt in (
        table.check,
        lambda: table.append(record()),
        lambda: table.append(record(), replace=True),
        lambda: rebuild(table, [tmp_path]),
    ):
        with pytest.raises(UserError, match="another kind of table") as caught:
            attempt()
        assert f"record.table={path}" in str(caught.value)
        assert path.read_bytes() == content
    assert {file.name for file in tmp_path.iterdir()} <= {"results.csv", ".results.csv.lock"}


def test_check_changes_no_table_and_makes_room_for_a_new_one(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    torn = table.path.read_bytes() + b"r2,com"
    table.path.write_bytes(torn)
    table.check()
    assert table.path.read_bytes() == torn
    new = ResultsTable(tmp_path / "below" / "results.csv")
    new.check()
    new.append(record("r1"))
    assert run_ids(new) == ["r1"]


def a_directory(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    path.mkdir()
    return path


def below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "results.csv"


def far_below_a_file(tmp_path: Path) -> Path:
    return below_a_file(tmp_path) / "deeper" / "results.csv"


@pytest.mark.parametrize("make", [a_directory, below_a_file, far_below_a_file])
def test_a_table_that_cannot_be_a_file_is_said(make: Any, tmp_path: Path) -> None:
    table = ResultsTable(make(tmp_path))
    attempts: list[Callable[[], None]] = [table.check, lambda: table.append(record())]
    for attempt in attempts:
        with pytest.raises(UserError) as caught:
            attempt()
        message = str(caught.value)
        assert f"record.table={table.path} cannot be written" in message
        assert "set record.table to" in message and "\n" not in message


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/",
    ],
)
def test_a_table_without_a_name_is_said(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match=r"record\.table="):
        ResultsTable(Path(path)).check()


@pytest.mark.parametrize(
    "replace",
    [
        False,
        True,
    ],
)
def test_a_link_to_a_table_is_that_table(replace: bool, tmp_path: Path) -> None:
    real = filled(tmp_path / "results.csv", "r1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.csv").symlink_to(real.path)
    link = ResultsTable(tmp_path / "elsewhere" / "link.csv")
    assert link.lock.path == real.lock.path, "one table has one lock"
    link.append(record("r2"), replace=replace)
    real.append(record("r3"))
    assert run_ids(real) == run_ids(link) == ["r1", "r2", "r3"]


# Replacing a run


def test_replace_replaces_that_run_alone(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1", "r12", "r2")
    header, first, second, third = table.path.read_text().splitlines()
    table.append(record("r1", seed=99), replace=True)
    lines = table.path.read_text().splitlines()
    assert lines[:3] == [header, second, third] and len(lines) == 4
    assert [(row["run_id"], row["seed"]) for row in table.rows()] == [
        ("r12", "0"),
        ("r2", "0"),
        ("r1", "99"),
    ]


def test_replace_of_a_run_that_is_not_there_appends(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    table.append(record("r1"), replace=True)
    table.append(record("r2"), replace=True)
    assert run_ids(table) == ["r1", "r2"]


# What pandas reads


def test_pandas_reads_the_right_types(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    for number in range(3):
        table.append(full_record(number))
    frame = pd.read_csv(table.path)
    expected = [full_record(number).row() for number in range(3)]
    for name, value in expected[0].items():
        column = frame[name]
        if value is None:
            assert column.isna().all(), name
        elif isinstance(value, bool):
            assert column.dtype == bool, name
        elif isinstance(value, int):
            assert pd.api.types.is_integer_dtype(column), name
        elif isinstance(value, float):
            assert pd.api.types.is_float_dtype(column), name
        else:
            assert pd.api.types.is_string_dtype(column), name
        for row, cell in zip(expected, column, strict=True):
            if isinstance(value, float):
                assert cell == pytest.approx(row[name], rel=1e-7), name
            elif value is not None:
                assert cell == row[name], name


def test_what_was_not_measured_is_an_empty_cell(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    table.append(record("r1", train_loss=math.nan))
    table.append(record("r2", train_loss=0.5, val_acc=0.0))
    assert [row["train_loss"] for row in table.rows()] == ["", "0.5"]
    assert [row["val_acc"] for row in table.rows()] == ["", "0.0"], "nothing is not zero"
    frame = pd.read_csv(table.path)
    assert frame["train_loss"].isna().tolist() == [True, False]


def as_pandas_reads(cell: str) -> object:
    return pd.read_csv(io.StringIO(f"column\n{cell}\n"))["column"].iloc[0]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=20))
@settings(deadline=None, max_examples=30)
def test_a_run_id_is_never_read_as_a_number(names: list[str]) -> None:
    for name in names:
        run_id = run_id_of(Path("multirun") / name)
        assert re.fullmatch(r"r[0-9a-f]{9}", run_id)
        assert as_pandas_reads(run_id) == run_id


def test_run_ids_tell_directories_apart_however_they_are_spelled(tmp_path: Path) -> None:
    ids = {run_id_of(tmp_path / str(number)) for number in range(2000)}
    assert len(ids) == 2000
    (tmp_path / "link").symlink_to(tmp_path)
    assert run_id_of(tmp_path / "link" / "7") == run_id_of(tmp_path / "a" / ".." / "7")
    assert run_id_of(Path("outputs/7")) == run_id_of(Path.cwd() / "outputs" / "7")


def test_a_config_hash_is_never_read_as_a_number() -> None:
    # Without its letter one digest in a hundred would be: all digits, or digits around an "e".
    for number in range(2000):
        digest = config_hash({"trainer": {"epochs": number}})
        assert re.fullmatch(r"c[0-9a-f]{11}", digest)
        assert as_pandas_reads(digest) == digest


AWKWARD = st.text(
    st.characters(codec="utf-8")
    | st.sampled_from(",;\"'\\\n\r\t\0\x0b\x0c\x1c\x85\u2028\u2029\u00a0\ufeff =#é数𝄞")
)


@given(overrides=AWKWARD, error=AWKWARD, study=AWKWARD)
@settings(deadline=None, max_examples=60)
def test_any_text_comes_back_from_its_one_line(
    tmp_path_factory: pytest.TempPathFactory, overrides: str, error: str, study: str
) -> None:
    table = ResultsTable(tmp_path_factory.mktemp("table") / "results.csv")
    table.append(record("r1", overrides=overrides, error=error, study=study))
    table.append(record("r2"))
    assert_whole(table)
    assert b"\r" not in table.path.read_bytes()
    texts = {"overrides": overrides, "error": error, "study": study}
    frame = pd.read_csv(table.path, dtype=str, keep_default_na=False)
    read: list[dict[Any, Any]] = [table.rows()[0], frame.to_dict("records")[0]]
    for name, text in texts.items():
        # White space, line ends among it, becomes one blank; nothing else but NUL is changed.
        expected = re.sub(r"\s+", " ", text.replace("\0", "")).strip()
        assert [row[name] for row in read] == [expected, expected]


def test_a_file_name_that_is_no_text_can_be_recorded(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    table.append(record("r1", run_dir=os.fsdecode(b"outputs/\xff")))
    assert run_ids(table) == ["r1"]


def test_a_very_long_error_can_be_read_back(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    table.append(record("r1", error="x" * 200_000))
    table.append(record("r2"), replace=True)
    assert run_ids(table) == ["r1", "r2"]


def test_a_table_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert ResultsTable(tmp_path / "results.csv").rows() == []


# result.json and rebuilding


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


def test_a_result_is_json_even_where_figures_are_no_numbers(tmp_path: Path) -> None:
    write_result(tmp_path, full_record(0, train_loss=math.nan, val_loss=math.inf, lr=-math.inf))
    text = (tmp_path / "result.json").read_text()
    result = json.loads(text, parse_constant=refuse)
    assert (result["train_loss"], result["val_loss"], result["lr"]) == (None, None, None)
    assert result["test_acc"] == 1 / 3 and result["seed"] == 0 and result["git_dirty"] is True
    assert result["model"] == "ds_cnn" and result["status"] == "completed"


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_result(tmp_path, record("r1"))
    before = (tmp_path / "result.json").read_bytes()
    with files_no_larger_than(100), pytest.raises(OSError):
        write_result(tmp_path, record("r2"))
    assert (tmp_path / "result.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    with (tmp_path / "result.json").open("rb") as reader:
        write_result(tmp_path, record("r2"))
        assert reader.read() == before, "who reads the old file must not see the new one grow"
    assert json.loads((tmp_path / "result.json").read_text())["run_id"] == "r2"


def sorted_frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).sort_values("run_id").reset_index(drop=True)


def leave_runs(folder: Path, table: ResultsTable, *records: RunRecord) -> None:
    for number, run in enumerate(records):
        run_dir = folder / "multirun" / "2026-01-02" / str(number)
        run_dir.mkdir(parents=True)
        write_result(run_dir, run)
        table.append(run)


def test_rebuild_gives_the_rows_that_were_appended(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "outputs" / "results.csv")
    leave_runs(
        tmp_path,
        table,
        full_record(3),
        full_record(1, status="diverged", train_loss=math.nan, error="line one\nline two"),
        full_record(2, groups={"data": "mnist", "model": "rf_cnn", "search": "tpe"}),
        record("r9", status="failed", error='KeyError: "größer, 数字"', overrides="a='b c'"),
    )
    before, appended = table.path.read_bytes(), sorted_frame(table.path)
    assert rebuild(table, [tmp_path / "outputs", tmp_path / "multirun"]) == 4
    pd.testing.assert_frame_equal(sorted_frame(table.path), appended, check_like=True)
    assert_whole(table)
    assert (tmp_path / "outputs" / "results.csv.bak").read_bytes() == before
    assert list(pd.read_csv(table.path)["seed"])[-3:] == [1, 2, 3], "oldest first"
    table.append(full_record(4))
    assert len(run_ids(table)) == 5


def test_rebuild_keeps_an_infinite_loss(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    leave_runs(tmp_path, table, full_record(1, status="diverged", train_loss=math.inf))
    appended = table.rows()[0]["train_loss"]
    rebuild(table, [tmp_path])
    assert table.rows()[0]["train_loss"] == appended


def test_rebuild_brings_back_a_torn_and_a_lost_row(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    leave_runs(tmp_path, table, *(full_record(number) for number in range(4)))
    appended = sorted_frame(table.path)
    lines = table.path.read_bytes().splitlines(keepends=True)
    table.path.write_bytes(lines[0] + lines[1] + lines[3] + lines[4][:50])
    assert rebuild(table, [tmp_path]) == 4
    pd.testing.assert_frame_equal(sorted_frame(table.path), appended, check_like=True)
    table.path.unlink()
    assert rebuild(table, [tmp_path]) == 4
    pd.testing.assert_frame_equal(sorted_frame(table.path), appended, check_like=True)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b'{"run_id": "r1", "sta', b"[]", b"null", b'"text"', b"{}", b"\xff\xfe\0"),
        *(b"[" * 100_000, b'{"run_id": "r1", "status": "great", "seed": 0}'),
        *(b'{"run_id": "r1", "status": "failed", "seed": "0"}',),
        *(b'{"run_id": "r1", "status": "failed", "seed": %b}' % (b"7" * n) for n in (400, 5000)),
        *(b'{"run_id": "r1", "status": "failed", "seed": 0, "model": [1]}',),
    ],
    ids=[
        *("empty", "cut short", "a list", "null", "a text", "no run_id", "no UTF-8", "too deep"),
        *("no status", "a text for a number", "400 digits", "5000 digits", "a list for a group"),
    ],
)
def test_rebuild_names_and_skips_a_result_that_cannot_be_read(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    leave_runs(tmp_path, table, full_record(1), full_record(2))
    damaged = tmp_path / "multirun" / "2026-01-02" / "0" / "result.json"
    damaged.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert rebuild(table, [tmp_path]) == 1
    assert run_ids(table) == ["r000000002"]
    assert f"{damaged} is left out" in caplog.text


def test_the_report_command_rebuilds_the_table(cli: Cli, tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "outputs" / "results.csv")
    leave_runs(tmp_path, table, full_record(1), full_record(2))
    appended = sorted_frame(table.path)
    table.path.unlink()
    done = cli("rebuild", "outputs", "multirun", module="mnist_sweep.report")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "outputs/results.csv: 2 runs\n"
    pd.testing.assert_frame_equal(sorted_frame(table.path), appended, check_like=True)


def test_the_report_command_refuses_a_folder_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    done = cli("rebuild", "no/such/folder", module="mnist_sweep.report")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: no/such/folder is not a folder")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_report_command_refuses_a_foreign_table(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(FOREIGN_TABLES["another csv"])
    done = cli("rebuild", ".", "--table", "mine.csv", module="mnist_sweep.report")
    assert done.returncode == 2
    assert done.stderr.startswith("error: record.table=mine.csv is another kind of table")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "mine.csv").read_bytes() == FOREIGN_TABLES["another csv"]


def test_a_stray_quote_harms_its_own_line_only(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    with table.path.open("a") as file:
        file.write('"broken\n')
    for name in ("r2", "r3"):
        table.append(record(name))
    assert run_ids(table) == ["r1", "r2", "r3"]
    table.append(record("r2"), replace=True)  # rewrites the whole table
    assert run_ids(table) == ["r1", "r3", "r2"]
    assert (tmp_path / "results.csv.torn").read_text() == '"broken\n'


def test_rebuild_without_a_run_leaves_the_table_and_older_backups_stay(tmp_path: Path) -> None:
    table = filled(tmp_path / "results.csv", "r1")
    before = table.path.read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no result.json below .*empty"):
        rebuild(table, [tmp_path / "empty"])
    assert table.path.read_bytes() == before
    write_result(tmp_path / "empty", record("r2"))
    for _ in range(2):
        rebuild(table, [tmp_path / "empty"])
    assert (tmp_path / "results.csv.bak").read_bytes() == before
    assert (tmp_path / "results.csv.bak2").exists() and run_ids(table) == ["r2"]
