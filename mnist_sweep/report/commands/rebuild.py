"""`report rebuild`: the results table again, from what the run directories hold."""

import argparse
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.paths import MAIN_TABLE
from mnist_sweep.runs.rebuild import rebuild
from mnist_sweep.runs.table import ResultsTable


def add_rebuild(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes the results table anew from every result.json below the folders. A table that is "
        "there is kept beside it, as <table>.bak."
    )
    parser.epilog = """examples:
  python -m mnist_sweep.report rebuild outputs multirun
  python -m mnist_sweep.report rebuild multirun/sweep --table multirun/sweep/results.csv"""
    parser.add_argument(
        "roots", nargs="+", type=Path, metavar="FOLDER", help="where to look for runs"
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        default=MAIN_TABLE,
        help="the table to write (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    for root in arguments.roots:
        if not root.is_dir():
            raise UserError(f"{root} is not a folder; name the folders that hold the runs")
    count = rebuild(ResultsTable(arguments.table), arguments.roots)
    print(f"{arguments.table}: {count} runs")
