"""Tables in a terminal: as wide as it allows, and no row is ever wrapped; whole elsewhere."""

import os
from collections.abc import Sequence
from typing import IO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from mnist_sweep.report.text.rankings import LEFT, Column, Ranking

NO_LIMIT = 100_000
"""Columns of what is no terminal: nothing is cut or left out there."""

GAP = 2
"""Blanks between two columns."""

SHORTEST_LABEL, SHORT_LABEL = 16, 28
"""What a long label has to itself before columns of KEEP appear, and before all others do."""

KEEP = ["rank", "label", "first", "score", "n", "num_params", "second", "interval"]
"""What a narrow terminal keeps longest."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # BrokenPipeError, for `exit_code`; rich's own answer ends the program as a failure


def make_console(file: IO[str]) -> Console:
    console = _Console(file=file, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = NO_LIMIT
    return console


def show(console: Console, ranking: Ranking, whole: str = "") -> None:
    """whole: what else than a wider terminal shows the columns that do not fit."""
    columns = {
        name: Column(heading, [printable(cell) for cell in cells])
        for name, (heading, cells) in ranking.columns.items()
    }
    widths = _fit(columns, console.width)
    padded = []
    for name, width in widths.items():
        heading, cells = columns[name]
        padded.append([_padded(cell, width, left=name in LEFT) for cell in (heading, *cells)])
    head, *rows = zip(*padded, strict=True)
    gap = " " * GAP
    console.print(Text(printable(ranking.title), style="bold"))
    console.out(gap.join(head).rstrip(), style="bold", highlight=False)
    # At once: rich's Table would take a second for two thousand rows.
    console.out("\n".join(gap.join(row).rstrip() for row in rows), highlight=False)
    if len(rows) < ranking.total:
        console.print(
            Text(f"{len(rows):,} of {ranking.total:,} lines; --top 0 shows all", style="dim")
        )
    if left_out := "; ".join(columns[name].heading for name in columns if name not in widths):
        remedy = "wider terminal" + (f" or {whole}" if whole else "")
        console.print(Text(printable(f"left out: {left_out} ({remedy})"), style="dim"))
    if ranking.note:
        console.print(Text(ranking.note, style="dim"))


def show_all(file: IO[str], tables: Sequence[Ranking]) -> None:
    """One below the other, an empty line after each."""
    console = make_console(file)
    for ranking in tables:
        show(console, ranking, whole="--format csv")
        console.print()


def show_rows(file: IO[str], header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A short table of any kind: the first column to the left, the others to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    make_console(file).print(table)


def _padded(text: str, width: int, *, left: bool) -> str:
    text = _cut(text, width)
    blanks = " " * (width - cell_len(text))
    return text + blanks if left else blanks + text


def _fit(columns: dict[str, Column], available: int) -> dict[str, int]:
    """The columns that there is room for, and their widths; the label gets what is left over."""
    natural = {
        name: max(map(cell_len, [heading, *cells])) for name, (heading, cells) in columns.items()
    }
    chosen: list[str] = []
    for name in sorted(columns, key=lambda name: KEEP.index(name) if name in KEEP else len(KEEP)):
        label = min(natural["label"], SHORTEST_LABEL if name in KEEP else SHORT_LABEL)
        used = sum(natural[other] + GAP for other in chosen if other != "label")
        if name not in KEEP[:3] and used + label + GAP + natural[name] > available:
            break
        chosen.append(name)
    others = sum(natural[name] + GAP for name in chosen if name != "label")
    label = max(1, min(natural["label"], available - others))
    return {name: natural[name] if name != "label" else label for name in columns if name in chosen}


def _cut(text: str, width: int) -> str:
    """Shortened in the middle to so many cells of a terminal."""
    if cell_len(text) <= width:
        return text
    left = set_cell_size(text, width // 2).rstrip()
    right = set_cell_size(text[::-1], width - width // 2 - 1)[::-1].lstrip()
    return f"{left}…{right}"


def printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)
