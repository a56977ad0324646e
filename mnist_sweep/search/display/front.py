"""The end of a search with several objectives: its front, narrow enough for any terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from mnist_sweep.search.display.notation import again, short_params
from mnist_sweep.search.objectives import Objectives, format_value


def front_lines(
    trials: Sequence[FrozenTrial], objectives: Objectives, sweep_dir: Path, command: str
) -> Iterator[str]:
    """A table of the values and run directories; then each trial's parameters and its command,
    which are as long as they are. command: as of `again`."""
    yield from _table(trials, objectives, sweep_dir)
    for trial in trials:
        yield f"params  trial {trial.number}: {short_params(trial)}"
        yield f"again   {again(trial, command)}"


def _table(trials: Sequence[FrozenTrial], objectives: Objectives, sweep_dir: Path) -> Iterator[str]:
    rows = [["trial", *objectives.names]]
    rows += [[str(trial.number), *map(format_value, trial.values)] for trial in trials]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    run_dirs = ["run", *(str(sweep_dir / str(trial.number)) for trial in trials)]
    for row, run_dir in zip(rows, run_dirs, strict=True):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([*cells, run_dir])
