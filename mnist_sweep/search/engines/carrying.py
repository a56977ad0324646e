"""Files of run directories on their way between a search and a worker that does not see them.

They travel piece by piece, so that a large one holds nobody up, and are put in their places whole.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mnist_sweep.errors import FailureError
from mnist_sweep.writing import write_whole

PIECE_BYTES = 1 << 18

MOST_BYTES = 1 << 30
"""Of one file; a checkpoint of the largest nets here has a few hundred MB."""

MOST_FILES = 10_000
"""Of one run."""


class CarryError(Exception):
    """What was sent is not to be written: one line that says why."""


@dataclass(frozen=True)
class Piece:
    """Of a file; those of one file come in their order, and then those of the next."""

    name: str
    """Of the file in the sweep's directory, with slashes."""
    start: int
    content: bytes
    is_last: bool


@dataclass(frozen=True)
class Gone:
    """That a file is there no more."""

    name: str


Version = tuple[int, int, int]


def version_of(path: Path) -> Version | None:
    """Another one whenever the file is written; None where there is none, or no plain file."""
    try:
        found = path.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    plain = stat.S_ISREG(found.st_mode)
    return (found.st_ino, found.st_mtime_ns, found.st_size) if plain else None


def versions(root: Path, subdir: str) -> dict[str, Version]:
    """Of the files in a folder of `root`, by their names in `root`."""
    found = {}
    for folder, _, files in os.walk(root / subdir):
        for file in sorted(files):
            path = Path(folder, file)
            if (version := version_of(path)) is not None:
                found[path.relative_to(root).as_posix()] = version
    return found


class Sender:
    """The files of one folder, of which the other side has none so far."""

    def __init__(self, root: Path, subdir: str) -> None:
        self.root = root
        self.subdir = subdir
        self.sent: dict[str, Version] = {}

    def changes(self) -> Iterator[Piece | Gone]:
        """What has become another since the last time."""
        now = versions(self.root, self.subdir)
        for name in [name for name in self.sent if name not in now]:
            del self.sent[name]
            yield Gone(name)
        for name, version in now.items():
            if self.sent.get(name) != version:
                try:
                    content = (self.root / name).read_bytes()
                except FileNotFoundError:
                    continue
                for start in range(0, len(content) or 1, PIECE_BYTES):
                    end = start + PIECE_BYTES
                    yield Piece(name, start, content[start:end], end >= len(content))
                self.sent[name] = version

    def has_all(self) -> None:
        """The other side has what is there now."""
        self.sent = versions(self.root, self.subdir)


class Receiver:
    """Writes into one folder, and nowhere else, what comes from the other side.

    A file that somebody else has written since stays: a controller that took this one for dead has
    ended the trial.
    """

    def __init__(self, root: Path, subdir: str = "") -> None:
        self.root = root
        self.folder = root / subdir
        self.written = versions(root, subdir)
        self.content = bytearray()
        self.name: str | None = None
        """Of the file that is on its way."""

    def take(self, message: Piece | Gone) -> None:
        """
        Raises:
            CarryError: it does not belong here.
            FailureError: it cannot be written.
        """
        path = self._place(message.name)
        is_as_left = version_of(path) == self.written.get(message.name)
        try:
            match message:
                case Gone(name):
                    if is_as_left:
                        path.unlink(missing_ok=True)
                        self.written.pop(name, None)
                case Piece(name):
                    whole = self._whole(message)
                    if whole is not None and is_as_left:
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_whole(path, whole)
                        written = version_of(path)
                        assert written is not None
                        self.written[name] = written
        except OSError as error:
            raise FailureError(
                f"{path} cannot be written ({error.strerror}): make room there; the same command "
                "goes on with the study"
            ) from error

    def _place(self, name: str) -> Path:
        parts = name.split("/")
        path = self.root.joinpath(*parts)
        own = self.folder.resolve()
        is_plain = all(part.isprintable() and part not in ("", ".", "..") for part in parts)
        is_short = len(name) < 1_000 and all(len(part.encode()) < 250 for part in parts)
        if not (is_plain and is_short and own in path.resolve().parents):
            raise CarryError(f"it sent a file of the name {name[:80]!r}, which is not its run's")
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise CarryError(f"it sent a file in the place of {path}, which is none")
        return path

    def _whole(self, piece: Piece) -> bytes | None:
        """The file, once its last piece is here."""
        if piece.start == 0:  # the one before may have been broken off
            self.name, self.content = piece.name, bytearray()
        if (piece.name, piece.start) != (self.name, len(self.content)):
            raise CarryError(f"it sent pieces of {piece.name} that do not fit together")
        self.content += piece.content
        if len(self.content) > MOST_BYTES or len(self.written) >= MOST_FILES:
            raise CarryError(f"it sent more than a run leaves ({piece.name})")
        if not piece.is_last:
            return None
        whole, self.content, self.name = bytes(self.content), bytearray(), None
        return whole
