"""The keys that runs were given on their command lines, as columns such as `optimizer.lr`."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

KEY = re.compile(r"\+{0,2}([A-Za-z_]\w*(?:\.\w+)+)")
"""Of a configuration's value. Groups have no dot, and columns of their own."""

QUOTED = re.compile(r"(?:'[^']*'|[^\s'])+")

WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def is_key(column: str) -> bool:
    """Whether it is one of these columns, and none of the table's own."""
    return "." in column


def may_name_key(*texts: str | None) -> bool:
    """Whether any of these arguments may be about such a column. It takes a moment to make them of
    a long table."""
    return any(is_key(text) for text in texts if text)


def with_overridden(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with a column for each key, after the others; NA for a run that was not given it,
    which has the value of its config files. Numbers are numbers where all of a key are."""
    texts = runs.overrides.fillna("").tolist()
    cells: dict[str, list[str | None]] = {}
    known: dict[str, tuple[list[str | None], str] | None] = {}
    for row, text in enumerate(texts):
        for override in split(text):
            if override not in known:
                known[override] = _read(override, cells, len(texts))
            if (found := known[override]) is not None:
                found[0][row] = found[1]
    columns = {key: _typed(values, runs.index) for key, values in sorted(cells.items())}
    new = {key: column for key, column in columns.items() if key not in runs}
    return pd.concat([runs, pd.DataFrame(new, index=runs.index)], axis="columns") if new else runs


def split(overrides: str) -> list[str]:
    """Those of a command line. shlex would take ten times as long."""
    return QUOTED.findall(overrides) if "'" in overrides else overrides.split()


def _read(
    override: str, cells: dict[str, list[str | None]], length: int
) -> tuple[list[str | None], str] | None:
    """The column of its key, and its value."""
    name, equals, value = override.replace("'", "").partition("=")
    key = KEY.fullmatch(name)
    if key is None or not equals or key[1].startswith("hydra."):
        return None
    if key[1] not in cells:
        cells[key[1]] = [None] * length
    return cells[key[1]], value


def _typed(values: Sequence[str | None], index: Any) -> "pd.Series[Any]":
    """As configurations read them: `null` is a missing value."""
    given = pd.Series(pd.array(list(values), dtype="string"), index=index)
    given = given.mask(given == "null")
    distinct = given.dropna().unique().tolist()
    if distinct and all(map(WHOLE.fullmatch, distinct)):
        return given.astype("Int64")
    if distinct and all(map(NUMBER.fullmatch, distinct)):
        numbers = pd.to_numeric(given, errors="coerce").astype("float64")
        return numbers.where(np.isfinite(numbers))
    if distinct and {text.lower() for text in distinct} <= {"true", "false"}:
        return given.str.lower().map({"true": True, "false": False}).astype("boolean")
    return given
