"""Rankings as tables of text, whatever they are written as then. Accuracies are in percent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import pandas as pd

from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.leaderboard import METRICS, STATISTICS
from mnist_sweep.report.analysis.tracks import TRACK, track_name
from mnist_sweep.report.wording import percent, span

LEFT = ("label", "first", "second")
"""Columns that are not numbers to be lined up at the right."""


class Column(NamedTuple):
    heading: str
    cells: list[str]


@dataclass(frozen=True)
class Ranking:
    """The lines of one track, ready to be shown."""

    title: str
    columns: dict[str, Column]
    """By name, from left to right. first and second: the metrics, the ranked one before the other;
    score: what the ranking goes by, where it is none of them."""
    total: int
    """Lines, those that are not shown included."""
    note: str
    """What must be known of #1."""


def rankings(lines: pd.DataFrame, top: int = 0) -> Iterator[Ranking]:
    """One for each track of `leaderboard`'s lines. top: how many lines of each; 0 for all."""
    for _, track in lines.groupby(TRACK, dropna=False, sort=False):
        shown = track.head(top) if top else track
        yield Ranking(_title(track), _columns(track, shown), len(track), _of_the_first(track))


def front_ranking(best: pd.DataFrame, configurations: int, cost: str) -> Ranking:
    """The front of one track. best: its lines, ranked; configurations: from which they are."""
    first = best.iloc[0]
    score = _score_of(first)
    scores = means(best[f"{score}_mean"], best[f"{score}_sd"])
    columns = {
        "rank": Column("#", [str(rank) for rank in best["rank"]]),
        "label": Column("configuration", best.label.tolist()),
        "num_params": Column(cost.removeprefix("num_"), [f"{value:,}" for value in best[cost]]),
        "first": Column(f"{score}, %", scores),
        "n": Column("n", [f"{n:,}" for n in best.n]),
    }
    notes = []
    if configurations > len(best):
        by_test = "; this is a choice by the test set" if score == "test_acc" else ""
        notes.append(
            f"the best of {configurations:,} configurations by {score}, so it flatters "
            f"them{by_test}"
        )
    if (best.n == 1).any():
        notes.append("± ? is one run: nothing is known of its spread")
    title = f"{track_name(first)}: front of {score} over {cost}"
    return Ranking(title, columns, total=len(best), note="; ".join(notes))


def how_to_read(lines: pd.DataFrame) -> list[str]:
    """What must be known to read the figures rightly."""
    found = []
    if (lines.n == 1).any():
        found.append("± ? is of one run: nothing is known of its spread")
    if "configs" in lines and (lines.configs > 1).any():
        found.append(
            "configs > 1: ± is over configurations and seeds together, and there is no interval, "
            "since nobody drew the configurations at random"
        )
    return found


def means(values: Iterable[float], sds: Iterable[float]) -> list[str]:
    """In percent and percentage points, lined up at the sign."""
    texts = [percent(value) for value in values]
    width = max(map(len, texts))
    return [
        f"{text:>{width}} ± {percent(sd) or '?'}" if text else ""
        for text, sd in zip(texts, sds, strict=True)
    ]


def _score_of(line: Any) -> str:
    """What the line is ranked by: a metric, or a column."""
    return str(line.ranked_by).removesuffix("_mean")


def _title(track: pd.DataFrame) -> str:
    line = track.iloc[0]
    score = _score_of(line)
    if track[line.ranked_by].isna().all():
        return f"{track_name(line)}: no {score} to rank by"
    order = "smallest" if track.attrs["ascending"] else "best" if _is_best(track) else "largest"
    published = (track.protocol == "published").any()
    watched = "; test was watched in training" if published else ""
    return f"{track_name(line)}: by {score}, {order} first{watched}"


def _is_best(track: pd.DataFrame) -> bool:
    return _score_of(track.iloc[0]) in METRICS and not track.attrs["ascending"]


def _of_the_first(track: pd.DataFrame) -> str:
    """A best-of is flattered by its choice."""
    if not _is_best(track) or track[track.ranked_by.iloc[0]].count() < 2:
        return ""
    score = _score_of(track.iloc[0])
    note = f"#1 is the best of {len(track):,} by {score}, so its {score} flatters it"
    if score == "val_acc":
        return f"{note}; its test_acc had no part in the choice"
    return f"{note}: this is a choice by the test set"


def _columns(track: pd.DataFrame, shown: pd.DataFrame) -> dict[str, Column]:
    ranked_by = track.ranked_by.iloc[0]
    measured = [name for name in METRICS if track[f"{name}_mean"].notna().any()]
    measured.sort(key=lambda name: f"{name}_mean" != ranked_by)
    found = {
        "rank": Column("#", [str(rank) for rank in shown["rank"]]),
        "label": Column(" ".join(track.attrs["by"]) or "configuration", shown.label.tolist()),
        "n": Column("n", [f"{n:,}" for n in shown.n]),
    }
    if "configs" in shown:
        found["configs"] = Column("configs", [f"{n:,}" for n in shown.configs])
    if ranked_by not in (*(f"{name}_mean" for name in METRICS), "num_params", *found):
        found["score"] = _numbers(ranked_by.removesuffix("_mean"), shown[ranked_by])
    for place, name in zip(("first", "second"), measured, strict=False):
        cells = means(shown[f"{name}_mean"], shown[f"{name}_sd"])
        found[place] = Column(f"{name}, %", cells)
        if place == "first":
            ends = zip(shown[f"{name}_low"], shown[f"{name}_high"], strict=True)
            found["interval"] = Column("95 % interval", [span(*both) for both in ends])
            ends = zip(shown[f"{name}_min"], shown[f"{name}_max"].where(shown.n > 1), strict=True)
            found["range"] = Column("worst to best of n", [span(*both) for both in ends])
    found["num_params"] = Column("params", [_number(value) for value in shown.num_params])
    found["macs"] = Column("MACs", [_number(value) for value in shown.macs])
    seconds = ["" if pd.isna(value) else f"{value:,.1f}" for value in shown.seconds]
    found["seconds"] = Column("seconds", seconds)
    if "score" in found:
        found.pop(ranked_by, None)
    return {name: column for name, column in found.items() if any(column.cells)}


def _numbers(name: str, values: "pd.Series[Any]") -> Column:
    """name: of a column, with or without a statistic at its end."""
    column, _, last = name.rpartition("_")
    if is_accuracy(column if last in STATISTICS else name):
        return Column(f"{name}, %", [percent(value) for value in values])
    return Column(name, [_number(value) for value in values])


def _number(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
