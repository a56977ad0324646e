"""`report html`: the report page, written into one file, once or for as long as a search runs."""

import argparse
import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULTS_TABLE
from mnist_sweep.report.commands.arguments import add_sources, add_where
from mnist_sweep.report.page.make import at_rest, make_page
from mnist_sweep.report.read.changes import Watched
from mnist_sweep.report.read.load import load_results
from mnist_sweep.report.read.where import chosen
from mnist_sweep.report.wording import counted, statuses
from mnist_sweep.writing import unwritable_output, write_output

WATCH_S = 10
SHARE = 4
"""A pause is at least so many times as long as it took to write the page: it is not to take the
processor from what it shows."""

SUFFIXES = (".html", ".htm")


def add_html(parser: argparse.ArgumentParser) -> None:
    add_sources(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE")
    parser.add_argument("--title", help="the page's (default: named after what was read)")
    add_where(parser, "only these runs, such as 'params < 8000 and seed == 0'")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=WATCH_S,
        metavar="SECONDS",
        help="write it anew while a search runs, and let the browser show it; how often to look "
        f"(default: {WATCH_S})",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    _check_output(arguments.output)
    if arguments.watch is None:
        _write(arguments, load_results(*arguments.sources), None)
    else:
        _watch(arguments)


def _write(arguments: argparse.Namespace, loaded: pd.DataFrame, refresh_s: float | None) -> str:
    """The page, once it is in its file. refresh_s: how often a browser is to look for a new one."""
    runs = chosen(loaded, arguments.where)
    title = arguments.title or _title(arguments.sources)
    page = make_page(runs, title, _own_command(arguments), refresh_s)
    write_output(arguments.output, page)
    size = len(page.encode())
    counts = ", ".join(f"{number:,} {status}" for status, number in statuses(runs))
    told = f"{arguments.output}: {size / 1e6:.1f} MB, {counted(len(runs), 'run')} ({counts})"
    print(told, flush=True)
    if runs.attrs["skipped"]:
        print(f"skipped: {runs.attrs['skipped']}", flush=True)
    return page


def _watch(arguments: argparse.Namespace) -> None:
    """Ends with the searches, or with a Ctrl-C where there is none; and leaves a page that does not
    wait for another one."""
    watched, seconds = Watched(arguments.sources), arguments.watch
    shown, page, waits_for = None, "", ""
    try:
        while True:
            begin = time.monotonic()
            now = watched.look()
            goes_on = watched.is_at_work() or not watched.searches
            if now != shown:
                try:
                    loaded = load_results(*arguments.sources)
                except UserError as error:
                    if page or not watched.is_at_work():
                        raise
                    if str(error) != waits_for:
                        waits_for = str(error)
                        print(f"waiting: {waits_for.partition(';')[0]}", flush=True)
                else:
                    page = _write(arguments, loaded, seconds)
                shown = now
            if not goes_on:
                print("nobody is at work on it any more: that is the last page")
                return
            time.sleep(max(seconds, SHARE * (time.monotonic() - begin)))
    finally:
        if page:
            write_output(arguments.output, at_rest(page))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(
            f"{text} is no number of seconds above 0; write --watch=5, or --watch behind all else"
        )
    return seconds


def _own_command(arguments: argparse.Namespace) -> str:
    """What makes this page again."""
    given = [*arguments.sources, "-o", str(arguments.output)]
    for option, value in (("--title", arguments.title), ("--where", arguments.where)):
        given += [option, value] if value is not None else []
    return f"python -m mnist_sweep.report html {shlex.join(given)}"


def _check_output(output: Path) -> None:
    if output.is_dir():
        raise UserError(
            f"-o {output}: that is a folder; name a file, such as {output / 'report.html'}"
        )
    if output.suffix.lower() not in SUFFIXES:
        raise UserError(f"-o {output}: a page is HTML; end the name in .html")
    if not output.parent.is_dir():
        raise unwritable_output(output, "its folder does not exist")


def _title(sources: Sequence[str]) -> str:
    names = [Path(source).name or source for source in sources]
    names = [name for name in names if name not in (RESULTS_TABLE, ".", "..")]
    return f"Runs of {', '.join(names[:3])}" if names else "Runs of mnist_sweep"
