"""The section of learning curves, and each run's own for its panel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.curves import CURVES, AllCurves, CurvesInfo, RunCurve
from mnist_sweep.report.page.axes import Axis, accuracy_axis, epoch_axis
from mnist_sweep.report.page.plots import HOVER_TEXT, Figure, label
from mnist_sweep.report.wording import counted, number_or_none

IN_THE_PANEL = ("train_acc", "val_acc", "test_acc")
FEW_EPOCHS = 30  # have dots on their lines

Place = Callable[[float | None], float | None]
"""Of a value on an axis."""


@dataclass(frozen=True)
class CurvesSection:
    info: AllCurves
    num_runs: int
    """On the page, those without a curve too."""

    @property
    def words(self) -> str:
        if not self.info.rankings:
            return "No directory of these runs with a history.csv is here, so there are no curves."
        return (
            f"A click opens the run. {len(self.info.of):,} of {counted(self.num_runs, 'run')} have "
            "their curve in their panel."
        )

    @property
    def metrics(self) -> list[str]:
        """What any ranking's plot shows."""
        return [m for m in CURVES if any(m in ranking.metrics for ranking in self.info.rankings)]

    def data(self) -> dict[str, Any]:
        """rankings: as choice.js takes them. of: run id -> as curve.js takes it."""
        return {
            "rankings": [_choice(ranking) for ranking in self.info.rankings],
            "of": {run_id: _panel_curve(curve) for run_id, curve in self.info.of.items()},
        }


def _choice(info: CurvesInfo) -> dict[str, Any]:
    return {
        "figures": {metric: curves_figure(info, metric) for metric in info.metrics},
        "first": info.metrics[0],
        "note": f"{info.title}: {_plotted(info)}.",
    }


def _plotted(info: CurvesInfo) -> str:
    best, grey = len(info.best), len(info.pruned)
    configurations = (
        f"each of the {best} best configurations" if best > 1 else "the best configuration"
    )
    some = f" of {info.num_pruned:,}" if grey < info.num_pruned else ""
    parts = [f"the first run of {configurations}"] if best else []
    parts += [f"{counted(grey, 'pruned run')}{some}, thin and grey"] if grey else []
    return "; ".join(parts)


def curves_figure(info: CurvesInfo, metric: str) -> Figure:
    """A metric of the info's by epoch: the best runs', the pruned ones' thin and grey."""
    best = [curve for curve in info.best if metric in curve.metrics]
    pruned = [curve for curve in info.pruned if metric in curve.metrics]
    values = [value for curve in [*best, *pruned] for value in _values(curve, metric)]
    y, place = _axis(metric, values)
    return {
        "data": [
            *_traces_of_pruned(pruned, metric, place),
            *(_trace(curve, metric, place, n) for n, curve in enumerate(best)),
        ],
        "layout": {
            "showlegend": True,
            "legend": {"y": -0.2, "yanchor": "top"},
            "xaxis": epoch_axis(max(max(curve.epoch) for curve in [*best, *pruned])),
            "yaxis": y,
        },
    }


def _axis(metric: str, values: Sequence[float | None]) -> tuple[Axis, Place]:
    """The axis, and the place of a value on it."""
    if is_accuracy(metric):
        scale = accuracy_axis(values, f"{metric}, % (on a scale of errors)")
        return scale.axis, scale.place
    axis = {"type": "log", "title": {"text": f"{metric} (nats)"}}
    return axis, lambda value: value if value and value > 0 else None


def _trace(curve: RunCurve, metric: str, place: Place, n: int) -> dict[str, Any]:
    values, name = _values(curve, metric), label(curve.name, 70)
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(curve.epoch) < FEW_EPOCHS else "lines",
        "name": label(curve.name, 40),
        "x": curve.epoch,
        "y": [place(value) for value in values],
        "customdata": [curve.run_id] * len(values),
        # Not in the template, which would read a %{x} in the name.
        "text": [
            f"<b>{name}</b><br>epoch {epoch}: {metric} {_measured(metric, value)}"
            for epoch, value in zip(curve.epoch, values, strict=True)
        ],
        "hovertemplate": HOVER_TEXT,
        "line": {"color": f"var(--line-{n + 1})", "width": 2},
        "marker": {"size": 5},
    }


def _traces_of_pruned(
    curves: Sequence[RunCurve], metric: str, place: Place
) -> Iterator[Mapping[str, Any]]:
    """One trace for all, with gaps between them; dots for those of one epoch, of which a line
    shows nothing."""
    if not curves:
        return
    look = {"type": "scatter", "hovertemplate": HOVER_TEXT}
    yield {
        **look,
        "mode": "lines",
        "name": "pruned trials",
        "connectgaps": False,
        "x": [epoch for curve in curves for epoch in (*curve.epoch, None)],
        "y": [place(value) for curve in curves for value in (*_values(curve, metric), None)],
        "customdata": [
            run_id for curve in curves for run_id in (*(curve.run_id for _ in curve.epoch), None)
        ],
        "text": [
            text
            for curve in curves
            for text in (*(_words(curve, metric, v) for v in _values(curve, metric)), None)
        ],
        "line": {"color": "var(--muted)", "width": 0.8},
        "opacity": 0.6,
    }
    dots = [curve for curve in curves if len(curve.epoch) == 1]
    yield {
        **look,
        "mode": "markers",
        "showlegend": False,
        "x": [curve.epoch[0] for curve in dots],
        "y": [place(_values(curve, metric)[0]) for curve in dots],
        "customdata": [curve.run_id for curve in dots],
        "text": [_words(curve, metric, _values(curve, metric)[0]) for curve in dots],
        "marker": {"color": "var(--muted)", "size": 5, "opacity": 0.6},
    }


def _values(curve: RunCurve, metric: str) -> list[float | None]:
    return [None if v is None else number_or_none(v, 5) for v in curve.metrics[metric]]


def _words(curve: RunCurve, metric: str, value: float | None) -> str:
    return f"pruned: {label(curve.name)}<br>{metric} {_measured(metric, value)}"


def _measured(metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    if is_accuracy(metric):
        return f"{100 * value:.2f} %"
    return f"{value:.5f}".rstrip("0").rstrip(".")


def _panel_curve(curve: RunCurve) -> dict[str, Any]:
    watched = {name: _values(curve, name) for name in IN_THE_PANEL if name in curve.metrics}
    y = accuracy_axis((v for values in watched.values() for v in values), "accuracy, %")
    return {
        "epoch": curve.epoch,
        "metrics": watched,
        "floor": y.floor,
        "xaxis": epoch_axis(max(curve.epoch)),
        "yaxis": y.axis,
    }
