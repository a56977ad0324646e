"""`python -m mnist_sweep.sweep`: finds the command that is meant."""

import argparse
import sys
from pathlib import Path

from mnist_sweep.errors import Parser, UserError, exit_code
from mnist_sweep.paths import INVITATION
from mnist_sweep.report.read.study import find_search
from mnist_sweep.vault import hide

PROGRAM = "python -m mnist_sweep.sweep"

PORT = 13000  # Optuna's

STATES = (
    *("completed", "pruned", "running", "waiting", "failed", "diverged", "interrupted"),
    *("infeasible", "duplicate"),
)
"""Of trials, as `list` shows them."""


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROGRAM, description="Looks after a search that is under way.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="how far it is, who works on it, what runs")
    stop = commands.add_parser("stop", help="let it finish what runs, and end")
    how = stop.add_mutually_exclusive_group()
    how.add_argument("--now", action="store_true", help="end what runs, too; it is tried again")
    how.add_argument("--trial", type=int, metavar="N", help="end this trial only, as pruned")
    join = commands.add_parser("join", help="be one more worker of it, on this machine")
    trials = commands.add_parser("list", help="its trials, the newest first")
    trials.add_argument("--best", action="store_true", help="the best first, completed ones only")
    trials.add_argument("--state", choices=STATES, help="only trials in it")
    trials.add_argument(
        "--top", type=int, default=20, metavar="N", help="so many, 0 for all (default: 20)"
    )
    explain = commands.add_parser("explain", help="all that is known of one trial")
    explain.add_argument("trial", metavar="STUDY/TRIAL", help="such as arch_20000/7")
    for command in (status, stop, join, trials):
        command.add_argument(
            *("source",),
            type=Path,
            nargs="?",
            metavar="SOURCE",
            help="the search's directory, or its name in multirun (default: the newest one there)",
        )
    join.add_argument(
        *("--invitation",),
        type=Path,
        metavar="FILE",
        help=f"a copy of SOURCE/{INVITATION}, on a machine that does not see that",
    )
    for command in (status, stop, trials, explain):
        command.add_argument(
            "--storage", metavar="URL", help="where the search is kept, if not in its directory"
        )
    serve = commands.add_parser("serve", help="let machines that do not see a database use it")
    serve.add_argument("--storage", metavar="URL", required=True, help="the database's")
    of_host = "where it listens (default: localhost, for this machine alone; it asks no password)"
    serve.add_argument("--host", default="localhost", help=of_host)
    serve.add_argument("--port", type=int, default=PORT, help=f"(default: {PORT})")
    return parser


def main() -> None:
    arguments = make_parser().parse_args()
    if arguments.command == "join":
        from mnist_sweep.sweep.joining import join

        join(arguments.source, arguments.invitation)
        return
    if arguments.storage:
        hide(arguments.storage)
    if arguments.command == "serve":
        from mnist_sweep.sweep.serving import serve

        serve(arguments.storage, arguments.host, arguments.port)
        return
    number = None
    if arguments.command == "explain":
        arguments.source, number = _named(arguments.trial)
    folder, to_write = find_search(arguments.source), arguments.command == "stop"
    # Here: --help and a mistyped command import no optuna, and each command what it needs.
    from mnist_sweep.report.read.reaching import opened_search

    with opened_search(folder, arguments.storage, to_write=to_write) as search:
        if to_write:
            from mnist_sweep.sweep.stopping import stop

            stop(search, now=arguments.now, trial=arguments.trial)
        elif number is not None:
            from mnist_sweep.sweep.explaining import explain

            explain(search, number)
        elif arguments.command == "list":
            from mnist_sweep.sweep.listing import show_trials

            show_trials(
                search, best=arguments.best, state=arguments.state, top=max(0, arguments.top)
            )
        else:
            from mnist_sweep.sweep.status import show_status

            show_status(search)


def _named(trial: str) -> tuple[Path, int]:
    """STUDY/TRIAL.

    Raises:
        UserError: it is none.
    """
    study, _, number = trial.rstrip("/").rpartition("/")
    if not study or not number.isdecimal():
        raise UserError(f"{trial}: give a study and the number of a trial, such as arch_20000/7")
    return Path(study), int(number)


if __name__ == "__main__":
    sys.exit(exit_code(main))
