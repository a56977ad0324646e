"""A search that goes on without its terminal: a process of its own, which the command watches."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

LOG = "controller.log"
"""In the sweep's directory: what the search would print."""

LOOK_S = 0.2


def detach(sweep_dir: Path, *, at_once: bool) -> Callable[[], None]:
    """Returns in the new process only, which has no terminal; what it returns is to be called there
    when the search is under way. The old one then ends; unless `at_once` it first shows what the
    search says, up to Ctrl-C or the search's end.
    """
    sweep_dir.mkdir(parents=True, exist_ok=True)
    log = sweep_dir / LOG
    begin = log.stat().st_size if log.exists() else 0
    is_started, starts = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if (pid := os.fork()) != 0:
        os.close(starts)
        _watch(pid, is_started, sweep_dir, begin, at_once=at_once)
    os.close(is_started)
    os.setsid()
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(descriptor, stream)

    def say_started() -> None:
        os.write(starts, b"!")
        os.close(starts)

    return say_started


def _watch(pid: int, is_started: int, sweep_dir: Path, begin: int, *, at_once: bool) -> NoReturn:
    """The rest of the command's own life."""
    view = _View(sweep_dir / LOG, begin)
    try:
        if not os.read(is_started, 1):  # it ended before
            code = _exit_code(pid)
            view.show(sys.stderr if code else sys.stdout)
            raise SystemExit(code)
        if not at_once:
            while (code := _exit_code(pid, wait=False)) is None:
                view.show(sys.stdout)
                time.sleep(LOOK_S)
            view.show(sys.stdout)
            raise SystemExit(code)
    except KeyboardInterrupt:
        pass
    print(f"detached: the search goes on as process {pid}; its output is in {sweep_dir / LOG}")
    for command in ("status", "stop"):
        print(f"  python -m mnist_sweep.sweep {command} {shlex.quote(str(sweep_dir))}")
    raise SystemExit(0)


class _View:
    """What is written to a file from a place on."""

    def __init__(self, path: Path, begin: int) -> None:
        self.path = path
        self.place = begin

    def show(self, stream: TextIO) -> None:
        with self.path.open("rb") as file:
            file.seek(self.place)
            new = file.read()
        self.place += len(new)
        print(new.decode(errors="replace"), end="", flush=True, file=stream)


def _exit_code(pid: int, *, wait: bool = True) -> int | None:
    found, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None
