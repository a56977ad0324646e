"""Pictures as files, .png or .svg."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from mnist_sweep.errors import UserError
from mnist_sweep.figures.style import styled
from mnist_sweep.writing import write_output


@styled
def save(figure: Figure, path: Path) -> None:
    """Writes a picture; the same bytes for the same data, hence no date.

    Raises:
        UserError: the name ends neither in .png nor in .svg, or the file cannot be written.
    """
    form = check_suffix(path)
    metadata: dict[str, Any] = {"Software": None}
    if form == "svg":
        metadata = {"Date": None, "Creator": None, "Title": _title(figure)}
    picture = io.BytesIO()
    with boxes_for_unknown_glyphs():
        figure.savefig(picture, format=form, metadata=metadata)
    if form == "png":  # in 256 colours it has less than half the bytes
        drawn = Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture = io.BytesIO()
        drawn.save(picture, "png", optimize=True)
    write_output(path, picture.getvalue())


def _title(figure: Figure) -> str:
    """For those who do not see the picture: the headline, or the first panel's title."""
    headline = figure.get_suptitle()
    own = [axes.get_title(loc="left") for axes in figure.axes]
    return " ".join(next(filter(None, [headline, *own]), "").split())


@contextmanager
def boxes_for_unknown_glyphs() -> Iterator[None]:
    """Signs that the font lacks are drawn as boxes, without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def check_suffix(path: Path) -> str:
    """
    Raises:
        UserError: the name ends neither in .png nor in .svg.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise UserError(f"-o {path}: a picture is a .png or a .svg; end the name in one of these")
    return form
