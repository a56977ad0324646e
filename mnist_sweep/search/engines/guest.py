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
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from mnist_sweep import settled
from mnist_sweep.errors import FailureError, Parser, UserError, exit_code
from mnist_sweep.gpus import in_sight, see_only
from mnist_sweep.paths import INVITATION
from mnist_sweep.search.engines.door import Invitation
from mnist_sweep.search.engines.job import Ended, Job
from mnist_sweep.search.engines.talk import Beat, Goodbye, Hello, Leaving, Refusal, Welcome, serve
from mnist_sweep.search.engines.workplace import Workplace, find_workplace
from mnist_sweep.search.launching.staff import LEAVE, WORKER
from mnist_sweep.sources import archive_in, package_name

WAIT_S = 300.0
"""For a controller to come back when the line has broken, or when a job began without one."""

WITH_PARENT = "--with-parent"

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
        self.to_send: queue.SimpleQueue[tuple[Any, Future[None]]] = queue.SimpleQueue()
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.is_training = False
        self.is_over = False
        """Whether the controller has said goodbye."""
        self.is_gone = False
        """Whether it has said that, or hung up without a word."""
        self.is_closed = False
        self.is_leaving = False
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._speak, daemon=True).start()

    def send(self, message: Any) -> None:
        sent: Future[None] = Future()
        self.to_send.put((message, sent))
        try:
            sent.result()  # which a signal may interrupt, though not the message
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
        if isinstance(message, Job):
            self.is_training = True
            if self.is_gone:
                raise _HungUp
        return message

    def leave(self) -> None:
        """After the epoch under way, or now where there is none. For a signal's handler."""
        self.is_leaving = True
        if not self.is_training:
            raise _Told

    def close(self) -> None:
        self.is_closed = True
        self.pipe.close()

    def _listen(self) -> None:
        try:
            while not isinstance(message := self.pipe.recv(), Goodbye):
                self.heard.put(message)
            self.is_over = True
        except (EOFError, OSError):
            pass
        self.is_gone = True
        if self.is_training and not self.is_closed:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            self.heard.put(_HungUp)

    def _speak(self) -> None:
        while not self.is_closed:
            try:
                message, sent = self.to_send.get(timeout=self.beat_s)
            except queue.Empty:
                message, sent = Beat(), Future()
            try:
                self.pipe.send(message)
            except Exception as error:
                sent.set_exception(error)
            else:
                sent.set_result(None)


class Guest:
    """It lives in the main thread, whose signals are its own."""

    def __init__(self, invitation: Path | Invitation, wait_s: float = 0.0) -> None:
        """invitation: a file that holds it, as it is then, or itself. wait_s: for a controller, the
        first time."""
        self.invitation = invitation.absolute() if isinstance(invitation, Path) else invitation
        self.wait_s = wait_s
        self.line: GuestLine | None = None
        self.is_told = False

    def live(self) -> None:
        """
        Raises:
            UserError: the search does not take this worker, or it has not got the data.
            FailureError: there is no search, or it cannot be reached.
        """
        signal.signal(LEAVE, self._on_leave)
        signal.signal(signal.SIGINT, self._on_leave)
        signal.signal(signal.SIGTERM, self._on_term)
        while True:
            pipe, welcome, is_seen = self._join()
            line = self.line = GuestLine(pipe, welcome.beat_s)
            sweep_dir, folder = Path(welcome.sweep_dir), Path(welcome.folder)
            config = welcome.context.config
            workplace = find_workplace(line, sweep_dir, folder, config, is_seen=is_seen)
            try:
                serve(line, welcome.context, workplace)
            except KeyboardInterrupt as why:
                self.line = None
                if line.is_over or not line.is_gone:
                    gone = "its worker's time was up" if isinstance(why, _Told) else "it ended"
                    _leave(line, workplace, f"{gone} ({self._name()})")
                    return
                self.wait_s = WAIT_S
                print("the line to the search broke: trying to reach it again", flush=True)
            except (UserError, FailureError) as error:
                self.line = None
                _leave(line, workplace, f"{self._name()}: {error}")
                raise
            finally:
                line.close()
                workplace.close()

    def _join(self) -> tuple[Connection, Welcome, bool]:
        """Also whether the sweep's directory is seen from here."""
        deadline = time.monotonic() + self.wait_s
        is_said = False
        while True:
            try:
                invitation = self.invitation
                if isinstance(invitation, Path):
                    invitation = Invitation.read(invitation)
                pipe = invitation.dial()
                pipe.send(Hello(socket.gethostname(), os.getpid(), package_name(), in_sight()))
                answer = pipe.recv()
            except (UserError, OSError, EOFError) as error:
                if time.monotonic() >= deadline:
                    if isinstance(error, UserError):
                        raise
                    raise FailureError(
                        f"{self._name()}: the search was not reached within {self.wait_s:g} s "
                        f"({error}): start it again, with the same command"
                    ) from error
                if not is_said:  # to whoever has started it
                    print(f"waiting: {socket.gethostname()}: {error}", file=sys.stderr, flush=True)
                    is_said = True
                time.sleep(PAUSE_S)
                continue
            if isinstance(answer, Refusal):
                if answer.code is not None:
                    self._begin_again_with(answer.code)
                raise UserError(answer.why)
            if answer.gpu is not None:
                see_only(answer.gpu)
            is_seen = invitation.lies_in(Path(answer.sweep_dir))
            how = "" if is_seen else ", which is not seen from here: its files go over the line"
            print(f"joined  {answer.sweep_dir}{how}", flush=True)
            return pipe, answer, is_seen

    def _begin_again_with(self, code: str) -> None:
        """Becomes a worker of these sources, where the search has left them in sight."""
        if not isinstance(self.invitation, Path):
            return
        sweep_dir = self.invitation.parent.parent
        archive = archive_in(sweep_dir, code)
        if archive.exists() and archive != settled.archive:
            command = [sys.executable, str(archive), WORKER, str(sweep_dir)]
            os.execv(sys.executable, command + [o for o in sys.argv if o == WITH_PARENT])

    def _name(self) -> str:
        return f"{socket.gethostname()}, process {os.getpid()}"

    def _on_leave(self, signum: int, frame: FrameType | None) -> None:
        if self.is_told or self.line is None:
            raise _Told
        self.is_told = signum == signal.SIGINT  # a second Ctrl-C does not wait
        self.line.leave()

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


def _leave(line: GuestLine, workplace: Workplace, why: str) -> None:
    """With all that the run under way has left."""
    with suppress(_HungUp):
        workplace.carry()
        line.send(Leaving(why))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PAUSE_S)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    parser = Parser(description="Joins a search as one more worker.")
    parser.add_argument("sweep_dir", type=Path, help="the search's directory")
    parser.add_argument(
        "--invited", action="store_true", help="the invitation is on standard input, not there"
    )
    parser.add_argument(WITH_PARENT, action="store_true", help="end when its parent does")
    options = parser.parse_args()
    if options.with_parent:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    invitation = options.sweep_dir / INVITATION
    Guest(Invitation.of(sys.stdin.read()) if options.invited else invitation, WAIT_S).live()


if __name__ == "__main__":
    sys.exit(exit_code(main))
