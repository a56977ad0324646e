"""Files in MNIST's own form: `...train-images-idx3-ubyte` and so on, plain or as `.gz`."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnist_sweep.errors import UserError
from mnist_sweep.sets.own import OwnSet, Part, numbered

ENDINGS: dict[str, tuple[str, ...]] = {
    "train images": ("train-images-idx3-ubyte",),
    "train labels": ("train-labels-idx1-ubyte",),
    "test images": ("t10k-images-idx3-ubyte", "test-images-idx3-ubyte"),
    "test labels": ("t10k-labels-idx1-ubyte", "test-labels-idx1-ubyte"),
}
UNSIGNED_BYTES = 8
"""Code of the only type of value that images and labels have here."""


def read_idx(folder: Path) -> OwnSet:
    """
    Raises:
        UserError: it has no such files, or one is damaged.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise UserError(f"data.path={folder}: {what}: give the one that holds the idx files")
    paths = {name: _find(folder, endings) for name, endings in ENDINGS.items()}
    for name in ("train images", "train labels"):
        if paths[name] is None:
            raise UserError(
                f"data.path={folder}: has no file whose name ends in {ENDINGS[name][0]}[.gz]"
            )
    if (paths["test images"] is None) != (paths["test labels"] is None):
        raise UserError(f"data.path={folder}: has test images or test labels alone: give both")
    train = Part(_images(paths["train images"]), _labels(paths["train labels"]))
    test = None
    if paths["test images"] is not None:
        test = Part(_images(paths["test images"]), _labels(paths["test labels"]))
    return OwnSet(train, None, test, numbered(int(train.labels.max()) + 1 if len(train) else 0))


def _find(folder: Path, endings: Sequence[str]) -> Path | None:
    wanted = tuple(end for ending in endings for end in (ending, f"{ending}.gz"))
    found = sorted(path for path in folder.iterdir() if path.name.endswith(wanted))
    if len({path.name.removesuffix(".gz") for path in found}) > 1:
        raise UserError(
            f"data.path={folder}: has several sets ({', '.join(path.name for path in found)}): "
            "put the one that is meant into a folder of its own"
        )
    return found[0] if found else None


def _images(path: Path | None) -> Tensor:
    return _values(path, 3).unsqueeze(1)


def _labels(path: Path | None) -> Tensor:
    return _values(path, 1).long()


def _values(path: Path | None, dimensions: int) -> Tensor:
    assert path is not None
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data.path={path}: is damaged or cannot be read ({error})") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTES:
        raise UserError(f"data.path={path}: is no idx file of bytes")
    if content[3] != dimensions:
        raise UserError(
            f"data.path={path}: has {content[3]} dimensions, and {dimensions} are needed here"
        )
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4).astype(np.int64)
    if len(content) - header != int(shape.prod()):
        raise UserError(f"data.path={path}: is cut short or damaged: fetch it again")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())
