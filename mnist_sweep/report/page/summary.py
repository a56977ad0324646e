"""The figures at the head of the page, and the section with the rankings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mnist_sweep.report.analysis.leaderboard import METRICS
from mnist_sweep.report.analysis.tracks import track_name
from mnist_sweep.report.wording import counted, duration, or_empty, percent, span

MOST_LINES = 15  # of the first ranking
MOST_LINES_OF_OTHERS = 6


@dataclass(frozen=True)
class Tile:
    what: str
    value: str
    note: str = ""


def tiles(runs: pd.DataFrame, tracks: Sequence[pd.DataFrame]) -> Iterator[Tile]:
    """tracks: of the leaderboard of these runs, the lines of each."""
    if tracks:
        yield from _tiles_of_best(tracks[0])
    ends = [f"{time:%Y-%m-%d %H:%M}" for time in runs.started.agg(["min", "max"]).dropna()]
    begun = f"begun {' to '.join(dict.fromkeys(ends))} UTC" if ends else ""
    yield Tile("Time of all runs", duration(float(runs.seconds.sum())), begun)


def _tiles_of_best(track: pd.DataFrame) -> Iterator[Tile]:
    best = track.iloc[0]
    score = _score(best)
    among = f"best of {counted(len(track), 'configuration')}, n = {best.n}"
    if or_empty(best.protocol) == "published":
        among += ", test was watched"
    elif score == "test_acc" and len(track) > 1:
        among += ", picked on test"
    yield Tile(
        f"Best {score} of {or_empty(best.data)}, protocol {or_empty(best.protocol)}",
        f"{_mean_and_sd(best, score)} %",
        f"{among}: {best.label}",
    )
    if score == "val_acc" and not pd.isna(best.test_acc_mean):
        yield Tile(
            "Its test_acc", f"{_mean_and_sd(best, 'test_acc')} %", "not what it was chosen by"
        )
    macs = "" if pd.isna(best.macs) else f"{best.macs:,} MACs an image"
    yield Tile("Its parameters", _whole(best.num_params), macs)


# Rankings


@dataclass(frozen=True)
class ScoreCell:
    """In percent, without its sign."""

    mean: str
    """With the standard deviation where there is one."""
    interval: str


@dataclass(frozen=True)
class RankingLine:
    rank: int
    label: str
    n: int
    scores: Mapping[str, ScoreCell]
    num_params: str
    macs: str
    run_ids: Sequence[str]


@dataclass(frozen=True)
class RankingSummary:
    """Of one track."""

    title: str
    words: str
    warning: str
    lines: Sequence[RankingLine]
    more: int
    """Lines that are left out."""
    metrics: Sequence[str]
    """Those that have a column."""
    several: bool
    """Whether any line is a mean of several runs."""


def ranking_summaries(tracks: Sequence[pd.DataFrame]) -> list[RankingSummary]:
    return [
        _summary(track, MOST_LINES_OF_OTHERS if number else MOST_LINES)
        for number, track in enumerate(tracks)
    ]


def _summary(track: pd.DataFrame, most: int) -> RankingSummary:
    rows: Any = track.head(most).to_dict("records")
    return RankingSummary(
        title=track_name(track.iloc[0]),
        words=" ".join(_words(track)),
        warning=_warning(track.iloc[0]),
        lines=[_line(row) for row in rows],
        more=max(0, len(track) - most),
        metrics=[metric for metric in METRICS if track[f"{metric}_mean"].notna().any()],
        several=bool((track.n > 1).any()),
    )


def _words(track: pd.DataFrame) -> Iterator[str]:
    score = _score(track.iloc[0])
    yield (
        f"{counted(int(track.n.sum()), 'run')} of {counted(len(track), 'configuration')}, ranked "
        f"by {score}, the mean over runs that differ only in the seed."
    )
    if (track.n > 1).any():
        yield "± is their standard deviation, the interval Student’s t of the mean."
    if (track.n == 1).any():
        yield "n = 1 is a single run: it says nothing of the spread between seeds."
    if len(track) > 1:
        yield f"The first line is the best of {len(track):,}, so its {score} flatters it."


def _warning(first: Any) -> str:
    warning = ""
    if or_empty(first.protocol) == "published":
        warning = (
            "Protocol published looks at the test set every epoch: these are the last epoch’s "
            "figures, yet of recipes made with test in sight."
        )
    elif _score(first) == "test_acc":
        warning = (
            "There is no validation set here, so the order itself comes from the test set: what "
            "stands first has been picked on test."
        )
    if not pd.isna(first.debug):
        warning = f"debug={first.debug} runs a few steps only: these are no results. {warning}"
    return warning


def _line(line: Mapping[str, Any]) -> RankingLine:
    return RankingLine(
        rank=line["rank"],
        label=line["label"],
        n=line["n"],
        scores={
            metric: ScoreCell(
                _mean_and_sd(line, metric),
                span(line[f"{metric}_low"], line[f"{metric}_high"]) or "–",
            )
            for metric in METRICS
        },
        num_params=_whole(line["num_params"]),
        macs=_whole(line["macs"]),
        run_ids=line["run_ids"],
    )


def _score(line: Any) -> str:
    """By which its track is ranked."""
    return str(line.ranked_by).removesuffix("_mean")


def _mean_and_sd(line: Any, metric: str) -> str:
    """In percent and percentage points, without their sign."""
    mean, sd = (percent(line[f"{metric}_{part}"]) for part in ("mean", "sd"))
    return f"{mean or '–'} ± {sd}" if sd else mean or "–"


def _whole(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:,}"
