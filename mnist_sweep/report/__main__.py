"""Reading results back. `python -m mnist_sweep.report rebuild outputs multirun` makes the table
anew from the run directories."""

import argparse
import sys
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.record import ResultsTable, rebuild


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mnist_sweep.report")
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("rebuild", help="the results table again, from run directories")
    again.add_argument("roots", nargs="+", type=Path, help="folders to look for runs in")
    again.add_argument("--table", type=Path, default=Path("outputs/results.csv"))
    arguments = parser.parse_args()
    try:
        for root in arguments.roots:
            if not root.is_dir():
                raise UserError(f"{root} is not a folder; name the folders that hold the runs")
        count = rebuild(ResultsTable(arguments.table), arguments.roots)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.table}: {count} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
