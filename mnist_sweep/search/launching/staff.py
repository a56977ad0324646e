"""What a search asks of whatever starts its workers."""

import signal
import sys
from pathlib import Path
from typing import Protocol

WORKER = "mnist_sweep.search.engines.guest"
"""The module that is a worker."""

LEAVE = signal.SIGUSR2
"""By which a worker is told to go once the epoch under way is done: its time is up."""


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

    def problem(self) -> str | None:
        return None

    def stop(self) -> None:
        pass


def worker_command(sweep_dir: Path, python: str = sys.executable) -> list[str]:
    return [python, "-m", WORKER, str(sweep_dir), "--with-parent"]
