"""A PostgreSQL server of the tests' own, to be stopped and started as a test likes."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PASSWORD = "se@cret/Zq7"
IN_URL = quote(PASSWORD)  # SQLAlchemy takes a slash as it is

PATIENCE_S = 240


@dataclass(frozen=True)
class Server:
    folder: Path
    programs: Path
    as_user: tuple[str, ...]
    """What stands before a command; initdb refuses root."""
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def is_running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self.as_user, str(self.programs / program), "-D", str(self.data), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=PATIENCE_S,
        )

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.call("pg_ctl", "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        """As a power failure does."""
        self.call("pg_ctl", "-m", "immediate", "-w", "stop")

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def running_server() -> Iterator[Server]:
    """Skips the test where there is no PostgreSQL."""
    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server programs (initdb, pg_ctl) here")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    as_user: tuple[str, ...] = ()
    if os.getuid() == 0:
        if not shutil.which("runuser") or subprocess.run(["id", "postgres"]).returncode:
            pytest.skip("as root, PostgreSQL needs a user postgres and runuser")
        as_user = ("runuser", "-u", "postgres", "--")
    folder = Path(tempfile.mkdtemp(prefix="mnist_sweep_pg_", dir="/tmp"))
    server = Server(folder, programs, as_user, free_port())
    try:
        (folder / "password").write_text(PASSWORD)
        server.data.mkdir(mode=0o700)
        if as_user:
            folder.chmod(0o755)
            for path in (folder, server.data, folder / "password"):
                shutil.chown(path, "postgres")
        pwfile = f"--pwfile={folder}/password"
        server.call("initdb", "-U", "tester", "-A", "scram-sha-256", pwfile)
        server.start()
        try:
            yield server
        finally:
            if server.is_running:
                server.stop()
    finally:
        shutil.rmtree(folder)


def server_programs() -> Path | None:
    """PostgreSQL's server programs, which many systems keep out of the search path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if pg_config := shutil.which("pg_config"):
        done = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)
        folders.insert(0, Path(done.stdout.strip()))
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_url(port: int, database: str = "postgres") -> str:
    return f"postgresql+psycopg://tester:{IN_URL}@127.0.0.1:{port}/{database}"


def connect(port: int) -> Any:
    """A connection of the driver's, to do to the server what the program does not."""
    import psycopg

    login = f"host=127.0.0.1 port={port} user=tester dbname=postgres"
    return psycopg.connect(login, password=PASSWORD, autocommit=True)


def new_database(port: int) -> str:
    """The URL of a database in which nothing is yet."""
    name = "db" + str(time.monotonic_ns())
    with connect(port) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server_url(port, name)
