"""The one way to write a file whole."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mnist_sweep.errors import UserError

DEVICES = Path("/dev")


def write_output(path: Path, content: str | bytes) -> None:
    """The file that a command's `-o` names.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable_output(path, error.strerror or str(error)) from error


def unwritable_output(path: Path, why: str) -> UserError:
    return UserError(f"-o {path} cannot be written ({why}): name a file that can")


def write_whole(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Writes a file (the one a link leads to) whole or not at all, and onto the disk. A device or a
    pipe, as /dev/stdout may be, is no file whose place another could take: it is written to.

    mode: who may read it.

    Raises:
        OSError: it cannot be written; what was there still is. It names the file.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.parent == DEVICES or (path.exists() and not path.is_file()):
            with path.open("ab") as file:
                file.write(data)
        else:
            _write_whole(path.resolve(), data, mode)
    except OSError as error:  # of the temporary file, or of none
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _write_whole(path: Path, data: bytes, mode: int) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):  # a Ctrl-C may come just after the file is in its place
            os.unlink(temporary)
        raise
