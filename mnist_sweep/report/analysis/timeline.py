"""Who worked when: the runs of a search in as few lanes as hold them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

MOST_BARS = 3_000

PAUSE_S = 10.0
"""A time longer than this without any run is not the workers'."""


@dataclass(frozen=True)
class TimelineBar:
    """A run. Its length is that of all its processes together."""

    run_id: str
    name: str
    status: str
    start: float
    """Seconds since 1970, UTC."""
    seconds: float
    lane: int
    """From 0 on; the lanes are the workers if all were busy."""


@dataclass(frozen=True)
class TimelineInfo:
    bars: tuple[TimelineBar, ...]
    """In the order of their starts, the latest where there are too many."""
    num_runs: int
    """All whose time is known."""
    workers: int
    """At most at once."""
    pauses: int
    """Times in which nobody was at work: the search was gone on with later."""
    span_s: float
    """From the first start to the last end, without the pauses."""
    busy: float
    """Share of the workers' time in that span, 0..1."""


def timeline(trials: pd.DataFrame) -> TimelineInfo | None:
    """None for fewer than two runs of which start and length are known."""
    timed = trials[trials.started.notna() & trials.seconds.notna()].sort_values("started")
    if len(timed) < 2:
        return None
    latest = timed.tail(MOST_BARS)
    seconds = latest.seconds.to_numpy(dtype=float)
    start, lanes = _lanes(latest.started.astype("int64").to_numpy() / 1e6, seconds)
    order = np.argsort(start)
    ends = np.maximum.accumulate((start + seconds)[order])
    pauses = (start[order][1:] - ends[:-1]).clip(min=0)
    pauses = pauses[pauses > PAUSE_S]
    span = float(ends[-1] - start.min() - pauses.sum())
    workers = max(lanes) + 1
    names = "trial " + latest.trial.astype("string").fillna("?")
    columns = latest.run_id, names, latest.status, start.tolist(), seconds.tolist(), lanes
    return TimelineInfo(
        bars=tuple(TimelineBar(*bar) for bar in zip(*columns, strict=True)),
        num_runs=len(timed),
        workers=workers,
        pauses=len(pauses),
        span_s=span,
        busy=float(seconds.sum() / (span * workers)),
    )


def _lanes(started: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The first lane that is free, for each run in the order of their starts, and when it began.

    Starts are known to the second. A run that seems to begin within the last second of the one
    before it in the lane followed it.
    """
    free_from: list[float] = []
    begun, lanes = [], []
    for start, length in zip(started, seconds, strict=True):
        lane = next((n for n, free in enumerate(free_from) if free < start + 1), len(free_from))
        begin = max(start, *free_from[lane : lane + 1]) if lane < len(free_from) else start
        free_from[lane : lane + 1] = [begin + length]
        begun.append(begin)
        lanes.append(lane)
    return np.array(begun), lanes
