"""What a run shows and logs may be lost, on a full disk say; the run may not."""

import io
import logging
import os
import sys
from contextlib import suppress
from typing import Any

STDOUT, STDERR = 1, 2


class _Lossy(io.FileIO):
    """A standard stream that takes all it is given. What its device refuses is lost."""

    has_said = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # who closed it wants no more
            raise
        except OSError as error:
            if self.fileno() == STDOUT and not self.has_said:
                self.has_said = True
                said = f"standard output cannot be written ({error.strerror}); the run goes on"
                with suppress(OSError):
                    os.write(STDERR, f"warning: {said}\n".encode())
            return len(data)


def lose_rather_than_fail() -> None:
    """From now on no text that cannot be shown or logged ends this process."""
    logging.raiseExceptions = False
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            stream.flush()
            lossy = io.TextIOWrapper(
                io.BufferedWriter(_Lossy(stream.fileno(), "w", closefd=False)),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering or stream.write_through,
            )
            setattr(sys, name, lossy)
