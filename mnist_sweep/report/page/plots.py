"""What the page's plots have in common.

A figure is plotly's, as plain data: `plotly.graph_objects` would take half a second to import and
to check what a test checks once. Colours and the font are the page's own, `var(--name)`, which the
script replaces by what the stylesheet has there, light or dark.
"""

import html
from typing import Any

Figure = dict[str, Any]
"""data: traces; layout."""

_AXIS = {
    "gridcolor": "var(--line)",
    "linecolor": "var(--line)",
    "showline": True,
    "zeroline": False,
    "automargin": True,
    "title": {"standoff": 12, "font": {"size": 13}},
}
_FONT = {"family": "var(--font)", "size": 13, "color": "var(--text)"}
_NOTHING = "rgba(0,0,0,0)"

THEME: dict[str, Any] = {
    "paper_bgcolor": _NOTHING,
    "plot_bgcolor": _NOTHING,
    "font": _FONT,
    "hoverlabel": {
        "bgcolor": "var(--surface)",
        "bordercolor": "var(--line)",
        "align": "left",
        "namelength": -1,
        "font": _FONT,
    },
    "hovermode": "closest",
    "modebar": {
        "bgcolor": _NOTHING,
        "color": "var(--muted)",
        "activecolor": "var(--accent)",
    },
    "legend": {
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "yanchor": "bottom",
        "font": {"color": "var(--text)"},
    },
    "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
    "xaxis": _AXIS,
    "yaxis": _AXIS,
}
"""The layout that all plots have, as a template of plotly's."""

HOVER_TEXT = "%{text}<extra></extra>"
"""What is shown at a point: its own text, without the name of the trace beside it."""


def label(text: str, longest: int | None = None) -> str:
    """Plotly reads some tags and entities in labels; data has none of them."""
    cut = text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"
    return html.escape(cut, quote=False)
