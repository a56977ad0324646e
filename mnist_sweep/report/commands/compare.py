"""`report compare`: whether two configurations differ by more than chance."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.text import Text

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.report.analysis.leaderboard import METRICS, counted, leaderboard
from mnist_sweep.report.analysis.statistics import mcnemar_words, paired, unpaired, words
from mnist_sweep.report.analysis.tracks import TRACK, track_name
from mnist_sweep.report.commands.leaderboard import make_console, rankings, show
from mnist_sweep.report.read.load import SOURCES_HELP, load_results

MIN_PREFIX = 3


def add_compare(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Tests two configurations against each other: Student's t-test on their common seeds, and "
        "for each of these seeds McNemar's exact test on the two nets' test predictions."
    )
    parser.epilog = """examples:
  python -m mnist_sweep.report compare r863ff340a r0678a77fb
  python -m mnist_sweep.report compare cb52e37c2d8c cac817416353 multirun/select_top

A run stands for all runs of its configuration. Predictions are made where a run has none yet."""
    for name in ("first", "second"):
        parser.add_argument(
            name,
            metavar={"first": "X", "second": "Y"}[name],
            help="a config_hash, a run id, the beginning of either, or study/trial",
        )
    parser.add_argument(
        "sources",
        nargs="*",
        default=[],
        metavar="SOURCE",
        help=SOURCES_HELP,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    runs = load_results(*arguments.sources)
    chosen = [configuration(name, runs) for name in (arguments.first, arguments.second)]
    if chosen[0] == chosen[1]:
        raise UserError(
            f"compare {arguments.first} {arguments.second}: both are of configuration {chosen[0]}; "
            "name runs that differ in more than the seed"
        )
    both = counted(runs[runs.config_hash.isin(chosen)])
    for name, config in zip((arguments.first, arguments.second), chosen, strict=True):
        if config not in set(both.config_hash):
            raise UserError(f"compare {name}: no run of {config} is completed")
    lines = leaderboard(both)
    tracks = lines.drop_duplicates(TRACK)
    if len(tracks) > 1:
        one, other, *_ = (track_name(line) for line in tracks.itertuples())
        raise UserError(
            f"compare {arguments.first} {arguments.second}: they are of different tracks "
            f"({one}; {other}), whose figures cannot be compared"
        )
    console = make_console(sys.stdout)
    [ranking] = rankings(lines)
    show(console, replace(ranking, title=track_name(lines.iloc[0]), note=""))
    labels = lines.set_index("config_hash").label
    names = (str(labels[chosen[0]]), str(labels[chosen[1]]))
    seeded = both[both.seed.notna()]
    first, second = (seeded[seeded.config_hash == config].set_index("seed") for config in chosen)
    console.print()
    console.print("± is the 95 % interval of the difference; common seeds are paired.")
    for sentence in over_seeds(first, second, names):
        console.print(Text(sentence))
    console.print()
    console.print("McNemar's exact test of one net against one net, on the test images:")
    sources = [Path(source) for source in arguments.sources]
    for sentence in on_predictions(first, second, names, sources):
        console.print(Text(sentence))


def configuration(name: str, runs: pd.DataFrame) -> str:
    """The config_hash that is meant: one of its runs stands for it.

    Raises:
        UserError: nothing has that name, or several configurations have.
    """
    trial = runs.study + "/" + runs.trial.astype("string")
    named = (runs.config_hash, runs.run_id, trial, runs.run_dir.map(os.path.normpath, "ignore"))
    wanted = os.path.normpath(name)
    found = runs[sum((column == wanted).fillna(False) for column in named) > 0]
    if found.empty and len(name) < MIN_PREFIX:
        raise UserError(f"compare {name}: give at least {MIN_PREFIX} characters of the id")
    if found.empty:
        found = runs[
            (runs.config_hash.str.startswith(name) | runs.run_id.str.startswith(name)).fillna(False)
        ]
    configs = found.config_hash.dropna().unique().tolist()
    if len(configs) > 1:
        listed = ", ".join([*configs[:6], *(["..."] if len(configs) > 6 else [])])
        raise UserError(f"compare {name}: could be any of {listed}; give more of it")
    if not configs:
        known = [value for column in named for value in column.dropna().unique()]
        lost = "; its runs have no config_hash" if len(found) else did_you_mean(name, known)
        raise UserError(
            f"compare {name}: no such run or configuration{lost}; report --format csv lists them"
        )
    return str(configs[0])


def over_seeds(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> list[str]:
    """A sentence for each metric. first, second: completed runs, seed as index."""
    sentences = []
    for metric in METRICS:
        a, b = first[metric].dropna(), second[metric].dropna()
        common = a.index.intersection(b.index)
        seeds = f"{len(common)} common seed{'s' * (len(common) != 1)}"
        if len(common) > 1:
            said = words(paired(a[common].tolist(), b[common].tolist()), names, seeds)
        elif min(len(a), len(b)) > 1:
            sample = f"{len(a)} and {len(b)} runs with {seeds}, so not paired"
            said = words(unpaired(a.tolist(), b.tolist()), names, sample)
        elif len(a) or len(b):
            said = f"nothing can be said from {seeds}: train both with the same two seeds or more"
        else:
            continue
        sentences.append(f"{metric:<9} {said}")
    return sentences


def on_predictions(
    first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str], sources: Sequence[Path]
) -> Iterator[str]:
    """A sentence for each common seed; a run whose net or data are gone is passed over, named."""
    from mnist_sweep.evaluate import predictions  # late: imports torch
    from mnist_sweep.runs.lookup import find_run

    common = sorted(first.index.intersection(second.index))
    if not common:
        yield "no common seed, so no pair of nets to test"
    tested = 0
    for seed in common:
        try:
            a, b = (predictions(find_run(ids.run_id[seed], *sources)) for ids in (first, second))
            both = a.merge(b, on=["image", "label"], suffixes=("_a", "_b"))
            if not len(a) == len(b) == len(both):
                raise UserError("the two runs were not tested on the same images")
            right_a, right_b = both.prediction_a == both.label, both.prediction_b == both.label
            said = mcnemar_words(
                int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()), names
            )
            tested += 1
        except UserError as error:
            said = f"not tested: {error}"
        yield f"seed {seed}: {said}"
    if tested > 1:
        yield "(Of many such tests one in twenty shows a difference where there is none.)"
