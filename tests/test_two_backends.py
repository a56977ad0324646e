"""The PNG and the page show the same of the same info object."""

from typing import Any

import pytest
from matplotlib.figure import Figure

from mnist_sweep.figures.curves import curves as png_of_curves
from mnist_sweep.figures.front import front as png_of_front
from mnist_sweep.figures.importance import importance as png_of_importance
from mnist_sweep.figures.parallel import parallel as png_of_parallel
from mnist_sweep.report.analysis.curves import CurvesInfo, run_curve
from mnist_sweep.report.analysis.front import front_info
from mnist_sweep.report.analysis.importance import Importances
from mnist_sweep.report.analysis.parallel import ParallelAxis, ParallelInfo
from mnist_sweep.report.leaderboard import leaderboard
from mnist_sweep.report.page.curves import curves_figure
from mnist_sweep.report.page.front import front_figure
from mnist_sweep.report.page.parallel import MOST_LINES, parallel_figure, parallel_words
from mnist_sweep.report.page.searches import importance_figure
from tests.drawn import lines, points_of
from tests.results import alone, frame, history

NETS = [(500, 0.97, 0.975), (2000, 0.985, 0.98), (3000, 0.98, 0.98), (9000, 0.99, 0.97)]
CLAIM = "claim: peak picked on test"
NAMES = {
    "dominated": "dominated",
    "on the front": "front: none is smaller and better",
    "known record, credible": "known records",
    CLAIM: "claims, peaks picked on test",
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
    own = {point.label for point in info.points}
    names = {text.get_text() for text in png.axes[0].texts} - own - {""}
    of_records = [t for t in page["data"] if t["name"] in ("known records", NAMES[CLAIM])]
    assert names == {name for trace in of_records for name in trace["text"]}


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


def parallel_search(number: int, minimize: bool = False) -> ParallelInfo:
    """Every third trial was pruned, every fourth has no dropout; accuracies grow."""
    some = range(number)
    axes = (
        ParallelAxis("width", [n % 11 for n in some], low=0, high=10),
        ParallelAxis("optimizer.lr", [10 ** -(1 + n % 3) for n in some], None, 0.001, 0.1, True),
        ParallelAxis("pool", ["max" if n % 2 else "avg" for n in some], ["max", "avg"]),
        ParallelAxis("dropout", [None if n % 4 == 0 else 0.25 for n in some], low=0, high=0.5),
    )
    values = tuple(None if n % 3 == 1 else 1 - 0.9 ** (n + 1) for n in some)
    return ParallelInfo(axes, "val_acc", values, minimize, tuple(some))


def trials_on_page(figure: dict[str, Any]) -> dict[str, set[tuple[tuple[float, int], ...]]]:
    """Name of a trace -> the places of each of its trials."""
    found: dict[str, set[tuple[tuple[float, int], ...]]] = {}
    for trace in figure["data"]:
        if trace["mode"] == "lines":
            gaps = [n for n, y in enumerate(trace["y"]) if y is None]
            spans = zip([-1, *gaps], gaps, strict=False)
            found[trace["name"]] = {
                tuple(zip(trace["x"][a + 1 : b], trace["y"][a + 1 : b], strict=True))
                for a, b in spans
            }
    return found


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize("number", [5, 40])
def test_parallel_coordinates_are_the_same_in_both(number: int, minimize: bool) -> None:
    info = parallel_search(number, minimize)
    page = parallel_figure(info, {n: f"r{n}" for n in range(number)})
    axes = png_of_parallel(info, "").axes[0]
    on_page = trials_on_page(page)
    in_png = {
        tuple((None if x != x else round(x, 4), round(y)) for x, y in points_of(line))
        for line in axes.lines
        if len(points_of(line)) == len(info.axes) + 1
    }
    assert len(in_png) == number and set().union(*on_page.values()) == in_png
    is_few = number < 8
    assert set(on_page) == (
        {"pruned", "completed", "best"}
        if is_few
        else {"pruned", "last quarter", "third quarter", "second quarter", "best quarter", "best"}
    )
    bold = max(axes.lines, key=lambda line: line.get_linewidth())
    [best] = on_page["best"]
    assert [x for x, _ in best] == pytest.approx([x for x, _ in points_of(bold)], abs=1e-4)
    assert best in on_page["completed" if is_few else "best quarter"]
    [ticks] = [trace for trace in page["data"] if trace["name"] == "ticks"]
    assert set(ticks["text"]) <= {text.get_text() for text in axes.texts}
    shown_rows = page["layout"]["yaxis"]["ticktext"]
    assert shown_rows == [text.get_text() for text in axes.get_yticklabels()]


def test_of_many_trials_the_page_has_the_best() -> None:
    info = parallel_search(3 * MOST_LINES)
    on_page = trials_on_page(parallel_figure(info, {}))
    assert sum(map(len, on_page.values())) == MOST_LINES + 1, "the best twice"
    assert "pruned" not in on_page
    assert f"{MOST_LINES} best; {2 * MOST_LINES} trials more" in parallel_words(info)
