"""history.csv of a run directory: what each epoch measured."""

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import HISTORY
from mnist_sweep.runs.cells import cell, csv_lines
from mnist_sweep.writing import write_whole


def write_history(run_dir: Path, history: Sequence[EpochMetrics]) -> None:
    names = [column.name for column in fields(EpochMetrics)]
    rows = [[cell(getattr(metrics, name)) for name in names] for metrics in history]
    write_whole(run_dir / HISTORY, csv_lines([names, *rows]))


def read_history(run_dir: Path) -> list[EpochMetrics]:
    """
    Raises:
        OSError, ValueError, KeyError, TypeError, csv.Error: it is missing or damaged.
    """
    with (run_dir / HISTORY).open(encoding="utf-8", newline="") as file:
        return [_metrics(row) for row in csv.DictReader(file)]


def _metrics(row: dict[str, str]) -> EpochMetrics:
    """A line of history.csv; an empty cell is None, or NaN where there must be a number."""
    values: dict[str, Any] = {}
    for column in fields(EpochMetrics):
        cell = row[column.name]
        if column.type is int:
            values[column.name] = int(cell)
        elif cell:
            values[column.name] = float(cell)
        else:
            values[column.name] = None if type(None) in get_args(column.type) else float("nan")
    return EpochMetrics(**values)
