"""Ctrl-C during a search: the first one lets what runs finish, the second stops it at once."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupts:
    """`with` it: SIGINT is taken so. on_first, on_second: called at the first and second one."""

    def __init__(self, on_first: Callable[[], None], on_second: Callable[[], None]) -> None:
        self.on_first = on_first
        self.on_second = on_second
        self.is_stopping = False
        self.is_over = False
        """Whether there was a second one. What it raises is lost where Python raises nothing, such
        as in the end of an object."""
        self.before: Any = None

    def __enter__(self) -> "Interrupts":
        self.before = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    def stop(self) -> None:
        """As the first one does."""
        if not self.is_stopping:
            self.is_stopping = True
            self.on_first()

    def _on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self.is_stopping:
            self.is_over = True
            self.on_second()
            raise KeyboardInterrupt
        self.stop()
