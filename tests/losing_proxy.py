"""A way to a server that loses one message, so that a test says at which moment a line is cut."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LosingProxy:
    """Hands on what a client and the server say. `lose` makes it cut a connection, once."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.text = b""
        self.is_answered = False
        self.is_cut = threading.Event()

    def lose(self, text: bytes, *, answer: bool) -> None:
        """The next message of a client's that has this text, or only the server's answer to it."""
        self.is_cut.clear()
        self.is_answered, self.text = answer, text

    def is_asked(self, message: bytes) -> bool:
        return bool(self.text) and self.text in message

    def is_answer(self, message: bytes) -> bool:
        """Or the server's end of the line."""
        return True

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._hand_on, args=(client,), daemon=True).start()

    def _hand_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    message = ready.recv(1 << 16)
                    is_to_lose = ready is client and self.is_asked(message)
                    if not message or (is_to_lose and not self.is_answered):
                        self._note(is_to_lose)
                        return
                    (server if ready is client else client).sendall(message)
                    if is_to_lose:
                        while not self.is_answer(server.recv(1 << 16)):
                            pass
                        self._note(True)
                        return

    def _note(self, is_cut: bool) -> None:
        if is_cut:
            self.text = b""
            self.is_cut.set()


class LosingCalls(LosingProxy):
    """Of gRPC, of whose messages no text is known: told to lose any, it loses the next call."""

    def is_asked(self, message: bytes) -> bool:
        return bool(self.text) and _has_headers(message)

    def is_answer(self, message: bytes) -> bool:
        return not message or _has_headers(message)


def _has_headers(message: bytes) -> bool:
    """Whether one of these frames of HTTP/2 begins a call, or its answer."""
    while len(message) >= 9:
        if message[3] == 1:
            return True
        message = message[9 + int.from_bytes(message[:3]) :]
    return False


@contextmanager
def losing_proxy(server_port: int, kind: type[LosingProxy] = LosingProxy) -> Iterator[LosingProxy]:
    proxy = kind(server_port)
    thread = threading.Thread(target=proxy.accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
        thread.join()
