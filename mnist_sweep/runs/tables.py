"""Which results tables a path stands for."""

import os
from pathlib import Path

from mnist_sweep.paths import RESULTS_TABLE


def find_tables(source: Path) -> list[Path]:
    """A table stands for itself; a folder for the results.csv in it or, if it has none, for every
    one below it. Empty where there is none."""
    if not source.is_dir():
        return [source] if source.exists() else []
    if (source / RESULTS_TABLE).is_file():
        return [source / RESULTS_TABLE]
    found = (Path(folder) for folder, _, files in os.walk(source) if RESULTS_TABLE in files)
    return sorted(folder / RESULTS_TABLE for folder in found)
