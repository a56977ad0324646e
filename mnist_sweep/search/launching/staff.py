"""What a search asks of whatever starts its workers."""

import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from mnist_sweep.sources import archive_in, package_name

WORKER = "mnist_sweep.search.engines.guest"
"""The module that is a worker."""

START = """
import os, runpy, sys
archive = sys.argv.pop(1)
if os.path.exists(archive):
    runpy.run_path(archive, run_name="__main__")
else:
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

LEAVE = signal.SIGUSR2
"""By which a worker is told to go once the epoch under way is done: its time is up."""

COMPLAINTS = ("error: ", "waiting: ")
"""How a worker's lines on its standard error begin that say why it ended, or has not joined."""

THAT_IT_ENDED = "the worker ended with exit code"
"""What its job says after it."""

NO_WORDS = re.compile(r"\s|Traceback |srun: |submitit [A-Z]+ ")
"""How lines begin that do not say why a process ended: frames of a traceback, bookkeeping."""


class Staff(Protocol):
    @property
    def is_local(self) -> bool:
        """Whether all its workers are processes of this machine."""

    @property
    def threads(self) -> int | None:
        """CPU threads that a run shall take where its config leaves that open; None: all."""

    def start(self, count: int, sweep_dir: Path) -> None:
        """Has so many workers started, each of which joins the search in this directory when it
        can, and goes on there for as long as it may.

        Raises:
            UserError: they cannot be, as the launcher is set up.
        """

    def delays(self) -> Iterable[str]:
        """Why workers that were started have not joined, a line each reason. It may be asked
        often, as long as some have not."""

    def problem(self) -> str | None:
        """Why no worker will come any more, in one line; None as long as one may."""

    def stop(self) -> None:
        """Ends those that are still to come, or have not left by themselves."""


class Nobody:
    """For a search whose workers all join by themselves."""

    threads = 1
    is_local = False

    def start(self, count: int, sweep_dir: Path) -> None:
        pass

    def delays(self) -> Iterable[str]:
        return ()

    def problem(self) -> str | None:
        return None

    def stop(self) -> None:
        pass


def worker_command(sweep_dir: Path) -> list[str]:
    """It runs from the search's own sources, or from its machine's where it does not see those. The
    first word, this process's Python, is to be replaced by that of where the worker is to live."""
    archive = archive_in(sweep_dir, package_name())
    return [sys.executable, "-c", START, str(archive), WORKER, str(sweep_dir), "--with-parent"]


def complaint_in(text: str) -> str | None:
    """The last of a worker's complaints in what it wrote."""
    found = [line for line in text.splitlines() if line.startswith(COMPLAINTS)]
    return found[-1].partition(": ")[2] if found else None


def last_words_in(text: str) -> str | None:
    """Why a process ended, by what it wrote: its complaint, or else the last line that says
    something."""
    said = [line for line in text.splitlines() if line.strip() and not NO_WORDS.match(line)]
    said = [line for line in said if THAT_IT_ENDED not in line] or said
    return complaint_in(text) or (said[-1][-300:] if said else None)
