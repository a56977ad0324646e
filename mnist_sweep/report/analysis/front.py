"""The front of a track: configurations that no other one beats, and the known records beside them.

The records are published figures on MNIST's 10,000 test images, from known_records.csv beside this
file: the best that we know of under each limit of parameters.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mnist_sweep.dominance import non_dominated
from mnist_sweep.report.analysis.leaderboard import METRICS
from mnist_sweep.report.analysis.tracks import track_name

KNOWN_RECORDS = Path(__file__).with_name("known_records.csv")

RECORDED = {"data": "mnist", "test_images": 10_000, "cost": "num_params", "score": "test_acc"}
"""What the known records are of, so beside what they may stand."""


@dataclass(frozen=True)
class KnownRecord:
    """test_acc: a fraction of 1."""

    max_params: int
    """The limit of its class."""
    num_params: int | None
    """None where it is not told."""
    test_acc: float
    kind: Literal["credible", "claim"]
    """A claim is a peak that was picked on test."""
    note: str

    @property
    def name(self) -> str:
        """Its class."""
        return f"under {self.max_params / 1000:g}k"

    @property
    def size(self) -> int:
        """Parameters; the limit of its class for a record whose size is not told."""
        return self.max_params if self.num_params is None else self.num_params


@dataclass(frozen=True, slots=True)
class PointScore:
    """Of the runs of a configuration, fractions of 1."""

    mean: float
    sd: float | None
    """None for a single run."""
    on_front: bool


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A configuration, the mean of its runs."""

    label: str
    cost: int
    n: int
    """Runs."""
    run_id: str
    """Of its first run."""
    scores: Mapping[str, PointScore]
    """Those that were measured."""
    hidden: int = 0
    """How many others it stands for, see `thinned`."""


@dataclass(frozen=True)
class FrontInfo:
    """A track's configurations by what they cost and what they score."""

    title: str
    cost: str
    """A column of the leaderboard: num_params or macs."""
    score: str
    """By which the track is ranked, of METRICS."""
    points: tuple[FrontPoint, ...]
    """Those of which the cost is known, in the order of the ranking."""
    num_configs: int
    """As many as there were points before any were taken together."""
    records: tuple[KnownRecord, ...] = ()
    """Those that may stand beside the track's test_acc, see `records_beside`."""

    @property
    def scores(self) -> list[str]:
        """Those that some configuration has."""
        return [name for name in METRICS if any(name in point.scores for point in self.points)]

    def drawn(self, score: str) -> list[FrontPoint]:
        """The points that have this score: the cheapest first, of equal ones the best."""
        having = [point for point in self.points if score in point.scores]
        return sorted(having, key=lambda p: (p.cost, -p.scores[score].mean, p.label))

    def front(self, score: str) -> list[FrontPoint]:
        """The points that none beats by this score, the cheapest first."""
        return [point for point in self.drawn(score) if point.scores[score].on_front]

    def records_beside(self, score: str) -> tuple[KnownRecord, ...]:
        """None beside another score than theirs."""
        return self.records if score == RECORDED["score"] else ()


def front_info(track: pd.DataFrame, cost: str = "num_params") -> FrontInfo:
    """track: lines of the leaderboard that have TRACK in common. A cost of 0 is none: costs are
    seen on a logarithmic scale."""
    first = track.iloc[0]
    lines = track[track[cost].fillna(0) > 0]
    of_all: list[dict[str, PointScore]] = [{} for _ in range(len(lines))]
    for name in METRICS:
        best = on_front(lines, cost, f"{name}_mean").tolist()
        means, sds = (lines[f"{name}_{part}"].astype("float64").tolist() for part in ("mean", "sd"))
        for scores, mean, sd, is_best in zip(of_all, means, sds, best, strict=True):
            if not math.isnan(mean):
                scores[name] = PointScore(mean, None if math.isnan(sd) else sd, is_best)
    names = "label", cost, "n", "run_ids"
    rows = zip(*(lines[name].tolist() for name in names), of_all, strict=True)
    points = tuple(
        FrontPoint(label, spent, n, run_ids[0], scores) for label, spent, n, run_ids, scores in rows
    )
    return FrontInfo(
        title=track_name(first),
        cost=cost,
        score=first.ranked_by.removesuffix("_mean"),
        points=points,
        num_configs=len(points),
        records=known_records() if _is_comparable(first, cost) else (),
    )


def _is_comparable(line: Any, cost: str) -> bool:
    """Whether known records may stand beside the track of this line."""
    if pd.isna(line.data) or pd.isna(line.test_images) or not pd.isna(line.debug):
        return False
    own = {"data": line.data, "test_images": int(line.test_images), "cost": cost}
    return all(own[name] == RECORDED[name] for name in own)


@cache
def known_records() -> tuple[KnownRecord, ...]:
    with KNOWN_RECORDS.open(encoding="utf-8", newline="") as file:
        return tuple(
            KnownRecord(
                max_params=int(row["max_params"]),
                num_params=int(row["num_params"]) if row["num_params"] else None,
                test_acc=float(row["test_acc"]),
                kind="claim" if row["kind"] == "claim" else "credible",
                note=row["note"],
            )
            for row in csv.DictReader(file)
        )


# What beats what


def on_front(lines: pd.DataFrame, cost: str, score: str) -> "pd.Series[bool]":
    """Which lines no other one dominates, by costing no more, scoring no less, and one of the two
    better.

    cost, score: columns; of the first less is better, of the second more. Equal lines are on the
    front together; a line without a cost or a score is not on it.
    """
    costs, scores = (lines[name].astype("float64").to_numpy() for name in (cost, score))
    return pd.Series(non_dominated(np.column_stack([-costs, scores])), index=lines.index)


# Fewer points


def thinned(info: FrontInfo, most: int) -> FrontInfo:
    """Of more points than `most`, one of those that would lie on each other: the first, which
    ranks best. The front is kept whole. `hidden` says how many each stands for."""
    if len(info.points) <= most:
        return info
    across = _cells(np.log([point.cost for point in info.points]), 150)
    # Two plots, of two accuracies that are close to each other: a cell of one, nearly of the other.
    val, test = (-np.log(1.0001 - _means(info.points, name)) for name in METRICS)
    chosen, other = (test, val) if np.isnan(val).all() else (val, test)
    cells = list(zip(across, _cells(chosen, 60), _cells(other, 6), strict=True))
    first: dict[tuple[int, int, int], int] = {}
    hidden: dict[int, int] = {}  # place of the first point of a cell -> others of it, left out
    kept = []
    for place, (cell, point) in enumerate(zip(cells, info.points, strict=True)):
        if first.setdefault(cell, place) == place or any(
            score.on_front for score in point.scores.values()
        ):
            kept.append(place)
        else:
            hidden[first[cell]] = hidden.get(first[cell], 0) + 1
    points = [replace(info.points[place], hidden=hidden.get(place, 0)) for place in kept]
    return replace(info, points=tuple(points))


def _means(points: Sequence[FrontPoint], name: str) -> np.ndarray:
    """NaN where there is none."""
    found = [point.scores[name].mean if name in point.scores else np.nan for point in points]
    return np.array(found, dtype=float)


def _cells(values: np.ndarray, number: int) -> list[int]:
    """Each value's place among so many of the same size; -1 where there is no value."""
    low, high = (np.nanmin(values), np.nanmax(values)) if (~np.isnan(values)).any() else (0, 0)
    places = (values - low) / max(high - low, 1e-9) * (number - 1)
    return [int(place) for place in np.nan_to_num(np.rint(places), nan=-1)]
