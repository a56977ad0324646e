"""How all pictures look: colours, width, fonts."""

from typing import Any

from matplotlib import style

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
    "font.family": "DejaVu Sans",  # comes with matplotlib
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
    "svg.hashsalt": "mnist_sweep",
}
styled = style.context(["default", STYLE])
"""Decorates what makes a picture. Nothing of the user's matplotlibrc has a say."""
