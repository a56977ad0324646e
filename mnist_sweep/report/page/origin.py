"""The section that says where the page comes from: tables, versions, commands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mnist_sweep import __version__
from mnist_sweep.report.analysis.invocations import Invocations
from mnist_sweep.report.analysis.mixing import mixed_studies
from mnist_sweep.report.wording import counted

MOST_TABLES = 10
MOST_VALUES = 6

AT_THE_TOP = ("data sets", "protocols", "torch", "python", "git commit")
"""Facts that the head of the page has, too."""


@dataclass(frozen=True)
class OriginSection:
    facts: Sequence[tuple[str, str]]
    """Names and what there is to say."""
    ran: Invocations
    own_command: str
    """Makes this page."""

    @property
    def facts_at_the_top(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.facts if name in AT_THE_TOP]

    @property
    def left_out(self) -> str:
        if not self.ran.left_out:
            return ""
        runs = counted(self.ran.left_out, "run")
        return f"{runs} more: each run’s panel has its own command."


def origin_section(
    runs: pd.DataFrame, board: pd.DataFrame, ran: Invocations, own_command: str
) -> OriginSection:
    """board: the leaderboard of the runs."""
    return OriginSection(list(_facts(runs, board)), ran, own_command)


def _facts(runs: pd.DataFrame, board: pd.DataFrame) -> Iterator[tuple[str, str]]:
    sources: list[str] = runs.attrs.get("sources", [])
    more = f" and {len(sources) - MOST_TABLES} more" if len(sources) > MOST_TABLES else ""
    yield "tables", ", ".join(sources[:MOST_TABLES]) + more
    if runs.attrs.get("skipped"):
        yield "not read", runs.attrs["skipped"]
    for note in board.attrs.get("notes", []):
        yield "not ranked", note
    for name, column in (("data sets", "data"), ("protocols", "protocol")):
        yield name, _values(runs[column])
    for name in ("mnist_sweep", "torch", "python"):
        yield name, _values(runs[f"{name}_version"])
    changed = runs.git_dirty.fillna(False).map({True: " (changed)", False: ""})
    yield "git commit", _values(runs.git_commit.str[:10] + changed.astype("string"))
    for line in mixed_studies(runs):
        yield "mixed", line
    yield "device", _values(runs.device)
    made_elsewhere = __version__ not in set(runs.mnist_sweep_version.dropna())
    if made_elsewhere and runs.mnist_sweep_version.notna().any():
        yield "this page", f"made by mnist_sweep {__version__}"


def _values(column: "pd.Series[Any]") -> str:
    """The distinct values, the most frequent first, with their counts if there are several."""
    counts = column.value_counts()
    if counts.empty:
        return "not recorded"
    if len(counts) == 1 and column.notna().all():
        return str(counts.index[0])
    shown = [
        f"{value} ({counted(number, 'run')})" for value, number in counts.head(MOST_VALUES).items()
    ]
    rest = [f"{len(counts) - MOST_VALUES:,} others"] if len(counts) > MOST_VALUES else []
    missing = int(column.isna().sum())
    rest += [f"not recorded ({counted(missing, 'run')})"] if missing else []
    return ", ".join([*shown, *rest])
