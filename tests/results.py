"""Rows of a results table, and histories, to test with."""

from typing import Any

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.runs.record import RunRecord

GROUPS = {"data": "mnist", "model": "ds_cnn", "protocol": "select", "debug": None}


def record(number: int, **changes: Any) -> RunRecord:
    """A completed run on MNIST, a configuration of its own. Groups are given by their names."""
    groups = {name: changes.pop(name, value) for name, value in GROUPS.items()}
    values: dict[str, Any] = {
        "run_id": f"r{number:09d}",
        "status": "completed",
        "groups": groups,
        "seed": 0,
        "num_params": 5000,
        "macs": 10**6,
        "val_acc": 0.99,
        "test_acc": 0.98,
        "val_images": 10_000,
        "test_images": 10_000,
        "config_hash": f"c{number}",
        "overrides": f"model=net{number}",
        "run_dir": f"multirun/{number}",
        "seconds": 60.0,
        "started": f"2026-01-02T03:{number // 60:02d}:{number % 60:02d}+00:00",
    }
    return RunRecord(**{**values, **changes})


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
