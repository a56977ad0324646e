"""A run found again: its record, config, history, data and net. Imports no torch until asked."""

import csv
import difflib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import TARGETS
from mnist_sweep.runs.record import HISTORY, MODEL, RESULT, ResultsTable, RunRecord

if TYPE_CHECKING:
    from torch import nn

    from mnist_sweep.data import Dataset
    from mnist_sweep.train import Weights

CONFIG = Path(".hydra") / "config.yaml"

MAIN_TABLE = Path("outputs/results.csv")
RUN_FOLDERS = (Path("outputs"), Path("multirun"))

PARTS = ("data", "protocol", "model", "optimizer", "scheduler", "augmentation", "trainer")

RUN_HELP = "a run: its id or the beginning of it, study/trial, or its directory"

MIN_PREFIX = 3
LISTED = 6
"""Runs that an error names at most."""


@dataclass(frozen=True)
class SavedRun:
    """run_dir: where the run lies now. record: of its result.json."""

    run_dir: Path
    record: RunRecord

    def history(self) -> list[EpochMetrics]:
        """
        Raises:
            UserError: the run finished no epoch, or its history.csv is damaged.
        """
        path = self.run_dir / HISTORY
        if not path.is_file():
            raise UserError(
                f"run {self.record.run_id} ({self.record.status}) has no history: there is no "
                f"{path}; choose a run that finished an epoch"
            )
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [_metrics(row) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f"{path} is damaged ({_reason(error)}); run it again") from error

    def config(self) -> DictConfig:
        """The config that the run had, interpolations unresolved.

        Raises:
            UserError: it is missing or damaged.
        """
        path = self.run_dir / CONFIG
        if not path.is_file():
            raise UserError(
                f"run {self.record.run_id} has no config: there is no {path}; choose another run"
            )
        try:
            config = OmegaConf.load(path)
            is_whole = isinstance(config, DictConfig) and all(
                OmegaConf.is_dict(config.get(part)) for part in PARTS
            )
        except Exception as error:  # yaml, omegaconf, encoding: each raises its own
            raise UserError(f"{path} is damaged ({_reason(error)}); choose another run") from error
        if not is_whole:
            raise UserError(
                f"{path} is damaged (it must hold {', '.join(PARTS)}); choose another run"
            )
        return cast(DictConfig, config)

    def model_path(self) -> Path:
        """
        Raises:
            UserError: the run left no weights.
        """
        path = self.run_dir / MODEL
        if not path.is_file():
            raise UserError(
                f"run {self.record.run_id} ({self.record.status}) is a run without checkpoint: "
                f"there is no {path}; choose a completed run, or train it in full with "
                f"python -m mnist_sweep.rerun {self.record.run_id}"
            )
        return path

    def weights(self) -> "Weights":
        """The tensors of model.pt, on the CPU.

        Raises:
            UserError: as `model_path`, or the file is damaged.
        """
        import torch

        path = self.model_path()
        try:
            weights: Weights = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # torch.load raises nearly anything on a damaged file
            raise _damaged(path, error, self.record) from error
        return weights

    def model(self) -> "nn.Module":
        """The trained net: on the CPU, in evaluation mode, laid out in memory as in training.

        Raises:
            UserError: as `config` and `weights`, and where the two do not fit together.
        """
        import torch
        from hydra.utils import execution_whitelist

        from mnist_sweep.config import resolved
        from mnist_sweep.experiment import build_model

        weights = self.weights()
        try:
            with torch.random.fork_rng(devices=[]), execution_whitelist(TARGETS):
                model = build_model(resolved(self.config()))
        except OmegaConfBaseException as error:
            path = self.run_dir / CONFIG
            raise UserError(f"{path} is damaged ({_reason(error)}); choose another run") from error
        try:
            model.load_state_dict(weights)
        except Exception as error:  # other names, other shapes, no dict at all
            raise _damaged(self.run_dir / MODEL, error, self.record) from error
        return model.to(memory_format=torch.channels_last).eval()

    def data(self) -> "Dataset":
        """What the run was trained and tested on, limits included: the set really used, also
        where the config says `auto`.

        Raises:
            UserError: the set is not here, or the config is damaged.
        """
        from mnist_sweep.config import DataConfig, ProtocolConfig
        from mnist_sweep.data import is_present, load, raw_folder

        config = self.config()
        name = self.record.groups.get("data")
        try:
            plain: Any = OmegaConf.to_container(config, resolve=True)
            data = DataConfig(**{**plain["data"], "name": name})
            protocol = ProtocolConfig(**plain["protocol"])
            limits = plain["trainer"]["limit_train"], plain["trainer"]["limit_val"]
        except (OmegaConfBaseException, ValueError, KeyError, TypeError) as error:
            path = self.run_dir / CONFIG
            raise UserError(f"{path} is damaged ({_reason(error)}); choose another run") from error
        if name != "digits" and not is_present(data.root, data.name):
            # The run may have been on another machine.
            data = data.model_copy(update={"root": os.environ.get("MNIST_SWEEP_DATA", "data")})
            folder = raw_folder(data.root, data.name)
            if not is_present(data.root, data.name):
                raise UserError(
                    f"run {self.record.run_id} was on data={name}, which is not in {folder}: point "
                    f"the environment variable MNIST_SWEEP_DATA at the folder that holds "
                    f"{folder.parent.name}/raw"
                )
        return load(data, protocol).limited(*limits)


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
        return SavedRun(row.folder, _read(row.folder))
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
    """As of `load_results`: a folder stands for the results.csv in it, else for those below it."""
    if not sources:
        below = sorted(RUN_FOLDERS[1].rglob(MAIN_TABLE.name))
        return [*([MAIN_TABLE] if MAIN_TABLE.is_file() else []), *below]
    tables = []
    for source in map(Path, sources):
        if not source.exists():
            raise UserError(f"{source}: no such table or folder; name where the runs' tables are")
        inside = source / MAIN_TABLE.name
        if not source.is_dir():
            tables.append(source)
        else:
            tables += [inside] if inside.is_file() else sorted(source.rglob(MAIN_TABLE.name))
    return tables


def _scan(sources: Sequence[Path]) -> dict[str, _Row]:
    """Run id -> row, of every result.json below the sources' folders that can be read."""
    rows: dict[str, _Row] = {}
    for path in _results(sources):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))
            rows[cells["run_id"]] = _Row(cells["run_id"], cells, path, path.parent)
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return rows


def _results(sources: Sequence[Path]) -> Iterator[Path]:
    folders = [path if path.is_dir() else path.parent for path in map(Path, sources)]
    for folder in dict.fromkeys(folders or RUN_FOLDERS):
        yield from sorted(folder.rglob(RESULT))


def _matching(name: str, rows: dict[str, _Row]) -> list[_Row]:
    if name in rows:
        return [rows[name]]
    study, _, trial = name.rpartition("/")
    if study:
        return [
            row
            for row in rows.values()
            if (row.cells.get("study"), str(row.cells.get("trial"))) == (study, trial)
        ]
    if len(name) < MIN_PREFIX:
        return []
    return [row for run_id, row in rows.items() if run_id.startswith(name)]


def places(recorded: str, table: Path) -> Iterator[Path]:
    """Where a run may lie that a table says was in the directory `recorded`: there, or beside the
    table if both were moved, or below one of the folders above it."""
    yield Path(recorded)
    parts = Path(recorded).parts
    yield from (table.parent.joinpath(*parts[start:]) for start in range(len(parts)))
    yield from (parent / recorded for parent in table.resolve().parents)


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
    for folder in places(recorded, row.table):
        if (folder / RESULT).is_file() and _read(folder).run_id == row.run_id:
            return SavedRun(folder, _read(folder))
    scanned = _scan(sources or [row.table.parent, *RUN_FOLDERS])
    if row.run_id in scanned and (found := scanned[row.run_id].folder) is not None:
        return SavedRun(found, _read(found))
    raise UserError(
        f"run {row.run_id} ({status}): its directory {recorded} is gone, only its row in "
        f"{row.table} is left; run this where that directory is, or give the directory's path"
    )


def _of_directory(directory: Path) -> SavedRun:
    if (directory / RESULT).is_file():
        return SavedRun(directory, _read(directory))
    inside = sorted(path.parent.name for path in directory.glob(f"*/{RESULT}"))
    if inside:
        raise UserError(
            f"RUN={directory} holds {len(inside)} runs: choose one, such as {directory / inside[0]}"
        )
    if (directory / CONFIG).is_file():
        raise UserError(
            f"RUN={directory}: that run has not ended (it has no {RESULT}); "
            f"python -m mnist_sweep resume={directory} goes on with it"
        )
    raise UserError(f"RUN={directory} is no run directory (it has no {RESULT})")


def _read(folder: Path) -> RunRecord:
    path = folder / RESULT
    try:
        return RunRecord.from_row(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({_reason(error)}); choose another run") from error


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


def _damaged(path: Path, error: Exception, record: RunRecord) -> UserError:
    return UserError(
        f"{path} is damaged or of another net ({_reason(error)}); "
        f"python -m mnist_sweep.rerun {record.run_id} trains it again"
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
