"""`report curves`: loss and accuracy of each epoch, of runs."""

import argparse
from typing import TYPE_CHECKING

from mnist_sweep.errors import UserError
from mnist_sweep.report.commands.output import add_output, save

if TYPE_CHECKING:
    from mnist_sweep.runs.saved import SavedRun


def add_curves(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Accuracy and loss of each epoch. Training figures (dashed) are of augmented images and "
        "with dropout, so they may well lie below validation."
    )
    parser.add_argument(
        "run_names", nargs="+", metavar="RUN", help="run id or its beginning, study/trial, or path"
    )
    add_output(parser, default="curves.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Loss and accuracy of each epoch."""
    from mnist_sweep.figures.curves import curves
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.runs.lookup import find_run

    check_suffix(arguments.output)
    histories = {}
    for found in map(find_run, arguments.run_names):
        histories[_label(found)] = found.history()
        if not histories[_label(found)]:
            raise UserError(
                f"run {found.record.run_id} ({found.record.status}) finished no epoch, so it has "
                "no history; choose another run"
            )
    title = next(iter(histories)) if len(histories) == 1 else f"{len(histories)} runs"
    save(curves(histories, title), arguments.output)


def _label(run: "SavedRun") -> str:
    record = run.record
    return f"{record.groups.get('model')}, seed {record.seed} ({record.run_id})"
