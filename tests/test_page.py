"""The HTML report as a file."""

import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_sweep.errors import UserError
from mnist_sweep.report import load_results
from mnist_sweep.report.__main__ import parse
from mnist_sweep.report.page.columnar import columnar
from mnist_sweep.report.page.make import make_page
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable
from tests.report_page import (
    HOSTILE,
    html,
    make_records,
    page_of,
    read,
    run_ids,
    write_run,
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecord]:
    records = make_records(tmp_path_factory.mktemp("runs"))
    for record in records:
        write_run(record)
    return records


@pytest.fixture(scope="module")
def report(records: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(records, tmp_path_factory.mktemp("report"))


def cells(column: dict[str, Any], n: int) -> list[Any]:
    """A column of the page's data, decoded as columns.js does."""
    values = column["values"] * n if column.get("constant") and len(column["values"]) == 1 else None
    if column["kind"] == "number":
        scale = 1 if column["digits"] is None else 10 ** column["digits"]
        return [None if v is None else v / scale for v in values or column["values"]]
    if column["kind"] == "words":
        codes = column["codes"] * n if column.get("constant") else column["codes"]
        words = column["values"]
        return [
            None if c is None else column["separator"].join(words[code] for code in c)
            for c in codes
        ]
    if column.get("constant"):
        return [column["values"][0]] * n
    if "codes" in column:
        return [column["values"][code] for code in column["codes"]]
    plain: list[Any] = column["values"]
    return plain


def test_is_one_wellformed_file_that_asks_for_nothing(report: Path) -> None:
    reader = read(report)
    assert reader.open == []
    assert report.stat().st_size < 4e6
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not any(name.startswith("on") for name in attributes)
        assert not attributes.get("src")
        assert (attributes.get("href") or "#").startswith("#")
    [policy] = [a["content"] or "" for t, a in reader.tags if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    script_source = policy.split(";")[1]
    assert "unsafe" not in script_source and "http" not in policy


def test_has_its_parts_in_order(report: Path) -> None:
    tags = read(report).tags
    levels = [int(tag[1]) for tag, _ in tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in zip(levels, levels[1:], strict=False))
    names = [tag for tag, _ in tags]
    for landmark in ("header", "nav", "main", "footer", "dialog"):
        assert names.count(landmark) == 1
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    linked = {(a.get("href") or "").removeprefix("#") for t, a in tags if t == "a"}
    assert {name for name in linked if name and not name.startswith("run=")} <= set(ids)
    labelled = {a.get("for") for t, a in tags if t == "label"}
    assert {a.get("id") for t, a in tags if t in ("input", "select")} <= labelled


def test_says_what_was_run(report: Path, records: list[RunRecord]) -> None:
    words = read(report).words
    assert f"{len(records)} runs" in words
    for expected in (
        "15 completed",
        "0123456789 (changed)",
        "2.15.0",
        "ds_cnn",
        "best of",  # never a plain best
        "2 completed, 2 pruned",
        "python -m mnist_sweep.report html",
    ):
        assert expected in words
    assert "17,418 parameters" in words  # the net of the config that the winner's directory holds


def test_accuracies_are_in_percent_as_in_the_terminal(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = read(report).words
    table = parse([str(report.with_name("results.csv")), "--format", "md", "--top", "15"])
    table.run(table)
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    heading = next(cells for cells in lines if "val_acc, %" in cells)
    shown = [
        dict(zip(heading, cells, strict=True)) for cells in lines if len(cells) == len(heading)
    ]
    means = [line["val_acc, %"] for line in shown if "±" in line["val_acc, %"]]
    assert "99.02 ± 0.02" in means and "99.18 ± ?" in means
    for mean in means:
        assert mean.removesuffix(" ± ?") in words
    intervals = [line["95 % interval"] for line in shown if " to " in line["95 % interval"]]
    assert intervals and all(interval in words for interval in intervals)
    assert "val_acc, % 95 % interval test_acc, % 95 % interval" in words
    assert "Best val_acc of mnist, protocol select 99.18 %" in words
    assert re.findall(r"0\.9\d+", words) == ["0.99"]  # of the filter's help


def test_markup_in_names_is_text(report: Path) -> None:
    reader = read(report)
    assert [a for t, a in reader.tags if t == "img" or "onload" in a] == []
    assert HOSTILE[0] in reader.words and "{{ 7 * 7 }}" in reader.words
    assert sorted(reader.scripts) == ["data", "page", "plotly"]


def test_data_are_the_table(report: Path, records: list[RunRecord]) -> None:
    data = read(report).data()
    runs = data["runs"]
    assert runs["n"] == len(records)
    columns = {c["name"]: cells(c, runs["n"]) for c in runs["columns"]}
    for name in ("run_id", "status", "num_params", "val_acc", "test_acc", "error", "overrides"):
        expected = [record.row()[name] for record in records]
        # One line a row: the table has made a separator of lines a blank.
        expected = [" ".join(v.split()) if isinstance(v, str) else v for v in expected]
        assert columns[name] == expected
    assert "rung" not in columns  # of which no run has one
    assert set(data["curves"]["of"]) == {record.run_id for record in records if record.val_acc}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), texts),
            st.one_of(st.none(), st.floats(0, 1), st.just(float("inf"))),
            st.one_of(st.none(), st.integers(0, 10**9)),
            st.one_of(st.none(), st.booleans()),
            st.one_of(st.none(), st.floats(1e-9, 1e9)),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_columns_come_back(rows: list[tuple[Any, ...]]) -> None:
    names = ["error", "val_acc", "macs", "git_dirty", "train_loss"]
    types = ["string", "float64", "Int64", "boolean", "float64"]
    frame = pd.DataFrame(
        {
            name: pd.array([row[n] for row in rows], dtype=dtype)  # type: ignore[call-overload]
            for n, (name, dtype) in enumerate(zip(names, types, strict=True))
        }
    )
    encoded = json.loads(json.dumps(columnar(frame), allow_nan=False))
    columns = {c["name"]: cells(c, len(rows)) for c in encoded["columns"]}
    for n, name in enumerate(names):
        given = [row[n] for row in rows]
        if all(value is None for value in given):
            assert name not in columns
            continue
        for value, found in zip(given, columns[name], strict=True):
            if value is None or value == float("inf"):
                assert found is None
            elif name == "train_loss":
                assert found == pytest.approx(value, rel=6e-4)
            elif name == "val_acc":
                assert found == pytest.approx(value, abs=6e-5)
            else:
                assert found == ({True: "yes", False: "no"}[value] if n == 3 else value)


def test_a_single_failed_run(tmp_path: Path) -> None:
    record = RunRecord(
        "r1", "failed", {"data": "mnist", "model": "ds_cnn"}, 0, error="out of memory"
    )
    ResultsTable(tmp_path / "results.csv").append(record)
    words = read(html(tmp_path, str(tmp_path))).words
    assert "1 run: 1 failed" in words
    assert "No run was completed" in words
    assert "out of memory" in words


def test_published_says_that_test_was_watched(tmp_path: Path) -> None:
    groups: dict[str, str | None] = {"data": "mnist", "model": "ds_cnn", "protocol": "published"}
    record = RunRecord("r1", "completed", groups, 0, test_images=10_000, test_acc=0.99)
    record.test_acc_peak = 0.9987
    ResultsTable(tmp_path / "results.csv").append(record)
    words = read(html(tmp_path, str(tmp_path))).words
    assert "looks at the test set every epoch" in words
    assert "best of 1 configuration, n = 1, test was watched" in words
    assert "99.87" not in words  # picked on test: of the run's panel only


def test_failures_that_differ_in_numbers_are_one(tmp_path: Path) -> None:
    records = [
        RunRecord(f"r{n:03}", "failed", {"data": "mnist"}, n, error=f"nan in epoch {n}, step {n}.5")
        for n in range(12)
    ]
    records.append(RunRecord("r900", "failed", {"data": "mnist"}, 0, error="disk full"))
    ResultsTable(tmp_path / "results.csv").extend(records)
    words = read(html(tmp_path, str(tmp_path))).words
    assert "failed 12 nan in epoch 0, step 0.5 r000 r001 r002 r003 r004 and 7 more" in words
    assert "failed 1 disk full r900" in words


def test_same_runs_make_the_same_page_but_for_the_time(report: Path) -> None:
    runs = load_results(report.with_name("results.csv"))
    first, second = (make_page(runs, "t", "c") for _ in range(2))
    assert first.replace(first[first.index("Made 20") :][:21], "") == second.replace(
        second[second.index("Made 20") :][:21], ""
    )


def test_where_picks_runs(report: Path, tmp_path: Path) -> None:
    table = str(report.with_name("results.csv"))
    data = read(html(tmp_path, table, "--where", "model == 'rf_cnn'")).data()
    assert data["runs"]["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "missing: no such table or folder"),
        (["results.csv", "-o", "."], "that is a folder"),
        (["results.csv", "-o", "page.txt"], "-o page.txt: a page is HTML; end the name in .html"),
        (["results.csv", "-o", "page"], "-o page: a page is HTML; end the name in .html"),
        (["results.csv", "-o", "no/such/report.html"], "-o no/such/report.html cannot be written"),
        (["results.csv", "--where", "nonsense > 1"], "nonsense"),
        (["results.csv", "--where", "seed > 999"], "--where seed > 999: holds for none"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ResultsTable(Path("results.csv")).append(RunRecord("r1", "failed", {"data": "mnist"}, 0))
    parsed = parse(["html", *arguments])
    with pytest.raises(UserError) as caught:
        parsed.run(parsed)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["results.csv"]


@pytest.mark.parametrize("name", ["page.htm", "Page.HTML"])
def test_a_page_may_have_either_suffix(name: str, tmp_path: Path) -> None:
    ResultsTable(tmp_path / "results.csv").append(RunRecord("r1", "failed", {"data": "mnist"}, 0))
    parsed = parse(["html", str(tmp_path), "-o", str(tmp_path / name)])
    parsed.run(parsed)
    assert read(tmp_path / name).open == []


def test_a_search_tells_how_it_went(search_report: Path) -> None:
    reader = read(search_report)
    command = reader.words[reader.words.index("python -m mnist_sweep -m ") :]
    assert command.startswith("python -m mnist_sweep -m sweep=arch_20k data=digits debug=fast")
    assert "model." not in command.partition(" hydra.sweeper.n_jobs=1")[0]  # what was searched
    assert "debug=fast runs a few steps only" in reader.words
    assert "Best trial" in reader.words
    data = reader.data()
    assert len(run_ids(data["plots"]["timeline-search-0"])) == 4
    assert data["plots"]["importance-search-0"]["data"][0]["x"]
    assert len(run_ids(data["plots"]["parallel-search-0"])) == 4
    best = load_results(search_report.parent / "multirun/arch_20000").val_acc.max()
    said = reader.words[reader.words.index("Best trial") :].partition("Trains it again")[0]
    assert "trial val_acc, % parameters run" in said and f"{100 * best:.2f}" in said
    assert len(data["curves"]["of"]) == 4


def test_runs_are_found_where_they_were_moved_to(
    records: list[RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep's folder under another name, read from another working directory."""
    monkeypatch.chdir(tmp_path)
    moved = tmp_path / "elsewhere"
    for number, record in enumerate(records[:2]):
        record = replace(record, run_dir=f"multirun/sweep/{number}")
        write_run(replace(record, run_dir=str(moved / str(number))))
        ResultsTable(moved / "results.csv").append(record)
    write_run(replace(records[2], run_dir="multirun/sweep/0"))  # another run lies there now
    data = read(html(tmp_path, str(moved))).data()
    assert list(data["curves"]["of"]) == [records[1].run_id, records[0].run_id]
    shutil.rmtree(moved / "0")
    data = read(html(tmp_path, str(moved))).data()
    assert list(data["curves"]["of"]) == [records[1].run_id]


def test_a_net_whose_code_has_changed_is_not_drawn(
    records: list[RunRecord], tmp_path: Path
) -> None:
    write_run(replace(records[0], run_dir=str(tmp_path / "run"), num_params=17_000))
    row = replace(records[0], run_dir=str(tmp_path / "run"))
    ResultsTable(tmp_path / "results.csv").append(row)
    words = read(html(tmp_path, str(tmp_path))).words
    assert "now builds a net of 17,418 parameters, and the one that was trained had 17,000" in words


def test_many_configurations_are_fewer_dots(tmp_path: Path) -> None:
    groups: dict[str, str | None] = {"data": "mnist", "model": "m", "protocol": "select"}
    draw = random.Random(0)
    runs = [
        RunRecord(
            *(f"r{n:05}", "completed", groups, 0),
            num_params=draw.randrange(500, 20_000),
            val_images=10_000,
            val_acc=draw.randrange(9800, 9970) / 10_000,
            test_acc=draw.randrange(9800, 9970) / 10_000,
        )
        for n in range(4000)
    ]
    ResultsTable(tmp_path / "results.csv").extend(runs)
    [front] = read(html(tmp_path, str(tmp_path))).data()["fronts"]
    figure = front["figures"]["val_acc"]
    drawn = run_ids(figure)
    assert len(drawn) < 4000
    texts = [text for trace in figure["data"] for text in trace["text"]]
    hidden = [re.search(r"<br>([\d,]+) more within", text) for text in texts]
    more = sum(int(found[1].replace(",", "")) for found in hidden if found)
    assert len(drawn) + more == 4000
    assert front["note"] == (
        f"Dots that would hide each other are one: {len(drawn):,} for 4,000 configurations."
    )
    best = [
        run.run_id
        for run in runs
        if not any(
            (other.num_params, run.val_acc) != (run.num_params, other.val_acc)
            and (other.num_params or 0) <= (run.num_params or 0)
            and (other.val_acc or 0) >= (run.val_acc or 0)
            for other in runs
        )
    ]
    assert sorted(run_ids(figure, "front: none is smaller and better")) == best
