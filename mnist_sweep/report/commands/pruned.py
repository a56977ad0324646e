"""`report pruned`: the curves of a search's trials, each to where it ended."""

import argparse
import math

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULT
from mnist_sweep.report.commands.output import add_output, save
from mnist_sweep.report.read.study import add_search, find_search
from mnist_sweep.report.wording import counted


def add_pruned(parser: argparse.ArgumentParser) -> None:
    parser.description = "val_acc of all trials of a search, each to the epoch where it ended."
    add_search(parser)
    add_output(parser, default="pruned.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """val_acc of all trials of a search, each to where it ended."""
    from mnist_sweep.figures.curves import TrialCurve, pruned
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.runs.lookup import find_run

    check_suffix(arguments.output)
    folder = find_search(arguments.source)
    trials, without = [], 0
    for path in sorted(folder.rglob(RESULT)):
        try:
            trial = find_run(str(path.parent))
            history = trial.history() if trial.record.study is not None else []
        except UserError:  # it ended before its first epoch did, or a file is damaged
            without += 1
            continue
        accs = [math.nan if m.val_acc is None else m.val_acc for m in history]
        if any(map(math.isfinite, accs)):
            label = f"trial {trial.record.trial}"
            trials.append(TrialCurve(label, trial.record.status, accs))
    if not trials:
        raise UserError(
            f"{folder}: no run of the search in it finished an epoch with a validation accuracy, "
            "so there is no curve to draw"
        )
    title = f"Search {folder.name}: validation accuracy of {counted(len(trials), 'run')}"
    save(pruned(trials, title), arguments.output)
    if without:
        print(
            f"left out: {counted(without, 'run')} that finished no epoch, or whose files are gone"
        )
