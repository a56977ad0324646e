"""`python -m mnist_sweep.report`: finds the command that is meant."""

import argparse
import codecs
import importlib
import sys
from pathlib import Path

from mnist_sweep.errors import Parser, UserError, did_you_mean, exit_code

COMMANDS = {
    "leaderboard": "rank configurations by their mean over seeds",
    "compare": "test two configurations against each other",
    "front": "accuracy against parameters, the non-dominated runs",
    "curves": "train, val and test curves of runs",
    "parallel": "a search's trials as parallel coordinates",
    "importance": "which parameters of a search mattered",
    "pruned": "curves of a search's trials, pruned and finished",
    "augmentation": "digits as an augmentation changes them",
    "html": "a report page in a single file",
    "rebuild": "the results table again, from run directories",
}
"""Name -> what it does. commands/<name>.py has `add_<name>(parser)`; it is imported for that
command only."""

DEFAULT = "leaderboard"

PROGRAM = "python -m mnist_sweep.report"

LISTED = "\n".join(f"  {name:<14}{what}" for name, what in COMMANDS.items())

HELP = f"""usage: {PROGRAM} [COMMAND] [ARGUMENT ...]

Reads results tables and run directories. Without a command: the leaderboard.

commands:
{LISTED}

examples:
  {PROGRAM}                                leaderboard of outputs/results.csv
  {PROGRAM} multirun/2026-11-21/10-00-00   of one sweep
  {PROGRAM} --by model,optimizer --where 'params < 8000' --format md
  {PROGRAM} compare RUN RUN
  {PROGRAM} html multirun/2026-11-21/10-00-00 -o report.html
  {PROGRAM} rebuild outputs multirun

{PROGRAM} COMMAND --help has the options of a command.
"""


class HelpFormatter(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)  # examples


def parse(given: list[str]) -> argparse.Namespace:
    """The command's arguments, with `run`, the function that takes them.

    Raises:
        UserError: no such command, option or value.
    """
    name, *rest = given if given and given[0] in COMMANDS else [DEFAULT, *given]
    parser = Parser(prog=f"{PROGRAM} {name}", formatter_class=HelpFormatter, allow_abbrev=False)
    module = importlib.import_module(f"mnist_sweep.report.commands.{name}")
    getattr(module, f"add_{name}")(parser)
    arguments, unknown = parser.parse_known_intermixed_args(rest)
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        near = did_you_mean(unknown[0].partition("=")[0], options)
        raise UserError(f"{unknown[0]}: no such option{near}; {parser.prog} --help lists them")
    return arguments


def check_command(name: str) -> None:
    """
    Raises:
        UserError: the first argument is neither a command nor anything to read.
    """
    if name not in COMMANDS and name.isalpha() and not Path(name).exists():
        near = did_you_mean(name, COMMANDS) or f" ({', '.join(COMMANDS)})"
        raise UserError(f"{name}: no such command{near}; nor is it a results table or a folder")


def main() -> None:
    given = sys.argv[1:]
    if given[:1] in (["--help"], ["-h"]):
        print(HELP, end="")
        return
    # A terminal that knows no such signs gets plain ones.
    codecs.register_error("plain", lambda error: (_plain(error), error.end))  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="plain")  # type: ignore[union-attr]
    check_command(given[0] if given else DEFAULT)
    try:
        arguments = parse(given)
        if url := getattr(arguments, "storage", None):
            from mnist_sweep.vault import hide  # here, for few commands have one

            hide(url)
        arguments.run(arguments)
    except UserError as error:
        from mnist_sweep.vault import scrubbed

        raise UserError(scrubbed(str(error))) from error


def _plain(error: UnicodeError) -> str:
    assert isinstance(error, UnicodeEncodeError)
    signs = {"±": "+-", "…": "...", "–": "-", "·": "-"}
    return "".join(signs.get(sign, "?") for sign in error.object[error.start : error.end])


if __name__ == "__main__":
    sys.exit(exit_code(main))
