"""Which run a name means, and where that run lies now."""

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from mnist_sweep.errors import UserError
from mnist_sweep.paths import MAIN_TABLE, MULTIRUN, OUTPUTS, RESULT, RESULTS_TABLE, RUN_CONFIG
from mnist_sweep.runs.record import read_result
from mnist_sweep.runs.saved import SavedRun
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.runs.tables import find_tables

RUN_FOLDERS = (OUTPUTS, MULTIRUN)

RUN_HELP = "a run: its id or the beginning of it, study/trial, or its directory"

MIN_PREFIX = 3
LISTED = 6
"""Runs that an error names at most."""


def find_run(name: str, *sources: Path) -> SavedRun:
    """The run of that name: its run id, the beginning of one, `study/trial`, or its directory.

    sources: tables, or folders of them; by default outputs/results.csv and those in multirun/.
    A run that no table knows is looked for among the run directories.

    Raises:
        UserError: no run, several runs, or only a row of it is left.
    """
    if name and Path(name).is_dir():
        return _of_directory(Path(name))
    name = " ".join(name.split())
    rows = _rows(sources)
    matches = _matching(name, rows)
    if not matches:
        scanned = _scan(sources)
        matches = _matching(name, scanned)
        rows = {**scanned, **rows}
    if not matches:
        raise _unknown(name, rows)
    if len(matches) > 1:
        raise UserError(f"RUN={name}: could be any of {_listed(matches)}; give more of the run id")
    [row] = matches
    if row.folder is not None:
        return _of(row.folder)
    return _locate(row, sources)


@dataclass(frozen=True)
class _Row:
    """What a table says of a run; folder: where a scan of run directories saw it."""

    run_id: str
    cells: dict[str, Any]
    table: Path
    folder: Path | None = None

    def __str__(self) -> str:
        known = [f"{key}={self.cells[key]}" for key in ("model", "seed") if self.cells.get(key)]
        return " ".join([self.run_id, f"({', '.join([*known, str(self.cells.get('status'))])})"])


def _rows(sources: Sequence[Path]) -> dict[str, _Row]:
    """Run id -> row, of all tables; a later row of the same run takes the place of an earlier."""
    rows: dict[str, _Row] = {}
    for table in _tables(sources):
        try:
            for cells in ResultsTable(table).rows():
                if run_id := cells.get("run_id"):
                    rows.pop(run_id, None)  # so that the latest stands last
                    rows[run_id] = _Row(run_id, cells, table)
        except OSError as error:
            raise UserError(f"{table} cannot be read ({error.strerror})") from error
    return rows


def _tables(sources: Sequence[Path]) -> list[Path]:
    if not sources:
        return [*find_tables(MAIN_TABLE), *sorted(MULTIRUN.rglob(RESULTS_TABLE))]
    for source in sources:
        if not source.exists():
            raise UserError(f"{source}: no such table or folder; name where the runs' tables are")
    return [table for source in sources for table in find_tables(source)]


def _scan(sources: Sequence[Path]) -> dict[str, _Row]:
    """Run id -> row, of every result.json below the sources' folders that can be read."""
    rows: dict[str, _Row] = {}
    for path in _results(sources):
        with suppress(UserError):
            record = read_result(path.parent)
            rows[record.run_id] = _Row(record.run_id, record.row(), path, path.parent)
    return rows


def _results(sources: Sequence[Path]) -> Iterator[Path]:
    folders = [path if path.is_dir() else path.parent for path in map(Path, sources)]
    for folder in dict.fromkeys(folders or RUN_FOLDERS):
        yield from sorted(folder.rglob(RESULT))


class Names(NamedTuple):
    """What a run may be called by; "" where it has no such name."""

    run_id: str
    trial: str
    """study/number"""
    run_dir: str = ""
    config_hash: str = ""
    """A configuration's, so of several runs."""


def matching(name: str, runs: Iterable[Names]) -> list[Names]:
    """The runs that have this name or, if none has it, whose id or hash begins with it."""
    runs, folder = list(runs), os.path.normpath(name)
    named = [
        run
        for run in runs
        if (name and name in (run.run_id, run.trial, run.config_hash))
        or (run.run_dir and os.path.normpath(run.run_dir) == folder)
    ]
    if named or len(name) < MIN_PREFIX:
        return named
    return [run for run in runs if run.run_id.startswith(name) or run.config_hash.startswith(name)]


def _matching(name: str, rows: dict[str, _Row]) -> list[_Row]:
    return [rows[names.run_id] for names in matching(name, map(_names, rows.values()))]


def _names(row: _Row) -> Names:
    study, trial = row.cells.get("study"), row.cells.get("trial")
    return Names(row.run_id, f"{study}/{trial}" if study else "")


def in_its_place(run_id: str, recorded: str, table: Path) -> SavedRun | None:
    """The run that `table` says was in the directory `recorded`: there, or beside the table if both
    were moved, or below one of the folders above it; None where it is in none of these.

    Raises:
        UserError: a result.json there is damaged.
    """
    parts = Path(recorded).parts
    beside = (table.parent.joinpath(*parts[start:]) for start in range(len(parts)))
    above = (parent / recorded for parent in table.resolve().parents)
    for folder in chain([Path(recorded)], beside, above):
        if (folder / RESULT).is_file() and (found := _of(folder)).record.run_id == run_id:
            return found
    return None


def _locate(row: _Row, sources: Sequence[Path]) -> SavedRun:
    """The run's directory: where its row says, or beside the table if both were moved, or wherever
    a result.json has its id."""
    status, recorded = row.cells.get("status"), str(row.cells.get("run_dir") or "")
    if not recorded:
        reason = row.cells.get("error") or "it was not trained"
        raise UserError(
            f"run {row.run_id} ({status}) is a run without checkpoint: it was never started and "
            f"has no directory ({reason}); choose another run"
        )
    if (found := in_its_place(row.run_id, recorded, row.table)) is not None:
        return found
    scanned = _scan(sources or [row.table.parent, *RUN_FOLDERS])
    if row.run_id in scanned and (seen := scanned[row.run_id].folder) is not None:
        return _of(seen)
    raise UserError(
        f"run {row.run_id} ({status}): its directory {recorded} is gone, only its row in "
        f"{row.table} is left; run this where that directory is, or give the directory's path"
    )


def _of(folder: Path) -> SavedRun:
    return SavedRun(folder, read_result(folder))


def _of_directory(directory: Path) -> SavedRun:
    if (directory / RESULT).is_file():
        return _of(directory)
    inside = sorted(path.parent.name for path in directory.glob(f"*/{RESULT}"))
    if inside:
        raise UserError(
            f"RUN={directory} holds {len(inside)} runs: choose one, such as {directory / inside[0]}"
        )
    if (directory / RUN_CONFIG).is_file():
        raise UserError(
            f"RUN={directory}: that run has not ended (it has no {RESULT}); "
            f"python -m mnist_sweep resume={directory} goes on with it"
        )
    raise UserError(f"RUN={directory} is no run directory (it has no {RESULT})")


def _unknown(name: str, rows: dict[str, _Row]) -> UserError:
    if not rows:
        return UserError(
            f"RUN={name}: no run is recorded here ({MAIN_TABLE}, multirun/); go to the folder in "
            "which the runs were started, or give a run's directory"
        )
    if len(name) < MIN_PREFIX:
        return UserError(f"RUN={name}: give at least {MIN_PREFIX} characters of the run id")
    study, _, _ = name.rpartition("/")
    if study:
        studies = sorted({str(row.cells["study"]) for row in rows.values() if row.cells["study"]})
        known = f"; studies: {', '.join(studies[:LISTED])}" if studies else ""
        return UserError(f"RUN={name}: no such run directory, and no such trial of a study{known}")
    near = difflib.get_close_matches(name, rows, n=LISTED // 2, cutoff=0.6)
    if near:
        return UserError(
            f"RUN={name}: no such run, did you mean {_listed([rows[n] for n in near])}"
        )
    latest = _listed(list(rows.values())[-LISTED // 2 :][::-1])
    return UserError(f"RUN={name}: no such run; the latest of {len(rows):,} are {latest}")


def _listed(rows: Sequence[_Row]) -> str:
    more = f" and {len(rows) - LISTED:,} more" if len(rows) > LISTED else ""
    return ", ".join(map(str, rows[:LISTED])) + more
