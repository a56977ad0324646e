"""`report front`: the front of each track as a table and, if that is asked for, as a picture."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.front import FrontInfo, front_info, known_records, on_front
from mnist_sweep.report.analysis.leaderboard import METRICS, leaderboard
from mnist_sweep.report.analysis.tracks import TRACK, track_name
from mnist_sweep.report.commands import leaderboard as tables
from mnist_sweep.report.commands.leaderboard import FORMATS, Ranking
from mnist_sweep.report.commands.output import add_output
from mnist_sweep.report.read.load import SOURCES_HELP, load_results
from mnist_sweep.report.read.where import ALIASES, chosen
from mnist_sweep.report.wording import counted

COSTS = ("num_params", "macs")

MOST_TRACKS = 4
"""Panels of one picture."""


def add_front(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The configurations that no other one of their track beats: none is as good with fewer "
        "parameters, or better with no more. Runs that differ in nothing but the seed are one."
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help=SOURCES_HELP,
    )
    parser.add_argument(
        "--cost",
        type=lambda name: ALIASES.get(name, name),
        choices=COSTS,
        default="num_params",
        help="of two equally good ones the one with less of it wins (default: num_params)",
    )
    parser.add_argument(
        "--score",
        choices=METRICS,
        help="its mean over seeds counts (default: val_acc where there is a validation set)",
    )
    parser.add_argument("--where", metavar="EXPR", help="only runs for which this holds")
    parser.add_argument("--format", choices=FORMATS, default="rich")
    add_output(parser, "draw it, with all configurations and known records")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """The front of each track as a table, and as a picture if that is asked for."""
    cost = arguments.cost
    if arguments.output is not None:
        # Here, for a table needs no matplotlib.
        from mnist_sweep.figures.front import COSTS as COST_NAMES
        from mnist_sweep.figures.front import front
        from mnist_sweep.figures.saving import check_suffix, save

        check_suffix(arguments.output)
    runs = chosen(load_results(*arguments.sources), arguments.where)
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
    if arguments.output is not None:
        drawn = _with_near_records(tracks[:MOST_TRACKS], cost, notes)
        if len(tracks) > MOST_TRACKS:
            notes.append(
                f"drawn are the {MOST_TRACKS} of {len(tracks)} tracks with most runs; --where "
                "chooses others"
            )
        save(front(drawn, f"Accuracy against {COST_NAMES[cost]}"), arguments.output)
        notes.append(f"picture {arguments.output}")
    _print_fronts(tracks, cost, notes, arguments.format)


def _tracks_with_front(lines: pd.DataFrame, cost: str) -> Iterator[pd.DataFrame]:
    """The lines of each track, the cheapest first, with `score` (column) and `on_front`."""
    for _, track in lines.groupby(TRACK, dropna=False, sort=False):
        score = str(track.ranked_by.iloc[0])
        usable = track[track[score].notna() & track[cost].notna()]
        if len(usable):
            yield usable.assign(on_front=on_front(usable, cost, score)).sort_values(
                [cost, score, "label"], ascending=[True, False, True], kind="stable"
            )


def _with_near_records(
    tracks: Sequence[pd.DataFrame], cost: str, notes: list[str]
) -> list[FrontInfo]:
    """The tracks as the picture takes them, each with the records that are not far from its
    nets. notes: gets what is not drawn, and why."""
    low = min(float(track[cost].min()) for track in tracks) / 2
    high = max(float(track[cost].max()) for track in tracks) * 2
    far = [record for record in known_records() if not low <= record.size <= high]
    infos = [front_info(track, cost) for track in tracks]
    if not any(info.records_beside(info.score) for info in infos):
        notes.append(
            "known records are not drawn: they are test accuracies on MNIST against num_params"
        )
    elif far:
        notes.append(
            f"{counted(len(far), 'known record')} not drawn: under {low:,.0f} or over "
            f"{high:,.0f} parameters"
        )
    return [
        replace(info, records=tuple(record for record in info.records if record not in far))
        for info in infos
    ]


def _print_fronts(
    tracks: Sequence[pd.DataFrame], cost: str, notes: Sequence[str], style: str
) -> None:
    """A table for each track; the notes on standard error where a program reads the output."""
    fronts = []
    for track in tracks:
        best = track[track.on_front].drop(columns="on_front")
        fronts.append(best.assign(rank=range(1, len(best) + 1)))
    if style in ("csv", "json"):
        lines = pd.concat(fronts, ignore_index=True)
        print(tables.as_csv(lines) if style == "csv" else tables.as_json(lines), end="")
    else:
        rankings = [
            _ranking(best, len(track), cost) for best, track in zip(fronts, tracks, strict=True)
        ]
        if style == "rich":
            console = tables.make_console(sys.stdout)
            for ranking in rankings:
                tables.show(console, ranking, whole="--format csv")
                console.print()
        else:
            write = tables.markdown if style == "md" else tables.latex
            print("\n\n".join(map(write, rankings)))
    for note in notes:
        print(note, file=sys.stdout if style == "rich" else sys.stderr)


def _ranking(best: pd.DataFrame, configurations: int, cost: str) -> Ranking:
    first = best.iloc[0]
    score = first.ranked_by.removesuffix("_mean")
    means = tables.means(best[f"{score}_mean"], best[f"{score}_sd"])
    columns = {
        "rank": ("#", [str(rank) for rank in best["rank"]]),
        "label": ("configuration", best.label.tolist()),
        "num_params": (cost.removeprefix("num_"), [f"{value:,}" for value in best[cost]]),
        "first": (f"{score}, %", means),
        "n": ("n", [f"{n:,}" for n in best.n]),
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
