"""`python -m mnist_sweep.sweep`: finds the command that is meant."""

import argparse
import shlex
import sys
from pathlib import Path

from mnist_sweep.errors import Parser, UserError, exit_code
from mnist_sweep.paths import INVITATION
from mnist_sweep.report.read.study import find_search
from mnist_sweep.vault import hide

PROGRAM = "python -m mnist_sweep.sweep"


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROGRAM, description="Looks after a search that is under way.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="how far it is, who works on it, what runs")
    stop = commands.add_parser("stop", help="let it finish what runs, and end")
    how = stop.add_mutually_exclusive_group()
    how.add_argument("--now", action="store_true", help="end what runs, too; it is tried again")
    how.add_argument("--trial", type=int, metavar="N", help="end this trial only, as pruned")
    join = commands.add_parser("join", help="be one more worker of it, on this machine")
    for command in (status, stop, join):
        command.add_argument(
            *("source",),
            type=Path,
            nargs="?",
            metavar="SOURCE",
            help="the search's directory (default: the newest one in multirun)",
        )
    join.add_argument(
        *("--invitation",),
        type=Path,
        metavar="FILE",
        help=f"a copy of SOURCE/{INVITATION}, on a machine that does not see that",
    )
    for command in (status, stop):
        command.add_argument(
            "--storage", metavar="URL", help="where the search is kept, if not in its directory"
        )
    return parser


def join_search(source: Path | None, copy: Path | None) -> None:
    """
    Raises:
        UserError: there is no search to join, or anybody may read its key.
    """
    from mnist_sweep.search.engines.guest import Guest

    if copy is None:
        Guest(find_search(source) / INVITATION).live()
        return
    if source is not None:
        raise UserError(f"--invitation={copy}: says where the search is; leave {source} out")
    if copy.is_file() and copy.stat().st_mode & 0o077:
        raise UserError(
            f"--invitation={copy}: others may read it, and it holds the key to the search: "
            f"chmod 600 {shlex.quote(str(copy))}"
        )
    Guest(copy).live()


def main() -> None:
    arguments = make_parser().parse_args()
    if arguments.command == "join":
        join_search(arguments.source, arguments.invitation)
        return
    # Here: --help and a mistyped command import no optuna.
    from mnist_sweep.sweep.reaching import opened_search
    from mnist_sweep.sweep.status import show_status
    from mnist_sweep.sweep.stopping import stop

    if arguments.storage:
        hide(arguments.storage)
    folder, to_write = find_search(arguments.source), arguments.command == "stop"
    with opened_search(folder, arguments.storage, to_write=to_write) as search:
        if to_write:
            stop(search, now=arguments.now, trial=arguments.trial)
        else:
            show_status(search)


if __name__ == "__main__":
    sys.exit(exit_code(main))
