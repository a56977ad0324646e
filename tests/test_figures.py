"""Pictures: what is drawn is what the data say, in files that open; the commands that draw them."""

import io
import json
import math
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import matplotlib
import numpy as np
import optuna
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image
from sklearn.datasets import load_digits

from mnist_sweep.errors import UserError, exit_code
from mnist_sweep.figures.augmentation import augmentation
from mnist_sweep.figures.curves import curves as draw_curves
from mnist_sweep.figures.curves import pruned as draw_pruned
from mnist_sweep.figures.evaluation import confusion_matrix, misclassified
from mnist_sweep.figures.front import front as draw_front
from mnist_sweep.figures.saving import save
from mnist_sweep.figures.search import NO_VALUE, SIDE_BY_SIDE
from mnist_sweep.figures.search import importance as draw_importance
from mnist_sweep.figures.search import parallel as draw_parallel
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.report.__main__ import main
from mnist_sweep.report.analysis.curves import run_curve
from mnist_sweep.report.analysis.front import (
    FrontInfo,
    FrontPoint,
    PointScore,
    known_records,
    non_dominated,
    on_front,
)
from mnist_sweep.report.analysis.importance import FEWEST_COMPLETED, Importances, importances
from mnist_sweep.report.analysis.parallel import ParallelAxis, ParallelInfo
from mnist_sweep.report.analysis.pruned import PrunedInfo, TrialCurve
from mnist_sweep.report.read.study import SearchStudy
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, Cli, environment

NASTY = "größer 数字 $x^{2$ \\frac <b>&amp; %s"

ACCURACIES = st.floats(0, 1)


def epoch(number: int, **changes: Any) -> EpochMetrics:
    values: dict[str, Any] = {
        "epoch": number,
        "lr": 0.01,
        "train_loss": 1 / number,
        "train_acc": 1 - 0.2 / number,
        "val_loss": 0.5 / number,
        "val_acc": 1 - 0.1 / number,
        "val_loss_raw": 0.6 / number,
        "val_acc_raw": 1 - 0.15 / number,
        "test_loss": None,
        "test_acc": None,
        "seconds": 1.0,
        "images_per_s": 100.0,
    }
    return EpochMetrics(**{**values, **changes})


def history(epochs: int = 5, **changes: Any) -> list[EpochMetrics]:
    return [epoch(number, **changes) for number in range(1, epochs + 1)]


def track(
    rows: Sequence[tuple[str, int, float, float]], score: str = "val_acc", **changes: Any
) -> FrontInfo:
    """rows: label, cost, mean, sd."""
    best = non_dominated(np.array([(-cost, mean) for _, cost, mean, _ in rows]))
    points = tuple(
        FrontPoint(label, cost, 1, f"r{place}", {score: PointScore(mean, sd, bool(best[place]))})
        for place, (label, cost, mean, sd) in enumerate(rows)
    )
    info = FrontInfo("mnist", "num_params", score, points, len(points))
    return replace(info, **changes)


def curves(histories: dict[str, list[EpochMetrics]], title: str) -> Figure:
    """histories: name -> a run's epochs."""
    return draw_curves([run_curve(name, name, epochs) for name, epochs in histories.items()], title)


def pruned(*trials: TrialCurve, title: str = "") -> Figure:
    return draw_pruned(PrunedInfo(trials), title)


NETS = [
    ("tiny", 1000, 0.97, math.nan),
    ("small", 4000, 0.99, 0.001),
    ("beaten", 5000, 0.985, 0.0005),
    ("large", 19_000, 0.995, 0.0004),
]

PICTURES: dict[str, Callable[[], Figure]] = {
    "confusion": lambda: confusion_matrix(np.diag(range(90, 100)), NASTY),
    "misclassified": lambda: misclassified(
        np.zeros((3, 28, 28), np.uint8), [1, 2, 3], [4, 5, 6], [0.5, 0.7, 1.0], NASTY
    ),
    "curves": lambda: curves({NASTY: history(), "b": history(2)}, NASTY),
    "pruned": lambda: pruned(TrialCurve(NASTY, "completed", (0.9, 0.95)), title=NASTY),
    "front": lambda: draw_front(
        [track([*NETS, (NASTY, 500, 0.9, 0.01)], "test_acc", title=NASTY, records=known_records())],
        NASTY,
        "parameters",
    ),
    "parallel": lambda: draw_parallel(
        ParallelInfo(
            (ParallelAxis(NASTY, [1, 2], low=1, high=2), ParallelAxis("b", [NASTY, None], [NASTY])),
            "val_acc",
            (0.9, None),
        ),
        NASTY,
    ),
    "importance": lambda: draw_importance(
        Importances("val_acc", {NASTY: 0.9, "b": 0.1}, {NASTY: 0.3, "b": 0.3}, NASTY), ""
    ),
    "augmentation": lambda: augmentation(
        {"original": np.zeros((1, 4, 28, 28), np.uint8), NASTY: np.ones((2, 4, 28, 28), np.uint8)},
        NASTY,
    ),
}


def saved(figure: Figure, path: Path) -> bytes:
    save(figure, path)
    return path.read_bytes()


def lines(axes: Axes) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in axes.lines}


def points_of(line: Line2D) -> list[tuple[float, float]]:
    data: Any = line.get_data()
    return [(float(x), float(y)) for x, y in zip(*data, strict=True)]


def strokes_of(axes: Axes) -> list[np.ndarray]:
    """Ends of the bars and marks that `vlines` drew, [[x0, y0], [x1, y1]] each."""
    paths = [path for lines in axes.collections for path in lines.get_paths()]
    return [np.asarray(path.vertices, dtype=float) for path in paths]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def boxes(figure: Figure, texts: Sequence[Text]) -> list[Any]:
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    return [text.get_window_extent(renderer) for text in texts]


# Files


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_a_small_file_that_opens_whatever_its_text(
    name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    png, svg = (saved(PICTURES[name](), tmp_path / f"a.{suffix}") for suffix in ("png", "SVG"))
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert 1200 <= image.width <= 1600
    assert len(png) < 60_000
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_data_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    first = saved(PICTURES["front"](), tmp_path / f"1.{suffix}")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "text.parse_math": True}):
        again = saved(PICTURES["front"](), tmp_path / f"2.{suffix}")
    assert first == again
    assert b"date" not in first.lower()


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys, numpy; from pathlib import Path;"
        "from mnist_sweep.figures.evaluation import confusion_matrix;"
        "from mnist_sweep.figures.saving import save;"
        "counts = numpy.diag(range(10)) + 1;"
        "save(confusion_matrix(counts, 'a'), Path('there.svg'));"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    root = str(Path(__file__).parent.parent)
    env = environment(PYTHONPATH=root, PYTHONHASHSEED="7")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True)
    here = saved(confusion_matrix(np.diag(range(10)) + 1, "a"), tmp_path / "here.svg")
    assert (tmp_path / "there.svg").read_bytes() == here


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.png.txt", ".png"])
def test_other_suffixes_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a picture is a \.png or a \.svg"):
        save(Figure(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "no" / "such" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(UserError, match=f"-o {re.escape(str(path))} cannot be written"):
            save(Figure(), path)


def test_text_is_shown_as_it_stands(tmp_path: Path) -> None:
    figure = PICTURES["curves"]()
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert NASTY in shown, "the title"
    svg = saved(figure, tmp_path / "a.svg").decode()
    assert svg.count("größer 数字 $x^{2$ \\frac &lt;b&gt;&amp;amp; %s") >= 2, "title and legend"


# The scale of accuracies


@settings(deadline=None, max_examples=25)
@given(st.lists(st.one_of(ACCURACIES, st.floats(0.98, 1), st.just(math.nan)), min_size=1))
def test_no_accuracy_lies_outside_of_the_axis(accs: list[float]) -> None:
    rows = [epoch(number, val_acc=acc) for number, acc in enumerate(accs, start=1)]
    axes = curves({"run": rows}, "").axes[0]
    low, high = axes.get_ylim()
    known = [100 * acc for line in axes.lines for _, acc in points_of(line)]
    for percent in [p / 100 for p in known if math.isfinite(p)]:
        assert low <= percent <= high
    ticks = axes.get_yticks()
    assert len(ticks) >= 2 and all(low <= tick <= high for tick in ticks)
    places = axes.transData.transform(np.column_stack([np.zeros(len(ticks)), ticks]))[:, 1]
    assert (np.diff(places) > 10).all(), "ticks that are told apart"


def test_an_error_that_is_halved_is_a_step_of_the_same_height() -> None:
    axes = curves({"run": history()}, "").axes[0]
    heights = axes.transData.transform([(0, 98), (0, 99), (0, 99.5)])[:, 1]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], rel=0.03)


# Curves


def test_curves_of_one_run_are_its_history() -> None:
    run = [epoch(n, test_acc=0.9 + n / 100, test_loss=0.3) for n in (1, 2, 3)]
    figure = curves({"r1": run}, "Run r1")
    left, right = figure.axes
    for split, pattern in (("train", "--"), ("val", "-"), ("test", "--")):
        acc, loss = lines(left)[f"r1 {split}"], lines(right)[f"r1 {split}"]
        assert points_of(acc) == [(m.epoch, 100 * getattr(m, f"{split}_acc")) for m in run]
        assert points_of(loss) == [(m.epoch, getattr(m, f"{split}_loss")) for m in run]
        assert acc.is_dashed() == (pattern == "--")
    colors = {line.get_color() for line in left.lines}
    assert len(colors) == 3
    assert len(legend_of(figure)) == 3 and right.get_yscale() == "log"


def test_curves_of_several_runs_have_a_colour_each_and_a_legend() -> None:
    histories = {name: history() for name in ("one", "two", "three")}
    figure = curves(histories, "3 runs")
    drawn = lines(figure.axes[0])
    assert len({drawn[f"{name} val"].get_color() for name in histories}) == 3
    for name in histories:
        assert drawn[f"{name} train"].get_color() == drawn[f"{name} val"].get_color()
        assert drawn[f"{name} train"].is_dashed() and not drawn[f"{name} val"].is_dashed()
    assert legend_of(figure)[:3] == list(histories) and "test" not in legend_of(figure)


def test_of_many_runs_the_best_are_named_and_the_others_still_drawn() -> None:
    histories = {f"run {n}": history(4, val_acc=0.9 + n / 1000) for n in range(40)}
    figure = curves(histories, "40 runs")
    drawn = lines(figure.axes[0])
    assert {f"{name} val" for name in histories} <= set(drawn)
    assert legend_of(figure)[:6] == [
        *(f"run {n}" for n in (39, 38, 37, 36, 35)),
        "35 others, without train",
    ]
    [legend] = boxes(figure, []) or [figure.legends[0].get_window_extent()]
    assert legend.height < 0.4 * figure.bbox.height


def test_a_diverged_run_and_one_of_a_single_epoch_are_drawn() -> None:
    broken = [epoch(1), epoch(2, train_loss=math.nan, val_loss=math.inf)]
    figure = curves({"broken": broken, "short": history(1)}, "")
    losses = lines(figure.axes[1])
    assert math.isnan(points_of(losses["broken val"])[1][1])
    assert losses["short val"].get_marker() == "o"


# Pruned


def test_pruned_curves_end_where_the_trials_ended() -> None:
    trials = [
        TrialCurve("trial 0", "completed", (0.95, 0.97, 0.98)),
        TrialCurve("trial 1", "pruned", (0.94,)),
        TrialCurve("trial 2", "completed", (0.96, 0.98, 0.99)),
        TrialCurve("trial 3", "pruned", (0.95, 0.96)),
        TrialCurve("trial 4", "interrupted", (0.95,)),
    ]
    figure = pruned(*trials)
    drawn = [points_of(line) for line in figure.axes[0].lines]
    for trial in trials:
        assert [(n, 100 * acc) for n, acc in enumerate(trial.val_acc, start=1)] in drawn
    assert legend_of(figure) == [
        "2 pruned",
        "1 ended otherwise",
        "1 more completed",
        "best: trial 2, 99.00 %",
    ]
    widest = max(figure.axes[0].lines, key=lambda line: line.get_linewidth())
    assert points_of(widest)[-1] == (3, 99.0)


def test_what_would_flatten_the_curves_is_marked_at_the_edge_and_counted() -> None:
    good = [TrialCurve(f"trial {n}", "completed", (0.98, 0.99 + n / 1e4)) for n in range(30)]
    figure = pruned(*good, TrialCurve("trial 99", "pruned", (0.1,)))
    assert figure.axes[0].get_ylim()[0] > 95
    assert "1 below what is shown (10.0 %)" in legend_of(figure)
    even = pruned(*(TrialCurve("t", "pruned", (acc / 20,)) for acc in range(1, 20)))
    assert even.axes[0].get_ylim()[0] < 5 and legend_of(even) == ["19 pruned"]


# The front


def dominated(points: list[tuple[float, float]], index: int) -> bool:
    cost, score = points[index]
    return any(
        (c <= cost and s >= score and (c < cost or s > score))
        for c, s in points
        if not math.isnan(c) and not math.isnan(s)
    )


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 5).map(float), st.just(math.nan)),
            st.one_of(st.integers(1, 5).map(float), st.just(math.nan)),
        ),
        max_size=12,
    )
)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    frame = pd.DataFrame(points, columns=["num_params", "val_acc_mean"]).astype("float64")
    expected = [
        not math.isnan(sum(point)) and not dominated(points, index)
        for index, point in enumerate(points)
    ]
    names = "num_params", "val_acc_mean"
    assert on_front(frame, *names).tolist() == expected
    nullable = frame.astype({"num_params": "Int64"})
    assert on_front(nullable, *names).tolist() == expected
    negative = pd.DataFrame({"cost": -frame.val_acc_mean, "score": -frame.num_params})
    assert on_front(negative, "cost", "score").tolist() == expected


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(-1, 2).map(float)] * 3), max_size=12))
def test_of_three_objectives_too(rows: list[tuple[float, ...]]) -> None:
    values = np.array(rows).reshape(-1, 3)
    expected = [
        not any((other >= row).all() and (other > row).any() for other in values) for row in values
    ]
    assert non_dominated(values).tolist() == expected


def test_known_records_are_of_their_class() -> None:
    records = pd.DataFrame(map(asdict, known_records()))
    assert records.groupby("max_params").size().to_dict() == dict.fromkeys(
        (1000, 2000, 5000, 10_000, 20_000), 2
    )
    assert (records.num_params.dropna() <= records.max_params[records.num_params.notna()]).all()
    assert records.test_acc.between(0.98, 1).all()
    by_kind = records.set_index(["max_params", "kind"]).test_acc.unstack()
    assert set(by_kind) == {"credible", "claim"} and (by_kind.claim >= by_kind.credible).all()
    assert (records.sort_values("max_params").groupby("kind").test_acc.diff().dropna() > 0).all()


def test_the_front_shows_every_configuration_with_its_spread() -> None:
    figure = draw_front([track(NETS)], "Front", "parameters")
    [axes] = figure.axes
    drawn = lines(axes)
    assert points_of(drawn["on the front"]) == [(1000, 97.0), (4000, 99.0), (19_000, 99.5)]
    assert points_of(drawn["dominated"]) == [(5000, 98.5)]
    bars = sorted((x, low, high) for (x, low), (_, high) in strokes_of(axes))
    expected = [(cost, 100 * (mean - sd), 100 * (mean + sd)) for _, cost, mean, sd in NETS[1:]]
    np.testing.assert_allclose(bars, expected)
    steps = points_of(drawn["front"])
    assert steps[:-1] == points_of(drawn["on the front"]) and steps[-1][1] == 99.5
    assert drawn["front"].get_drawstyle() == "steps-post" and axes.get_xscale() == "log"
    low, high = axes.get_ylim()
    assert low < 97 and high > 99.54
    assert {text.get_text() for text in axes.texts} - {""} == {"tiny", "small", "large"}


def test_a_bar_ends_at_all_right() -> None:
    figure = draw_front([track([("a", 10, 0.999, 0.01)])], "", "parameters")
    [bar] = strokes_of(figure.axes[0])
    assert bar[:, 1].tolist() == pytest.approx([98.9, 100])


def test_records_and_claims_are_told_apart() -> None:
    records = known_records()
    figure = draw_front([track(NETS, "test_acc", records=records)], "", "parameters")
    drawn = lines(figure.axes[0])
    credible, claim = drawn["known record, credible"], drawn["claim: peak picked on test"]
    for line, kind in ((credible, "credible"), (claim, "claim")):
        chosen = [record for record in records if record.kind == kind]
        assert points_of(line) == [(record.size, 100 * record.test_acc) for record in chosen]
        low, high = figure.axes[0].get_xlim()
        assert all(low < record.size < high for record in chosen)
    assert credible.get_markerfacecolor() != "none" and claim.get_markerfacecolor() == "none"
    assert {"known record, credible", "claim: peak picked on test"} <= set(legend_of(figure))
    by_val = draw_front([track(NETS, records=records)], "", "parameters")
    assert "claim" not in " ".join(legend_of(by_val)), "test accuracies, beside validation"


@settings(deadline=None, max_examples=8)
@given(
    st.lists(
        st.tuples(st.integers(10, 10**6), st.floats(0.1, 1), st.floats(0, 0.01)),
        min_size=1,
        max_size=40,
    )
)
def test_names_on_the_front_cover_neither_each_other_nor_points(
    nets: list[tuple[int, float, float]],
) -> None:
    rows = [(f"a rather long name {n}", *net) for n, net in enumerate(nets)]
    figure = draw_front([track(rows)], "", "parameters")
    [axes] = figure.axes
    names = [text for text in axes.texts if text.get_text()]
    extents = boxes(figure, names)
    for one, other in combinations(extents, 2):
        assert not one.overlaps(other)
    for line in (line for line in axes.lines if line.get_marker() == "o"):
        for x, y in axes.transData.transform(np.array(points_of(line))):
            assert not any(box.contains(x, y) for box in extents)
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in extents)
    assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in extents)


@pytest.mark.parametrize("count", [1, 2])
def test_few_and_equal_points_have_limits_too(count: int) -> None:
    figure = draw_front([track([("a", 5000, 0.99, math.nan)] * count)], "", "parameters")
    (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert left < 5000 < right and low < 99 < high
    assert len(figure.axes[0].get_xticks()) >= 2


# Parallel coordinates and importance


def test_parallel_coordinates_are_the_parameters_of_the_trials() -> None:
    axes_of = (
        ParallelAxis("width", [6, 11, 16], low=6, high=16),
        ParallelAxis("lr", [0.001, 0.01, 0.1], low=0.001, high=0.1, log=True),
        ParallelAxis("pool", ["max", "avg", None], choices=["max", "avg", "stride"]),
        ParallelAxis("flag", [True, 1, True], choices=[True, 1]),
    )
    figure = draw_parallel(ParallelInfo(axes_of, "val_acc", (0.98, 0.99, None)), "")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("width", "lr", "pool", "flag", "val_acc")
    ]
    trials = [np.array(points_of(line)) for line in axes.lines if len(points_of(line)) == 5]
    pruned, worse, best = trials
    strand = SIDE_BY_SIDE  # trials of the same choice lie side by side
    assert worse[:, 0] == pytest.approx([0, 0, 0, 0, 0], abs=strand)
    assert best[:, 0] == pytest.approx([0.5, 0.5, 0.5, 1, 1], abs=strand)
    assert pruned[:4, 0] == pytest.approx([1, 1, NO_VALUE, 0], abs=strand)
    assert math.isnan(pruned[4, 0])
    assert best[:, 1].tolist() == [0, 1, 2, 3, 4]
    shown = {text.get_text() for text in axes.texts}
    assert {"6", "16", "0.001", "0.1", "max", "avg", "stride", "none", "98", "99"} <= shown
    assert legend_of(figure) == ["2 completed", "1 pruned"]


def test_the_best_trial_is_bold_whichever_way_is_better() -> None:
    axis = ParallelAxis("width", [1, 2, 3], low=1, high=3)
    for minimize, best in ((False, 2), (True, 1)):
        values = (5000.0, 1000.0, 9000.0)
        figure = draw_parallel(ParallelInfo((axis,), "num_params", values, minimize), "")
        bold = max(figure.axes[0].lines, key=lambda line: line.get_linewidth())
        assert points_of(bold)[0][0] == pytest.approx(best / 2)
        assert figure.axes[1].get_ylabel() == "num_params"


def test_importances_are_bars_beside_what_chance_gives() -> None:
    shares, chance = {"a": 0.7, "c": 0.2, "b": 0.1}, {"a": 0.3, "b": 0.05, "c": 0.25}
    figure = draw_importance(Importances("val_acc", shares, chance, "PED-ANOVA of 10 trials"), "")
    [axes] = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["a", "c", "b"]
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([70, 20, 10])
    assert [mark[0, 0] for mark in strokes_of(axes)] == pytest.approx([30, 25, 5])
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert colors[0] == colors[2] != colors[1], "c is no more than chance"
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the most important on top"
    assert "PED-ANOVA" in figure.legends[0].get_title().get_text()


# Images


def test_the_confusion_matrix_has_every_count_and_the_accuracy_of_each_label() -> None:
    generator = np.random.default_rng(0)
    counts = generator.poisson(0.5, (10, 10)) + np.diag(generator.integers(900, 1200, 10))
    counts[7] = 0
    figure = confusion_matrix(counts, "Test")
    [axes] = figure.axes
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    for label in range(10):
        for prediction in range(10):
            count = int(counts[label, prediction])
            wanted = f"{count:,}" if count or label == prediction else None
            assert shown.get((prediction, label)) == wanted
        total = counts[label].sum()
        accuracy = f"{100 * counts[label, label] / total:.2f} %" if total else "none"
        assert shown[(9.7, label)] == accuracy
    assert axes.get_xlabel() == "prediction" and axes.get_ylabel() == "label"
    [image] = axes.images
    drawn: np.ndarray = np.ma.filled(np.ma.asarray(image.get_array()), -1)
    off = ~np.eye(10, dtype=bool)
    assert (drawn[off] == counts[off]).all() and (drawn[~off] == -1).all()


@pytest.mark.parametrize("count", [0, 1, 40, 63])
def test_misclassified_images_are_shown_in_their_order(count: int) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    labels, predictions = generator.integers(0, 10, (2, count))
    confidences = generator.random(count)
    figure = misclassified(images, labels, predictions, confidences, "Wrong")
    [axes] = figure.axes
    assert len(axes.images) == min(count, 40)
    places = [image.get_extent() for image in axes.images]
    assert sorted(places, key=lambda place: (place[3], place[0])) == places, "row by row"
    captions = [text.get_text() for text in axes.texts] if count else []
    for image, shown, number in zip(axes.images, captions, range(count), strict=False):
        assert (image.get_array() == images[number]).all()
        label, prediction = labels[number], predictions[number]
        assert shown == f"{label} as {prediction}\n{100 * confidences[number]:.0f} %"
    texts = " ".join(text.get_text() for text in figure.findobj(Text))
    assert ("40 of 63 are shown" in texts) == (count == 63)
    assert ("every image is right" in texts) == (count == 0)


def _labels(axes: Axes) -> list[tuple[Text, int]]:
    return list(zip(axes.get_yticklabels(), axes.get_yticks().astype(int), strict=True))


def test_augmented_images_stand_below_the_original() -> None:
    rows = {
        "original": np.full((1, 3, 28, 28), 7, np.uint8),
        "affine": np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1) * np.ones((28, 28), np.uint8),
    }
    figure = augmentation(rows, "")
    [axes] = figure.axes
    drawn = {
        (int(image.get_extent()[3]), int(image.get_extent()[0])): int(
            np.asarray(image.get_array()).max()
        )
        for image in axes.images
    }
    assert drawn == {
        **{(0, column): 7 for column in range(3)},
        **{(1 + n // 3, n % 3): n for n in range(6)},
    }
    names = {label.get_text(): place for label, place in _labels(axes)}
    assert names == {"original": 0, "affine": 1}


# The commands

Report = Callable[..., str]


@pytest.fixture
def report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Report:
    """`report("front", ...)` runs the command in an empty folder, in this process; returns what
    it printed. With `code`, what it said to standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_SWEEP_DATA", "no-data-here")

    def call(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["report", *words])
        capsys.readouterr()
        assert exit_code(main) == code
        out, err = capsys.readouterr()
        if code:
            assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
        return err if code else out

    return call


def run_record(number: int, **changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": f"r{number:09d}",
        "status": "completed",
        "groups": {"data": "mnist", "model": "ds_cnn", "protocol": "select", "debug": None},
        "seed": 0,
        "num_params": 5000,
        "macs": 10**6,
        "val_acc": 0.99,
        "test_acc": 0.98,
        "val_images": 10_000,
        "test_images": 10_000,
        "config_hash": f"c{number}",
        "overrides": f"model=net{number}",
        "run_dir": f"multirun/{number}",
        "started": "2026-01-02T03:04:05+00:00",
    }
    return RunRecord(**{**values, **changes})


def groups(**changes: str | None) -> dict[str, str | None]:
    return {**run_record(0).groups, **changes}


def leave(folder: Path, *records: RunRecord) -> None:
    table = ResultsTable(folder / "outputs" / "results.csv")
    table.extend(list(records))


def test_front_prints_the_front_of_each_track(report: Report, tmp_path: Path) -> None:
    leave(
        tmp_path,
        run_record(1, groups=groups(model="small"), num_params=1000, val_acc=0.97),
        run_record(2, groups=groups(model="twice"), seed=0, num_params=2000, val_acc=0.98),
        run_record(
            3,
            groups=groups(model="twice"),
            seed=1,
            num_params=2000,
            val_acc=0.99,
            config_hash="c2",
        ),
        run_record(4, groups=groups(model="beaten"), num_params=3000, val_acc=0.984),
        run_record(5, groups=groups(model="pruned"), num_params=10, val_acc=1.0, status="pruned"),
        run_record(
            6,
            groups=groups(model="whole", protocol="final"),
            val_acc=None,
            val_images=None,
            test_acc=0.9,
        ),
    )
    select, final = report("front").split("\n\n")[:2]
    rows = [line.split() for line in select.splitlines()]
    assert [row[:3] for row in rows if row[0].isdigit()] == [
        ["1", "small", "1,000"],
        ["2", "twice", "2,000"],
    ]
    assert "97.00 ± ?" in select and "98.50 ± 0.71" in select
    assert "select" in select and "beaten" not in select and "pruned " not in select
    assert "final" in final and "whole" in final and "90.00 ± ?" in final
    assert "the best of 3 configurations by val_acc" in select

    table = json.loads(report("front", "--format", "json"))
    assert [row["label"] for row in table] == ["small", "twice", "whole"]
    assert [row["rank"] for row in table] == [1, 2, 1] and table[1]["n"] == 2
    frame = pd.read_csv(io.StringIO(report("front", "--format", "csv", "-o", "f.svg")))
    assert frame.label.tolist() == ["small", "twice", "whole"]
    assert ElementTree.parse(tmp_path / "f.svg")

    by_test = report("front", "--where", "1500 < params < 4000", "--score", "test_acc")
    by_test = " ".join(by_test.split())  # lines end where the terminal does
    assert "twice" in by_test and "a choice by the test set" in by_test


def test_known_records_are_drawn_beside_test_accuracies_on_mnist_only(
    report: Report, tmp_path: Path
) -> None:
    leave(tmp_path, run_record(1), run_record(2, num_params=2000, val_acc=0.98))
    said = "known records are not drawn"
    assert said in report("front", "-o", "a.svg")
    assert said in report("front", "-o", "a.svg", "--score", "test_acc", "--cost", "macs")
    by_test = report("front", "-o", "a.svg", "--score", "test_acc")
    assert said not in by_test and "2 known records not drawn: under 1,000" not in by_test
    assert re.search(r"\d known records not drawn: under 1,000 or over 10,000", by_test)
    assert by_test.rstrip().endswith("picture a.svg")
    leave(tmp_path, run_record(3, groups=groups(data="digits")))
    only = ("--where", "data == 'digits'", "--score", "test_acc")
    assert said in report("front", "-o", "a.svg", *only)


def test_a_front_that_cannot_be_is_one_line(report: Report, tmp_path: Path) -> None:
    assert "outputs/results.csv" in report("front", code=2)
    leave(tmp_path, run_record(1, status="pruned"), run_record(2, macs=None))
    assert "--cost" in report("front", "--cost", "seconds", code=2)
    assert "--score" in report("front", "--score", "test_acc_peak", code=2)
    assert "a.gif" in report("front", "-o", "a.gif", code=2)
    assert "cannot be written" in report("front", "-o", "no/a.png", code=2)
    assert "none of the 2 runs" in report("front", "--cost", "macs", code=2)
    assert "holds for none" in report("front", "--where", "seed == 9", code=2)
    assert "params" in report("front", "--cost", "params")


def leave_run(folder: Path, number: int, epochs: int, **changes: Any) -> RunRecord:
    run_dir = folder / "multirun" / str(number)
    run_dir.mkdir(parents=True)
    record = run_record(number, epochs_done=epochs, **changes)
    write_result(run_dir, record)
    if epochs:
        write_history(run_dir, history(epochs))
    leave(folder, record)
    return record


def test_curves_of_runs_by_name(report: Report, tmp_path: Path) -> None:
    leave_run(tmp_path, 1, 3)
    leave_run(tmp_path, 2, 2, study="s", trial=4)
    leave_run(tmp_path, 3, 0, status="failed")
    assert report("curves", "r000000001") == "picture curves.png\n"
    assert (tmp_path / "curves.png").exists()
    report("curves", "multirun/1", "s/4", "-o", "two.svg")
    svg = (tmp_path / "two.svg").read_text()
    assert "ds_cnn, seed 0 (r000000001)" in svg and "(r000000002)" in svg
    assert "has no history" in report("curves", "r000000003", code=2)
    assert "did you mean r000000001" in report("curves", "r00000001", code=2)
    assert "RUN" in report("curves", code=2)
    assert "cannot be written" in report("curves", "multirun/1", "-o", "no/a.png", code=2)


# Searches

SEARCH = [
    *("-m", "--config-dir=mine", "sweep=tiny", "hydra.sweep.dir=multirun/tiny"),
    *("optimizer=adamw", "trainer.epochs=2", "trainer.threads=1", "budget.max_params=5000", *TINY),
]
TINY_SWEEP = """# @package _global_
defaults:
  - override /hydra/sweeper: search
  - override /hydra/sweeper/sampler: random
  - override /hydra/sweeper/pruner: successive_halving
hydra:
  sweeper:
    study_name: tiny
    n_trials: 8
    n_jobs: 1
    sampler:
      seed: 3
    params:
      model: choice(ds_cnn_v3_code, ds_cnn)  # the second is over budget
      optimizer.lr: tag(log, interval(0.001, 0.1))
      trainer.batch_size: choice(32, 64)
      trainer.label_smoothing: interval(0, 0.1)
    conditions:
      trainer.label_smoothing: {trainer.batch_size: [32]}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of eight trials, some pruned, some points rejected."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "mine" / "sweep").mkdir(parents=True)
    (folder / "mine" / "sweep" / "tiny.yaml").write_text(TINY_SWEEP)
    done = subprocess.run(
        [sys.executable, "-m", "mnist_sweep", *SEARCH],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "multirun" / "tiny"


def trials_of(search: Path) -> list[FrozenTrial]:
    """As Optuna's own reader has them."""
    storage = JournalStorage(JournalFileBackend(str(search / "study.journal")))
    return optuna.load_study(study_name="tiny", storage=storage).get_trials()


def kept(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Figure]:
    """The pictures that a function of `figures`, such as curves.pruned, draws from now on."""
    drawn: list[Figure] = []
    place = f"mnist_sweep.figures.{name}"
    draw = resolve_name(place)

    def draw_and_keep(*data: Any, **options: Any) -> Figure:
        drawn.append(draw(*data, **options))
        return drawn[-1]

    monkeypatch.setattr(place, draw_and_keep)
    return drawn


def test_the_pictures_of_a_search_are_of_its_trials(
    searched: Path, report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(searched.parent.parent)
    trials = trials_of(searched)
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    rejected = [trial for trial in trials if trial.user_attrs.get("status") == "infeasible"]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    pruned = [trial for trial in pruned if trial not in rejected]
    assert rejected and pruned and len(completed) >= FEWEST_COMPLETED
    journal = searched / "study.journal"
    before = journal.read_bytes(), journal.stat().st_mtime_ns, sorted(searched.iterdir())

    functions = ("curves.pruned", "search.parallel", "search.importance")
    drawn = {name.partition(".")[2]: kept(monkeypatch, name) for name in functions}
    out = tmp_path / "p.png"
    assert report("pruned", "-o", str(out)).endswith(f"picture {out}\n")
    report("parallel", "multirun", "-o", str(out))
    table = report("importance", str(searched), "-o", str(out))
    after = journal.read_bytes(), journal.stat().st_mtime_ns, sorted(searched.iterdir())
    assert after == before, "reading leaves a search as it is"

    histories = {
        trial.number: pd.read_csv(searched / str(trial.number) / "history.csv").val_acc
        for trial in [*completed, *pruned]
    }
    ends = sorted(
        points_of(line)[-1] for line in drawn["pruned"][0].axes[0].lines if points_of(line)
    )
    expected = sorted((len(accs), 100 * accs.iloc[-1]) for accs in histories.values())
    np.testing.assert_allclose(ends, expected)

    axes = drawn["parallel"][0].axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [
        *("model", "optimizer.lr", "trainer.batch_size", "trainer.label_smoothing", "val_acc")
    ]
    assert legend_of(drawn["parallel"][0]) == [
        f"{len(completed)} completed",
        f"{len(pruned)} pruned",
    ]
    lrs = sorted(points_of(line)[1][0] for line in axes.lines if len(points_of(line)) == len(rows))
    wanted = [math.log(t.params["optimizer.lr"] / 0.001, 100) for t in [*completed, *pruned]]
    np.testing.assert_allclose(lrs, sorted(wanted))

    bars = drawn["importance"][0].axes[0]
    assert {label.get_text() for label in bars.get_yticklabels()} == set(rows[1:-1])
    assert "optimizer.lr" in table and f"of {len(completed)} completed trials" in table
    assert "Left out, for they do not vary among these: model" in table


def test_without_a_search_there_is_no_picture(
    report: Report, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("pruned", "parallel", "importance"):
        assert "multirun does not exist" in report(command, code=2)
        assert "nothing does not exist" in report(command, "nothing", code=2)
    leave_run(tmp_path, 1, 2)
    for command in ("pruned", "parallel", "importance"):
        assert "multirun holds no search" in report(command, "multirun", code=2)
        assert "is no folder" in report(command, "outputs/results.csv", code=2)
    assert "--objective=loss" in report("parallel", str(searched), "--objective", "loss", code=2)

    for name in ("one", "two"):
        folder = tmp_path / "multirun" / name
        folder.mkdir()
        (folder / "study.journal").write_bytes((searched / "study.journal").read_bytes())
    assert "multirun holds 2 searches: give one" in report("parallel", "multirun", code=2)
    assert "search  multirun/two, the newest of 2" in report("parallel")
    assert "multirun/two: no run of the search in it" in report("pruned", code=2)

    lines = (tmp_path / "multirun" / "one" / "study.journal").read_text().splitlines()
    ends = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] == 6]
    (tmp_path / "multirun" / "one" / "study.journal").write_text("\n".join(lines[: ends[2]]) + "\n")
    few = report("importance", "multirun/one", code=2)
    assert re.search(r"multirun/one: \d completed trials? of \d, and importance needs", few)
    (tmp_path / "multirun" / "one" / "study.journal").write_text("no journal\n")
    assert "multirun/one/study.journal is damaged" in report("parallel", "multirun/one", code=2)
    (tmp_path / "multirun" / "one" / "study.journal").write_text("")
    assert "multirun/one/study.journal" in report("parallel", "multirun/one", code=2)


def test_a_trial_whose_files_are_gone_is_left_out_and_counted(
    report: Report, searched: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "multirun" / "tiny"
    shutil.copytree(searched, copy)
    first, second, *rest = sorted(path.parent for path in copy.glob("*/history.csv"))
    (first / "history.csv").unlink()
    (second / "result.json").write_text("{")
    said = report("pruned")
    assert "left out: 2 runs" in said and "picture pruned.png" in said and rest


def test_a_search_kept_in_a_database_is_read_from_there(
    report: Report, searched: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="tiny", storage=url, direction="maximize")
    study.add_trials([t for t in trials_of(searched) if t.state == TrialState.COMPLETE])
    folder = tmp_path / "multirun" / "tiny"
    folder.mkdir(parents=True)
    (folder / "results.csv").write_bytes((searched / "results.csv").read_bytes())
    assert "give --storage URL" in report("parallel", "multirun/tiny", code=2)
    assert "picture parallel.png" in report("parallel", "multirun/tiny", "--storage", url)
    other = f"sqlite:///{tmp_path}/other.db"
    assert "holds no study tiny" in report("parallel", "multirun/tiny", "--storage", other, code=2)


def synthetic(trials: int, seed: int = 0) -> SearchStudy:
    """`good` decides the value, `noise` has no part in it, `same` does not vary."""
    generator = np.random.default_rng(seed)
    uniform, choices = FloatDistribution(0, 1), CategoricalDistribution([1, 2, 3])
    made = []
    for number in range(trials):
        good, noise = generator.random(2)
        trial = create_trial(
            params={"good": good, "noise": noise, "same": 2, "pick": int(generator.integers(1, 4))},
            distributions={"good": uniform, "noise": uniform, "same": choices, "pick": choices},
            value=good,
        )
        trial.number = number
        made.append(trial)
    return SearchStudy(Path("search"), {"val_acc": "maximize"}, made)


@pytest.mark.parametrize("trials", [20, 100])
def test_importance_finds_what_decides_and_nothing_else(trials: int) -> None:
    found = importances(synthetic(trials), "val_acc")
    assert next(iter(found.shares)) == "good" and sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["good"] > found.chance["good"]
    assert found.shares["noise"] <= found.chance["noise"]
    assert "same" not in found.shares and "same" in found.note
    assert importances(synthetic(trials), "val_acc") == found, "shuffled alike each time"


def test_importance_goes_by_the_direction() -> None:
    study = synthetic(60)
    for trial in study.trials:  # the best are those with a small value of good
        trial.params["noise"] = trial.params["good"] if trial.value and trial.value < 0.5 else 0.9
    best_low = importances(replace(study, directions={"val_acc": "minimize"}), "val_acc")
    best_high = importances(study, "val_acc")
    assert best_low.shares["noise"] != best_high.shares["noise"]
    assert best_high.shares["noise"] > best_low.shares["noise"]


def test_importance_without_an_effect_is_seldom_above_chance() -> None:
    above = 0
    for seed in range(5):
        study = synthetic(12, seed)
        values = np.random.default_rng(seed).permutation([t.value or 0.0 for t in study.trials])
        for trial, value in zip(study.trials, values, strict=True):
            trial.value = float(value)
        found = importances(study, "val_acc")
        above += sum(found.shares[name] > found.chance[name] for name in found.shares)
    assert above <= 4, "of 15, one in twenty is expected"


# Augmentation


def test_augmentation_shows_each_choice(report: Report, tmp_path: Path) -> None:
    report("augmentation", "affine,none,affine+elastic", "-o", "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    for shown in ("original", "affine", "none", "affine+elastic", "digits"):
        assert f"<!-- {shown}" in svg or f" {shown}" in svg
    assert "did you mean elastic" in report("augmentation", "elastik", code=2)
    assert "one of affine" in report("augmentation", "../model/ds_cnn", code=2)
    assert "cannot be written" in report("augmentation", "none", "-o", "no/a.png", code=2)


def test_augmented_digits_are_what_training_sees(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, np.ndarray] = {}
    monkeypatch.setattr(
        "mnist_sweep.figures.augmentation.augmentation",
        lambda rows, title: seen.update(rows) or augmentation(rows, title),
    )
    assert report("augmentation") == "picture augmentation.png\n"
    original = seen["original"]
    assert original.shape == (1, 10, 28, 28)
    assert list(seen) == ["original", "affine", "crop_rotate", "elastic", "shear_after_norm"]
    assert seen["affine"].shape == (2, 10, 28, 28)
    assert (seen["affine"] != original).any(axis=(2, 3)).all()
    digits = load_digits()
    for digit in range(10):
        small = F.interpolate(
            torch.from_numpy(digits.images[digits.target == digit]).float().unsqueeze(1),
            size=28,
            mode="bilinear",
        )
        distance = (small.squeeze(1) * 255 / 16 - torch.from_numpy(original[0, digit])).abs()
        assert distance.flatten(1).max(dim=1).values.min() <= 1, "it is one of this digit"


def test_the_command_as_a_process(cli: Cli, tmp_path: Path) -> None:
    leave(tmp_path, run_record(1, groups=groups(model=NASTY)))
    done = cli("front", "-o", "front.png", module="mnist_sweep.report")
    assert done.returncode == 0 and done.stderr == ""
    assert "picture front.png" in done.stdout and "größer" in done.stdout
