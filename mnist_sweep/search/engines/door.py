"""Where workers of other processes and machines come in: an address, and a key to be let in by.

The key lies in a file that only the user can read, in the sweep's directory, which workers see.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from pathlib import Path

import psutil

from mnist_sweep.errors import UserError
from mnist_sweep.writing import write_whole

INVITATION = Path(".workers") / "invitation.json"
"""In the sweep's directory."""


@dataclass(frozen=True)
class Invitation:
    hosts: tuple[str, ...]
    """Names and addresses of the controller's machine, to be tried one after another."""
    port: int
    key: str

    @classmethod
    def read(cls, sweep_dir: Path) -> "Invitation":
        """
        Raises:
            UserError: there is none: no search that takes workers runs there.
        """
        path = sweep_dir / INVITATION
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(tuple(found["hosts"]), int(found["port"]), str(found["key"]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            reason = getattr(error, "strerror", None) or "it is damaged"
            raise UserError(
                f"{path}: no search that workers can join is under way there ({reason}): start it "
                "first, with hydra.sweeper.n_jobs=0 or a launcher such as submitit_local"
            ) from error

    def dial(self) -> Connection:
        """
        Raises:
            OSError: nobody answers, or somebody else.
        """
        problem: Exception = OSError("no address")
        for host in self.hosts:
            try:
                with socket.create_connection((host, self.port), timeout=10):
                    pass  # a machine that does not answer is given up soon
                line = Client((host, self.port), authkey=self.key.encode())
            except (OSError, EOFError, AuthenticationError) as error:
                problem = error
            else:
                _notice_silence(line)
                return line
        raise OSError(f"{problem} at {', '.join(self.hosts)}, port {self.port}") from problem


class Door:
    """Open from its making on. on_guest: called in a thread of its own with each connection that
    has shown the key; it may take its time."""

    def __init__(self, sweep_dir: Path, on_guest: Callable[[Connection], None]) -> None:
        self.on_guest = on_guest
        self.path = sweep_dir / INVITATION
        self.key = secrets.token_hex(32)
        self.listener = Listener(("0.0.0.0", 0), backlog=1024)
        self.is_closed = False
        invitation = Invitation(_own_hosts(), self.listener.address[1], self.key)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(asdict(invitation)), mode=0o600)
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while not self.is_closed:
            try:
                line = self.listener.accept()
            except (OSError, EOFError):
                time.sleep(0.01)  # a caller that hung up, or no file handle is left
                continue
            threading.Thread(target=self._let_in, args=(line,), daemon=True).start()

    def _let_in(self, line: Connection) -> None:
        try:
            deliver_challenge(line, self.key.encode())
            answer_challenge(line, self.key.encode())
            _notice_silence(line)
            self.on_guest(line)
        except (OSError, EOFError, AuthenticationError):
            line.close()

    def close(self) -> None:
        self.is_closed = True
        with suppress(OSError):
            self.listener.close()
        with suppress(OSError, UserError):
            if Invitation.read(self.path.parent.parent).key == self.key:
                os.unlink(self.path)


def _notice_silence(line: Connection) -> None:
    with socket.socket(fileno=os.dup(line.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _own_hosts() -> tuple[str, ...]:
    found = [socket.gethostname()]
    for addresses in psutil.net_if_addrs().values():
        found += [a.address for a in addresses if a.family == socket.AF_INET]
    loopback = [host for host in found if host.startswith("127.")]
    return tuple(dict.fromkeys([*(host for host in found if host not in loopback), *loopback]))
