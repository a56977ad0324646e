"""`report html`: the report page, written into one file."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULTS_TABLE
from mnist_sweep.report.commands.arguments import add_sources, add_where
from mnist_sweep.report.page.make import make_page
from mnist_sweep.report.read.load import load_results
from mnist_sweep.report.read.where import chosen
from mnist_sweep.report.wording import counted, statuses
from mnist_sweep.writing import unwritable_output, write_output

SUFFIXES = (".html", ".htm")


def add_html(parser: argparse.ArgumentParser) -> None:
    add_sources(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE")
    parser.add_argument("--title", help="the page's (default: named after what was read)")
    add_where(parser, "only these runs, such as 'params < 8000 and seed == 0'")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    output: Path = arguments.output
    _check_output(output)
    runs = chosen(load_results(*arguments.sources), arguments.where)
    title = arguments.title or _title(arguments.sources)
    page = make_page(runs, title, _own_command(arguments))
    write_output(output, page)
    size = len(page.encode())
    counts = ", ".join(f"{number:,} {status}" for status, number in statuses(runs))
    print(f"{output}: {size / 1e6:.1f} MB, {counted(len(runs), 'run')} ({counts})")
    if runs.attrs["skipped"]:
        print(f"skipped: {runs.attrs['skipped']}")


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
