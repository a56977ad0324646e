"""Runs as compact JSON, column by column, for the table of the HTML page.

Accuracies stay fractions of 1, as in the table and its filters; `percent` is how to show them.
Texts are codes into a list of the distinct ones, or lists of codes of their words; numbers are
rounded to what is shown, as integers where the number of digits is the same for all; a column that
has one value has it once, and one that has none is left out.
"""

from typing import Any

import numpy as np
import pandas as pd

from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.read.load import TIME
from mnist_sweep.report.read.overridden import is_key

DIGITS = {"seconds": 1, "train_seconds": 1, "images_per_s": 0, "peak_rss_mb": 0}
"""After the point; other numbers that are no integers have SIGNIFICANT ones."""

ACCURACY_DIGITS = 4
SIGNIFICANT = 4

GROUPED = ("num_params", "macs", "train_images", "val_images", "test_images", "images_per_s")
"""Numbers that are shown with a comma between thousands."""

WORDS = {"overrides": " ", "error": " ", "run_dir": "/"}
"""Texts whose parts recur, and what parts them."""

SECTIONS = {
    "Result": [
        *("val_acc", "test_acc", "train_acc", "val_loss", "test_loss", "train_loss"),
        *("val_acc_raw", "test_acc_raw", "val_loss_raw", "test_loss_raw", "best_epoch"),
        *("weights_epoch", "epochs_done", "test_acc_peak", "test_peak_epoch"),
    ],
    "Net": ["num_params", "macs", "receptive_field"],
    "Recipe": ["seed", "epochs", "batch_size", "lr", "train_images", "val_images", "test_images"],
    "Cost": ["started", "seconds", "train_seconds", "images_per_s", "peak_rss_mb"],
    "Search": ["study", "trial", "rung"],
    "Origin": [
        *("run_id", "status", "error", "run_dir", "config_hash", "overrides", "device"),
        *("precision", "threads", "mnist_sweep_version", "torch_version", "python_version"),
        *("git_commit", "git_dirty", "code"),
    ],
}
"""How the panel of a run orders the columns. The groups of the config are among `Recipe`."""

ALWAYS_SHOWN = ("run_id", "status", "num_params", "model")
SHOWN = [
    *("run_id", "status", "val_acc", "test_acc", "num_params", "macs", "model", "data"),
    *("protocol", "optimizer", "scheduler", "augmentation", "experiment", "sweep", "debug"),
    *("study", "trial", "seed", "epochs", "epochs_done", "batch_size", "lr", "seconds"),
    *("started", "error"),
]
"""What the table shows at first, in this order, where it is not the same for all runs."""

HINTS = {
    "val_acc": "of the weights that are tested, after the last epoch",
    "test_acc": "evaluated once, after the last epoch",
    "test_acc_peak": "the best epoch's, picked on test: no result",
    "val_acc_raw": "of the weights that the optimizer steps on, not averaged",
    "test_acc_raw": "of the weights that the optimizer steps on, not averaged",
    "macs": "multiply-accumulates of one image's forward pass",
    "seconds": "of the whole run in all its processes",
    "started": "UTC",
    "config_hash": "equal for runs that differ in nothing but the seed",
    "code": "equal for runs of the same source files",
    "receptive_field": "pixels along a side",
    "lr": "at the top of the schedule",
}


def columnar(runs: pd.DataFrame) -> dict[str, Any]:
    """The runs as columns.js reads them: n, columns, the types of those that hold nothing, and the
    names of those shown at first."""
    names = [str(name) for name in runs if runs[name].notna().any()]
    columns = {name: _column(name, runs[name]) for name in names}
    section = {name: title for title, members in SECTIONS.items() for name in members}
    keys = [name for name in names if is_key(name)]
    groups = [name for name in names if name not in (*section, *keys)]
    parts = {**SECTIONS, "Recipe": [*groups, *SECTIONS["Recipe"], *keys]}
    for name, column in columns.items():
        column |= {"name": name, "section": section.get(name, "Recipe")}
        if name in HINTS:
            column["hint"] = HINTS[name]
    at = SHOWN.index("seconds")
    new = [key for key in keys if key.rpartition(".")[2] not in SHOWN]  # else a column says it
    shown = [*SHOWN[:at], *new, *SHOWN[at:]]
    differs = {name for name, column in columns.items() if not column.get("constant")}
    return {
        "n": len(runs),
        "empty": [{"name": n, **_type(n, runs[n])} for n in map(str, runs) if n not in columns],
        "columns": [columns[n] for members in parts.values() for n in members if n in columns],
        "shown": [n for n in shown if n in columns and (n in differs or n in ALWAYS_SHOWN)],
        "sections": list(SECTIONS),
    }


def _type(name: str, values: "pd.Series[Any]") -> dict[str, Any]:
    """kind: how columns.js reads the values. percent: whether they are shown so."""
    kinds = {"boolean": "flag", "Int64": "number", "float64": "number", TIME: "time"}
    kind = kinds.get(str(values.dtype), "words" if name in WORDS else "text")
    return {"kind": kind, **({"percent": True} if is_accuracy(name) else {})}


def _column(name: str, values: "pd.Series[Any]") -> dict[str, Any]:
    if len(values) > 1 and values.notna().all() and values.nunique() == 1:
        return {**_column(name, values.head(1)), "constant": True}
    return {**_type(name, values), **_values(name, values)}


def _values(name: str, values: "pd.Series[Any]") -> dict[str, Any]:
    match _type(name, values)["kind"]:
        case "flag":
            return _texts(values.map({True: "yes", False: "no"}).astype("string"))
        case "time":
            seconds = (values - pd.Timestamp(0, tz="UTC")).dt.total_seconds().fillna(0)
            return {"values": _whole(seconds, values.isna())}
        case "number":
            return _numbers(name, values)
        case "words":
            return _words(values, WORDS[name])
    return _texts(values)


def _numbers(name: str, values: "pd.Series[Any]") -> dict[str, Any]:
    numbers = values.astype("float64").to_numpy(dtype=float, na_value=np.nan)
    missing = ~np.isfinite(numbers)
    digits: int | None = DIGITS.get(name)
    if values.dtype == "Int64":
        digits = 0
    elif is_accuracy(name):
        digits = ACCURACY_DIGITS
    column: dict[str, Any] = {"digits": digits}
    if name in GROUPED:
        column["grouped"] = True
    if digits is not None:
        scaled = np.rint(np.where(missing, 0.0, numbers) * 10**digits)
        return {**column, "values": _whole(scaled, missing)}
    shown = _significant(np.where(missing, 0.0, numbers))
    return {**column, "values": [None if m else v for v, m in zip(shown, missing, strict=True)]}


def _whole(values: Any, missing: Any) -> list[int | None]:
    whole = np.asarray(values).astype("int64").tolist()
    return [None if gone else value for value, gone in zip(whole, missing, strict=True)]


def _significant(numbers: np.ndarray) -> list[float]:
    """Rounded to SIGNIFICANT digits."""
    size = np.floor(np.log10(np.abs(np.where(numbers == 0, 1, numbers))))
    power = 10.0 ** np.abs(SIGNIFICANT - 1 - size)
    # Divided by a power of ten, not multiplied by its inverse, the nearest double comes out.
    small = size < SIGNIFICANT - 1
    rounded = np.where(small, np.rint(numbers * power) / power, np.rint(numbers / power) * power)
    plain: list[float] = rounded.tolist()
    return plain


def _texts(values: "pd.Series[Any]") -> dict[str, Any]:
    codes, distinct = pd.factorize(values)
    if len(distinct) > len(values) / 2:
        return {"values": _plain(values)}
    return {"values": [*_plain(distinct), None], "codes": _codes(codes, distinct)}


def _codes(codes: Any, distinct: Any) -> list[int]:
    """Missing values, -1 with pandas, are the place after the last text."""
    places: list[int] = np.where(codes < 0, len(distinct), codes).tolist()
    return places


def _plain(texts: Any) -> list[str | None]:
    found: list[str | None] = pd.Series(texts, dtype=object).where(pd.notna(texts), None).tolist()
    return found


def _words(values: "pd.Series[Any]", separator: str) -> dict[str, Any]:
    places: dict[str, int] = {}
    codes = [
        None
        if text is None
        else [places.setdefault(word, len(places)) for word in text.split(separator)]
        for text in _plain(values)
    ]
    return {"separator": separator, "values": list(places), "codes": codes}
