"""`report leaderboard`: a ranking for each track."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pandas as pd
from rich.text import Text

from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.leaderboard import leaderboard
from mnist_sweep.report.analysis.mixing import mixed_studies
from mnist_sweep.report.commands.arguments import add_format, add_sources, add_where
from mnist_sweep.report.read.load import load_results
from mnist_sweep.report.read.overridden import may_name_key
from mnist_sweep.report.read.where import HELP, chosen
from mnist_sweep.report.text.formats import as_csv, as_json, latex, markdown
from mnist_sweep.report.text.rankings import how_to_read, rankings
from mnist_sweep.report.text.terminal import make_console, show_all
from mnist_sweep.writing import write_output

TOP_IN_TERMINAL = 20

SUFFIXES = {
    "": "rich",
    ".txt": "rich",
    ".md": "md",
    ".csv": "csv",
    ".json": "json",
    ".tex": "latex",
}


def add_leaderboard(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Ranks the completed runs. Those that differ in nothing but the seed are one line: mean ± "
        "standard deviation over the seeds, and the 95 % interval of the mean. Other data, "
        "protocols, evaluation sets and debug choices have rankings of their own."
    )
    parser.epilog = (
        """examples:
  python -m mnist_sweep.report
  python -m mnist_sweep.report multirun/2026-11-21/10-00-00
  python -m mnist_sweep.report --by model,optimizer --where 'params < 8000' --format md
  python -m mnist_sweep.report --where "model == 'ds_cnn' and seed in [0, 1]" --sort num_params:asc
  python -m mnist_sweep.report --where "'affine' in augmentation and debug == None" -o table.tex

"""
        + HELP
    )
    add_sources(parser)
    parser.add_argument(
        "--by", metavar="A,B", default="", help="one line for each combination of these columns"
    )
    add_where(parser, "only runs for which this holds, see below")
    parser.add_argument(
        "--sort",
        metavar="COLUMN[:asc]",
        help="rank by the mean of this column, largest first or smallest first (default: val_acc, "
        "or test_acc where there is no validation set); params means num_params",
    )
    add_format(
        parser,
        meaning="csv and json have all columns unrounded (default: by the suffix of FILE, else "
        "rich)",
    )
    parser.add_argument(
        "--top",
        type=int,
        metavar="N",
        help=f"lines of each ranking, 0 for all (default: {TOP_IN_TERMINAL} in rich, else all)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write into this file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    form = arguments.format or _form_of(arguments.output)
    top = arguments.top if arguments.top is not None else TOP_IN_TERMINAL * (form == "rich")
    if top < 0:
        raise UserError(f"--top {top}: give a number of lines, or 0 for all")
    keys = may_name_key(arguments.by, arguments.sort, arguments.where)
    runs = load_results(*arguments.sources, keys=keys)
    by = [name.strip() for name in arguments.by.split(",") if name.strip()]
    chosen_runs = chosen(runs, arguments.where)
    lines = leaderboard(chosen_runs, by, arguments.sort)
    notes = list(lines.attrs["notes"])
    if lines.empty:
        notes.insert(0, "no run is completed, so there is nothing to rank")
    if skipped := runs.attrs["skipped"]:
        notes.append(f"on reading: {skipped}")
    notes += mixed_studies(chosen_runs)
    output: Path | None = arguments.output
    if output is not None:
        _check_is_no_source(output, runs.attrs["sources"])
    if output is None:
        _write(sys.stdout, form, lines, top, notes)
    else:
        text = io.StringIO()
        _write(text, form, lines, top, notes)
        write_output(output, text.getvalue())
    if form in ("csv", "json"):
        for note in notes:
            print(note, file=sys.stderr)


def _form_of(output: Path | None) -> str:
    suffix = output.suffix if output else ""
    if suffix not in SUFFIXES:
        known = ", ".join(filter(None, SUFFIXES))
        raise UserError(f"-o {output}: the suffix is none of {known}; say --format")
    return SUFFIXES[suffix]


def _check_is_no_source(output: Path, sources: Sequence[str]) -> None:
    if output.resolve() in [Path(source).resolve() for source in sources]:
        raise UserError(f"-o {output}: this is the table that was read; choose another file")


def _write(file: IO[str], form: str, lines: pd.DataFrame, top: int, notes: Sequence[str]) -> None:
    """notes: left out of what programs read."""
    shown = lines[lines["rank"] <= top] if top else lines
    if form == "csv":
        file.write(as_csv(shown))
        return
    if form == "json":
        file.write(as_json(shown))
        return
    tables, notes = list(rankings(lines, top)), [*how_to_read(shown), *notes]
    if form == "rich":
        show_all(file, tables)
        for note in notes:
            make_console(file).print(Text(note))
    else:
        file.write(markdown(tables, notes) if form == "md" else latex(tables, notes))
