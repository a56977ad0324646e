"""The section of accuracy against parameters."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mnist_sweep.report.analysis.front import (
    FrontInfo,
    FrontPoint,
    KnownRecord,
    front_info,
    thinned,
)
from mnist_sweep.report.analysis.leaderboard import METRICS
from mnist_sweep.report.page.axes import AccuracyAxis, accuracy_axis, size_axis
from mnist_sweep.report.page.plots import HOVER_TEXT, Figure, label
from mnist_sweep.report.wording import counted

MOST_POINTS = 2_000  # of a plot, which SVG still draws at once

RECORDS = {
    "credible": ("known records", "diamond-open", "bottom"),
    "claim": ("claims, peaks picked on test", "x-thin-open", "middle"),
}
"""Kind -> name, symbol, and at which height beside it the record's own name is."""


@dataclass(frozen=True)
class FrontSection:
    fronts: Sequence[FrontInfo]
    """Of each track."""

    @property
    def scores(self) -> list[str]:
        """That any track has."""
        return [name for name in METRICS if any(name in front.scores for front in self.fronts)]

    def choices(self) -> list[dict[str, Any]]:
        """As choice.js takes them."""
        return [
            {
                "figures": {
                    score: front_figure(front, score) for score in front.scores or [front.score]
                },
                "first": front.score,
                "note": _note(front),
            }
            for front in self.fronts
        ]


def front_section(tracks: Sequence[pd.DataFrame]) -> FrontSection:
    """tracks: of the leaderboard, the lines of each."""
    return FrontSection([thinned(front_info(track), MOST_POINTS) for track in tracks])


def _note(front: FrontInfo) -> str:
    if len(front.points) == front.num_configs:
        return ""
    return (
        f"Dots that would hide each other are one: {len(front.points):,} for "
        f"{counted(front.num_configs, 'configuration')}."
    )


def front_figure(info: FrontInfo, score: str) -> Figure:
    """Score against parameters, by any of the info's scores."""
    points, records = info.drawn(score), info.records_beside(score)
    accuracies = [point.scores[score].mean for point in points]
    accuracies += [record.test_acc for record in records]
    y = accuracy_axis(accuracies, f"{score}, % (on a scale of errors)")
    sizes = [*(point.cost for point in points), *(record.size for record in records)]
    dominated = [point for point in points if not point.scores[score].on_front]
    return {
        "data": [
            {
                **_trace(dominated, score, y),
                "mode": "markers",
                "name": "dominated",
                "marker": {"color": "var(--muted)", "size": 7, "opacity": 0.55},
            },
            {
                **_trace(info.front(score), score, y),
                "mode": "lines+markers",
                "name": "front: none is smaller and better",
                "line": {"shape": "hv", "color": "var(--accent)", "width": 1.5},
                "marker": {
                    "color": "var(--accent)",
                    "size": 10,
                    "line": {"width": 1, "color": "var(--page)"},
                },
            },
            *_traces_of_records(
                records, y, math.sqrt(min(sizes, default=1) * max(sizes, default=1))
            ),
        ],
        "layout": {"xaxis": size_axis(sizes, "parameters"), "yaxis": y.axis},
    }


def _trace(points: Sequence[FrontPoint], score: str, y: AccuracyAxis) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [point.cost for point in points],
        "y": [y.place(point.scores[score].mean) for point in points],
        "customdata": [point.run_id for point in points],
        "text": [_words(point, score) for point in points],
        "hovertemplate": HOVER_TEXT,
    }


def _words(point: FrontPoint, score: str) -> str:
    of = f", mean of n = {point.n}" if point.n > 1 else ", n = 1"
    lines = [
        f"<b>{label(point.label, 70)}</b>",
        f"{point.cost:,} parameters",
        f"{score} {100 * point.scores[score].mean:.2f} %{of}",
    ]
    if point.hidden:
        lines.append(f"{point.hidden:,} more within a dot's width")
    return "<br>".join(lines)


def _traces_of_records(
    records: Iterable[KnownRecord], y: AccuracyAxis, middle: float
) -> Iterable[Mapping[str, Any]]:
    """middle: of the axis; a record's name is on the side towards it."""
    for kind, (name, symbol, height) in RECORDS.items():
        chosen = [record for record in records if record.kind == kind]
        if chosen:
            yield {
                "type": "scatter",
                "mode": "markers+text",
                "name": name,
                "x": [record.size for record in chosen],
                "y": [y.place(record.test_acc) for record in chosen],
                "text": [record.name for record in chosen],
                "textposition": [
                    f"{height} {'right' if record.size < middle else 'left'}" for record in chosen
                ],
                "cliponaxis": False,
                "textfont": {"size": 11},
                "hovertext": [_words_of_record(record, name) for record in chosen],
                "hovertemplate": "%{hovertext}<extra></extra>",
                "marker": {
                    "symbol": symbol,
                    "size": 10,
                    "color": "var(--second)",
                    "line": {"width": 2, "color": "var(--second)"},
                },
            }


def _words_of_record(record: KnownRecord, name: str) -> str:
    size = f"under {record.size:,}" if record.num_params is None else f"with {record.size:,}"
    note = f"<br>{label(record.note)}" if record.note else ""
    return f"{name}: {100 * record.test_acc:.2f} % {size} parameters{note}"
