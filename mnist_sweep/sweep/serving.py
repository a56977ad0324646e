"""Serves a database through Optuna's gRPC proxy, to machines that do not see it."""

import logging
import socket
import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.storages import run_grpc_proxy_server

from mnist_sweep.errors import UserError
from mnist_sweep.search.study.credentials import without_credentials
from mnist_sweep.search.study.storage import PROXY, open_remote


def serve(url: str, host: str, port: int) -> None:
    """As long as it is not ended.

    Raises:
        UserError: the database cannot be opened, or nobody can listen there.
    """
    if "://" not in url and url.endswith(".journal"):
        raise UserError(
            f"--storage={url}: Optuna's proxy serves no journal (its issue 6084): give a "
            "database's URL, such as sqlite:///study.db"
        )
    _check_free(host, port)
    storage = open_remote(url, "--storage")
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)  # its clients say what failed
    warnings.simplefilter("ignore", ExperimentalWarning)
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    print(f"serves  {without_credentials(url)} to all who reach it, without a password")
    print(f"clients hydra.sweeper.storage={PROXY}{at}; Ctrl-C ends it", flush=True)
    run_grpc_proxy_server(storage, host=at.removesuffix(f":{port}"), port=port)


def _check_free(host: str, port: int) -> None:
    """gRPC's own servers share a port with each other, and say nothing."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"--host={host} --port={port}: cannot be listened at ({reason}): choose another port, "
            "or a host name or address of this machine"
        ) from error
