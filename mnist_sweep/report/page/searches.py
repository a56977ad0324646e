"""The section of a search: the best trials, how it went, what was tried and what mattered, who
worked when."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from mnist_sweep.report.analysis.best_trials import BestTrial, BestTrials
from mnist_sweep.report.analysis.searches import SearchInfo
from mnist_sweep.report.analysis.timeline import TimelineBar, TimelineInfo
from mnist_sweep.report.page.explained import TrialUnderWay, trials_data, under_way
from mnist_sweep.report.page.parallel import parallel_figure, parallel_words
from mnist_sweep.report.page.plots import HOVER_TEXT, Figure, label
from mnist_sweep.report.page.search_history import history_figure, history_words
from mnist_sweep.report.wording import counted, duration

if TYPE_CHECKING:  # it imports optuna's part of the report
    from mnist_sweep.report.analysis.importance import Importances

MOST_TRIALS = 15  # of a front


@dataclass(frozen=True)
class SearchSection:
    info: SearchInfo

    @property
    def words(self) -> str:
        counts = ", ".join(f"{number:,} {status}" for status, number in self.info.statuses)
        warm = "".join(f" Warm start from {line}." for line in self.info.warm_starts)
        return f"{counted(self.info.num_trials, 'trial')}: {counts}.{warm}"

    @property
    def best(self) -> "BestSection | None":
        return BestSection(self.info.best) if self.info.best else None

    @property
    def importance_words(self) -> str:
        found = self.info.importance
        return f"For {found.objective}. {found.note}" if found else self.info.no_importance

    @property
    def timeline_words(self) -> str:
        return timeline_words(self.info.timeline) if self.info.timeline else ""

    @property
    def history_words(self) -> str:
        return history_words(self.info.history) if self.info.history else ""

    @property
    def parallel_words(self) -> str:
        return parallel_words(self.info.parallel) if self.info.parallel else ""

    @property
    def under_way(self) -> list[TrialUnderWay]:
        return under_way(self.info.explained, self.measure)

    @property
    def measure(self) -> str:
        """What its trials' epochs are known by."""
        return next(iter(self.info.objectives), "val_acc")

    def trials_data(self, runs: pd.DataFrame) -> dict[str, Any] | None:
        """runs: of the page. None where nothing more is known of its trials."""
        if not self.info.explained:
            return None
        first = runs[(runs.study == self.info.name) & runs.trial.notna()].drop_duplicates("trial")
        numbers, lines = first.trial.tolist(), first.overrides.fillna("").tolist()
        overrides = dict(zip(numbers, lines, strict=True))
        return trials_data(self.info.explained, self.measure, overrides)

    def figures(self) -> dict[str, Figure]:
        """By the names of their places in the section."""
        found = {}
        if self.info.history:
            found["history"] = history_figure(self.info.history)
        if self.info.parallel:
            found["parallel"] = parallel_figure(self.info.parallel, self.info.first_runs)
        if self.info.importance:
            found["importance"] = importance_figure(self.info.importance)
        if self.info.timeline:
            found["timeline"] = timeline_figure(self.info.timeline)
        return found


@dataclass(frozen=True)
class BestSection:
    info: BestTrials

    @property
    def words(self) -> str:
        goals = " and ".join(f"{name} ({how})" for name, how in self.info.objectives.items())
        return (
            f"By {goals}, of {counted(self.info.completed, 'completed trial')}. The best of many "
            "flatters itself: its own figure is likely to be worse with another seed."
        )

    @property
    def lines(self) -> tuple[BestTrial, ...]:
        return self.info.trials[:MOST_TRIALS]

    @property
    def more(self) -> int:
        return len(self.info.trials) - len(self.lines)

    @property
    def with_size(self) -> bool:
        """Whether the size needs a column of its own."""
        return "num_params" not in self.info.objectives


# What mattered


def importance_figure(info: "Importances") -> Figure:
    names = list(info.shares)[::-1]  # plotly draws the first one lowest
    labels = [label(name) for name in names]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": "share",
                "x": [round(info.shares[name], 4) for name in names],
                "y": labels,
                "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
                # More than chance gives is full, the rest pale.
                "marker": {
                    "color": "var(--accent)",
                    "opacity": [1 if info.is_above_chance(name) else 0.4 for name in names],
                },
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "what chance gives in one of twenty",
                "x": [round(info.chance[name], 4) for name in names],
                "y": labels,
                "hovertemplate": "by chance: up to %{x:.1%}<extra></extra>",
                "marker": {
                    "symbol": "line-ns-open",
                    "size": 14,
                    "color": "var(--text)",
                    "line": {"width": 2, "color": "var(--text)"},
                },
            },
        ],
        "layout": {
            "height": 110 + 24 * len(names),
            "bargap": 0.35,
            "showlegend": True,
            "xaxis": {
                "title": {"text": "share of the whole"},
                "rangemode": "tozero",
                "tickformat": ".0%",
            },
            "yaxis": {"ticksuffix": "  ", "showgrid": False},
        },
    }


# Who worked when


def timeline_words(info: TimelineInfo) -> str:
    number = len(info.bars)
    last = f", the last of {info.num_runs:,}," if number < info.num_runs else ""
    last += f" (without {counted(info.pauses, 'pause')} between)" if info.pauses else ""
    return (
        f"{counted(number, 'run')}{last} in {duration(info.span_s)}, up to "
        f"{counted(info.workers, 'worker')} at once, which were busy {info.busy:.0%} of that time. "
        "A bar is a run, its length the seconds of all its processes."
    )


def timeline_figure(info: TimelineInfo) -> Figure:
    many = len(info.bars) > 300
    traces = []
    for status in dict.fromkeys(bar.status for bar in info.bars):
        bars = [bar for bar in info.bars if bar.status == status]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": label(status),
                "base": [round(bar.start, 1) * 1000 for bar in bars],
                "x": [round(bar.seconds, 1) * 1000 for bar in bars],
                "y": [bar.lane + 1 for bar in bars],
                "customdata": [bar.run_id for bar in bars],
                "text": [_words(bar) for bar in bars],
                "textposition": "none",
                "hovertemplate": HOVER_TEXT,
                "marker": {
                    "color": f"var(--status-{status})",
                    "line": {"width": 0 if many else 0.7, "color": "var(--page)"},
                },
            }
        )
    return {
        "data": traces,
        "layout": {
            "barmode": "overlay",
            "bargap": 0.2,
            "height": 130 + 34 * (max(bar.lane for bar in info.bars)),
            "showlegend": True,
            "xaxis": {"type": "date", "title": {"text": "UTC"}},
            "yaxis": {
                "title": {"text": "worker"},
                "dtick": 1,
                "tickformat": "d",
                "autorange": "reversed",
                "showgrid": False,
            },
        },
    }


def _words(bar: TimelineBar) -> str:
    begun = datetime.fromtimestamp(bar.start, UTC)
    lines = (
        f"{label(bar.name)}: {label(bar.status)}",
        f"{bar.seconds:.0f} s",
        f"from {begun:%H:%M:%S} UTC",
    )
    return "<br>".join(lines)
