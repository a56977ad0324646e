"""The results table again, from run directories."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULT
from mnist_sweep.runs.cells import cell, csv_lines
from mnist_sweep.runs.record import RunRecord, read_result
from mnist_sweep.runs.table import ResultsTable, UnreadableTableError
from mnist_sweep.writing import write_whole

log = logging.getLogger(__name__)


def rebuild(table: ResultsTable, roots: Sequence[Path]) -> int:
    """Writes the table anew from every result.json below `roots`; returns the number of runs.

    The old table, if there is one, is kept as `<table>.bak`, `.bak2` and so on. A run whose
    result.json cannot be read is named in a warning and left out.

    Raises:
        UserError: no run was found, or the table cannot be written.
    """
    with suppress(UnreadableTableError):  # another takes its place
        table.check()
    with table.locked():
        found: dict[str, RunRecord] = {}
        for path in sorted(file for root in roots for file in root.rglob(RESULT)):
            try:
                record = read_result(path.parent)
                found[record.run_id] = record
            except UserError as error:
                log.warning("%s is left out: %r", path, error.__cause__)
        if not found:
            raise UserError(f"no {RESULT} below {', '.join(map(str, roots))}: name other folders")
        rows = [record.row() for record in sorted(found.values(), key=lambda r: r.started)]
        header = list(dict.fromkeys(name for row in rows for name in row))
        lines = [[cell(row.get(name)) for name in header] for row in rows]
        try:
            _replace(table.path, csv_lines([header, *lines]))
        except OSError as error:
            raise table.unwritable(error) from error
    return len(rows)


def _replace(path: Path, content: str) -> None:
    """Writes the table, the old one kept beside it; on a full disk, neither of the two."""
    before = path.read_bytes() if path.exists() else b""
    if not before:
        write_whole(path, content)
        return
    backup = _free_name(path)
    write_whole(backup, before)
    try:
        write_whole(path, content)
    except BaseException:
        backup.unlink()
        raise


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.bak{n}") for n in chain([""], count(2)))
    return next(name for name in names if not name.exists())
