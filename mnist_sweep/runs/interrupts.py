"""Ctrl-C during a run: the first one ends it; those that follow at once let it leave its row."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE_S = 5.0
"""Time to leave a row; a signal that comes later ends that, too."""


@contextmanager
def taken_once() -> Iterator[None]:
    """A signal that would end the run does so, and a second one is not heard for a while. Only of
    the main thread, which alone may say so."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    in_main = threading.current_thread() is threading.main_thread()
    ending = [number for number, handler in handlers.items() if in_main and callable(handler)]
    since = -PATIENCE_S

    def on_signal(signum: int, frame: FrameType | None) -> None:
        nonlocal since
        if time.monotonic() - since > PATIENCE_S:
            since = time.monotonic()
            raise KeyboardInterrupt

    for number in ending:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, handlers[number])
