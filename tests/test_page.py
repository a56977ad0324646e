"""The HTML report: as a file, and in headless Chromium, as its reader meets it."""

import base64
import gzip
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.report import load_results
from mnist_sweep.report.__main__ import parse
from mnist_sweep.report.page import bundle
from mnist_sweep.report.page.columnar import columnar
from mnist_sweep.report.page.make import make_page
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.browser import Opened
from tests.conftest import TINY, environment, make_config

HOSTILE = [
    "<script>window.harmed = true</script>",
    "</script><img src=x onerror='window.harmed = true'>",
    "<!--<script>",
    "{{ 7 * 7 }} ${7 * 7} %{x}",
    "\"'><svg/onload=window.harmed=true>",
    "&lt;b&gt; & <b>bold</b>",
    "Größe 🦔 \u2028 end",
]

# Runs to report on


def make_records(folder: Path) -> list[RunRecord]:
    """Two nets over three seeds, four trials of a search, two that failed, some hostile names."""
    models = ["ds_cnn", "rf_cnn"] * 3 + ["cnn_space"] * 4 + ["ds_cnn"] * 2 + HOSTILE
    statuses = ["completed"] * 8 + ["pruned"] * 2 + ["failed", "diverged"]
    statuses += ["completed"] * len(HOSTILE)
    records = []
    for number, (model, status) in enumerate(zip(models, statuses, strict=True)):
        completed, searched = status == "completed", model == "cnn_space"
        hostile = model in HOSTILE
        records.append(
            RunRecord(
                run_id=f"r{number:09d}",
                status=status,  # type: ignore[arg-type]
                groups={"data": "mnist", "model": model, "protocol": "select"},
                seed=number // 2 if number < 6 else 0,
                num_params=4000 + 1000 * number,
                macs=123_456,
                epochs=3,
                epochs_done=3 if completed else 1,
                batch_size=128,
                lr=0.01,
                val_images=10_000,
                test_images=10_000,
                train_acc=0.98,
                val_acc=round(0.99 + number / 10_000, 4),
                test_acc=0.991 if completed else None,
                seconds=60.0 + number,
                device="cpu",
                mnist_sweep_version="0.1.0",
                torch_version="2.15.0",
                python_version="3.11.7",
                git_commit="0123456789abcdef0123456789abcdef01234567",
                git_dirty=True,
                config_hash=f"c{number % 2 if number < 6 else number:011d}",
                overrides=f"model={model} seed={number}",
                run_dir=str(folder / "multirun" / str(number)),
                started=f"2026-01-02T03:{number:02d}:00+00:00",
                error=None
                if completed or status == "pruned"
                else f"loss is nan in epoch {number}: {HOSTILE[0]}",
                study=HOSTILE[1] if hostile else "arch" if searched else None,
                trial=number if searched else None,
            )
        )
    return records


def write_run(record: RunRecord) -> None:
    """A run's directory, with a curve and a config."""
    run_dir = Path(record.run_dir)
    (run_dir / ".hydra").mkdir(parents=True)
    write_result(run_dir, record)
    curve = [0.9, 0.97, record.val_acc][: record.epochs_done]
    write_history(
        run_dir,
        [
            EpochMetrics(n, 0.01, 0.1 / n, 0.98, 0.1 / n, acc, 0.1, 0.98, None, None, 1.0, 100.0)
            for n, acc in enumerate(curve, start=1)
        ],
    )
    (run_dir / ".hydra" / "config.yaml").write_text(config_yaml())


@cache
def config_yaml() -> str:
    return OmegaConf.to_yaml(make_config("model=ds_cnn"))


def html(folder: Path, *arguments: str) -> Path:
    """Runs the command in this process; returns the page it wrote."""
    output = folder / "report.html"
    parsed = parse(["html", *arguments, "-o", str(output)])
    parsed.run(parsed)
    return output


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecord]:
    folder = tmp_path_factory.mktemp("runs")
    records = make_records(folder)
    for record in records:
        write_run(record)
    return records


@pytest.fixture(scope="module")
def report(records: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    table = ResultsTable(folder / "results.csv")
    table.extend(records)
    return html(folder, str(table.path), "--title", HOSTILE[0])


# The file


class Reader(HTMLParser):
    """Text and elements; every element that was opened must be closed."""

    VOID = ("meta", "input", "rect", "img", "br", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            name = self.tags[-1][1].get("id") or "page"
            self.scripts[name] = self.scripts.get(name, "") + data
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def data(self) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self.scripts["data"])))


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def run_ids(figure: dict[str, Any], trace: str | None = None) -> list[str]:
    """Of the points of a figure or of one of its traces, each once."""
    found = [
        run_id
        for one in figure["data"]
        if trace in (None, one.get("name"))
        for run_id in one.get("customdata", [])
    ]
    return [run_id for run_id in dict.fromkeys(found) if run_id]


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
        (["results.csv", "-o", "no/such/report.html"], "no/such/report.html: cannot be written"),
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


@pytest.fixture(scope="module")
def search_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From a sweep to its page, through the real commands."""
    folder = tmp_path_factory.mktemp("search")
    search = ["sweep=arch_20k", *TINY, "trainer.epochs=1", "hydra/sweeper/pruner=none"]
    limits = ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=1"]
    for arguments in (
        ["mnist_sweep", "-m", *search, *limits],
        ["mnist_sweep.report", "html", "multirun/arch_20000"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("report.html: 2.") and "4 runs (4 completed" in done.stdout
    return folder / "report.html"


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


# The parts


def test_every_figure_is_one_of_plotlys(search_report: Path, report: Path) -> None:
    """Its own classes check each name and value; `var(--name)` they take for a colour."""
    import plotly.graph_objects as go

    for page in (report, search_report):
        data = read(page).data()
        go.Layout(data["theme"])
        for name in re.findall(r"var\((--[\w-]+)\)", json.dumps(data)):
            assert f"  {name}: " in bundle.style()
        figures = [*data["plots"].values()]
        for choice in (*data["fronts"], *data["curves"]["rankings"]):
            figures += choice["figures"].values()
            assert choice["first"] in choice["figures"]
        for figure in figures:
            for trace in go.Figure(figure).data:
                lengths = {len(values) for values in (trace.x, trace.y, trace.text) if values}
                assert len(lengths) <= 1
        assert figures


def test_every_script_and_style_is_in_the_bundle() -> None:
    script = bundle.script("start")
    for path in bundle.SCRIPTS.glob("*.js"):
        assert script.count(f"// {path.name}\n") == 1
        source = path.read_text()
        # What is taken from another one is there, and nothing is left that a bundle cannot have.
        for names, module in re.findall(r'^import \{ (.+) \} from "\./(\w+)\.js";$', source, re.M):
            exported = set(
                re.findall(
                    r"^export (?:async )?(?:function|const|class) (\w+)",
                    (bundle.SCRIPTS / f"{module}.js").read_text(),
                    re.M,
                )
            )
            assert set(names.split(", ")) <= exported, path
    assert not re.search(r"^(import|export)\b", script, re.M)
    assert sorted(bundle.STYLE_ORDER) == sorted(path.stem for path in bundle.STYLES.glob("*.css"))


def test_the_bundle_is_javascript(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    (tmp_path / "page.js").write_text(bundle.script("start"), encoding="utf-8")
    checked = subprocess.run([node, "--check", "page.js"], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0, checked.stderr.decode()


# In the browser


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    shown = Opened(browser, report)
    yield shown
    assert shown.said == [] and shown.asked == []
    assert shown.page.evaluate("window.harmed") is None
    shown.context.close()


def test_table_sorts(opened: Opened, records: list[RunRecord]) -> None:
    header = opened.page.get_by_role("columnheader", name="num_params")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    by_size = sorted(records, key=lambda record: record.num_params or 0)
    assert opened.ids() == [record.run_id for record in reversed(by_size)]
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert opened.ids() == [record.run_id for record in by_size]


def test_accuracies_are_shown_in_percent(opened: Opened, records: list[RunRecord]) -> None:
    header = opened.page.locator("#grid").get_by_role("columnheader", name="val_acc, %")
    assert header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").click()
    by_accuracy = sorted(records, key=lambda record: record.val_acc or 0)
    assert opened.ids() == [record.run_id for record in by_accuracy]
    place = opened.page.locator("#grid [role=columnheader]").all_text_contents().index("val_acc, %")
    cells = opened.page.locator(f"#grid .body .row > :nth-child({place + 1})").all_text_contents()
    assert cells == [f"{100 * (record.val_acc or 0):.2f}" for record in by_accuracy]
    opened.page.locator("#grid .row", has_text="r000000004").click()
    opened.page.locator("#panel .main-svg").first.wait_for()
    panel = opened.page.locator("#panel")
    assert "val_acc 99.04 % · test_acc 99.10 %" in str(panel.text_content())
    facts = panel.locator("dt", has_text="train_acc").locator("xpath=following-sibling::dd[1]")
    assert facts.first.text_content() == "98.00 %"
    label = panel.locator(".plot").get_attribute("aria-label")
    assert label.endswith("train_acc 98.00 %, val_acc 99.04 %")
    ticks = panel.locator(".ytick").all_text_contents()
    assert "98" in ticks and all(float(tick) >= 50 for tick in ticks)
    assert panel.locator(".ytitle").text_content() == "accuracy, %"


def test_missing_values_sort_last(opened: Opened) -> None:
    button = opened.page.get_by_role("columnheader", name="test_acc").get_by_role("button")
    without = {"r000000008", "r000000009", "r000000010", "r000000011"}
    for _ in range(2):
        button.click()
        assert set(opened.ids()[-4:]) == without


FILTERS = {
    "rf_cnn": ["r000000001", "r000000003", "r000000005"],
    "RF_CNN seed=1": ["r000000003"],
    "params<6000": ["r000000000", "r000000001"],
    "num_params>=5,000 num_params<=6000": ["r000000001", "r000000002"],
    "status!=completed val_acc<0.9910": ["r000000008", "r000000009"],
    "val_acc=0.9911": ["r000000011"],
    "status=failed": ["r000000010"],
    "started<2026-01-02T03:02": ["r000000000", "r000000001"],
    "started < 2026-01-02 03:02:00": ["r000000000", "r000000001"],
    '"in epoch 11"': ["r000000011"],
    "'<script>window.harmed'": ["r000000010", "r000000011", "r000000012"],
    "test_acc=None study=arch": ["r000000008", "r000000009"],
    "seed=1 seed=2": [],
    "nothing_has_this": [],
    # As with --where
    "model == 'rf_cnn' and seed in [0, 2] or status in (failed, diverged)": [
        *("r000000001", "r000000005", "r000000010", "r000000011"),
    ],
    "not (git_dirty and params / 2 > 2500.5)": ["r000000000", "r000000001"],
    "debug is None and rung == None and 4000 < params <= 6000": ["r000000001", "r000000002"],
}


def test_table_filters(opened: Opened) -> None:
    for typed, left in FILTERS.items():
        opened.page.get_by_label("Filter").fill(typed)
        opened.page.keyboard.press("Enter")
        assert sorted(opened.ids()) == left, typed
        assert opened.page.locator("#runs-shown").text_content() == f"{len(left)} of 19 runs"
    opened.page.get_by_label("Filter").fill("")
    opened.page.keyboard.press("Enter")
    assert len(opened.ids()) == 19


def test_a_wrong_filter_is_explained_and_changes_nothing(opened: Opened) -> None:
    field = opened.page.get_by_label("Filter")
    for typed, said in (
        ("no_such<3", "no_such: no such column"),
        ("val_acc>high", "high: no such column; text goes in quotes"),
        ("val_acc>", "not understood; it takes columns"),
        ("'in epoch", "not understood"),
        ("model", "model is no condition; compare it with something; in quotes it is looked for"),
        ("val_acc>99.1", "val_acc>99.1: accuracies are compared as fractions of 1"),
    ):
        field.fill(typed)
        field.press("Enter")
        assert said in str(opened.page.get_by_role("alert").text_content())
        assert field.get_attribute("aria-invalid") == "true"
        assert len(opened.ids()) == 19


def test_status_and_columns_are_chosen(opened: Opened) -> None:
    opened.page.get_by_role("group", name="Status").get_by_label("pruned").check()
    assert sorted(opened.ids()) == ["r000000008", "r000000009"]
    opened.page.get_by_text("Columns", exact=True).click()
    assert opened.page.get_by_label("rung").count() == 0  # it is empty for all
    opened.page.get_by_label("git_commit").check()
    assert opened.page.get_by_role("columnheader", name="git_commit").count() == 1
    grid = opened.page.get_by_role("grid")
    assert grid.get_attribute("aria-rowcount") == "3"
    assert grid.locator("[role=row]").nth(1).get_attribute("aria-rowindex") == "2"


def test_keyboard_moves_and_opens(opened: Opened) -> None:
    opened.page.get_by_role("grid").focus()
    order = opened.ids()
    for key, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 18), ("Home", 0)):
        opened.page.keyboard.press(key)
        selected = opened.page.locator("#grid [aria-selected=true]")
        active = opened.page.get_by_role("grid").get_attribute("aria-activedescendant")
        assert active == selected.get_attribute("id") == f"row-{at}"
    opened.page.keyboard.press("Enter")
    assert opened.panel() == f"Run {order[0]}"
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_selector("#panel:not([open])", state="attached")
    assert opened.page.evaluate("document.activeElement.id") == "grid"
    assert opened.page.evaluate("location.hash") == ""


def test_a_row_and_an_address_open_a_run(opened: Opened) -> None:
    opened.page.locator("#grid .row", has_text="r000000004").click()
    assert opened.panel() == "Run r000000004"
    panel = opened.page.get_by_role("dialog")
    text = str(panel.text_content())
    assert "python -m mnist_sweep.rerun r000000004" in text
    assert "python -m mnist_sweep.evaluate r000000004" in text
    assert "python -m mnist_sweep model=ds_cnn seed=4" in text
    assert "0123456789abcdef0123456789abcdef01234567" in text
    # Its siblings, of other seeds, are linked.
    panel.get_by_role("link", name="r000000002").click()
    opened.page.wait_for_function(
        "() => document.querySelector('#panel-title').textContent.endsWith('2')"
    )
    panel.get_by_role("button", name="Copy").first.click()
    panel.get_by_role("button", name="Copied").wait_for()
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied == "python -m mnist_sweep.rerun r000000002"
    opened.go("#run=r000000010")
    assert opened.panel() == "Run r000000010"
    assert "loss is nan in epoch 10: <script>" in str(panel.text_content())
    opened.page.goto(opened.address + "#run=%3Cb%3E")
    opened.page.wait_for_function(
        "() => document.querySelector('#panel-title').textContent == 'Run <b>'"
    )
    assert "no such run" in str(panel.text_content())


def test_hostile_names_are_text_everywhere(opened: Opened) -> None:
    assert opened.page.title() == HOSTILE[0]
    models = opened.page.locator("#grid .body .row").all_text_contents()
    assert all(any(" ".join(name.split()) in row for row in models) for name in HOSTILE)
    for box in opened.page.locator("main .plot").all():
        box.scroll_into_view_if_needed()
        box.locator(".main-svg").first.wait_for()
    for number in range(12, 19):
        opened.page.goto(f"{opened.address}#run=r{number:09}")
        opened.page.locator("#panel .main-svg").first.wait_for()
    assert opened.page.locator("img, [onerror], [onload]").count() == 0


def test_a_click_on_a_point_opens_its_run(opened: Opened) -> None:
    plot = opened.page.locator("#front-plot")
    plot.scroll_into_view_if_needed()
    point = plot.locator(".scatterlayer .trace .points path").last
    point.wait_for()
    box = point.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    plot.locator(".hoverlayer .hovertext").first.wait_for()
    hover = str(plot.locator(".hoverlayer").text_content())
    assert "parameters" in hover and re.search(r"val_acc 99\.\d\d %", hover)
    assert plot.locator(".ytitle").text_content() == "val_acc, % (on a scale of errors)"
    opened.page.mouse.down()
    opened.page.mouse.up()
    assert opened.panel().startswith("Run r0000000")


def test_curves_are_those_of_the_chosen_ranking(browser: Any, tmp_path: Path) -> None:
    """Of three rankings one has no validation, one nothing but a pruned run."""
    select: dict[str, str | None] = {"data": "mnist", "protocol": "select"}
    runs: list[tuple[Any, str, dict[str, str | None]]] = [
        ("completed", "first", select),
        ("completed", "second", select),
        ("pruned", "weak", select),
        ("completed", "third", {"data": "mnist", "protocol": "final"}),
        ("pruned", "other", {"data": "kmnist", "protocol": "select"}),
    ]
    for number, (status, model, track) in enumerate(runs):
        val_acc = 0.99 if track["protocol"] == "select" else None
        record = RunRecord(
            *(f"r{number}", status, {"model": model, **track}, 0),
            val_images=None if val_acc is None else 10_000,
            test_images=10_000,
            val_acc=val_acc,
            test_acc=0.99 if status == "completed" else None,
            config_hash=f"c{number}",
            run_dir=str(tmp_path / str(number)),
        )
        (tmp_path / str(number)).mkdir()
        write_result(tmp_path / str(number), record)
        val = (None if val_acc is None else 0.1, val_acc) * 2
        epochs = [
            EpochMetrics(epoch, 0.01, 0.1, 0.98, *val, None, None, 1.0, 100.0) for epoch in (1, 2)
        ]
        write_history(tmp_path / str(number), epochs)
        ResultsTable(tmp_path / "results.csv").append(record)
    path = html(tmp_path, str(tmp_path))
    rankings = read(path).data()["curves"]["rankings"]
    figures = [ranking["figures"]["train_acc"] for ranking in rankings]
    assert [run_ids(figure, "pruned trials") for figure in figures] == [["r2"], [], ["r4"]]
    assert [run_ids(figure) for figure in figures] == [["r2", "r0", "r1"], ["r3"], ["r4"]]
    shown = Opened(browser, path)
    ranking, metric = (shown.page.locator(f"#curves-{name}") for name in ("track", "metric"))
    names = shown.page.locator("#curves-plot .legendtext")
    shown.page.locator("#curves-plot").scroll_into_view_if_needed()
    for title, plotted, measured in (
        ("mnist, final, 10,000 test images", ["third"], "train_acc"),
        ("kmnist, select, 10,000 val and 10,000 test images", ["pruned trials"], "train_acc"),
        (
            *("mnist, select, 10,000 val and 10,000 test images",),
            *(["pruned trials", "first", "second"], "train_acc"),
        ),
    ):
        ranking.select_option(title)
        names.filter(has_text=plotted[-1]).wait_for()
        assert names.all_text_contents() == plotted
        assert metric.input_value() == measured  # what was chosen, as long as the ranking has it
        assert metric.locator("[value=val_acc]").is_disabled() == ("final" in title)
        assert str(shown.page.locator("#curves-note").text_content()).startswith(f"{title}: ")
    shown.page.get_by_text("Where the best runs").click()
    ends = shown.page.get_by_role("region", name="Ends of the curves of mnist, final")
    assert ends.get_by_role("row").last.inner_text().split() == (
        ["r3", "third", "2", "98.00", "0.1000"]
    )
    assert shown.said == [] and shown.asked == []
    shown.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_follow_the_scheme(browser: Any, report: Path, scheme: str) -> None:
    shown = Opened(browser, report, color_scheme=scheme)
    shown.page.locator("#curves-plot").scroll_into_view_if_needed()
    tick = shown.page.locator("#curves-plot .xtick text").first
    tick.wait_for()
    text = "getComputedStyle(document.body).color"
    color = "(tick) => getComputedStyle(tick).fill"
    assert tick.evaluate(color) == shown.page.evaluate(text)
    before = tick.evaluate(color)
    other = "light" if scheme == "dark" else "dark"
    shown.page.emulate_media(color_scheme=other)
    shown.page.wait_for_function(
        "(before) => getComputedStyle(document.querySelector('#curves-plot .xtick text')).fill"
        " !== before",
        arg=before,
    )
    assert tick.evaluate(color) == shown.page.evaluate(text)
    assert shown.said == []
    shown.context.close()


def test_plots_of_a_search_are_drawn(browser: Any, search_report: Path) -> None:
    shown = Opened(browser, search_report)
    for name in ("importance-search-0", "timeline-search-0"):
        shown.page.locator(f"#{name}").scroll_into_view_if_needed()
        # Attached, not visible: a bar may have no length.
        shown.page.locator(f"#{name} .barlayer path").first.wait_for(state="attached")
    assert shown.page.locator("#timeline-search-0 .barlayer path").count() == 4
    shown.page.locator("#timeline-search-0 .barlayer path").first.scroll_into_view_if_needed()
    box = shown.page.locator("#timeline-search-0 .barlayer path").first.bounding_box()
    shown.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert shown.panel().startswith("Run r")
    assert shown.said == [] and shown.asked == []
    shown.context.close()


def test_fits_a_phone(browser: Any, report: Path) -> None:
    shown = Opened(
        browser, report, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    assert shown.sideways() <= 0
    for box in shown.page.locator("main .plot").all():
        box.scroll_into_view_if_needed()
        box.locator(".main-svg").first.wait_for()
    assert shown.sideways() <= 0
    shown.page.locator("#grid .row", has_text="r000000004").tap()
    assert shown.panel() == "Run r000000004"
    assert shown.sideways() <= 0
    assert shown.page.evaluate("panel.scrollWidth - panel.clientWidth") <= 0
    assert shown.said == []
    shown.context.close()


def test_only_rows_in_sight_exist(browser: Any, tmp_path: Path) -> None:
    groups: dict[str, str | None] = {"data": "mnist", "model": "ds_cnn", "protocol": "select"}
    many = [
        RunRecord(f"r{n:05}", "completed", groups, n, num_params=n + 1, val_images=9, val_acc=0.9)
        for n in range(5000)
    ]
    ResultsTable(tmp_path / "results.csv").extend(many)
    shown = Opened(browser, html(tmp_path, str(tmp_path)))
    shown.page.get_by_role("columnheader", name="num_params").get_by_role("button").click()
    grid = shown.page.get_by_role("grid")
    assert grid.get_attribute("aria-rowcount") == "5001"
    assert len(shown.ids()) < 60
    grid.focus()
    shown.page.keyboard.press("End")
    shown.page.wait_for_function("() => document.querySelector('#row-4999') !== null")
    assert shown.ids()[-1] == "r00000"
    shown.page.keyboard.press("PageUp")
    assert len(shown.ids()) < 60
    assert shown.said == []
    shown.context.close()
