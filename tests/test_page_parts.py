"""The scripts, styles and figures of which the HTML report is made."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mnist_sweep.report.page import bundle
from mnist_sweep.runs.record import RunRecord
from tests.report_page import (
    make_records,
    page_of,
    read,
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
