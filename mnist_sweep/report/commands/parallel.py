"""`report parallel`: what each trial of a search chose, as parallel coordinates."""

import argparse

from mnist_sweep.report.commands.arguments import add_picture, add_search, add_study
from mnist_sweep.report.commands.picture import save_picture
from mnist_sweep.report.read.study import find_search, read_study
from mnist_sweep.report.wording import counted


def add_parallel(parser: argparse.ArgumentParser) -> None:
    parser.description = "What each trial of a search chose for each parameter, and its result."
    add_search(parser)
    add_study(parser)
    add_picture(parser, default="parallel.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """What each trial chose for each parameter, and what came of it."""
    from mnist_sweep.figures.parallel import parallel
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.report.analysis.parallel import parallel_info

    check_suffix(arguments.output)
    study = read_study(find_search(arguments.source), arguments.storage)
    found = parallel_info(study, study.objective(arguments.objective))
    num_trials = counted(len(found.values), "trial")
    title = f"Search {study.folder.name}: {num_trials} by {found.objective}"
    save_picture(parallel(found, title), arguments.output)
    if study.note:
        print(study.note)
