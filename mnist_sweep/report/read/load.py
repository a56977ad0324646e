"""Results tables -> one typed frame. Whatever the tables went through, what is whole is read."""

import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast, get_args, get_type_hints

import numpy as np
import pandas as pd

from mnist_sweep.errors import UserError
from mnist_sweep.paths import MAIN_TABLE, RESULTS_TABLE
from mnist_sweep.report.read.overridden import with_overridden
from mnist_sweep.runs.record import RunRecord, Status
from mnist_sweep.runs.sheet import OtherFormError, read_sheet
from mnist_sweep.runs.tables import find_tables

GROUPS = (
    *("data", "model", "optimizer", "scheduler", "augmentation", "protocol"),
    *("trainer", "budget", "experiment", "sweep", "debug"),
)
"""Columns that a frame has even where its tables lack them; other groups come as they stand."""

HOW_TO_MAKE = (
    "make runs with python -m mnist_sweep, or the table again from run directories with "
    "python -m mnist_sweep.report rebuild outputs multirun"
)


EMPTY = "empty line{s}"
TORN = "torn or foreign line{s} (too many or too few cells)"

TEXT: Final = "string"
TIME: Final = "datetime64[us, UTC]"


def _dtype(annotation: Any) -> str:
    kinds = {bool: "boolean", int: "Int64", float: "float64"}
    return next(
        (kinds[kind] for kind in (annotation, *get_args(annotation)) if kind in kinds), TEXT
    )


DTYPES = {
    name: TIME if name == "started" else _dtype(annotation)
    for name, annotation in get_type_hints(RunRecord).items()
    if name != "groups"
}


def load_results(*sources: str | Path, keys: bool = True) -> pd.DataFrame:
    """The runs of these tables, a row each: the last line of a run is the one that counts.

    sources: tables or folders (default: outputs/results.csv). A folder stands for the results.csv
    in it; if it has none, for every results.csv below it. The frame has the columns of RunRecord,
    groups in the place of `groups`, then with `keys` one for each key of the runs' overrides
    (optimizer.lr); missing values are NA. `attrs["sources"]` lists the tables; `attrs["skipped"]`
    is a line of text on what was not read, "" if there is nothing to say.

    Raises:
        UserError: there is no table, it is another kind of table, or it holds no run.
    """
    skipped: Counter[str] = Counter()
    frames, tables = [], []
    for table, asked_for in dict.fromkeys(_tables(sources or (MAIN_TABLE,))):
        try:
            frames.append(_read(table, skipped))
            tables.append(str(table))
        except UserError as error:
            why = error.__cause__
            is_ours = isinstance(why, OtherFormError) and why.remedy is not None
            if asked_for or is_ours:
                raise
            skipped["foreign file{s} named results.csv"] += 1
    frame = _with_all_columns(pd.concat(frames, ignore_index=True) if frames else pd.DataFrame())
    if frame.empty:
        names = ", ".join(tables or map(str, sources))
        lost = f" ({_listed(skipped)})" if _listed(skipped) else ""
        raise UserError(f"{names}: no run in it{lost}; {HOW_TO_MAKE}")
    in_several = frame.run_id.duplicated(keep="last")
    is_other = in_several & ~frame.duplicated(keep="last")
    # A sweep's runs are in its table and in the common one: only rows that differ are to be told.
    skipped["repeat{s} of a run in another table"] += int(is_other.sum())
    frame = frame[~in_several].reset_index(drop=True)
    if keys:
        frame = with_overridden(frame)
    frame.attrs = {"sources": tables, "skipped": _listed(skipped)}
    return frame


def _tables(sources: tuple[str | Path, ...]) -> Iterator[tuple[Path, bool]]:
    """Each table, and whether it was named rather than found."""
    for source in map(Path, sources):
        if not source.exists():
            raise UserError(f"{source}: no such table or folder; {HOW_TO_MAKE}")
        found = find_tables(source)
        if not found:
            raise UserError(f"{source}: no {RESULTS_TABLE} in or below it; {HOW_TO_MAKE}")
        named = source, source / RESULTS_TABLE
        yield from ((table, table in named) for table in found)


def _listed(skipped: Counter[str]) -> str:
    parts = [f"{n:,} {what.format(s='s' * (n > 1))}" for what, n in skipped.items() if n]
    return ", ".join(parts)


def _read(path: Path, skipped: Counter[str]) -> pd.DataFrame:
    """The table's runs; counts in `skipped` what it leaves out."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): name a results table"
        ) from error
    if not data or data.isspace():
        raise UserError(f"{path}: an empty file; {HOW_TO_MAKE}")
    try:
        sheet = read_sheet(data)
    except OtherFormError as error:
        if error.remedy is None:
            raise UserError(
                f"{path} is no results table ({error}): name another, or {HOW_TO_MAKE}"
            ) from error
        raise UserError(
            f"{path} cannot be read ({error}): {error.remedy}, or {HOW_TO_MAKE}"
        ) from error
    skipped[EMPTY] += sheet.num_empty
    skipped[TORN] += len(sheet.torn)
    sections = [_typed(section.header, section.lines, skipped) for section in sheet.sections]
    frame = pd.concat(sections, ignore_index=True)
    known = frame.run_id.notna() & frame.status.isin(get_args(Status))
    skipped["line{s} without a run_id or a known status"] += int((~known).sum())
    older = frame.run_id.duplicated(keep="last") & known
    skipped["older line{s} of a run with a newer one"] += int(older.sum())
    return frame[known & ~older]


def _typed(header: list[str], lines: list[bytes], skipped: Counter[str]) -> pd.DataFrame:
    dtypes = {name: DTYPES.get(name, TEXT) for name in header}
    numbers = [name for name in header if dtypes[name] in ("Int64", "float64")]
    if not lines:
        return pd.DataFrame({name: pd.Series(dtype=dtypes[name]) for name in header})
    # Numbers are inferred, since a column that was told to be one would refuse a bad cell.
    frame = pd.read_csv(
        io.BytesIO(b"\n".join(lines)),
        names=header,
        header=None,
        index_col=False,
        dtype=cast(Any, {name: TEXT for name in header if name not in numbers}),
        na_values={name: ["", "nan", "NaN"] if name in numbers else [""] for name in header},
        keep_default_na=False,
        lineterminator="\n",
        low_memory=False,
    )
    columns = {name: _as(dtypes[name], frame[name]) for name in header}
    others = [name for name in header if dtypes[name] != TEXT]
    lost = sum(int(frame[name].count() - columns[name].count()) for name in others)
    skipped["unfit cell{s} read as empty"] += lost
    return pd.DataFrame(columns)


def _as(dtype: str, column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The column in its type; NA where a cell does not fit it."""
    if dtype == "boolean":
        spellings = {"True": True, "False": False, "TRUE": True, "FALSE": False}  # a spreadsheet's
        return column.map(spellings).astype("boolean")
    if dtype == TIME:
        return pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601").astype(TIME)
    if dtype == TEXT:
        return column
    if column.dtype == object:
        column = column.map(_in_range)
    if column.dtype == bool:  # "True" in every row is no number
        column = column.astype(object).map(str)
    values = pd.to_numeric(column, errors="coerce").astype("float64")
    if dtype == "float64":
        return values.where(np.isfinite(values))
    return values.where((values == np.floor(values)) & (values.abs() < 2**53)).astype("Int64")


def _in_range(cell: Any) -> Any:
    """NaN for a whole number that is too long to be one."""
    return np.nan if isinstance(cell, int) and abs(cell) > sys.float_info.max else cell


def _with_all_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """In the order of RunRecord, columns that the tables lack added."""
    groups = [str(name) for name in frame if name not in DTYPES]
    groups += [name for name in GROUPS if name not in groups]
    first, rest = list(DTYPES)[:2], list(DTYPES)[2:]
    names = [*first, *groups, *rest]
    missing = {
        name: pd.Series(index=frame.index, dtype=cast(Any, DTYPES.get(name, TEXT)))
        for name in names
        if name not in frame
    }
    return pd.concat([frame, pd.DataFrame(missing)], axis="columns")[names]
