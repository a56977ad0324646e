"""`report importance`: which parameters of a search mattered, as a table and as a picture."""

import argparse
import sys
from collections.abc import Sequence

from mnist_sweep.report.analysis.importance import CHANCE, importances
from mnist_sweep.report.commands.output import add_output, save
from mnist_sweep.report.read.study import add_search, add_study, find_search, read_study


def add_importance(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "How much each parameter has to do with a trial's being among the best of its search "
        "(PED-ANOVA, by Optuna), beside what chance alone would give with so few trials."
    )
    add_search(parser)
    add_study(parser)
    add_output(parser, default="importance.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """How much each parameter has to do with a trial's being among the best."""
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.figures.search import importance

    check_suffix(arguments.output)
    study = read_study(find_search(arguments.source), arguments.storage)
    found = importances(study, study.objective(arguments.objective))
    title = f"Search {study.folder.name}: what matters for {found.objective}"
    figure = importance(found, title)
    _print_table(
        ("parameter", "importance", f"chance ({CHANCE:.0%})", ""),
        [
            (name, f"{share:.1%}", f"{found.chance[name]:.1%}", "*" * found.is_above_chance(name))
            for name, share in found.shares.items()
        ],
    )
    print(f"* more than chance gives. {found.note}")
    if study.note:
        print(study.note)
    save(figure, arguments.output)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """First column to the left, the others to the right."""
    from rich.table import Table
    from rich.text import Text

    from mnist_sweep.report.commands.leaderboard import make_console

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    make_console(sys.stdout).print(table)
