"""What a picture shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

NASTY = "größer 数字 $x^{2$ \\frac <b>&amp; %s"
"""Text that is markup to this or that."""


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
