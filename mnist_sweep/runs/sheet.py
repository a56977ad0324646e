"""The physical form of a results table: what its lines are, for all who read it or append to it.

A row is one line always, so a stray quote, or a line cut short, harms its own line only. What an
editor or a spreadsheet makes of a table is taken for what it was, or refused in words.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import get_args, get_type_hints

from mnist_sweep.runs.record import RunRecord

csv.field_size_limit(1 << 30)  # an error's text may be long

KEYS = frozenset({"run_id", "status"})
"""Columns that make a table one of ours."""

MEASURED = frozenset(n for n, hint in get_type_hints(RunRecord).items() if float in get_args(hint))
"""Columns of numbers that are no whole ones."""

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class OtherFormError(Exception):
    """The file is no results table, or one that cannot be read. The text says what is wrong."""

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        """remedy: what to do about it; None where the file is no results table at all."""
        super().__init__(problem)
        self.remedy = remedy


@dataclass(frozen=True)
class Section:
    """A header and the rows below it."""

    header: list[str]
    lines: list[bytes] = field(default_factory=list)
    """Whole ones: UTF-8, with their quotes in order and as many cells as the header."""

    def rows(self) -> Iterator[dict[str, str]]:
        for cells in csv.reader(line.decode() for line in self.lines):
            yield dict(zip(self.header, cells, strict=True))

    def columns(self, *names: str) -> Iterator[tuple[str, ...]]:
        """The cells of these columns, row by row."""
        places = [self.header.index(name) for name in names]
        for cells in csv.reader(line.decode() for line in self.lines):
            yield tuple(cells[place] for place in places)


@dataclass(frozen=True)
class Sheet:
    """What is in a table. It has a section for each header, for tables may have been joined."""

    sections: list[Section] = field(default_factory=list)
    torn: list[bytes] = field(default_factory=list)
    """Lines that are no rows, as they stand in the file."""
    num_empty: int = 0

    @property
    def header(self) -> list[str]:
        """All columns."""
        return list(dict.fromkeys(name for section in self.sections for name in section.header))

    def rows(self) -> list[dict[str, str]]:
        return [row for section in self.sections for row in section.rows()]


def read_sheet(data: bytes) -> Sheet:
    """All that can be read of a file, however its lines end; of an empty one, nothing.

    Raises:
        OtherFormError: it is no results table, or cannot be read.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise OtherFormError("it is in UTF-16", "save it as UTF-8")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    is_clean = data.isascii() and b"\0" not in data
    physical = data.split(b"\n")
    if not physical[-1]:
        physical.pop()  # what follows the last line's end
    sections: list[Section] = []
    torn: list[bytes] = []
    num_empty, num_commas = 0, -1
    for raw in physical:
        line = raw if is_clean else _clean(raw)
        if b"run_id" in line and (header := header_of(line)):
            sections.append(Section(header))
            num_commas = len(header) - 1
        elif not raw.removeprefix(codecs.BOM_UTF8).strip():
            num_empty += 1
        elif not sections:
            raise _refusal(line)
        elif whole := _whole(line, num_commas):
            _check_numbers(sections[-1].header, whole)
            sections[-1].lines.append(whole)
        else:
            torn.append(raw)
    return Sheet(sections, torn, num_empty)


def header_of(line: bytes) -> list[str] | None:
    """The columns, or None where the line is no header.

    Raises:
        OtherFormError: a column is there twice.
    """
    cells = _cells(_clean(line))
    if not set(cells) >= KEYS:
        return None
    if doubled := [name for place, name in enumerate(cells) if name in cells[:place]]:
        problem = f"its header has the column {doubled[0] or 'without a name'} twice"
        raise OtherFormError(f"a column twice: {problem}", "take one of them out")
    return cells


def _clean(line: bytes) -> bytes:
    """UTF-8 without the marks and the gaps that editors, joining and power failures leave."""
    text = line.decode(errors="replace").removeprefix("\ufeff").replace("\0", "")
    return text.encode()


def _cells(line: bytes) -> list[str]:
    cells = next(csv.reader([line.decode()]))
    if len(cells) == 1 and line[:1] == line[-1:] == b'"':  # a spreadsheet's one column of lines
        cells = next(csv.reader(cells))
    return cells


QUOTED = re.compile(rb'"(?<![^,]")[^"]*+(?:""[^"]*+)*+"(?![^,])')
"""A whole cell in quotes."""


def _whole(line: bytes, num_commas: int) -> bytes | None:
    """The line with its quotes in order, or None if it has more or fewer cells."""
    if b'"' not in line:
        return line if line.count(b",") == num_commas else None
    bare = QUOTED.sub(b"", line)
    if b'"' not in bare and bare.count(b",") == num_commas:
        return line
    if len(cells := _cells(line)) != num_commas + 1:
        return None
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue().encode()


DECIMAL_COMMA = re.compile(rb'"-?\d+,\d+(?:[eE][+-]?\d+)?"')


def _check_numbers(header: list[str], line: bytes) -> None:
    """
    Raises:
        OtherFormError: a number has a decimal comma, which might as well be one of thousands.
    """
    if not DECIMAL_COMMA.search(line):
        return
    for name, cell in zip(header, _cells(line), strict=True):
        if name in MEASURED and "," in cell:
            raise OtherFormError(
                f"its numbers have decimal commas, as a spreadsheet saves them: {name} {cell}",
                "save it with points in the numbers",
            )


def _refusal(first: bytes) -> OtherFormError:
    """first: the first line that is not blank, which is no header."""
    for separator, name in SEPARATORS.items():
        if set(next(csv.reader([first.decode()], delimiter=separator))) >= KEYS:
            return OtherFormError(
                f"its cells are separated by {name}, as a spreadsheet saves them",
                "save it with commas between the cells and points in the numbers",
            )
    return OtherFormError("no columns run_id and status in its first line")
