"""A net's mistakes: which labels it confuses, and the images that it got wrong."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mnist_sweep.figures.labels import headline, wrapped
from mnist_sweep.figures.style import GREY, VERMILION, WIDTH, readable_on, styled
from mnist_sweep.figures.tiles import CAPTION, TILE, draw_tile, prepare_tiles

MOST_MISTAKES = 40
MISTAKES_A_ROW = 10
MOST_WRITTEN = 50
"""Classes whose counts are written into the matrix; of more there are colours alone."""

ERRORS = LinearSegmentedColormap.from_list("errors", ["#FFFFFF", "#FBD3B8", VERMILION])


@styled
def confusion_matrix(
    counts: np.ndarray, title: str, class_names: Sequence[str] | None = None
) -> Figure:
    """counts: (K, K) of images, rows are labels, columns predictions. class_names: None numbers
    them.

    Colour is for mistakes alone: the right answers, a thousand times as many, would hide them. On
    the right is each label's accuracy.
    """
    counts = np.asarray(counts)
    classes = len(counts)
    names = class_names or [str(number) for number in range(classes)]
    is_written = classes <= MOST_WRITTEN
    scale = min(max(1.0, classes / 10), MOST_WRITTEN / 10)
    mistakes = counts.astype(float)
    np.fill_diagonal(mistakes, np.nan)
    figure = Figure(figsize=(6.4 * scale, 5.9 * scale), layout="constrained")
    axes = figure.subplots()
    most = np.nanmax(mistakes) if classes > 1 else 0
    axes.imshow(mistakes, cmap=ERRORS, vmin=0, vmax=max(most, 1))
    for label in range(classes):
        for prediction in range(classes):
            count = counts[label, prediction]
            right = label == prediction
            if is_written and (count or right):
                axes.text(
                    prediction,
                    label,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    color=GREY if right else readable_on(ERRORS(count / max(most, 1))),
                    fontsize=8.5 if right else 9.5,
                    fontweight="normal" if right else "bold",
                )
        images = counts[label].sum()
        acc = f"{100 * counts[label, label] / images:.2f} %" if images else "none"
        if is_written:
            axes.text(classes - 0.3, label, acc, va="center", fontsize=9)
    if is_written:
        axes.text(classes - 0.3, -0.75, "accuracy", va="center", fontsize=9, color=GREY)
        is_long = max(map(len, names)) > 2
        axes.set_xticks(range(classes), names, rotation=90 if is_long else 0)
        axes.set_yticks(range(classes), names)
        axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(False)
    axes.grid(True, which="minor")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title(wrapped(title, 55), pad=20)
    return figure


@styled
def misclassified(
    images: np.ndarray,
    labels: Sequence[int | str] | np.ndarray,
    predictions: Sequence[int | str] | np.ndarray,
    confidences: Sequence[float] | np.ndarray,
    title: str,
) -> Figure:
    """images: (N, C, H, W) uint8; the first 40 are shown, in their order. confidences: 0..1."""
    shown = min(len(images), MOST_MISTAKES)
    rows = max(1, -(-shown // MISTAKES_A_ROW))
    figure = Figure(figsize=(WIDTH, 0.75 + 1.12 * rows), dpi=150, layout="constrained")
    axes = figure.subplots()
    prepare_tiles(axes, MISTAKES_A_ROW, rows, CAPTION)
    for number in range(shown):
        row, column = divmod(number, MISTAKES_A_ROW)
        draw_tile(axes, images[number], column, row * (1 + CAPTION))
        axes.text(
            column + TILE / 2,
            row * (1 + CAPTION) - 0.06,
            f"{labels[number]} as {predictions[number]}\n{100 * confidences[number]:.0f} %",
            ha="center",
            va="bottom",
            fontsize=9,
        )
    if not shown:
        axes.text(MISTAKES_A_ROW / 2, 0.5, "none: every image is right", ha="center")
    some = f"; {shown} of {len(images):,} are shown" if shown < len(images) else ""
    axes.set_xlabel(
        f"label as prediction, and the net's confidence in the prediction{some}",
        fontsize=9,
        color=GREY,
    )
    headline(figure, title)
    return figure
