"""The leaderboard as text: for the terminal, Markdown, LaTeX, CSV, JSON."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import IO, Any

import pandas as pd
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.leaderboard import METRICS, leaderboard
from mnist_sweep.report.analysis.tracks import TRACK, track_name
from mnist_sweep.report.read.load import SOURCES_HELP, load_results
from mnist_sweep.report.read.where import chosen

WIDTH_WITHOUT_TERMINAL = 100

TOP_IN_TERMINAL = 20

GAP = 2
"""Blanks between two columns."""

SHORTEST_LABEL, SHORT_LABEL = 16, 28
"""What a long label has to itself before columns of KEEP appear, and before all others do."""

LEFT = ("label", "first", "second")
"""Columns that are not numbers to be lined up at the right."""

KEEP = ["rank", "label", "first", "score", "n", "num_params", "second", "interval"]
"""What a narrow terminal keeps longest. first and second: the metrics, the ranked one before the
other; score: what the ranking goes by, where it is none of them."""


@dataclass(frozen=True)
class Ranking:
    """The lines of one track, ready to be shown. Accuracies are in percent."""

    title: str
    columns: dict[str, tuple[str, list[str]]]
    """Name -> heading and cells, from left to right."""
    total: int
    """Lines, those that are not shown included."""
    note: str
    """What must be known of #1."""


def rankings(lines: pd.DataFrame, top: int = 0) -> Iterator[Ranking]:
    """One for each track of `leaderboard`'s lines. top: how many lines of each; 0 for all."""
    for _, track in lines.groupby(TRACK, dropna=False, sort=False):
        shown = track.head(top) if top else track
        yield Ranking(_title(track), _columns(track, shown), len(track), _of_the_first(track))


def _title(track: pd.DataFrame) -> str:
    line = track.iloc[0]
    score = line.ranked_by.removesuffix("_mean")
    if track[line.ranked_by].isna().all():
        return f"{track_name(line)}: no {score} to rank by"
    order = "smallest" if track.attrs["ascending"] else "best" if _is_best(track) else "largest"
    published = (track.protocol == "published").any()
    watched = "; test was watched in training" if published else ""
    return f"{track_name(line)}: by {score}, {order} first{watched}"


def _is_best(track: pd.DataFrame) -> bool:
    return track.ranked_by.iloc[0].removesuffix("_mean") in METRICS and not track.attrs["ascending"]


def _of_the_first(track: pd.DataFrame) -> str:
    """A best-of is flattered by its choice."""
    if not _is_best(track) or track[track.ranked_by.iloc[0]].count() < 2:
        return ""
    score = track.ranked_by.iloc[0].removesuffix("_mean")
    note = f"#1 is the best of {len(track):,} by {score}, so its {score} flatters it"
    if score == "val_acc":
        return f"{note}; its test_acc had no part in the choice"
    return f"{note}: this is a choice by the test set"


def legend(lines: pd.DataFrame) -> list[str]:
    """What must be known to read the figures rightly."""
    found = []
    if (lines.n == 1).any():
        found.append("± ? is of one run: nothing is known of its spread")
    if "configs" in lines and (lines.configs > 1).any():
        found.append(
            "configs > 1: ± is over configurations and seeds together, and there is no interval, "
            "since nobody drew the configurations at random"
        )
    return found


def _columns(track: pd.DataFrame, shown: pd.DataFrame) -> dict[str, tuple[str, list[str]]]:
    """Names as in KEEP, or any other; the columns from left to right."""
    score = track.ranked_by.iloc[0]
    measured = [name for name in METRICS if track[f"{name}_mean"].notna().any()]
    measured.sort(key=lambda name: f"{name}_mean" != score)
    found: dict[str, tuple[str, list[str]]] = {
        "rank": ("#", [str(rank) for rank in shown["rank"]]),
        "label": (" ".join(track.attrs["by"]) or "configuration", shown.label.tolist()),
        "n": ("n", [f"{n:,}" for n in shown.n]),
    }
    if "configs" in shown:
        found["configs"] = ("configs", [f"{n:,}" for n in shown.configs])
    if score not in (*(f"{name}_mean" for name in METRICS), "num_params", *found):
        found["score"] = (score.removesuffix("_mean"), [_number(value) for value in shown[score]])
    for place, name in zip(("first", "second"), measured, strict=False):
        found[place] = (f"{name}, %", means(shown[f"{name}_mean"], shown[f"{name}_sd"]))
        if place == "first":
            ends = zip(shown[f"{name}_low"], shown[f"{name}_high"], strict=True)
            found["interval"] = ("95 % interval", [span(*both) for both in ends])
            ends = zip(shown[f"{name}_min"], shown[f"{name}_max"].where(shown.n > 1), strict=True)
            found["range"] = ("worst to best of n", [span(*both) for both in ends])
    found["num_params"] = ("params", [_number(value) for value in shown.num_params])
    found["macs"] = ("MACs", [_number(value) for value in shown.macs])
    found["seconds"] = ("seconds", [_number(value) for value in shown.seconds])
    if "score" in found:
        found.pop(score, None)
    return {name: column for name, column in found.items() if any(column[1])}


def percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.2f}"


def span(low: float, high: float) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f"{percent(low)} to {percent(high)}"


def means(values: Iterable[float], sds: Iterable[float]) -> list[str]:
    """In percent and percentage points, lined up at the sign."""
    texts = [percent(value) for value in values]
    width = max(map(len, texts))
    return [
        f"{text:>{width}} ± {percent(sd) or '?'}" if text else ""
        for text, sd in zip(texts, sds, strict=True)
    ]


def _number(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


# The terminal


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # BrokenPipeError, for `exit_code`; rich's own answer ends the program as a failure


def make_console(file: IO[str]) -> Console:
    console = _Console(file=file, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def show(console: Console, ranking: Ranking, whole: str = "") -> None:
    """As wide as the terminal allows; no row is ever wrapped.

    whole: what else than a wider terminal shows the columns that do not fit.
    """
    columns = {
        name: (heading, [_printable(cell) for cell in cells])
        for name, (heading, cells) in ranking.columns.items()
    }
    widths = _fit(columns, console.width)
    padded = []
    for name, width in widths.items():
        heading, cells = columns[name]
        padded.append([_padded(cell, width, left=name in LEFT) for cell in (heading, *cells)])
    head, *rows = zip(*padded, strict=True)
    gap = " " * GAP
    console.print(Text(_printable(ranking.title), style="bold"))
    console.out(gap.join(head).rstrip(), style="bold", highlight=False)
    # At once: rich's Table would take a second for two thousand rows.
    console.out("\n".join(gap.join(row).rstrip() for row in rows), highlight=False)
    if len(rows) < ranking.total:
        console.print(
            Text(f"{len(rows):,} of {ranking.total:,} lines; --top 0 shows all", style="dim")
        )
    if left_out := "; ".join(columns[name][0] for name in columns if name not in widths):
        remedy = "wider terminal" + (f" or {whole}" if whole else "")
        console.print(Text(_printable(f"left out: {left_out} ({remedy})"), style="dim"))
    if ranking.note:
        console.print(Text(ranking.note, style="dim"))


def _padded(text: str, width: int, *, left: bool) -> str:
    text = _cut(text, width)
    blanks = " " * (width - cell_len(text))
    return text + blanks if left else blanks + text


def _fit(columns: dict[str, tuple[str, list[str]]], available: int) -> dict[str, int]:
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


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


# To paste, and for programs


def markdown(ranking: Ranking) -> str:
    def code(text: str) -> str:
        fence = "``" if "`" in text else "`"
        inner = f" {text} " if "`" in text else text
        return f"{fence}{inner}{fence}".replace("|", "\\|")

    columns = _without(ranking.columns, "seconds")
    rows = [
        [heading for heading, _ in columns.values()],
        [":---" if name in LEFT else "---:" for name in columns],
        *zip(
            *(
                [code(_printable(cell)) for cell in cells] if name == "label" else cells
                for name, (_, cells) in columns.items()
            ),
            strict=True,
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    note = f"\n\n{_markdown_text(ranking.note)}." if ranking.note else ""
    return f"**{_markdown_text(ranking.title)}**\n\n{table}{note}"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", _printable(text))


LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", '"': r"\textquotedbl{}", "±": r"$\pm$"},
}


def latex(ranking: Ranking) -> str:
    """A table for the package booktabs."""

    def escaped(text: str) -> str:
        return "".join(LATEX.get(character, character) for character in _printable(text))

    columns = _without(ranking.columns, "seconds")
    alignment = "".join("l" if name in LEFT else "r" for name in columns)
    rows = [
        [heading for heading, _ in columns.values()],
        *zip(*(cells for _, cells in columns.values()), strict=True),
    ]
    head, *body = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped('. '.join(filter(None, [ranking.title, ranking.note])))}.}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _without(
    columns: dict[str, tuple[str, list[str]]], *names: str
) -> dict[str, tuple[str, list[str]]]:
    return {name: column for name, column in columns.items() if name not in names}


def as_csv(lines: pd.DataFrame) -> str:
    return lines.assign(run_ids=lines.run_ids.map(" ".join)).to_csv(
        index=False, lineterminator="\n"
    )


def as_json(lines: pd.DataFrame) -> str:
    """A list with an object for each line; null where a value is missing."""
    rows = lines.astype(object).to_dict(orient="records")
    plain = [
        {
            name: None if not isinstance(value, list) and pd.isna(value) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    text = json.dumps(plain, indent=1, ensure_ascii=False, default=lambda value: value.item())
    return f"{text}\n"


# The command


FORMATS = ("rich", "md", "csv", "json", "latex")

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
    parser.epilog = """examples:
  python -m mnist_sweep.report
  python -m mnist_sweep.report multirun/2026-11-21/10-00-00
  python -m mnist_sweep.report --by model,optimizer --where 'params < 8000' --format md
  python -m mnist_sweep.report --where "model == 'ds_cnn' and seed in [0, 1]" --sort num_params:asc
  python -m mnist_sweep.report --where "'affine' in augmentation and debug == None" -o table.tex

EXPR takes columns, numbers, 'text', None (a missing value), == != < <= > >=, in, and, or, not,
+ - * / and ( ). Accuracies are fractions of 1: val_acc > 0.99. What is divided by zero is missing.
A column whose name is no identifier stands in `backticks`."""
    parser.add_argument(
        "sources",
        nargs="*",
        default=[],
        metavar="SOURCE",
        help=SOURCES_HELP,
    )
    parser.add_argument(
        "--by", metavar="A,B", default="", help="one line for each combination of these columns"
    )
    parser.add_argument("--where", metavar="EXPR", help="only runs for which this holds, see below")
    parser.add_argument(
        "--sort",
        metavar="COLUMN[:asc]",
        help="rank by the mean of this column, largest first or smallest first (default: val_acc, "
        "or test_acc where there is no validation set); params means num_params",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="csv and json have all columns unrounded (default: by the suffix of FILE, else rich)",
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
    runs = load_results(*arguments.sources)
    by = [name.strip() for name in arguments.by.split(",") if name.strip()]
    lines = leaderboard(chosen(runs, arguments.where), by, arguments.sort)
    shown = lines[lines["rank"] <= top] if top else lines
    notes = list(lines.attrs["notes"])
    if lines.empty:
        notes.insert(0, "no run is completed, so there is nothing to rank")
    if skipped := runs.attrs["skipped"]:
        notes.append(f"on reading: {skipped}")

    def write(file: IO[str]) -> None:
        if form == "csv":
            file.write(as_csv(shown))
        elif form == "json":
            file.write(as_json(shown))
        else:
            tables = list(rankings(lines, top))
            write_tables = {"rich": _write_rich, "md": _write_markdown, "latex": _write_latex}[form]
            write_tables(file, tables, [*legend(shown), *notes])

    _put(arguments.output, runs.attrs["sources"], write)
    if form in ("csv", "json"):
        for note in notes:
            print(note, file=sys.stderr)


def _form_of(output: Path | None) -> str:
    suffix = output.suffix if output else ""
    if suffix not in SUFFIXES:
        known = ", ".join(filter(None, SUFFIXES))
        raise UserError(f"-o {output}: the suffix is none of {known}; say --format")
    return SUFFIXES[suffix]


def _put(path: Path | None, sources: Sequence[str], write: Callable[[IO[str]], object]) -> None:
    """Raises: UserError: the file cannot be written, or is one of the tables that were read."""
    if path is None:
        write(sys.stdout)
        return
    if path.resolve() in [Path(source).resolve() for source in sources]:
        raise UserError(f"-o {path}: this is the table that was read; choose another file")
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            write(file)
    except OSError as error:
        raise UserError(
            f"-o {path} cannot be written ({error.strerror}): choose another place"
        ) from error


def _write_rich(file: IO[str], tables: Sequence[Ranking], notes: Sequence[str]) -> None:
    console = make_console(file)
    for ranking in tables:
        show(console, ranking, whole="--format csv")
        console.print()
    for note in notes:
        console.print(Text(note))


def _write_markdown(file: IO[str], tables: Sequence[Ranking], notes: Sequence[str]) -> None:
    parts = [*map(markdown, tables), *(f"{_markdown_text(note)}." for note in notes)]
    file.write("\n\n".join(parts) + "\n")


def _write_latex(file: IO[str], tables: Sequence[Ranking], notes: Sequence[str]) -> None:
    comments = "".join(f"% {_printable(note)}\n" for note in notes)
    file.write("\n\n".join(map(latex, tables)) + "\n" + comments)
