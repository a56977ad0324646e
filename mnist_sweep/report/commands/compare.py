"""`report compare`: whether two configurations differ by more than chance."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.text import Text

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.report.analysis.comparison import on_predictions, over_seeds
from mnist_sweep.report.analysis.leaderboard import latest_completed, leaderboard
from mnist_sweep.report.analysis.tracks import TRACK, track_name
from mnist_sweep.report.commands.arguments import add_sources
from mnist_sweep.report.read.load import load_results
from mnist_sweep.report.text.rankings import rankings
from mnist_sweep.report.text.terminal import make_console, show
from mnist_sweep.runs.lookup import LISTED, MIN_PREFIX, Names, find_run, matching


def add_compare(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Tests two configurations against each other: Student's t-test on their common seeds, and "
        "for each of these seeds McNemar's exact test on the two nets' test predictions."
    )
    parser.epilog = """examples:
  python -m mnist_sweep.report compare r863ff340a r0678a77fb
  python -m mnist_sweep.report compare cb52e37c2d8c cac817416353 multirun/select_top

A run stands for all runs of its configuration. Predictions are made where a run has none yet."""
    for name, shown in (("first", "X"), ("second", "Y")):
        parser.add_argument(
            name,
            metavar=shown,
            help="a config_hash, a run id, the beginning of either, or study/trial",
        )
    add_sources(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    runs = load_results(*arguments.sources, keys=False)
    chosen = [configuration(name, runs) for name in (arguments.first, arguments.second)]
    if chosen[0] == chosen[1]:
        raise UserError(
            f"compare {arguments.first} {arguments.second}: both are of configuration {chosen[0]}; "
            "name runs that differ in more than the seed"
        )
    both = latest_completed(runs[runs.config_hash.isin(chosen)])
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
    from mnist_sweep.evaluate import predictions  # late: imports torch

    sources = [Path(source) for source in arguments.sources]
    for sentence in on_predictions(
        first, second, names, lambda run_id: predictions(find_run(run_id, *sources))
    ):
        console.print(Text(sentence))


def configuration(name: str, runs: pd.DataFrame) -> str:
    """The config_hash that is meant: one of its runs stands for it.

    Raises:
        UserError: nothing has that name, or several configurations have.
    """
    trials = runs.study + "/" + runs.trial.astype("string")
    columns = [column.fillna("") for column in (runs.run_id, trials, runs.run_dir)]
    named = [Names(*names) for names in zip(*columns, runs.config_hash.fillna(""), strict=True)]
    found = matching(name, named)
    if not found and len(name) < MIN_PREFIX:
        raise UserError(f"compare {name}: give at least {MIN_PREFIX} characters of the id")
    configs = list(dict.fromkeys(run.config_hash for run in found if run.config_hash))
    if len(configs) > 1:
        listed = ", ".join([*configs[:LISTED], *(["..."] if len(configs) > LISTED else [])])
        raise UserError(f"compare {name}: could be any of {listed}; give more of it")
    if not configs:
        known = dict.fromkeys(one for run in named for one in run if one)
        lost = "; its runs have no config_hash" if found else did_you_mean(name, known)
        raise UserError(
            f"compare {name}: no such run or configuration{lost}; report --format csv lists them"
        )
    return configs[0]
