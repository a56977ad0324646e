"""One run, from Hydra's config to its row in the results table."""

import math
import os
import tempfile
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mnist_sweep.errors import BudgetError, FailureError, UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import RESULT, RESULTS_TABLE
from mnist_sweep.runs.attempt import Attempt
from mnist_sweep.runs.console import show_result, warn
from mnist_sweep.runs.directory import check_free, held
from mnist_sweep.runs.interrupts import taken_once
from mnist_sweep.runs.provenance import TrialInfo
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.resuming import check_resumable
from mnist_sweep.runs.table import ResultsTable


class DivergedError(FailureError):
    """The run is over and recorded, and its loss is no number."""


def run(cfg: DictConfig, auto_threads: int | None = None) -> float:
    """Trains what `cfg` says, leaves a row, and returns val_acc (NaN where there is none).

    Missing data is downloaded by a single run only: a sweep's controller has done so before.
    auto_threads: what trainer.threads=auto means, if not torch's own choice.

    Raises:
        UserError: the configuration, the data or the output directory will not do.
        DivergedError: of a single run; in a multirun the row and NaN say so, and the sweep goes on.
            So it is with a net over budget.
    """
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    run_dir = Path(hydra.runtime.output_dir)
    attempt = Attempt(cfg, run_dir, auto_threads=auto_threads)
    settings = attempt.experiment.settings
    if in_sweep and settings.protocol.name != "select" and _has_objective(hydra):
        raise UserError(
            f"protocol={settings.protocol.name} has no validation set, so hydra/sweeper="
            f"{hydra.runtime.choices['hydra/sweeper']} has nothing to go by: use protocol=select"
        )
    if settings.resume is not None:
        check_resumable(attempt.config, run_dir)
    elif in_sweep:  # a single run's was looked at before Hydra wrote anything there
        check_free(run_dir)
    _check_writable(run_dir)
    tables = [ResultsTable(Path(settings.record.table))]
    sweep_dir = Path(hydra.sweep.dir) if in_sweep else run_dir.parent
    sweep_table = ResultsTable(sweep_dir / RESULTS_TABLE)
    if in_sweep or (settings.resume is not None and sweep_table.path.exists()):
        tables.append(sweep_table)
    record = attempt.record
    for table in tables:
        table.check(record.columns)

    with held(run_dir), taken_once(), closing(attempt):
        if settings.resume is None and (run_dir / RESULT).exists():
            attempt.console.print("anew    the run that was cut short here begins again")
        try:
            attempt.train(in_sweep=in_sweep)
        except BudgetError as error:
            if not in_sweep:
                raise
            warn(attempt.console, "over budget", str(error))
        finally:
            _leave(record, run_dir, tables)
            show_result(attempt.console, record, settings.record.table)
    if record.status == "diverged" and not in_sweep:
        raise DivergedError(str(record.error))
    return math.nan if record.val_acc is None or record.status != "completed" else record.val_acc


def run_trial(
    cfg: DictConfig, info: TrialInfo, on_epoch: Callable[[list[EpochMetrics]], None]
) -> RunRecord:
    """One run of a search: trains what `cfg` says and leaves result.json, but no row.

    What goes wrong is in the record, whose row is the search's to write. A result.json that another
    controller has left meanwhile, because this one was asleep, stays. on_epoch: as of `train`; may
    raise PrunedError.

    Raises:
        KeyboardInterrupt: it was told to stop; result.json says so.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    attempt = Attempt(cfg, run_dir, info)
    before = _version(run_dir / RESULT)
    with closing(attempt):
        try:
            attempt.train(in_sweep=True, on_epoch=on_epoch)
        except Exception:  # it is in the record; HYDRA_FULL_ERROR has the rest
            traceback.print_exc()
        finally:
            if _version(run_dir / RESULT) == before:
                write_result(run_dir, attempt.record)
    return attempt.record


def _version(path: Path) -> tuple[int, int] | None:
    """Another one whenever the file is written whole; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _leave(record: RunRecord, run_dir: Path, tables: list[ResultsTable]) -> None:
    """Writes result.json and the rows, each even where another cannot be written. A row of the run
    that is there, of when it was cut short or of a directory that was deleted, is replaced."""
    problems: list[Exception] = []
    try:
        write_result(run_dir, record)
    except OSError as error:
        problems.append(error)
    for table in tables:
        try:
            table.append(record, replace=table.has(record.run_id))
        except UserError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _has_objective(hydra: Any) -> bool:
    """Whether the sweeper goes by what a run returns."""
    return bool(hydra.runtime.choices["hydra/sweeper"] != "basic")


def _check_writable(run_dir: Path) -> None:
    """
    Raises:
        UserError: the directory takes no file of the size that a run writes.
    """
    try:
        with tempfile.TemporaryFile(dir=run_dir) as probe:
            probe.write(b"\0" * (1 << 20))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise UserError(
            f"hydra.run.dir={run_dir} cannot be written ({error.strerror}): "
            "make room there, or choose another directory"
        ) from error
