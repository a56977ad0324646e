"""Digits, each as it is and as an augmentation changes it."""

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mnist_sweep.figures.labels import headline
from mnist_sweep.figures.style import WIDTH, styled
from mnist_sweep.figures.tiles import TILE, draw_tile, prepare_tiles


@styled
def augmentation(rows: Mapping[str, np.ndarray], title: str) -> Figure:
    """rows: name -> (draws, N, H, W) uint8, N the same for all; a line of images for each draw."""
    lines = [(name, images) for name, draws in rows.items() for images in draws]
    columns = max(len(images) for _, images in lines)
    figure = Figure(figsize=(WIDTH, 0.5 + 0.66 * len(lines)), layout="compressed")
    axes = figure.subplots()
    prepare_tiles(axes, columns, len(lines))
    starts = {name: row for row, (name, _) in reversed(list(enumerate(lines)))}
    for row, (_, images) in enumerate(lines):
        for column, image in enumerate(images):
            draw_tile(axes, image, column, row)
    labels = [textwrap.fill(name, 16, max_lines=2, placeholder=" …") for name in starts]
    axes.set_yticks([row + TILE / 2 for row in starts.values()], labels)
    axes.tick_params(length=0)
    headline(figure, title)
    return figure
