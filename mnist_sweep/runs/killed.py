"""Rows of a sweep's runs that were begun and left none, because their processes were killed.

A launcher with processes of its own kills them at Ctrl-C, whatever they are about to write.
"""

import csv
import shlex
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import OmegaConf

from mnist_sweep.config import resolved, unchecked
from mnist_sweep.experiment import build_model
from mnist_sweep.identity import config_hash
from mnist_sweep.locks import has_someone_in
from mnist_sweep.paths import (
    RESULT,
    RESULTS_TABLE,
    RUN_CONFIG,
    RUN_HYDRA,
    RUN_OVERRIDES,
    SO_FAR,
)
from mnist_sweep.profile import profile
from mnist_sweep.runs.data_card import shape_for
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.provenance import new_record
from mnist_sweep.runs.record import RunRecord, read_result, write_result
from mnist_sweep.runs.saved import read_config
from mnist_sweep.runs.so_far import SoFar
from mnist_sweep.runs.table import ResultsTable

GRACE_S = 10.0
"""Time that a process has to end, which has been told so."""


def leave_rows(sweep_dir: Path, since: float) -> None:
    """Of the runs below that were begun after this time and that nobody trains any more. A run that
    was refused has not begun.

    Raises:
        UserError: a table cannot be written.
    """
    deadline = time.monotonic() + GRACE_S
    for config in sorted(sweep_dir.rglob(str(RUN_CONFIG))):
        run_dir = config.parents[1]
        if config.stat().st_mtime < since - 1:  # file systems count coarsely
            continue
        while has_someone_in(run_dir) and time.monotonic() < deadline:
            time.sleep(0.05)
        has_begun = any((run_dir / name).exists() for name in (RESULT, SO_FAR))
        if has_begun and not has_someone_in(run_dir):
            _leave_row(run_dir, sweep_dir)


def _leave_row(run_dir: Path, sweep_dir: Path) -> None:
    config = resolved(read_config(run_dir))
    paths = Path(unchecked(config).record.table), sweep_dir / RESULTS_TABLE
    if (run_dir / RESULT).exists():
        record = read_result(run_dir)
    else:
        record = _record(run_dir)
        write_result(run_dir, record)
    for table in map(ResultsTable, paths):
        if not table.has(record.run_id):
            table.append(record)


def _record(run_dir: Path) -> RunRecord:
    """As the run would have left it, as far as that is still known."""
    config = resolved(read_config(run_dir))
    choices = OmegaConf.load(run_dir / RUN_HYDRA).hydra.runtime.choices
    overrides = shlex.join(OmegaConf.load(run_dir / RUN_OVERRIDES))
    record = new_record(config, choices, overrides, run_dir)
    record.status, record.error = "interrupted", "its process was killed"
    record.config_hash = config_hash(config)
    with suppress(Exception):  # of a class of the user's
        shape = shape_for(run_dir)
        costs = profile(build_model(config, shape), shape)
        record.num_params, record.macs = costs.num_params, costs.macs
        record.receptive_field = costs.receptive_field
    begun = (run_dir / RUN_CONFIG).stat().st_mtime
    record.started = datetime.fromtimestamp(begun, UTC).isoformat(timespec="seconds")
    learn_what_is_left(record, run_dir)
    return record


def learn_what_is_left(record: RunRecord, run_dir: Path) -> None:
    """How far the run got, by the files that it wrote from one epoch to the next."""
    with suppress(OSError, ValueError, KeyError, TypeError, csv.Error, IndexError):
        record.learn(read_history(run_dir))
    so_far = SoFar.of(run_dir)
    record.started, record.seconds = so_far.started or record.started, so_far.seconds
    record.host, record.gpu = so_far.host, so_far.gpu
