"""The report's commands: tables in every format, and every mistake in one line."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnist_sweep.errors import exit_code
from mnist_sweep.report import load_results
from mnist_sweep.report.__main__ import COMMANDS, main
from mnist_sweep.report.leaderboard import leaderboard
from mnist_sweep.runs.record import write_result
from tests.conftest import Cli, environment
from tests.results import STATUSES, record, write

Report = Callable[..., tuple[int, str, str]]


@pytest.fixture
def report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Report:
    """`report("--by", "model")` in an empty folder -> exit code, output, errors."""

    def call(*arguments: str, columns: int | None = None) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        code = exit_code(main)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def a_sweep(folder: Path) -> None:
    """Seven configurations in two tracks, one of them with a long name, some runs that failed."""
    long = "model.stage1.width=13 model.stage2.kernel=5 " * 3
    write(
        folder / "outputs" / "results.csv",
        *(record(n, "c1", n, model="ds_cnn") for n in range(3)),
        *(record(n, "c2", n, model="rf_cnn", val_acc=0.98 + n / 1e4) for n in range(3, 6)),
        record(6, "c3", model="<b>|a_b|`[red]x[/]\x1b[31m&%", val_acc=0.5, num_params=None),
        *(record(n, f"s{n}", model="w", overrides=f"{long} x.y={n}") for n in range(7, 9)),
        *(record(n, "p1", n, protocol="published", test_acc_peak=1.0) for n in range(9, 12)),
        record(12, "c9", status="pruned", val_acc=None),
        record(13, "c9", status="infeasible", val_acc=None),
    )


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200, None])
def test_a_table_fits_the_terminal_and_no_row_is_wrapped(
    width: int | None, report: Report, tmp_path: Path
) -> None:
    a_sweep(tmp_path)
    code, out, err = report(columns=width)
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert width is None or max(map(len, lines)) <= width
    rows = [line for line in lines if re.match(r" *\d+  ", line)]
    assert [int(row.split()[0]) for row in rows] == [1, 2, 3, 4, 5, 1], out
    assert "\x1b" not in out
    joined = " ".join(out.split())
    for fact in (
        "mnist, select, 10,000 val and 10,000 test images: by val_acc, best first",
        "mnist, published, 10,000 test images: by test_acc, best first; test was watched",
        "#1 is the best of 5 by val_acc",
        "± ? is of one run",
        "1 pruned, 1 infeasible are not ranked",
    ):
        assert fact in joined
    if width is None or width >= 40:
        assert any(re.search(r"99\.01 ± 0\.01", row) for row in rows)
        assert all("±" in row for row in rows)
    if width is None or width >= 80:
        assert "95 % interval" in out and "test_acc" in out and "params" in out
    if width is None:
        assert "…" not in out and "left out: " not in out
    if width in (None, 200):
        assert "worst to best of n" in out and "98.03 to 98.05" in out and "MACs" in out


@pytest.mark.parametrize("width", [40, 60, 80, 200, None])
def test_columns_that_do_not_fit_are_named(
    width: int | None, report: Report, tmp_path: Path
) -> None:
    a_sweep(tmp_path)
    out = report("--where", "protocol == 'select'", columns=width)[1]
    header = next(line for line in out.splitlines() if line.lstrip().startswith("#  "))
    said = re.findall(r"left out: (.*?) \((.*?)\)", " ".join(out.split()))
    if width in (None, 200):
        assert said == []
        seconds = [line.split()[-1] for line in out.splitlines() if re.match(r"\d+  ", line)]
        assert seconds and all(re.fullmatch(r"[\d,]+\.\d", text) for text in seconds), "alike"
        return
    [(names, remedy)] = said
    assert remedy == "wider terminal or --format csv"
    left_out = names.split("; ")
    for name in ("val_acc, %", "test_acc, %", "95 % interval", "params", "MACs", "seconds"):
        assert (name in left_out) == (name not in header), name


def test_what_ranks_is_shown_and_groups_are_headed(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    out = report("--by", "model,seed", "--sort", "seconds:asc", columns=60)[1]
    assert "mnist, select, 10,000 val and 10,000 test images: by seconds" in " ".join(out.split())
    head = next(line for line in out.splitlines() if line.lstrip().startswith("#  "))
    assert head.split()[:4] == ["#", "model", "seed", "n"] and head.count("seconds") == 1


def test_top_cuts_and_says_so(report: Report, tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "results.csv", *(record(n, f"c{n}") for n in range(25)))
    assert "20 of 25 lines; --top 0 shows all" in report()[1]
    assert "25 of" not in report("--top", "0")[1]
    assert len(report("--format", "csv")[1].splitlines()) == 26
    assert len(report("--format", "csv", "--top", "3")[1].splitlines()) == 4


@pytest.mark.parametrize("by", [[], ["--by", "model,optimizer"]])
def test_csv_and_json_hold_all_columns_unrounded(
    by: list[str], report: Report, tmp_path: Path
) -> None:
    a_sweep(tmp_path)
    lines = leaderboard(load_results(tmp_path / "outputs"), by=by[1].split(",") if by else ())
    code, out, err = report("--format", "csv", *by)
    assert code == 0 and "1 pruned, 1 infeasible are not ranked" in err
    read = pd.read_csv(io.StringIO(out))
    assert list(read) == list(lines)
    assert read.label.tolist() == list(lines.label)
    np.testing.assert_array_max_ulp(read.val_acc_mean, lines.val_acc_mean)
    assert read.run_ids.str.split().tolist() == lines.run_ids.tolist()
    objects = json.loads(report("--format", "json", *by)[1])
    assert [list(line) for line in objects] == [list(lines)] * len(lines)
    for line, (_, row) in zip(objects, lines.iterrows(), strict=True):
        for name, value in row.items():
            missing = not isinstance(value, list) and pd.isna(value)
            assert line[name] is None if missing else line[name] == value


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+model.x=1", "-1+1", "@SUM(A1)", '=HYPERLINK("http://x";"y")', "a;=1+1", "\uff1d1+1"],
)
def test_no_text_of_the_csv_is_executed_by_a_spreadsheet(
    text: str, report: Report, tmp_path: Path
) -> None:
    table = tmp_path / "outputs" / "results.csv"
    write(table, record(1, model=text, overrides=text, lr=-0.5))
    content = table.read_bytes()
    table.write_bytes(content.replace(b",augmentation,", b",=1+1,", 1))
    for arguments in (["--by", "model"], ["--by", "overrides"], ["--by", "=1+1"], ["front"]):
        code, out, err = report(*arguments, "--format", "csv")
        assert code == 0, err
        for row in csv.reader(io.StringIO(out)):
            for cell in (part for cells in row for part in cells.split(";")):
                assert cell[:1] not in tuple("=+-@\uff1d") or is_number(cell), row
    assert json.loads(report("--by", "model", "--format", "json")[1])[0]["model"] == text


def is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9.e-]+", text) is not None


def test_markdown_is_ready_to_paste(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    code, out, err = report("-o", "table.md")
    assert (code, out, err) == (0, "", "")
    text = (tmp_path / "table.md").read_text()
    assert report("--format", "md")[1] == text
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        rows = [re.split(r"(?<!\\)\|", row) for row in table.splitlines()]
        assert len({len(row) for row in rows}) == 1
    assert r"`` <b>\|a_b\|`[red]x[/]?[31m&% ``" in text
    assert "1 pruned, 1 infeasible are not ranked" in text


def test_latex_is_escaped(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    text = report("--format", "latex")[1]
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"ds\_cnn & 3 & 99.01 $\pm$ 0.01 &" in text
    assert r"\textless{}b\textgreater{}|a\_b|`[red]x[/]?[31m\&\%" in text
    bodies = re.findall(r"\\midrule\n(.*?)\n\\bottomrule", text, flags=re.DOTALL)
    for body, alignment in zip(bodies, re.findall(r"tabular}{(\w+)}", text), strict=True):
        for row in body.splitlines():
            assert row.endswith(r" \\") and len(re.findall(r"(?<!\\)&", row)) + 1 == len(alignment)


def test_where_and_by_and_sort_go_together(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    arguments = ["outputs", "--where", "params > 0 and protocol == 'select'", "--format", "json"]
    lines = json.loads(report("--by", "model", *arguments, "--sort", "test_acc:asc")[1])
    assert [line["model"] for line in lines] == ["ds_cnn", "rf_cnn", "w"]
    assert {line["ranked_by"] for line in lines} == {"test_acc_mean"}


def test_nothing_completed_is_said(report: Report, tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "results.csv", record(1, status="pruned", val_acc=None))
    for form in ("rich", "md", "latex"):
        code, out, _ = report("--format", form)
        assert code == 0 and "no run is completed, so there is nothing to rank" in out
    code, out, err = report("--format", "csv")
    assert code == 0 and out.count("\n") == 1 and "nothing to rank" in err
    assert json.loads(report("--format", "json")[1]) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["fornt"], "fornt: no such command, did you mean front"),
        (["xyzzy"], "xyzzy: no such command (leaderboard, compare, front"),
        (["no/folder"], "no/folder: no such table or folder"),
        (["leaderboard", "no.csv"], "no.csv: no such table or folder"),
        (["--formt", "md"], "--formt: no such option, did you mean --format"),
        (["--format", "xml"], "invalid choice: 'xml' (choose from 'rich', 'md', 'csv'"),
        (["--top", "many"], "invalid int value: 'many'"),
        (["--top", "-1"], "--top -1: give a number of lines"),
        (["--by", "modle"], "--by modle: no such column, did you mean model"),
        (["--by", "rank"], "--by rank: no such column"),
        (["--sort", "val_accc"], "--sort val_accc: no such column, did you mean val_acc"),
        (["--where", "parms < 8"], "--where parms < 8: parms: no such column, did you mean"),
        (["--where", "params < "], "--where params <: not understood"),
        (["--where", "params < 8"], "--where params < 8: holds for none of the 14 runs"),
        (["-o", "no/such/place.md"], "-o no/such/place.md cannot be written (No such file"),
        (["-o", "."], "-o . cannot be written (Is a directory)"),
        (["-o", "report.html"], "-o report.html: the suffix is none of .txt, .md, .csv"),
        (["-o", "outputs/results.csv"], "this is the table that was read"),
        (["compare"], "the following arguments are required: X, Y"),
        (["compare", "r000000001"], "the following arguments are required: Y"),
        (["compare", "c1", "r00000000x"], "compare r00000000x: no such run or configuration, did"),
        (["compare", "r00000000", "c1"], "compare r00000000: could be any of c1, c2, c3"),
        (["compare", "r000000000", "c1"], "both are of configuration c1"),
        (["compare", "c1", "p1"], "they are of different tracks (mnist, select, 10,000 val and"),
        (["compare", "c1", "c9"], "compare c9: no run of c9 is completed"),
        (["rebuild"], "the following arguments are required: FOLDER"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str], problem: str, report: Report, tmp_path: Path
) -> None:
    a_sweep(tmp_path)
    before = (tmp_path / "outputs" / "results.csv").read_bytes()
    code, out, err = report(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and problem in err, err
    assert (tmp_path / "outputs" / "results.csv").read_bytes() == before


@pytest.mark.parametrize("command", ["leaderboard", "compare", "rebuild"])
def test_each_command_has_help_with_examples(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", command, "--help"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m mnist_sweep.report {command}") and "examples:" in text
    assert "%%" not in text and max(map(len, text.splitlines())) <= 100


def loaded(tmp_path: Path, *arguments: str) -> tuple[str, set[str]]:
    """What the real command prints, and the slow libraries that it imported."""
    code = (
        "import sys; from mnist_sweep.report.__main__ import main; main();"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    slow = {"torch", "matplotlib", "pandas", "scipy.stats", "plotly", "omegaconf"}
    return done.stdout, slow & set(done.stderr.split())


def test_help_answers_at_once_and_names_every_command(tmp_path: Path) -> None:
    text, slow = loaded(tmp_path, "--help")
    assert slow == set()
    assert all(f"\n  {command} " in text for command in COMMANDS)


def test_the_leaderboard_imports_pandas_alone(tmp_path: Path) -> None:
    a_sweep(tmp_path)
    text, slow = loaded(tmp_path)
    assert "by val_acc" in text and slow == {"pandas"}


def test_a_terminal_without_these_signs_gets_plain_ones(new_python: Cli, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    done = new_python(module="mnist_sweep.report", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "99.01 +- 0.01" in done.stdout


def test_rebuild_gives_every_run_back(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    runs = [record(n, f"c{n}", status=status) for n, status in enumerate(STATUSES)]
    table = tmp_path / "outputs" / "results.csv"
    table.unlink()
    write(table, *runs)
    before = load_results(table)
    for run in runs:
        folder = tmp_path / run.run_dir
        folder.mkdir(parents=True)
        write_result(folder, run)
    table.write_bytes(table.read_bytes()[:300])
    assert report("rebuild", "multirun")[:2] == (0, "outputs/results.csv: 6 runs\n")
    pd.testing.assert_frame_equal(load_results(table), before)


def test_a_run_of_which_little_is_known_is_shown_all_the_same(
    report: Report, tmp_path: Path
) -> None:
    (tmp_path / "results.csv").write_text(
        "run_id,status,test_acc\nr1,completed,0.5\nr2,completed,\n"
    )
    for form in ("rich", "md", "latex", "csv", "json"):
        code, out, err = report("results.csv", "--format", form)
        assert code == 0 and ("50.00 ± ?" in out or "50.00 $\\pm$ ?" in out or "0.5" in out)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "outputs/results.csv: no such table or folder; make runs with"),
        (b"", "outputs/results.csv: an empty file; make runs with"),
        (b"run_id,status,model\n", "outputs/results.csv: no run in it; make runs with"),
        (b"run_id,status\nr1\n", r"no run in it \(1 torn or foreign line "),
        (b"name,phone\nann,1\n", r"outputs/results.csv is no results table \(no columns run_id"),
        (b"run_id,status,run_id\nr1,completed,r1\n", "its header has the column run_id twice"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is no results table"),
    ],
)
def test_a_table_without_runs_is_refused_with_a_remedy(
    content: bytes | None, problem: str, report: Report, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "outputs").mkdir()
        (tmp_path / "outputs" / "results.csv").write_bytes(content)
    code, out, err = report()
    assert code == 2 and out == "" and err.count("\n") == 1
    assert re.search(f"^error: .*{problem}", err), err
    assert "python -m mnist_sweep" in err
