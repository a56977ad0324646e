"""`report html --watch`: a page that follows a search, in its file and in the browser."""

import os
import re
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import optuna
import pytest

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.report.page.make import at_rest, make_page
from mnist_sweep.report.read.load import load_results
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.study.leases import Leases
from mnist_sweep.search.study.storage import open_storage
from tests.browser import Opened
from tests.conftest import Cli, start
from tests.report_page import make_records, read

PATIENCE_S = 60

EPOCH = EpochMetrics(1, 0.01, 0.1, 0.5, 0.1, 0.5, None, None, None, None, 1.0, 1.0)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def search_of(folder: Path) -> optuna.Study:
    """A study, with no run yet, as a controller begins it."""
    sweep_dir = folder / "multirun" / "s"
    sweep_dir.mkdir(parents=True)
    storage = open_storage(None, sweep_dir)
    return optuna.create_study(study_name="s", storage=storage, direction="maximize")


def has(page: Path, text: str) -> bool:
    return page.exists() and text in page.read_text()


def under_way(page: Path) -> list[str]:
    """Epoch and value of the first trial that runs, as the page's text has them."""
    found = re.search(r"Under way.* running (\S+) (\S+) ", read(page).words)
    return list(found.groups()) if found else []


def row(number: int) -> RunRecord:
    record = RunRecord(f"r{number:03}", "completed", {"data": "mnist", "model": "m"}, 0)
    record.study, record.trial, record.val_acc, record.val_images = "s", number, 0.9, 100
    return record


def end_of(study: optuna.Study) -> None:
    study.tell(study.ask(), 0.9)


@pytest.mark.parametrize("how", ["the search ends", "ctrl-c"])
def test_the_file_follows_the_search(how: str, tmp_path: Path) -> None:
    study, page = search_of(tmp_path), tmp_path / "report.html"
    table = ResultsTable(tmp_path / "multirun" / "s" / "results.csv")
    with NamedTemporaryFile("r") as out, NamedTemporaryFile("r") as err:
        with Leases(study, 60):
            table.check(list(row(0).row()))
            arguments = ["html", "multirun/s", "--watch=0.1"]
            outputs = [out.name, err.name]
            command = start(tmp_path, "mnist_sweep.report", arguments, outputs)
            wait_until(lambda: "waiting: " in Path(out.name).read_text())
            for number in range(2):
                end_of(study)
                table.append(row(number))
                wait_until(partial(has, page, f"{number + 1} run"))
                assert 'data-refresh="0.1"' in page.read_text()
            run_dir = table.path.parent / str(study.ask().number)
            run_dir.mkdir()
            write_history(run_dir, [EPOCH])
            wait_until(partial(has, page, "Under way"))
            wait_until(lambda: under_way(page) == ["1", "50.00"])
            written = page.stat().st_mtime_ns
            time.sleep(0.5)
            assert page.stat().st_mtime_ns == written, "nothing was new"
            if how == "ctrl-c":
                assert command.pid is not None
                os.kill(command.pid, signal.SIGINT)
                command.join(PATIENCE_S)
        command.join(PATIENCE_S)
        said = Path(err.name).read_text()
    assert (command.exitcode, said) == ((130, "interrupted\n") if how == "ctrl-c" else (0, ""))
    assert "data-refresh" not in page.read_text()[:1000] and read(page).data()["runs"]["n"] == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--watch=-1"], "argument --watch: -1 is no number of seconds above 0"),
        (["--watch", "multirun/s"], "multirun/s is no number of seconds above 0; write --watch=5"),
        (["multirun/s", "--watch", "-o", "no/page.html"], "-o no/page.html cannot be written"),
        (["multirun/none", "--watch"], "multirun/none: no such table or folder"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, tmp_path: Path, cli: Cli) -> None:
    done = cli("html", *arguments, module="mnist_sweep.report")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_the_browser_shows_the_new_page_and_keeps_the_place(browser: Any, tmp_path: Path) -> None:
    """Sort, filter, columns, what is open, the panel and its opener, and how far it is scrolled."""
    table, page = ResultsTable(tmp_path / "results.csv"), tmp_path / "report.html"
    records = make_records(tmp_path)
    table.extend(records)

    def write(refresh_s: float | None) -> None:
        new = tmp_path / "new.html"
        new.write_text(make_page(load_results(table.path), "t", "c", refresh_s))
        new.replace(page)

    write(5)
    shown = Opened(browser, page, viewport={"width": 700, "height": 450})
    tab = shown.page
    assert "Updated" in str(tab.locator("#refresh").text_content())
    tab.get_by_role("button", name="Pause").click()
    tab.get_by_role("columnheader", name="num_params").get_by_role("button").click()
    tab.get_by_label("Filter").fill("params>5000")
    tab.get_by_text("Columns", exact=True).click()
    tab.get_by_label("git_commit").check()
    grid = tab.get_by_role("grid")
    grid.focus()
    tab.keyboard.press("ArrowDown")
    tab.evaluate("scrollTo(0, 300)")
    tab.evaluate("document.querySelector('#grid').scrollTo(40, 60)")
    order = shown.ids()
    tab.keyboard.press("Enter")
    title = shown.panel()
    tab.evaluate("document.querySelector('#panel').scrollTop = 80")
    more = RunRecord("zz", "completed", {"data": "mnist", "model": "m"}, 0, num_params=10**6)
    table.append(more)
    write(None)  # as the last one is, so that it is loaded but once
    tab.evaluate("window.isOld = true")
    tab.wait_for_function("() => performance.now() > 7000")
    assert tab.evaluate("window.isOld"), "it is paused"
    tab.evaluate("document.querySelector('#refresh-pause').click()")
    tab.wait_for_function("() => !window.isOld && document.documentElement.dataset.ready")
    tab.get_by_text("18 of 20 runs").wait_for()
    assert shown.ids() == ["zz", *order]
    assert shown.panel() == title
    assert tab.evaluate("document.querySelector('#panel').scrollTop") == 80
    assert tab.evaluate("document.querySelector('#grid').scrollTop") == 60
    assert tab.evaluate("scrollY") == 300
    assert tab.get_by_label("Filter").input_value() == "params>5000"
    assert tab.locator("details.columns").evaluate("(box) => box.open")
    assert tab.locator("[role=columnheader][data-name=git_commit]").count() == 1
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#panel:not([open])", state="attached")
    assert tab.evaluate("document.activeElement.id") == "grid"
    assert shown.said == [] and shown.asked == []
    shown.context.close()


def test_a_page_at_rest_does_not_refresh(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    table.append(row(0))
    runs = load_results(table.path)
    page = make_page(runs, 'a data-refresh="1" data-made="1"', "c", 5)
    rested = at_rest(page)
    assert ' data-refresh="5"' in page and ' data-refresh="5"' not in rested
    assert "data-refresh" in rested[rested.index("<title>") :], "the title stays"
