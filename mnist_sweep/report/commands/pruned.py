"""`report pruned`: the curves of a search's trials, each to where it ended."""

import argparse

from mnist_sweep.report.commands.arguments import add_picture, add_search
from mnist_sweep.report.commands.picture import save_picture
from mnist_sweep.report.read.study import find_search
from mnist_sweep.report.wording import counted


def add_pruned(parser: argparse.ArgumentParser) -> None:
    parser.description = "val_acc of all trials of a search, each to the epoch where it ended."
    add_search(parser)
    add_picture(parser, default="pruned.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """val_acc of all trials of a search, each to where it ended."""
    from mnist_sweep.figures.pruned import pruned
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.report.analysis.pruned import pruned_info

    check_suffix(arguments.output)
    folder = find_search(arguments.source)
    found = pruned_info(folder)
    num_runs = counted(len(found.trials), "run")
    title = f"Search {folder.name}: validation accuracy of {num_runs}"
    save_picture(pruned(found, title), arguments.output)
    if found.left_out:
        print(
            f"left out: {counted(found.left_out, 'run')} that finished no epoch, or whose files "
            "are gone"
        )
