"""The plot of what a search's trials chose: a row a parameter, a line down through all a trial."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.error_scale import SCALE
from mnist_sweep.report.analysis.parallel import NO_VALUE, ParallelInfo, ParallelRow
from mnist_sweep.report.page.plots import HOVER_TEXT, Figure, label
from mnist_sweep.report.wording import counted, percent

MOST_LINES = 400
"""The best ones; those that were pruned come last."""

QUARTERS = (
    ("last quarter", 1.0, 0.3),
    ("third quarter", 1.2, 0.5),
    ("second quarter", 1.4, 0.7),
    ("best quarter", 1.8, 1.0),
)
"""Name, width and opacity of the lines, of the completed trials from worst to best."""


def parallel_words(info: ParallelInfo) -> str:
    name = f"{info.objective}{SCALE}" if is_accuracy(info.objective) else info.objective
    left = len(info.values) - MOST_LINES
    few = f" Shown are the {MOST_LINES} best; {counted(left, 'trial')} more." if left > 0 else ""
    return f"A line is a trial: what it chose for each parameter and, on the last row, {name}.{few}"


def parallel_figure(info: ParallelInfo, run_ids: Mapping[int, str]) -> Figure:
    """run_ids: of each trial's first run, which a click opens."""
    rows = info.rows()
    order = info.worst_first()[-MOST_LINES:]
    done = [n for n in order if info.values[n] is not None]
    pruned = order[: len(order) - len(done)]
    words = {n: _words(info, n) for n in order}

    def lines(chosen: Sequence[int], **form: Any) -> dict[str, Any]:
        """All of them as one trace, a gap between each two."""
        depths: list[int | None] = [*range(len(rows)), None]
        return {
            "type": "scatter",
            "mode": "lines",
            "x": [x for n in chosen for x in (*(_place(row, n) for row in rows), None)],
            "y": [*depths] * len(chosen),
            "customdata": [
                run for n in chosen for run in [run_ids.get(info.trials[n])] * len(depths)
            ],
            "text": [words[n] for n in chosen for _ in depths],
            "hovertemplate": HOVER_TEXT,
            **form,
        }

    traces = [
        lines(pruned, name="pruned", line={"color": "var(--muted)", "width": 0.7}, opacity=0.5)
    ]
    if len(done) < 2 * len(QUARTERS):
        traces.append(lines(done, name="completed", line=_line(1.5)))
    else:
        for part, (name, width, opacity) in enumerate(QUARTERS):
            first, end = (len(done) * n // len(QUARTERS) for n in (part, part + 1))
            traces.append(lines(done[first:end], name=name, line=_line(width), opacity=opacity))
    traces.append(lines(done[-1:], name="best", line={"color": "var(--second)", "width": 3}))
    return {
        "data": [*(trace for trace in traces if trace["x"]), _ticks(rows)],
        "layout": {
            "height": 90 + 44 * len(rows),
            "showlegend": True,
            "xaxis": {"visible": False, "range": [-0.06, NO_VALUE + 0.06]},
            "yaxis": {
                "range": [len(rows) - 0.4, -0.4],
                "tickvals": list(range(len(rows))),
                "ticktext": [label(row.name, 32) for row in rows],
                "showline": False,
                "ticksuffix": "  ",
            },
        },
    }


def _line(width: float) -> dict[str, Any]:
    return {"color": "var(--accent)", "width": width}


def _place(row: ParallelRow, trial: int) -> float | None:
    place = float(row.places[trial])
    return None if np.isnan(place) else round(place, 4)


def _ticks(rows: Sequence[ParallelRow]) -> dict[str, Any]:
    ticks = [(place, n, text) for n, row in enumerate(rows) for text, place in row.ticks.items()]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": "ticks",
        "showlegend": False,
        "x": [round(place, 4) for place, _, _ in ticks],
        "y": [n for _, n, _ in ticks],
        "text": [label(text, 16) for _, _, text in ticks],
        "textposition": "bottom center",
        "textfont": {"size": 11},
        "hoverinfo": "skip",
        "marker": {"symbol": "line-ns-open", "size": 5, "color": "var(--text)"},
    }


def _words(info: ParallelInfo, place: int) -> str:
    chosen = [f"{label(axis.name)} {_shown(axis.values[place])}" for axis in info.axes]
    value = info.values[place]
    result = "not completed"
    if value is not None:
        shown = f"{percent(value)} %" if is_accuracy(info.objective) else f"{value:,.6g}"
        result = f"{label(info.objective)} {shown}"
    return "<br>".join([f"<b>trial {info.trials[place]}</b>: {result}", *chosen])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else label(str(value), 40)
