"""`report front`: the front of each track as a table and, if that is asked for, as a picture."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.front import FrontInfo, front_info, known_records, on_front
from mnist_sweep.report.analysis.leaderboard import METRICS, leaderboard
from mnist_sweep.report.analysis.tracks import TRACK
from mnist_sweep.report.commands.arguments import add_format, add_picture, add_sources, add_where
from mnist_sweep.report.read.load import load_results
from mnist_sweep.report.read.overridden import may_name_key
from mnist_sweep.report.read.where import ALIASES, chosen
from mnist_sweep.report.text.formats import as_csv, as_json, latex, markdown
from mnist_sweep.report.text.rankings import front_ranking
from mnist_sweep.report.text.terminal import show_all
from mnist_sweep.report.wording import counted

COSTS = {"num_params": "parameters", "macs": "multiply-accumulates"}

MOST_TRACKS = 4
"""Panels of one picture."""


def add_front(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The configurations that no other one of their track beats: none is as good with fewer "
        "parameters, or better with no more. Runs that differ in nothing but the seed are one."
    )
    add_sources(parser)
    parser.add_argument(
        "--cost",
        type=lambda name: ALIASES.get(name, name),
        choices=list(COSTS),
        default="num_params",
        help="of two equally good ones the one with less of it wins (default: num_params)",
    )
    parser.add_argument(
        "--score",
        choices=METRICS,
        help="its mean over seeds counts (default: val_acc where there is a validation set)",
    )
    add_where(parser, "only runs for which this holds")
    add_format(parser, default="rich")
    add_picture(parser, "draw it, with all configurations and known records")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    cost, output = arguments.cost, arguments.output
    if output is not None:
        from mnist_sweep.figures.saving import check_suffix  # here: a table needs no matplotlib

        check_suffix(output)
    keys = may_name_key(arguments.where, arguments.score)
    runs = chosen(load_results(*arguments.sources, keys=keys), arguments.where)
    lines = leaderboard(runs, sort=arguments.score)
    tracks = list(_tracks_with_front(lines, cost))
    if not tracks:
        raise UserError(
            f"{', '.join(runs.attrs['sources'])}: none of the {len(runs):,} runs is completed "
            f"and has {arguments.score or 'val_acc or test_acc'} and {cost}, so there is no front"
        )
    notes = list(lines.attrs["notes"])
    if left_out := len(lines) - sum(map(len, tracks)):
        notes.append(f"{counted(left_out, 'configuration')} without score or {cost} left out")
    if runs.attrs["skipped"]:
        notes.append(f"on reading: {runs.attrs['skipped']}")
    if output is not None:
        notes += _draw(tracks, cost, output)
    _print(tracks, cost, arguments.format)
    for note in notes:  # on standard error where a program reads the output
        print(note, file=sys.stdout if arguments.format == "rich" else sys.stderr)


def _tracks_with_front(lines: pd.DataFrame, cost: str) -> Iterator[pd.DataFrame]:
    """The lines of each track that have score and cost, the cheapest first, with `on_front`."""
    for _, track in lines.groupby(TRACK, dropna=False, sort=False):
        score = str(track.ranked_by.iloc[0])
        usable = track[track[score].notna() & track[cost].notna()]
        if len(usable):
            yield usable.assign(on_front=on_front(usable, cost, score)).sort_values(
                [cost, score, "label"], ascending=[True, False, True], kind="stable"
            )


# The picture


def _draw(tracks: Sequence[pd.DataFrame], cost: str, output: Path) -> list[str]:
    """Writes the picture. -> Notes on what is not in it, and where it is."""
    from mnist_sweep.figures.front import front
    from mnist_sweep.figures.saving import save

    drawn = tracks[:MOST_TRACKS]
    low = min(float(track[cost].min()) for track in drawn) / 2
    high = max(float(track[cost].max()) for track in drawn) * 2
    infos = [front_info(track, cost) for track in drawn]
    near = [_with_records_between(info, low, high) for info in infos]
    save(front(near, f"Accuracy against {COSTS[cost]}", COSTS[cost]), output)
    notes = []
    far = [record for record in known_records() if not low <= record.size <= high]
    if not any(info.records_beside(info.score) for info in infos):
        notes.append(
            "known records are not drawn: they are test accuracies on MNIST against num_params"
        )
    elif far:
        notes.append(
            f"{counted(len(far), 'known record')} not drawn: under {low:,.0f} or over {high:,.0f} "
            "parameters"
        )
    if len(tracks) > MOST_TRACKS:
        notes.append(
            f"drawn are the {MOST_TRACKS} of {len(tracks)} tracks with most runs; --where chooses "
            "others"
        )
    return [*notes, f"picture {output}"]


def _with_records_between(info: FrontInfo, low: float, high: float) -> FrontInfo:
    """Without those that would push the track's own nets to the edge."""
    records = tuple(record for record in info.records if low <= record.size <= high)
    return replace(info, records=records)


# The tables


def _print(tracks: Sequence[pd.DataFrame], cost: str, form: str) -> None:
    fronts = []
    for track in tracks:
        best = track[track.on_front].drop(columns="on_front")
        fronts.append(best.assign(rank=range(1, len(best) + 1)))
    if form in ("csv", "json"):
        lines = pd.concat(fronts, ignore_index=True)
        print(as_csv(lines) if form == "csv" else as_json(lines), end="")
        return
    rankings = [
        front_ranking(best, len(track), cost) for best, track in zip(fronts, tracks, strict=True)
    ]
    if form == "rich":
        show_all(sys.stdout, rankings)
    else:
        print(markdown(rankings) if form == "md" else latex(rankings), end="")
