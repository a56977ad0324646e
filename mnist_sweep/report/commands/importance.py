"""`report importance`: which parameters of a search mattered, as a table and as a picture."""

import argparse
import sys

from mnist_sweep.report.analysis.importance import CHANCE, importances
from mnist_sweep.report.commands.arguments import add_picture, add_search, add_study
from mnist_sweep.report.commands.picture import save_picture
from mnist_sweep.report.read.study import find_search, read_study
from mnist_sweep.report.text.terminal import show_rows


def add_importance(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "How much each parameter has to do with a trial's being among the best of its search "
        "(PED-ANOVA, by Optuna), beside what chance alone would give with so few trials."
    )
    add_search(parser)
    add_study(parser)
    add_picture(parser, default="importance.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """How much each parameter has to do with a trial's being among the best."""
    from mnist_sweep.figures.importance import importance
    from mnist_sweep.figures.saving import check_suffix

    check_suffix(arguments.output)
    study = read_study(find_search(arguments.source), arguments.storage)
    found = importances(study, study.objective(arguments.objective))
    title = f"Search {study.folder.name}: what matters for {found.objective}"
    figure = importance(found, title)
    show_rows(
        sys.stdout,
        ("parameter", "importance", f"chance ({CHANCE:.0%})", ""),
        [
            (name, f"{share:.1%}", f"{found.chance[name]:.1%}", "*" * found.is_above_chance(name))
            for name, share in found.shares.items()
        ],
    )
    print(f"* more than chance gives. {found.note}")
    if study.note:
        print(study.note)
    save_picture(figure, arguments.output)
