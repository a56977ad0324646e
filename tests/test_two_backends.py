"""The PNG and the page show the same of the same info object."""

from typing import Any

import pytest
from matplotlib.figure import Figure

from mnist_sweep.figures.curves import curves as png_of_curves
from mnist_sweep.figures.front import front as png_of_front
from mnist_sweep.figures.importance import importance as png_of_importance
from mnist_sweep.report.analysis.curves import CurvesInfo, run_curve
from mnist_sweep.report.analysis.front import front_info
from mnist_sweep.report.analysis.importance import Importances
from mnist_sweep.report.leaderboard import leaderboard
from mnist_sweep.report.page.curves import curves_figure
from mnist_sweep.report.page.front import front_figure
from mnist_sweep.report.page.searches import importance_figure
from tests.drawn import lines, points_of
from tests.results import alone, frame, history

NETS = [(500, 0.97, 0.975), (2000, 0.985, 0.98), (3000, 0.98, 0.98), (9000, 0.99, 0.97)]
NAMES = {
    "dominated": "dominated",
    "on the front": "front: none is smaller and better",
    "known record, credible": "known records",
    "claim: peak picked on test": "claims, peaks picked on test",
}
"""In the PNG, and on the page."""


def shown(figure: dict[str, Any], name: str) -> list[tuple[float, float]]:
    """Points of the page's trace of that name: x, accuracy in percent."""
    traces = [trace for trace in figure["data"] if trace["name"] == name]
    return [(x, 100 * (1 - y)) for t in traces for x, y in zip(t["x"], t["y"], strict=True)]


def drawn(figure: Figure, name: str) -> list[tuple[float, float]]:
    found = lines(figure.axes[0]).get(name)
    return points_of(found) if found is not None else []


@pytest.mark.parametrize("score", ["val_acc", "test_acc"])
@pytest.mark.parametrize("groups", [{}, {"debug": "fast"}, {"data": "digits"}], ids=str)
def test_a_front_is_the_same_in_both(groups: dict[str, str], score: str) -> None:
    runs = frame(
        *(
            alone(n, num_params=size, val_acc=val, test_acc=test, model=f"m{n}", **groups)
            for n, (size, val, test) in enumerate(NETS)
        )
    )
    info = front_info(leaderboard(runs, sort=score))
    png, page = png_of_front([info], "", "parameters"), front_figure(info, score)
    for in_png, on_page in NAMES.items():
        found = drawn(png, in_png)
        assert shown(page, on_page) == [pytest.approx(point, abs=1e-3) for point in found]
        is_of_records = in_png not in ("dominated", "on the front")
        if is_of_records:
            assert bool(found) == (score == "test_acc" and not groups)


def test_curves_are_the_same_in_both() -> None:
    runs = tuple(run_curve(name, name, history(epochs)) for name, epochs in (("a", 3), ("b", 5)))
    png = png_of_curves(runs, "")
    page = curves_figure(CurvesInfo("", runs, (), 0), "val_acc")
    for run in runs:
        found = drawn(png, f"{run.name} val")
        assert shown(page, run.name) == [pytest.approx(point, abs=1e-3) for point in found]


def test_importance_is_the_same_in_both() -> None:
    info = Importances("val_acc", {"a": 0.7, "c": 0.2, "b": 0.1}, dict.fromkeys("abc", 0.15), "")
    axes = png_of_importance(info, "").axes[0]
    bars, _ = importance_figure(info)["data"]
    widths = [bar.get_width() / 100 for bar in axes.patches]  # type: ignore[attr-defined]
    names = [label.get_text() for label in axes.get_yticklabels()]
    on_page = dict(zip(bars["y"], bars["x"], strict=True))
    assert on_page == {n: pytest.approx(w) for n, w in zip(names, widths, strict=True)}
