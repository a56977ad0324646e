"""Rankings to paste, as Markdown and LaTeX; their lines for programs, as CSV and JSON.

By hand: tabulate would pad every row to the longest label, 2.7 times the text for a search of
20,000 lines, and needs the escapes all the same, since it leaves ± and quotes to LaTeX.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mnist_sweep.report.text.rankings import LEFT, Column, Ranking
from mnist_sweep.report.text.terminal import printable

LEFT_OUT = "seconds"
"""A column that is of no use in a text."""


def markdown(tables: Sequence[Ranking], notes: Sequence[str] = ()) -> str:
    parts = [*map(_markdown, tables), *(f"{_markdown_text(note)}." for note in notes)]
    return "\n\n".join(parts) + "\n"


def _markdown(ranking: Ranking) -> str:
    columns = _to_paste(ranking)
    rows = [
        [heading for heading, _ in columns.values()],
        [":---" if name in LEFT else "---:" for name in columns],
        *zip(
            *(
                [_code(printable(cell)) for cell in cells] if name == "label" else cells
                for name, (_, cells) in columns.items()
            ),
            strict=True,
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    note = f"\n\n{_markdown_text(ranking.note)}." if ranking.note else ""
    return f"**{_markdown_text(ranking.title)}**\n\n{table}{note}"


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    inner = f" {text} " if "`" in text else text
    return f"{fence}{inner}{fence}".replace("|", "\\|")


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", printable(text))


LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", '"': r"\textquotedbl{}", "±": r"$\pm$"},
}


def latex(tables: Sequence[Ranking], notes: Sequence[str] = ()) -> str:
    """For the package booktabs."""
    comments = "".join(f"% {printable(note)}\n" for note in notes)
    return "\n\n".join(map(_latex, tables)) + "\n" + comments


def _latex(ranking: Ranking) -> str:
    columns = _to_paste(ranking)
    alignment = "".join("l" if name in LEFT else "r" for name in columns)
    rows = [
        [heading for heading, _ in columns.values()],
        *zip(*(cells for _, cells in columns.values()), strict=True),
    ]
    head, *body = [" & ".join(map(_latex_text, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex_text('. '.join(filter(None, [ranking.title, ranking.note])))}.}}",
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


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in printable(text))


def _to_paste(ranking: Ranking) -> dict[str, Column]:
    return {name: column for name, column in ranking.columns.items() if name != LEFT_OUT}


EXECUTED = re.compile(r"(^|[;\t\n])(?=[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet sees a formula begin; cells may be cut at semicolons and tabs, too."""


def as_csv(lines: pd.DataFrame) -> str:
    """With an apostrophe before text that a spreadsheet would execute."""
    shown = lines.assign(run_ids=lines.run_ids.map(" ".join))
    for name in shown:
        if not pd.api.types.is_numeric_dtype(shown[name]):
            shown[name] = shown[name].map(_defused)
    return shown.rename(columns=_defused).to_csv(index=False, lineterminator="\n")


def _defused(value: Any) -> Any:
    return EXECUTED.sub(r"\1'", value) if isinstance(value, str) else value


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
