"""Results tables in the forms that editors and spreadsheets give them: the reader and those who
append take each for the same, or refuse it in the same words; and nothing whole is moved away."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mnist_sweep.report import load_results
from mnist_sweep.runs.record import write_result
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, Cli, read_table
from tests.results import record, write

BOM = b"\xef\xbb\xbf"


def quoted_lines(table: bytes) -> bytes:
    """As a spreadsheet saves what it took for one column."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([line] for line in table.decode().splitlines())
    return out.getvalue().encode()


OTHER = b"run_id,status,head,val_acc\nr9,completed,gap,0.5\n"
"""A table with a column of its own, and few."""

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "no final line end": lambda table: table.rstrip(b"\n"),
    "byte order mark": lambda table: BOM + table,
    "blank first lines": lambda table: b"\n \r\n" + table,
    "blank lines between": lambda table: table.replace(b"\n", b"\n\n"),
    "CR": lambda table: table.replace(b"\n", b"\r"),
    "CR, no final one": lambda table: table.replace(b"\n", b"\r").rstrip(b"\r"),
    "CRLF": lambda table: table.replace(b"\n", b"\r\n"),
    "CR in its upper half": lambda table: table.replace(b"\n", b"\r", 2),
    "all quoted": quoted_lines,
    "all of these": lambda table: BOM + b"\r\r" + table.replace(b"\n", b"\r").rstrip(b"\r"),
}

JOINED: dict[str, Callable[[bytes], bytes]] = {
    "joined": lambda table: table + OTHER,
    "joined before": lambda table: OTHER + table,
    "joined, with a mark and without an end": lambda table: table + BOM + OTHER.rstrip(b"\n"),
}


def a_table(folder: Path) -> Path:
    runs = [record(1, error='größer, "so"'), record(2, rung=3), record(3, rung=16)]
    return write(folder / "outputs" / "results.csv", *runs)


IDS = ["r000000001", "r000000002", "r000000003"]


@pytest.mark.parametrize("form", [*FORMS, *JOINED])
def test_every_form_is_read_and_gone_on_with(form: str, tmp_path: Path) -> None:
    path = a_table(tmp_path)
    before = load_results(path)
    path.write_bytes({**FORMS, **JOINED}[form](path.read_bytes()))
    read, ids = load_results(path), IDS + ["r9"] * (form in JOINED)
    assert sorted(read.run_id) == sorted(ids)
    ours = read[read.run_id != "r9"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours[list(before)], before, check_exact=True)

    table = ResultsTable(path)
    assert sorted(row["run_id"] for row in table.rows()) == sorted(ids)
    table.check()
    table.append(record(4))
    table.append(record(5))
    table.append(record(1, val_acc=0.25), replace=True)
    again = load_results(path)
    assert sorted(again.run_id) == sorted([*ids, "r000000004", "r000000005"])
    assert again.attrs["skipped"] == ""
    accs = dict(zip(again.run_id, again.val_acc, strict=True))
    assert accs["r000000001"] == 0.25 and accs["r000000003"] == 0.9903
    assert accs.get("r9", 0.5) == 0.5
    others = pd.read_csv(path)
    assert sorted(others.run_id) == sorted(again.run_id), "any program reads it now"
    assert [file.name for file in path.parent.iterdir() if file.name[0] != "."] == ["results.csv"]


def test_a_form_that_comes_while_a_search_appends_is_seen(tmp_path: Path) -> None:
    """Appends look only at what is new since their last one."""
    path = tmp_path / "outputs" / "results.csv"
    table, ids = ResultsTable(path), ["r000000000"]
    table.append(record(0))
    for number, (name, change) in enumerate({**FORMS, **JOINED}.items(), start=1):
        path.write_bytes(change(path.read_bytes()))
        table.append(record(number))
        ids.append(f"r{number:09d}")
        read = load_results(path)
        assert sorted(read.run_id[read.run_id != "r9"]) == ids, name
        assert len(read) == len(ids) + ("r9" in set(read.run_id)), name
    assert not path.with_name("results.csv.torn").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_run_goes_on_with_every_form(form: str, cli: Cli, tmp_path: Path) -> None:
    path = a_table(tmp_path)
    path.write_bytes(FORMS[form](path.read_bytes()))
    done = cli(*TINY)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    table = read_table(tmp_path)
    assert list(table.run_id)[:3] == IDS and len(table) == 4
    assert not path.with_name("results.csv.torn").exists()


def test_a_number_cut_short_at_the_end_of_the_file_is_no_torn_line(tmp_path: Path) -> None:
    """The one cut that cannot be told from a missing line end is left as the row that it is."""
    path = a_table(tmp_path)
    path.write_bytes(path.read_bytes().rstrip(b"\n")[:-1])
    assert load_results(path).rung.tolist()[2] == 1
    ResultsTable(path).append(record(4))
    assert load_results(path).rung.tolist()[2] == 1


def decimal_commas(table: bytes, separator: str = ",") -> bytes:
    out = io.StringIO()
    rows = csv.reader(io.StringIO(table.decode()))
    csv.writer(out, delimiter=separator, lineterminator="\r\n").writerows(
        [cell.replace(".", ",") for cell in row] for row in rows
    )
    return out.getvalue().encode()


def semicolons(table: bytes) -> bytes:
    return decimal_commas(table, ";")


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "semicolons": (semicolons, "separated by semicolons"),
    "semicolons and a mark": (lambda table: BOM + semicolons(table), "separated by semicolons"),
    "decimal commas": (decimal_commas, "its numbers have decimal commas"),
    "tabs": (lambda table: table.replace(b",", b"\t"), "separated by tabs"),
    "UTF-16": (lambda table: table.decode().encode("utf-16"), "UTF-16"),
    "a column twice": (
        lambda table: table.replace(b",seed,", b",model,", 1),
        "its header has the column model twice",
    ),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_read_is_refused_by_all_and_made_again(
    form: str, cli: Cli, tmp_path: Path
) -> None:
    path = a_table(tmp_path)
    for number in (1, 2, 3):
        run_dir = tmp_path / "multirun" / str(number)
        run_dir.mkdir(parents=True)
        write_result(run_dir, record(number))
    change, words = REFUSED[form]
    content = change(path.read_bytes())
    path.write_bytes(content)
    for arguments, module in (
        (TINY, "mnist_sweep"),
        ([], "mnist_sweep.report"),
        (["r000000001"], "mnist_sweep.evaluate"),
    ):
        done = cli(*arguments, module=module)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "outputs/results.csv cannot be read" in done.stderr and words in done.stderr
        assert "rebuild outputs multirun" in done.stderr and "train_loss" not in done.stdout
        assert path.read_bytes() == content
    done = cli("rebuild", "outputs", "multirun", module="mnist_sweep.report")
    assert (done.returncode, done.stdout) == (0, "outputs/results.csv: 3 runs\n"), done.stderr
    assert list(read_table(tmp_path).run_id) == IDS
    assert path.with_name("results.csv.bak").read_bytes() == content


@pytest.mark.parametrize("digits", [25, 400, 5000])
def test_a_number_of_many_digits_is_an_unfit_cell(digits: int, cli: Cli, tmp_path: Path) -> None:
    path = a_table(tmp_path)
    long = b"7" * digits
    path.write_bytes(path.read_bytes().replace(b",17418,", b",%b," % long, 2))
    assert cli(*TINY).returncode == 0
    assert path.read_bytes().count(long) == 2, "left as it is"
    for arguments in (["--format", "csv"], ["front"], ["html", "-o", "page.html"]):
        done = cli(*arguments, module="mnist_sweep.report")
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (
        "2 unfit cells read as empty" in cli("--format", "csv", module="mnist_sweep.report").stderr
    )
    assert load_results(path).num_params.isna().tolist() == [True, True, False, False]
