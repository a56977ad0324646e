"""How all pictures look: colours, width, fonts."""

from typing import Any

from matplotlib import style
from matplotlib.colors import to_rgb
from matplotlib.typing import ColorType

# Okabe and Ito's colours, which the colour-blind can tell apart.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, PALE = "#56B4E9", "#CC79A7", "#B9D4E6"
INK, GREY, LIGHT = "#222222", "#767676", "#D9D9D9"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)

WIDTH = 8.0
"""Inches; two dots a pixel where a page shows the picture 800 pixels wide."""

STYLE: dict[str, Any] = {
    "figure.dpi": 200,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans", "sans-serif"],  # the first comes with matplotlib
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text that can be read aloud, searched and copied
    "svg.hashsalt": "mnist_sweep",
}
styled = style.context(["default", STYLE])
"""Decorates what makes a picture. Nothing of the user's matplotlibrc has a say."""


def contrast(one: ColorType, other: ColorType) -> float:
    """1 to 21, as WCAG 2 reckons it; text is to have 4.5 at least."""
    lights = sorted(map(_luminance, (one, other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(color: ColorType) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def readable_on(color: ColorType) -> str:
    """Black or white, whichever has more contrast: 4.58 at least."""
    return max(("black", "white"), key=lambda text: contrast(text, color))
