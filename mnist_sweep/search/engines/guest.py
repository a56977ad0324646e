"""A worker of another process or machine: it joins a search, trains what it is sent, and leaves.

`python -m mnist_sweep.search.engines.guest SWEEP_DIR` is one; launchers start it where they are
told to. It goes back to the search when the line breaks, and ends when the search does.
"""

import os
import queue
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from mnist_sweep.errors import FailureError, Parser, UserError, exit_code
from mnist_sweep.search.engines.code import code_name
from mnist_sweep.search.engines.door import Invitation
from mnist_sweep.search.engines.job import Ended, Job
from mnist_sweep.search.engines.talk import Beat, Goodbye, Hello, Leaving, Refusal, Welcome, serve
from mnist_sweep.search.launching.staff import LEAVE

WAIT_S = 300.0
"""For a controller to come back when the line has broken, or when a job began without one."""

PAUSE_S = 1.0
"""Between two attempts at reaching it."""


class _HungUp(KeyboardInterrupt):
    """The controller is gone; the run under way, if any, is cut short after its last epoch."""


class _Told(KeyboardInterrupt):
    """This worker is told to go."""


class GuestLine:
    """The `Line` to the controller. Its end is noticed at any time, also during a training."""

    def __init__(self, pipe: Connection, beat_s: float) -> None:
        self.pipe = pipe
        self.beat_s = beat_s
        self.sending = threading.Lock()
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.is_training = False
        self.is_over = False
        """Whether the controller has said goodbye."""
        self.is_broken = threading.Event()
        self.is_leaving = False
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def send(self, message: Any) -> None:
        try:
            with self.sending:
                self.pipe.send(message)
        except OSError as error:
            raise _HungUp from error
        if isinstance(message, Ended):
            self.is_training = False

    def recv(self) -> Any:
        if self.is_leaving:
            raise _Told
        message = self.heard.get()
        if message is _HungUp:
            raise _HungUp
        if self.is_leaving:  # told so during the epoch that this answers
            raise _Told
        self.is_training |= isinstance(message, Job)
        return message

    def leave(self) -> None:
        """After the epoch under way, or now where there is none. For a signal's handler."""
        self.is_leaving = True
        if not self.is_training:
            raise _Told

    def close(self) -> None:
        self.is_broken.set()
        self.pipe.close()

    def _listen(self) -> None:
        try:
            while not isinstance(message := self.pipe.recv(), Goodbye):
                self.heard.put(message)
            self.is_over = True
        except (EOFError, OSError):
            pass
        self.heard.put(_HungUp)
        if not self.is_broken.is_set():  # else this end has hung up
            self.is_broken.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _beat(self) -> None:
        while not self.is_broken.wait(self.beat_s):
            with suppress(OSError), self.sending:
                self.pipe.send(Beat())


class Guest:
    """It lives in the main thread, whose signals are its own."""

    def __init__(self, sweep_dir: Path, wait_s: float = 0.0) -> None:
        """wait_s: for a controller, the first time."""
        self.sweep_dir = sweep_dir.absolute()
        self.wait_s = wait_s
        self.line: GuestLine | None = None
        self.is_told = False

    def live(self) -> None:
        """
        Raises:
            UserError: the search does not take this worker.
            FailureError: there is no search, or it cannot be reached.
        """
        signal.signal(LEAVE, self._on_leave)
        signal.signal(signal.SIGINT, self._on_leave)
        signal.signal(signal.SIGTERM, self._on_term)
        while True:
            pipe, welcome = self._join()
            self.line = GuestLine(pipe, welcome.beat_s)
            try:
                serve(self.line, welcome.context)
            except KeyboardInterrupt as why:
                line, self.line = self.line, None
                if line.is_over:
                    return
                if not line.is_broken.is_set():
                    with suppress(_HungUp):
                        gone = "its worker's time was up" if isinstance(why, _Told) else "it ended"
                        line.send(Leaving(f"{gone} ({self._name()})"))
                    line.close()
                    return
                line.close()
                self.wait_s = WAIT_S
                print("the line to the search broke: trying to reach it again", flush=True)

    def _join(self) -> tuple[Connection, Welcome]:
        deadline = time.monotonic() + self.wait_s
        is_said = False
        while True:
            try:
                pipe = Invitation.read(self.sweep_dir).dial()
                pipe.send(Hello(socket.gethostname(), os.getpid(), code_name()))
                answer = pipe.recv()
            except (UserError, OSError, EOFError) as error:
                if time.monotonic() >= deadline:
                    if isinstance(error, UserError):
                        raise
                    raise FailureError(
                        f"{self._name()}: the search in {self.sweep_dir} was not reached within "
                        f"{self.wait_s:g} s ({error}): start it again, with the same command"
                    ) from error
                if not is_said:  # to whoever has started it
                    print(f"waiting: {socket.gethostname()}: {error}", file=sys.stderr, flush=True)
                    is_said = True
                time.sleep(PAUSE_S)
                continue
            if isinstance(answer, Refusal):
                raise UserError(answer.why)
            try:
                os.chdir(answer.folder)
            except OSError as error:
                raise UserError(
                    f"{answer.folder}: the folder that the search was started in cannot be seen "
                    f"from {socket.gethostname()} ({error.strerror}): start it in one that all "
                    "machines see"
                ) from error
            print(f"joined  {self.sweep_dir}", flush=True)
            return pipe, answer

    def _name(self) -> str:
        return f"{socket.gethostname()}, process {os.getpid()}"

    def _on_leave(self, signum: int, frame: FrameType | None) -> None:
        if self.is_told or self.line is None:
            raise _Told
        self.is_told = signum == signal.SIGINT  # a second Ctrl-C does not wait
        self.line.leave()

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PAUSE_S)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    parser = Parser(description="Joins a search as one more worker.")
    parser.add_argument("sweep_dir", type=Path, help="the search's directory")
    parser.add_argument("--with-parent", action="store_true", help="end when its parent does")
    options = parser.parse_args()
    if options.with_parent:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    Guest(options.sweep_dir, WAIT_S).live()


if __name__ == "__main__":
    sys.exit(exit_code(main))
