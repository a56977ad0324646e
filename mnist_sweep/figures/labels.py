"""Titles, legends, and text that has to fit."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple

ON_LINES: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
"""The box of text that lines may cross. A halo (matplotlib's path effects) would make outlines of
the letters, which an SVG's reader can neither search nor hear."""


def headline(figure: Figure, title: str) -> None:
    """The title of a figure of several panels."""
    figure.suptitle(wrapped(title, 78), x=0.01, ha="left", fontsize=11, fontweight="bold")


def wrapped(title: str, width: int) -> str:
    """At most two lines of so many characters."""
    return textwrap.fill(title, width, max_lines=2, placeholder=" …")


def legend(figure: Figure, keys: Sequence[Any], note: str | None = None) -> None:
    """Below the axes, where it covers nothing; the note above it. Several keys as a tuple are shown
    side by side, with the first one's label."""
    labels = [str((key[0] if isinstance(key, tuple) else key).get_label()) for key in keys]
    longest = max(map(len, labels), default=0)
    columns = max(1, min(4, len(keys), int(100 / (longest + 7))))
    figure.legend(
        handles=list(keys),
        labels=labels,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        loc="outside lower center",
        ncols=columns,
        title=note and textwrap.fill(note, 112, max_lines=5, placeholder=" …"),
        title_fontproperties={"size": 8.5},
    )


def one_line(text: str, longest: int) -> str:
    """Text on one line of at most so many characters, cut in its middle."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    head = longest // 2
    return f"{line[:head].rstrip()}…{line[head + 1 - longest :].lstrip()}"
