"""What went wrong, said in one line each: mistakes of the user's, and failures."""

import argparse
import difflib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pydantic import ValidationError


OF_A_UNION = re.compile(r"bool|int|float|str|constrained-\w+|(literal|list|tuple|dict)\[.*")
"""What pydantic puts behind a key that takes one of several types: which of them it tried."""


class UserError(Exception):
    """A mistake that the user can mend: one line with key, value and remedy. Exit code 2."""


class BudgetError(UserError):
    """A net that does not fit the budget; its run is recorded as `infeasible`."""


class FailureError(Exception):
    """A failure that is no mistake of the user's, worded in full. Exit code 1."""


def validation_message(error: "ValidationError", group: str) -> str:
    """All findings of pydantic on one line, each as `group.key=value: what is wrong`."""
    findings: list[str] = []
    for finding in error.errors(include_url=False):
        place = (part for part in map(str, finding["loc"]) if not OF_A_UNION.fullmatch(part))
        key = ".".join([group, *place]).strip(".")
        problem = finding["msg"].removeprefix("Value error, ")
        match finding["type"]:
            case "extra_forbidden" | "unexpected_keyword_argument":
                findings.append(f"{key}: no such key; remove it")
            case "missing" | "missing_argument" | "missing_keyword_only_argument":
                findings.append(f"{key}: missing; give it a value")
            case "value_error" if isinstance(finding["input"], dict):
                findings.append(problem)  # of several keys together; it names them
            case _:
                problem = f"{problem[0].lower()}{problem[1:]}"
                about = f"{key}={shortened(finding['input'])}: "
                if findings and findings[-1].startswith(about):  # what else it may be
                    findings[-1] += f", or {problem}"
                else:
                    findings.append(f"{about}{problem}")
    return "; ".join(findings)


def shortened(value: object) -> str:
    """On one line, of no more than a line's length."""
    try:
        text = " ".join(str(value).split())
    except ValueError:  # Python writes no whole number of so many digits
        text = "(a number of thousands of digits)"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"


class Parser(argparse.ArgumentParser):
    """Wrong arguments are UserErrors, too; so is an empty one, which a path would take for here."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else args
        if "" in given:
            self.error("an argument is empty (''): leave it out, or give what is required there")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help has the usage")


def exit_code(main: Callable[[], None]) -> int:
    """Runs a command; what it raises becomes one line on standard error and its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may have signs that it cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FailureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # of `| head`: what it wanted it has
        _drop_output()
    except OSError as error:  # a full disk's, mostly
        named = f"{error.filename} cannot be read or written" if error.filename else ""
        what = named or "standard output cannot be written"
        print(f"error: {what} ({error.strerror or error}): choose another place", file=sys.stderr)
        _drop_output()
        return 2 if error.filename else 1
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        print(f"error: {unforeseen(error)}", file=sys.stderr)
        return 1
    return 0


def _drop_output() -> None:
    """What is still to be written; else Python's own end would raise over it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def unforeseen(error: Exception) -> str:
    """The line on an error that no code here foresaw."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean X` for the nearest of the known words; "" if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]}" if near else ""
