"""Pictures: what is drawn is what the data say, in files that open; the commands that draw them."""

import io
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from mnist_sweep.dominance import non_dominated
from mnist_sweep.errors import UserError
from mnist_sweep.figures.augmentation import augmentation
from mnist_sweep.figures.curves import curves as draw_curves
from mnist_sweep.figures.evaluation import confusion_matrix, misclassified
from mnist_sweep.figures.front import front as draw_front
from mnist_sweep.figures.importance import importance as draw_importance
from mnist_sweep.figures.parallel import parallel as draw_parallel
from mnist_sweep.figures.pruned import pruned as draw_pruned
from mnist_sweep.figures.saving import save
from mnist_sweep.figures.style import contrast
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.report.analysis.curves import run_curve
from mnist_sweep.report.analysis.front import (
    FrontInfo,
    FrontPoint,
    PointScore,
    known_records,
)
from mnist_sweep.report.analysis.importance import Importances
from mnist_sweep.report.analysis.parallel import (
    NO_VALUE,
    SIDE_BY_SIDE,
    ParallelAxis,
    ParallelInfo,
)
from mnist_sweep.report.analysis.pruned import PrunedInfo, TrialCurve
from tests.conftest import environment
from tests.drawn import NASTY, boxes, legend_of, lines, points_of, strokes_of
from tests.results import epoch, history

SVG = "{http://www.w3.org/2000/svg}"
ACCURACIES = st.floats(0, 1)


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
        Importances("val_acc", {NASTY: 0.9, "b": 0.1}, {NASTY: 0.3, "b": 0.3}, NASTY), NASTY
    ),
    "augmentation": lambda: augmentation(
        {"original": np.zeros((1, 4, 28, 28), np.uint8), NASTY: np.ones((2, 4, 28, 28), np.uint8)},
        NASTY,
    ),
}


def saved(figure: Figure, path: Path) -> bytes:
    save(figure, path)
    return path.read_bytes()


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


@pytest.mark.parametrize("name", PICTURES)
def test_all_text_of_an_svg_is_text_and_its_title_says_what_it_is(
    name: str, tmp_path: Path
) -> None:
    figure = PICTURES[name]()
    root = ElementTree.fromstring(saved(figure, tmp_path / "a.svg"))
    written = [" ".join("".join(e.itertext()).split()) for e in root.iter(f"{SVG}text")]
    texts = [text for axes in figure.axes for text in (*axes.texts, axes.title)]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    shown = [line for text in texts for line in text.get_text().splitlines()]
    assert {" ".join(line.split()) for line in shown} - {""} <= set(written)
    [title] = [element.text for element in root.iter(f"{SVG}title")]
    assert title == NASTY


def test_text_is_shown_as_it_stands(tmp_path: Path) -> None:
    figure = PICTURES["curves"]()
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert NASTY in shown, "the title"
    svg = saved(figure, tmp_path / "a.svg").decode()
    named = ElementTree.fromstring(svg).findtext("{http://www.w3.org/2000/svg}title")
    assert named == NASTY, "for those who do not see the picture"
    texts = {
        text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    }
    assert "epoch" in texts, "text, not outlines"
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
    names = {text.get_text() for text in figure.axes[0].texts}
    assert {"under 1k", "under 2k", "under 5k", "under 10k", "under 20k", "small"} <= names
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
    drawn = track(rows, "test_acc", records=known_records())
    figure = draw_front([drawn], "", "parameters")
    [axes] = figure.axes
    names = [text for text in axes.texts if text.get_text()]
    extents = boxes(figure, names)
    for one, other in combinations(extents, 2):
        assert not one.overlaps(other)
    for line in (line for line in axes.lines if line.get_marker() in ("o", "D")):
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
    shown_lines, lines = figure.legends[0].get_lines(), [*axes.lines]
    [unfinished] = {line.get_color() for line in lines if np.isnan(points_of(line)).any()}
    scale = {matplotlib.colormaps["viridis_r"](value) for value in (0.1, 0.5, 0.9)}
    drawn = {line.get_color() for line in shown_lines}
    assert unfinished in drawn and drawn <= {unfinished, *scale} and len(drawn) > 1


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


def test_the_confusion_matrix_of_many_classes_is_no_larger_than_of_fifty() -> None:
    sizes = []
    for classes in (50, 300):
        counts = np.ones((classes, classes), dtype=np.int64)
        figure = confusion_matrix(counts, "Test")
        sizes.append(figure.get_size_inches().tolist())
        assert bool(figure.axes[0].texts) == (classes == 50)
    assert sizes[0] == sizes[1]


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
    for text in axes.texts:
        x, y = text.get_position()
        inside = float(x).is_integer() and float(y).is_integer() and x != y
        background: Any = image.cmap(image.norm(counts[int(y), int(x)])) if inside else "white"
        assert contrast(text.get_color(), background) >= 4.5, text.get_text()
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
