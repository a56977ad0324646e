"""`report curves`: loss and accuracy of each epoch, of runs."""

import argparse
from typing import TYPE_CHECKING

from mnist_sweep.errors import UserError
from mnist_sweep.report.commands.arguments import add_picture
from mnist_sweep.report.commands.picture import save_picture

if TYPE_CHECKING:
    from mnist_sweep.report.analysis.curves import RunCurve
    from mnist_sweep.runs.saved import SavedRun


def add_curves(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Accuracy and loss of each epoch. Training figures (dashed) are of augmented images and "
        "with dropout, so they may well lie below validation."
    )
    parser.add_argument(
        "run_names", nargs="+", metavar="RUN", help="run id or its beginning, study/trial, or path"
    )
    add_picture(parser, default="curves.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Loss and accuracy of each epoch."""
    from mnist_sweep.figures.curves import curves
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.runs.lookup import find_run

    check_suffix(arguments.output)
    found = {}  # by run id: a run may be named twice
    for run in map(find_run, arguments.run_names):
        found[run.record.run_id] = _curve(run)
    title = next(iter(found.values())).name if len(found) == 1 else f"{len(found)} runs"
    save_picture(curves(list(found.values()), title), arguments.output)


def _curve(run: "SavedRun") -> "RunCurve":
    """
    Raises:
        UserError: the run finished no epoch.
    """
    from mnist_sweep.report.analysis.curves import run_curve

    record, history = run.record, run.history()
    if not history:
        raise UserError(
            f"run {record.run_id} ({record.status}) finished no epoch, so it has no history; "
            "choose another run"
        )
    name = f"{record.groups.get('model')}, seed {record.seed} ({record.run_id})"
    return run_curve(record.run_id, name, history)
