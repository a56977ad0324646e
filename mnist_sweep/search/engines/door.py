"""Where workers of other processes and machines come in: an address, and a key to be let in by.

The key lies in a file that only the user can read, in the sweep's directory; to workers that do not
see that directory it comes by other ways.
"""

import json
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import ProcessError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path

import psutil

from mnist_sweep.errors import UserError
from mnist_sweep.paths import INVITATION
from mnist_sweep.writing import write_whole

LOOPBACK = "127.0.0.1"

HANDSHAKE_S = 10.0
"""Time that a caller has to show the key, and that a message may take to come in once it has
begun: nobody holds the search up."""

MOST_CALLERS = 4096  # a thousand workers may come at once
"""That may be about to show the key at once; another one takes the place of the oldest."""


_REFUSED = (OSError, EOFError, ProcessError, AssertionError, ValueError)
"""What comes of a caller, or of somebody called, that has not got the key."""


@dataclass(frozen=True)
class Invitation:
    hosts: tuple[str, ...]
    """Names and addresses of the controller's machine, to be tried one after another."""
    port: int
    key: str

    @classmethod
    def read(cls, path: Path) -> "Invitation":
        """
        Raises:
            UserError: there is none: no search that takes workers runs there.
        """
        try:
            return cls.of(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is damaged"
            raise UserError(
                f"{path}: no search that workers can join is under way there ({reason}): start it "
                "first, with hydra.sweeper.n_jobs=0 or a launcher such as submitit_local"
            ) from error

    @classmethod
    def of(cls, text: str) -> "Invitation":
        """
        Raises:
            ValueError: it is none.
        """
        try:
            found = json.loads(text)
            return cls(tuple(found["hosts"]), int(found["port"]), str(found["key"]))
        except (LookupError, TypeError) as error:
            raise ValueError("no invitation") from error

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def lies_in(self, sweep_dir: Path) -> bool:
        """Whether that is the directory of this search, and may be written to; another machine may
        have another one of the same name."""
        try:
            found = Invitation.read(sweep_dir / INVITATION)
        except UserError:
            return False
        return found.key == self.key and os.access(sweep_dir, os.W_OK)

    def dial(self) -> Connection:
        """
        Raises:
            OSError: nobody answers, or somebody else.
        """
        problem: Exception = OSError("no address")
        for host in self.hosts:
            try:
                line = _line(socket.create_connection((host, self.port), timeout=HANDSHAKE_S))
            except OSError as error:
                problem = error
                continue
            try:
                _limit(line, HANDSHAKE_S)  # it may be a stranger, who says nothing
                answer_challenge(line, self.key.encode())
                deliver_challenge(line, self.key.encode())
                _limit(line, 0)
            except _REFUSED as error:
                problem = error
                line.close()
            else:
                return line
        raise OSError(f"{problem} at {', '.join(self.hosts)}, port {self.port}") from problem


class Door:
    """Open from its making on. on_guest: called in a thread of its own with each connection that
    has shown the key; it may take its time."""

    def __init__(
        self, sweep_dir: Path, on_guest: Callable[[Connection], None], *, is_local: bool
    ) -> None:
        """is_local: for workers of this machine only."""
        self.on_guest = on_guest
        self.path = sweep_dir / INVITATION
        address = LOOPBACK if is_local else "0.0.0.0"
        port, key = _of_before(self.path) or (0, secrets.token_hex(32))
        self.listener = _listen(address, port)
        hosts = (LOOPBACK,) if is_local else _own_hosts()
        self.invitation = Invitation(hosts, self.listener.getsockname()[1], key)
        self.callers: dict[Connection, float] = {}
        """Those that have not shown the key -> until when they may."""
        self.calling = threading.Lock()
        self.is_closed = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, str(self.invitation), mode=0o600)
        threading.Thread(target=self._wait, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _wait(self) -> None:
        while not self.is_closed:
            try:
                line = _line(self.listener.accept()[0])
            except OSError:
                time.sleep(0.01)  # a caller that hung up, or no file handle is left
                continue
            with self.calling:
                if len(self.callers) >= MOST_CALLERS:
                    oldest = next(iter(self.callers))
                    del self.callers[oldest]
                    _hang_up(oldest)
                self.callers[line] = time.monotonic() + HANDSHAKE_S
            threading.Thread(target=self._let_in, args=(line,), daemon=True).start()

    def _watch(self) -> None:
        """A caller may send a byte every now and then."""
        while not self.is_closed:
            with self.calling:
                for line, deadline in self.callers.items():
                    if time.monotonic() > deadline:
                        _hang_up(line)
            time.sleep(1)

    def _let_in(self, line: Connection) -> None:
        try:
            _limit(line, HANDSHAKE_S)
            deliver_challenge(line, self.invitation.key.encode())
            answer_challenge(line, self.invitation.key.encode())
        except _REFUSED:
            self._forget(line)
            line.close()
            return
        self._forget(line)
        try:
            self.on_guest(line)
        except (OSError, EOFError):
            line.close()

    def _forget(self, line: Connection) -> None:
        with self.calling:
            self.callers.pop(line, None)

    def close(self) -> None:
        self.is_closed = True
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits there
        self.listener.close()
        with suppress(OSError, UserError):
            if Invitation.read(self.path) == self.invitation:
                os.unlink(self.path)


def _of_before(path: Path) -> tuple[int, str] | None:
    """Port and key of a search that was killed, whose workers look for it there; they may know it
    from a copy."""
    try:
        found, invitation = path.stat(), Invitation.read(path)
    except (OSError, UserError):
        return None
    is_own = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return (invitation.port, invitation.key) if is_own else None


def _listen(address: str, port: int) -> socket.socket:
    """At another port, if that one is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError:
        listener.bind((address, 0))
    listener.listen(1024)
    return listener


def _line(end: socket.socket) -> Connection:
    """A connection that notices when the other machine is gone."""
    end.settimeout(None)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Connection(end.detach())


@contextmanager
def _socket(line: Connection) -> Iterator[socket.socket]:
    with socket.socket(fileno=os.dup(line.fileno())) as end:
        yield end


def _limit(line: Connection, seconds: float) -> None:
    """How long the next part of a message, or room for it, is waited for; 0: for ever."""
    with _socket(line) as end:
        for name in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, name, struct.pack("ll", int(seconds), 0))


def _hang_up(line: Connection) -> None:
    """From another thread than that which waits there."""
    with suppress(OSError), _socket(line) as end:
        end.shutdown(socket.SHUT_RDWR)


def _own_hosts() -> tuple[str, ...]:
    found = [socket.gethostname()]
    for addresses in psutil.net_if_addrs().values():
        found += [a.address for a in addresses if a.family == socket.AF_INET]
    loopback = [host for host in found if host.startswith("127.")]
    return tuple(dict.fromkeys([*(host for host in found if host not in loopback), *loopback]))
