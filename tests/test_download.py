"""Downloading, from a server on this machine in the place of torchvision's mirrors."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from gzip import compress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mnist_sweep.config import DataConfig, ProtocolConfig
from mnist_sweep.data import FILES, load
from tests.conftest import environment

# torchvision's own addresses and MD5 sums (of files zipped another way) give way to the server's.
FETCH = """
import sys
from torchvision import datasets
datasets.MNIST.mirrors = [sys.argv[1]]
datasets.MNIST.resources = [(name, None) for name, _ in datasets.MNIST.resources]
from mnist_sweep.config import DataConfig
from mnist_sweep.data import fetch
from mnist_sweep.errors import UserError
try:
    fetch(DataConfig(name="mnist", root=sys.argv[2], download=True))
except UserError as error:
    sys.exit(str(error))
"""


@contextmanager
def serving(contents: dict[str, bytes]) -> Iterator[tuple[str, Counter[str]]]:
    """The server's address, and how often each file was asked for."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            asked[name] += 1
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):  # torchvision first looks where an address leads
                self.wfile.write(contents[name])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        server.server_close()


def start_fetch(address: str, root: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, address, str(root)],
        env=environment(no_proxy="127.0.0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.mnist
def test_processes_that_start_together_download_once(tmp_path: Path, mnist_root: str) -> None:
    raw = Path(mnist_root) / "MNIST" / "raw"
    contents = {f"{file}.gz": compress((raw / file).read_bytes(), 1) for file in FILES}

    def requests_of(num_processes: int, root: Path) -> Counter[str]:
        with serving(contents) as (address, asked):
            processes = [start_fetch(address, root) for _ in range(num_processes)]
            for process in processes:
                _, errors = process.communicate(timeout=200)
                assert process.returncode == 0, errors
        return asked

    assert requests_of(3, tmp_path) == requests_of(1, tmp_path / "alone") != Counter()
    everything = ProtocolConfig(name="final", val_one_in=None, split_seed=0, train_first=None)
    data = load(DataConfig(name="mnist", root=str(tmp_path), download=False), everything)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)


def test_a_web_page_in_the_place_of_the_files_is_said(tmp_path: Path) -> None:
    page = b"<!doctype html><p>Please log in to this network</p>"
    with serving({f"{file}.gz": page for file in FILES}) as (address, _):
        process = start_fetch(address, tmp_path)
        _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "data=mnist" in errors and "MNIST_SWEEP_DATA" in errors and "Traceback" not in errors
