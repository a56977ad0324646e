"""Values as the cells of a CSV: one line of text each, which every reader takes for its type."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any


def cell(value: Any) -> str:
    """A value as one line of text; None, NaN and infinities are empty."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        short = f"{value:.8g}"
        return short if "." in short or "e" in short else f"{short}.0"  # a float to all readers
    text = str(value).encode("utf-8", "backslashreplace").decode()  # file names may be no text
    return " ".join(text.replace("\0", "").split())


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
