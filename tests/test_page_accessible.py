"""The page for everybody: no violation of axe-core's rules, at any width, light and dark."""

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from mnist_sweep.report.page.make import make_page
from mnist_sweep.report.read.load import load_results
from tests.browser import Opened
from tests.report_page import make_records, page_of, write_run

pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")

QUICK = [("light", 360), ("dark", 1440)]
FORMS = [
    pytest.param(*form, marks=[] if form in QUICK else pytest.mark.slow)
    for form in [(scheme, width) for scheme in ("light", "dark") for width in (1440, 768, 360)]
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = make_records(tmp_path_factory.mktemp("runs"))
    for record in records:
        write_run(record)
    return page_of(records, tmp_path_factory.mktemp("report"))


def opened(browser: Any, path: Path, scheme: str, width: int) -> Opened:
    """With every plot drawn and every box of details open. The page's policy is off, which would
    let no axe-core in."""
    shown = Opened(
        browser,
        path,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,
        reduced_motion="reduce",
    )
    shown.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for box in shown.page.locator("main .plot").all():
        box.scroll_into_view_if_needed()
        box.locator(".main-svg").first.wait_for(state="attached")
    shown.page.evaluate("scrollTo(0, 0)")  # the navigation, which sticks, then covers nothing
    shown.page.evaluate(AXE)
    return shown


def violations(shown: Opened) -> list[tuple[str, str]]:
    """Rule and element of each."""
    found: list[dict[str, Any]] = shown.page.evaluate(
        "axe.run(document, {resultTypes: ['violations'], rules: {'target-size': {enabled: true}}})"
        ".then((found) => found.violations)"
    )
    return [(rule["id"], str(node["target"])) for rule in found for node in rule["nodes"]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of searches, one with a trial under way, that waits for a newer one."""
    folder = tmp_path_factory.mktemp("watched")
    shutil.copytree(Path(__file__).parent / "archive" / "multirun", folder / "multirun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "report.html").write_text(make_page(load_results("multirun"), "t", "c", 3600))
    return folder / "report.html"


@pytest.mark.parametrize(("scheme", "width"), FORMS)
def test_axe_finds_nothing_on_a_page_that_is_watched(
    browser: Any, watched: Path, scheme: str, width: int
) -> None:
    shown = opened(browser, watched, scheme, width)
    assert shown.page.get_by_role("button", name="Pause").is_visible()
    assert violations(shown) == []
    assert shown.sideways() <= 0
    shown.page.get_by_role("region", name="under way").get_by_role("link").click()
    assert shown.panel() == "Trial unfinished/1"
    assert violations(shown) == []
    shown.context.close()


@pytest.mark.parametrize(("scheme", "width"), FORMS)
def test_axe_finds_nothing(
    browser: Any, report: Path, search_report: Path, scheme: str, width: int
) -> None:
    for path in (report, search_report):
        shown = opened(browser, path, scheme, width)
        assert violations(shown) == []
        assert shown.sideways() <= 0
        shown.page.locator("#grid .body .row").first.click()
        shown.panel()
        assert violations(shown) == []
        shown.context.close()
