"""The HTML report in headless Chromium, as its reader meets it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.browser import Opened
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
    # The panel says later that it is closed.
    opened.page.wait_for_function("() => location.hash === ''")


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_failed_and_diverged_are_told_apart(browser: Any, report: Path, scheme: str) -> None:
    """By colour and by shape, in the page's head and table, and by colour in its plots."""
    shown = Opened(browser, report, color_scheme=scheme)
    marks = {
        status: shown.page.locator(f".top .status.{status}").evaluate(
            "(e) => { const s = getComputedStyle(e, '::before');"
            " return [s.backgroundColor, s.rotate]; }"
        )
        for status in ("failed", "diverged")
    }
    assert all(one != other for one, other in zip(*marks.values(), strict=True)), marks
    colors = [
        shown.page.evaluate(f"getComputedStyle(document.body).getPropertyValue('--status-{name}')")
        for name in marks
    ]
    assert colors[0] != colors[1]
    shown.context.close()


def test_plots_of_a_search_are_drawn(browser: Any, search_report: Path) -> None:
    shown = Opened(browser, search_report)
    shown.page.locator("#history-search-0").scroll_into_view_if_needed()
    points = shown.page.locator("#history-search-0 .scatterlayer path.point")
    points.first.wait_for(state="attached")
    assert points.count() == 4
    shown.page.locator("#parallel-search-0").scroll_into_view_if_needed()
    trials = shown.page.locator("#parallel-search-0 .scatterlayer path.js-line")
    trials.first.wait_for(state="attached")
    assert "best" in shown.page.locator("#parallel-search-0 .legend").text_content()
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
