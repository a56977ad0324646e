"""A file of a data set: checked by SHA-256, unpacked where it is zipped, mapped into memory."""

import gzip
import hashlib
import os
import tempfile
import zlib
from pathlib import Path

import torch
from torch import Tensor

from mnist_sweep.errors import UserError


def read_file(path: Path, digest: str, *, of_gz: bool, header: int) -> Tensor:
    """path: of the plain file; beside it may be its `.gz`. digest: SHA-256 of its content (`of_gz`
    false) or of its `.gz` (true). header: bytes at its start that are no data.

    Returns (bytes after the header,) uint8, mapped from disk where possible.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    plain, zipped = path, path.with_name(f"{path.name}.gz")
    if of_gz:
        _check(zipped, _sha256(zipped), digest)
        digest = _sha256_of_content(zipped)
    if plain.exists():
        _check(plain, _sha256(plain), digest)
    else:
        _check(zipped, _sha256_of_content(zipped), digest)
        try:
            _unpack(zipped, plain)
        except OSError:  # a read-only folder: this process gets a copy of its own
            content = torch.frombuffer(bytearray(_content(zipped)), dtype=torch.uint8)
            return content[header:]
    mapped = torch.from_file(str(plain), shared=False, size=plain.stat().st_size, dtype=torch.uint8)
    return mapped[header:]


def _unpack(zipped: Path, plain: Path) -> None:
    """Writes the content beside its `.gz`, whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=plain.parent, prefix=f".{plain.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(_content(zipped))
        os.chmod(temporary, 0o644)
        os.replace(temporary, plain)
    except BaseException:
        os.unlink(temporary)
        raise


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _content(zipped: Path) -> bytes:
    try:
        with gzip.open(zipped) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _unreadable(zipped, error) from error
        raise _damaged(zipped) from error


def _sha256_of_content(zipped: Path) -> str:
    return hashlib.sha256(_content(zipped)).hexdigest()


def _check(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        raise _damaged(path)


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"data file {path} cannot be read ({error.strerror}): make it a readable file, "
        "or use data=digits"
    )


def _damaged(path: Path) -> UserError:
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        what = "is a web page, not the data file"
    else:
        what = f"is damaged or cut short ({path.stat().st_size:,} bytes, SHA-256 differs)"
    return UserError(
        f"data file {path} {what}: delete it and fetch it again (the next run downloads what is "
        "missing), or use data=digits"
    )
