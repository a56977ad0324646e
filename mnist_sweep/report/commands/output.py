"""Where a picture goes: the option, and the line that says so."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_output(
    parser: argparse.ArgumentParser, what: str = "picture", default: str | None = None
) -> None:
    said = f" (default: {default})" if default else ""
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        default=None if default is None else Path(default),
        metavar="FILE",
        help=f"{what}, .png or .svg{said}",
    )


def save(figure: "Figure", path: Path) -> None:
    from mnist_sweep.figures import saving

    saving.save(figure, path)
    print(f"picture {path}")
