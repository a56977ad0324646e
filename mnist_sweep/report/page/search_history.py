"""The plot of a search's trials in their order, with the best so far."""

from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.search_history import HistoryPoint, SearchHistory
from mnist_sweep.report.page.axes import Axis, accuracy_axis
from mnist_sweep.report.page.plots import HOVER_TEXT, Figure, label
from mnist_sweep.report.wording import counted, percent

MARKS = {
    "completed": {"color": "var(--accent)", "size": 7},
    "pruned": {"color": "var(--muted)", "size": 6, "symbol": "x-thin-open"},
}


def history_words(history: SearchHistory) -> str:
    if not history.best:
        return f"No trial was completed; a mark is {history.objective} where a trial was pruned."
    first, last = history.best[0], history.best[-1]
    grew = f"from {_shown(history, first[1])} (trial {first[0]}) to {_shown(history, last[1])} "
    return (
        f"{history.objective} of each trial in the order in which they began, of pruned ones where "
        f"they were pruned. The line is the best so far, {grew}(trial {last[0]}), improved "
        f"{counted(len(history.best) - 1, 'time')}."
    )


def history_figure(history: SearchHistory) -> Figure:
    values = [point.value for point in history.points]
    places: list[float | None] = list(values)
    best: list[float | None] = [value for _, value in history.best]
    axis: Axis = {"title": {"text": history.objective}}
    if is_accuracy(history.objective):
        scale = accuracy_axis(values, f"{history.objective}, % (on a scale of errors)")
        places, best, axis = (
            list(map(scale.place, values)),
            list(map(scale.place, best)),
            scale.axis,
        )
    traces = []
    for status, marker in MARKS.items():
        of_status = [n for n, point in enumerate(history.points) if point.status == status]
        if of_status:
            points = [history.points[n] for n in of_status]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": status,
                    "x": [point.trial for point in points],
                    "y": [places[n] for n in of_status],
                    "customdata": [point.run_id for point in points],
                    "text": [_words(history, point) for point in points],
                    "hovertemplate": HOVER_TEXT,
                    "marker": marker,
                }
            )
    if best:
        last = history.points[-1].trial
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "best so far",
                "x": [*(trial for trial, _ in history.best), last],
                "y": [*best, best[-1]],
                "hoverinfo": "skip",
                "line": {"shape": "hv", "color": "var(--second)", "width": 2},
            }
        )
    return {
        "data": traces,
        "layout": {
            "height": 320,
            "showlegend": True,
            "xaxis": {"title": {"text": "trial"}, "tickformat": "d"},
            "yaxis": axis,
        },
    }


def _shown(history: SearchHistory, value: float) -> str:
    return f"{percent(value)} %" if is_accuracy(history.objective) else f"{value:,.4g}"


def _words(history: SearchHistory, point: HistoryPoint) -> str:
    return (
        f"trial {point.trial}: {label(point.status)}<br>"
        f"{label(history.objective)} {_shown(history, point.value)}"
    )
