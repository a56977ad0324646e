"""Images of digits side by side, in rows."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from mnist_sweep.figures.style import LIGHT

TILE = 0.9
"""Side of an image where the next one begins at 1."""
CAPTION = 0.45
"""Height of two lines above an image, in the same unit."""


def prepare_tiles(axes: Axes, columns: int, rows: int, caption: float = 0) -> None:
    """Room for images in rows, without ticks; y goes down."""
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, columns)
    axes.set_ylim(rows * (1 + caption) - caption, -caption - 0.02)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def draw_tile(axes: Axes, image: np.ndarray, x: float, y: float) -> None:
    """image: (C, H, W) or (H, W) uint8. One channel black on white, every pixel a square."""
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    tile = AxesImage(
        axes,
        cmap="gray_r",
        norm=Normalize(0, 255),
        interpolation="nearest",
        extent=(x, x + TILE, y + TILE, y),
    )
    tile.set_data(pixels)
    axes.add_image(tile)
    axes.add_patch(Rectangle((x, y), TILE, TILE, fill=False, edgecolor=LIGHT, linewidth=0.6))
