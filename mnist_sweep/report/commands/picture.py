"""Where a picture goes, and the line that says so."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_picture(figure: "Figure", path: Path) -> None:
    from mnist_sweep.figures.saving import save

    save(figure, path)
    print(f"picture {path}")
