"""A study behind Optuna's gRPC proxy (`python -m mnist_sweep.sweep serve`), as its clients see it:
machines that do not see the database."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import google.protobuf  # noqa: F401  (so that it is missed here, not within Optuna)
import grpc

from mnist_sweep.errors import UserError
from mnist_sweep.search.optuna_private import CachedProxy
from mnist_sweep.search.study.credentials import without_credentials
from mnist_sweep.search.study.lasting import ConnectionLostError, StorageFailureError, reason_of

ANSWER_S = 10.0
"""Within which a proxy is to answer for the first time."""

CHANNEL = [
    ("grpc.max_receive_message_length", -1),  # all trials at once
    ("grpc.enable_http_proxy", 0),  # as a database's own client, which knows none either
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # 2 minutes by default, also after a short outage
    ("grpc.keepalive_time_ms", 310_000),  # a server takes more than one in 5 minutes for an attack
    ("grpc.keepalive_timeout_ms", 30_000),  # also of what was sent to a machine that is off
]

OF_OPTUNA = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
)
"""Errors that Optuna's client makes its storages' own of."""

UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def open_proxy(url: str, key: str) -> CachedProxy:
    """key: where the URL was given.

    Raises:
        UserError: it is no such URL, or no proxy answers there.
    """
    channel = grpc.insecure_channel(_address(url, key), options=CHANNEL)
    proxy = CachedProxy(grpc.intercept_channel(channel, _Losses(url)))
    try:
        proxy.check(ANSWER_S)
    except (ConnectionLostError, StorageFailureError) as error:
        proxy.close()
        raise UserError(
            f"{key}={url} cannot be reached ({error.reason[:160]}): check host and port, and that "
            "`python -m mnist_sweep.sweep serve` runs there"
        ) from error
    return proxy


def _address(url: str, key: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port and parts.path in ("", "/") and "@" not in url:
            return parts.netloc
    except ValueError:  # what should be a port
        pass
    raise UserError(
        f"{key}={without_credentials(url)}: give host and port, and no more (it asks for no "
        "password), such as grpc://localhost:13000"
    )


class _Losses(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Between Optuna's client and the line."""

    def __init__(self, url: str) -> None:
        self.url = url

    def intercept_unary_unary(
        self, go_on: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        """
        Raises:
            ConnectionLostError: the line to the proxy was lost, or the proxy's own to its database.
            StorageFailureError: any other error that is no answer of a storage's.
        """
        call = go_on(details, request)
        code = call.code()
        if code is grpc.StatusCode.OK or code in OF_OPTUNA:
            return call
        said = re.sub(r"^Exception calling application: ", "", " ".join(call.details().split()))
        if code in UNREACHED:
            raise ConnectionLostError(said)
        if (reason := reason_of(said)) is not None:
            raise ConnectionLostError(reason)
        raise StorageFailureError.refused(self.url, said) from call.exception()
