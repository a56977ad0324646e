"""The arguments that several commands take, declared once."""

import argparse
from pathlib import Path

from mnist_sweep.paths import MAIN_TABLE, MULTIRUN

FORMATS = ("rich", "md", "csv", "json", "latex")


def add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="*",
        default=[],
        metavar="SOURCE",
        help=f"a results table, or a folder with tables (default: {MAIN_TABLE})",
    )


def add_where(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--where", metavar="EXPR", help=meaning)


def add_format(
    parser: argparse.ArgumentParser, default: str | None = None, meaning: str | None = None
) -> None:
    parser.add_argument("--format", choices=FORMATS, default=default, help=meaning)


def add_picture(
    parser: argparse.ArgumentParser, what: str = "picture", default: str | None = None
) -> None:
    said = f" (default: {default})" if default else ""
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        default=None if default is None else Path(default),
        metavar="FILE",
        help=f"{what}, .png or .svg{said}",
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="SOURCE",
        help=f"a search's folder (default: the newest one in {MULTIRUN})",
    )


def add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--objective", metavar="NAME", help="of several (default: the first)")
    parser.add_argument(
        "--storage", metavar="URL", help="where the search is kept, if not in its folder"
    )
