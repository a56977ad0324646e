"""Results tables read back, whatever they went through."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mnist_sweep.errors import UserError
from mnist_sweep.paths import CONF
from mnist_sweep.report import load_results
from mnist_sweep.report.read.load import GROUPS
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, Cli
from tests.results import STATUSES, record, write

NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]  # takes minutes here


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    runs = [
        record(1, error="größer, \"数字\" 'x'", val_acc=0.98, git_dirty=True, rung=3),
        record(2, seed=2**32 - 1, lr=1e-05, sweep="arch_20k", study="s", trial=4),
        record(3, None, status="failed", val_acc=None, test_acc=None, started=""),
    ]
    read = load_results(write(tmp_path / "results.csv", *runs))
    for (_, row), run in zip(read.iterrows(), runs, strict=True):
        for name, value in run.row().items():
            if name == "started":
                assert pd.isna(row[name]) if value == "" else row[name] == pd.Timestamp(value)
            elif value in (None, ""):
                assert pd.isna(row[name]), name
            else:
                assert row[name] == value, name
    assert list(read)[:2] == ["run_id", "status"]
    own = [name for name in asdict(runs[0]) if name != "groups"]
    assert [name for name in read if name in own] == own
    assert read.seed.dtype == read.trial.dtype == "Int64" and read.val_acc.dtype == "float64"
    assert read.git_dirty.dtype == "boolean" and read.model.dtype == "string"
    assert str(read.started.dtype) == "datetime64[us, UTC]"
    assert read.attrs == {"sources": [str(tmp_path / "results.csv")], "skipped": ""}


def test_accuracies_are_read_to_the_last_bit(tmp_path: Path) -> None:
    accuracies = [n / 10_000 for n in range(10_001)]
    rows = "".join(f"r{n},completed,{value!r}\n" for n, value in enumerate(accuracies))
    (tmp_path / "results.csv").write_text("run_id,status,val_acc\n" + rows)
    assert load_results(tmp_path).val_acc.tolist() == accuracies


def test_the_known_groups_are_those_of_the_main_config() -> None:
    known = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", "logger"}
    assert set(GROUPS) == known


def test_a_damaged_table_is_read_but_for_its_damage(tmp_path: Path) -> None:
    table = write(tmp_path / "results.csv", *(record(number) for number in range(1, 7)))
    header, *lines = table.read_bytes().splitlines()
    run = dict(enumerate(lines, 1))
    table.write_bytes(
        b"\n".join(
            [
                b"\xef\xbb\xbf" + header,
                run[1],
                b"",
                run[2][:40],  # torn
                run[2].replace(b",17418,", b",many,").replace(b"ds_cnn", b"ds\0_cnn"),
                b'"broken',
                b"1,2,3",
                run[3].replace(b"0.9903", b"nan").replace(b"adamw", b"\xff\xfe"),
                run[4].replace(b"completed", b"unheard of"),
                run[4].replace(b"ds_cnn", b"old"),
                run[4].replace(b"adamw", 'größer "数" [x]'.encode()) + b"\r",
                b"," * header.count(b","),
                run[5].replace(b",10000,10000,", b",1e300,10000.5,"),
                run[6][:-20] + run[1],
            ]
        )
    )
    read = load_results(table)
    assert read.run_id.tolist() == [f"r00000000{number}" for number in (1, 2, 3, 4, 5)]
    assert read.num_params.isna().tolist() == [False, True, False, False, False]
    assert read.model.tolist() == ["ds_cnn"] * 5
    assert read.val_acc.isna().tolist() == [False, False, True, False, False]
    assert read.optimizer.tolist()[2:4] == ["\ufffd\ufffd", 'größer "数" [x]']
    assert read.iloc[4][["val_images", "test_images"]].isna().all()
    assert read.attrs["skipped"] == (
        "1 empty line, 4 torn or foreign lines (too many or too few cells), 3 unfit cells read as "
        "empty, 2 lines without a run_id or a known status, 1 older line of a run with a newer one"
    )


def line_by_line(content: bytes) -> list[dict[str, str]]:
    """The rows of a table: the lines that have a cell for each column."""
    first, *lines = content.decode(errors="replace").replace("\0", "").split("\n")
    header = first.split(",")
    rows = []
    for line in lines:
        cells = next(csv.reader([line]))
        if len(cells) == 1 and line[0] == line[-1] == '"':
            cells = next(csv.reader(cells))
        if len(cells) == len(header):
            rows.append(dict(zip(header, cells, strict=True)))
    return rows


@settings(deadline=None, max_examples=60, phases=NO_SHRINKING)
@given(data=st.data())
def test_any_damage_costs_the_lines_it_hits(data: st.DataObject, tmp_path_factory: Any) -> None:
    # The independent reading is line by line. It has no answer to a carriage return.
    text = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=12)
    runs = [
        record(number, overrides=data.draw(text), error=data.draw(text), model=data.draw(text))
        for number in range(data.draw(st.integers(1, 4)))
    ]
    table = ResultsTable(tmp_path_factory.mktemp("table") / "results.csv")
    table.extend(runs)
    content = table.path.read_bytes()
    head = content.index(b"\n") + 1
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(head, len(content)))
        stop = start + data.draw(st.integers(0, 3))
        bit = data.draw(
            st.sampled_from([b"", b'"', b",", b"\n", b'""', b'",', b',"', b"\0", b"\xff"])
        )
        content = content[:start] + bit + content[stop:]
    table.path.write_bytes(content)
    expected: dict[str, dict[str, str]] = {}
    rows = line_by_line(content)
    assert table.rows() == rows
    for row in rows:
        if row["run_id"] and row["status"] in STATUSES:
            expected.pop(row["run_id"], None)
            expected[row["run_id"]] = row
    try:
        read = load_results(table.path)
    except UserError:
        assert not expected
        return
    assert read.run_id.tolist() == list(expected)
    for name in ("overrides", "error", "model", "run_dir"):
        assert read[name].fillna("").tolist() == [row[name] for row in expected.values()]


def test_old_and_new_columns_go_together(tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv", record(1, rung=3), record(2))
    old = "run_id,status,model,val_acc,head\nr9,completed,rf_cnn,0.98,gap\n"
    joined = tmp_path / "joined.csv"
    joined.write_bytes(new.read_bytes() + old.encode())
    read = load_results(joined)
    assert read.run_id.tolist() == ["r000000001", "r000000002", "r9"]
    assert read.rung.tolist()[0] == 3 and read["head"].isna().tolist() == [True, True, False]
    assert read.val_acc.tolist() == [0.9901, 0.9902, 0.98]
    (tmp_path / "old.csv").write_text(old)
    both = load_results(new, tmp_path / "old.csv")
    pd.testing.assert_frame_equal(both, read, check_like=True)


def test_a_folder_stands_for_its_table_or_for_those_below(tmp_path: Path) -> None:
    write(tmp_path / "a" / "results.csv", record(1), record(2))
    write(tmp_path / "a" / "deep" / "results.csv", record(2), record(3))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.csv").write_text("name,phone\nann,1\n")
    assert len(load_results(tmp_path / "a")) == 2
    read = load_results(tmp_path)
    assert sorted(read.run_id) == ["r000000001", "r000000002", "r000000003"]
    assert read.attrs["skipped"] == "1 foreign file named results.csv"
    write(tmp_path / "c" / "results.csv", record(3, val_acc=0.5))
    assert load_results(tmp_path).attrs["skipped"] == (
        "1 foreign file named results.csv, 1 repeat of a run in another table"
    ), "the same run, told otherwise"


def test_the_rows_of_a_sweep_in_both_its_tables_are_no_repeats(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *TINY, "model=ds_cnn_v3_code", "seed=0,1")
    assert done.returncode == 0, done.stderr
    page = cli("html", "outputs", "multirun", module="mnist_sweep.report")
    assert page.returncode == 0, page.stderr
    assert "2 runs (2 completed)" in page.stdout and "skipped" not in page.stdout
    assert "Not read" not in (tmp_path / "report.html").read_text()
