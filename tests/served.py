"""A database behind Optuna's gRPC proxy, in this process: as `sweep serve` does it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mnist_sweep.search.study.storage import open_remote


@contextmanager
def served(database: str, port: int = 0) -> Iterator[str]:
    """The URL at which the database of that URL is served. Skips the test without grpcio."""
    pytest.importorskip("grpc", reason="the extra grpc is not installed")
    from optuna.storages._grpc.server import make_server

    from tests.postgres import free_port

    port = port or free_port()
    server = make_server(open_remote(database, "--storage"), "127.0.0.1", port)
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
