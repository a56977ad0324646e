"""Rows of results tables, and histories, to test with."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.report import load_results
from mnist_sweep.report.read.load import GROUPS
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable

STATUSES = ["completed", "diverged", "interrupted", "failed", "pruned", "infeasible"]


def record(number: int, config: str | None = "c1", seed: int = 0, **changes: Any) -> RunRecord:
    """A completed run on MNIST. Groups are given by their names, like columns."""
    groups = {
        **dict.fromkeys(GROUPS),
        **{"data": "mnist", "model": "ds_cnn", "optimizer": "adamw", "protocol": "select"},
        **{name: changes.pop(name) for name in list(changes) if name in GROUPS},
    }
    values: dict[str, Any] = {
        "status": "completed",
        "num_params": 17_418,
        "macs": 1_417_568,
        "val_images": 10_000 if groups["protocol"] == "select" else None,
        "test_images": 10_000,
        "val_acc": 0.99 + number / 1e4 if groups["protocol"] == "select" else None,
        "test_acc": 0.991 + number / 1e4,
        "seconds": 60.5,
        "started": f"2026-11-21T10:{number // 60:02d}:{number % 60:02d}+00:00",
        "overrides": f"seed={seed}",
        "run_dir": f"multirun/{number}",
    }
    values |= {"config_hash": config, **changes}
    return RunRecord(f"r{number:09d}", groups=groups, seed=seed, **values)


def write(path: Path, *records: RunRecord) -> Path:
    ResultsTable(path).extend(records)
    return path


def frame(*records: RunRecord) -> pd.DataFrame:
    """As `load_results` would have read it."""
    with tempfile.TemporaryDirectory() as folder:
        return load_results(write(Path(folder, "results.csv"), *records))


def alone(number: int, **changes: Any) -> RunRecord:
    """A configuration of its own, as good as any other."""
    values: dict[str, Any] = {
        **{"num_params": 5000, "macs": 10**6, "val_acc": 0.99, "test_acc": 0.98},
        **{"config_hash": f"c{number}", "overrides": f"model=net{number}", "seconds": 60.0},
    }
    return record(number, **{**values, **changes})


def epoch(number: int, **changes: Any) -> EpochMetrics:
    values: dict[str, Any] = {
        "epoch": number,
        "lr": 0.01,
        "train_loss": 1 / number,
        "train_acc": 1 - 0.2 / number,
        "val_loss": 0.5 / number,
        "val_acc": 1 - 0.1 / number,
        "val_loss_raw": 0.6 / number,
        "val_acc_raw": 1 - 0.15 / number,
        "test_loss": None,
        "test_acc": None,
        "seconds": 1.0,
        "images_per_s": 100.0,
    }
    return EpochMetrics(**{**values, **changes})


def history(epochs: int = 5, **changes: Any) -> list[EpochMetrics]:
    return [epoch(number, **changes) for number in range(1, epochs + 1)]
