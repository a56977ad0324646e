"""A set of the user's own, whatever file it comes from: what it has to be, and its name."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnist_sweep.errors import UserError

MOST_CLASSES = 1000
LEAST_SIDE, LARGEST_SIDE = 4, 1024

CHUNK = 64 * 2**20
"""Bytes of pixels that are looked at at once."""


@dataclass(frozen=True)
class Part:
    """images: (N, C, H, W) uint8, also a view of a file; labels: (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class OwnSet:
    """val, test: None where the files have none."""

    train: Part
    val: Part | None
    test: Part | None
    class_names: tuple[str, ...]


def checked(found: OwnSet, where: str) -> OwnSet:
    """where: the key and its value, as in `data.path=shapes.npz`.

    Raises:
        UserError: a net cannot be trained on it.
    """
    parts = {"training": found.train, "validation": found.val, "test": found.test}
    shapes = {}
    for name, part in parts.items():
        if part is None:
            continue
        _check_part(part, f"{where}: of its {name} images", len(found.class_names))
        shapes[name] = tuple(part.images.shape[1:])
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} {_x(shape)}" for name, shape in shapes.items())
        raise UserError(f"{where}: its images differ in shape ({said}): make all of one shape")
    channels, height, width = shapes["training"]
    if channels not in (1, 3):
        raise UserError(
            f"{where}: its images have {channels} channels: use 1 (grey) or 3 (red, green, blue); "
            "arrays are (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if not all(LEAST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
        raise UserError(
            f"{where}: its images are {height}x{width}: use sides from {LEAST_SIDE} to "
            f"{LARGEST_SIDE} pixels"
        )
    present = len(found.train.labels.unique())
    if present < 2:
        raise UserError(
            f"{where}: its training images are all of one class: a net needs two or more"
        )
    if len(found.class_names) > MOST_CLASSES:
        raise UserError(
            f"{where}: has {len(found.class_names):,} classes: use at most {MOST_CLASSES:,}, "
            "numbered from 0"
        )
    if present < len(found.class_names):
        missing = sorted(set(range(len(found.class_names))) - set(found.train.labels.tolist()))
        names = ", ".join(found.class_names[number] for number in missing[:5])
        raise UserError(
            f"{where}: no training image is of class {names}: number the classes from 0 without "
            "gaps, and give each some images"
        )
    return found


def _check_part(part: Part, what: str, num_classes: int) -> None:
    if len(part.images) != len(part.labels):
        raise UserError(
            f"{what} there are {len(part.images):,}, with {len(part.labels):,} labels: give each "
            "image one"
        )
    if not len(part):
        raise UserError(f"{what} there is none: give some, or leave that part out")
    low, high = int(part.labels.min()), int(part.labels.max())
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise UserError(
            f"{what} one has the label {wrong}: labels are from 0 to {num_classes - 1}, as in the "
            "training images"
        )


def _x(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def own_name(found: OwnSet, path: str) -> str:
    """A name that says which images these are: the file's, and a digest of the content."""
    digest = hashlib.sha256()
    for part in (found.train, found.val, found.test):
        if part is None:
            digest.update(b"none")
            continue
        digest.update(repr((tuple(part.images.shape), part.labels.tolist())).encode())
        for chunk in _chunks(part.images):
            digest.update(chunk.contiguous().numpy().data)
    digest.update(repr(found.class_names).encode())
    return f"{Path(path).resolve().stem}@{digest.hexdigest()[:8]}"


def statistics(images: Tensor, index: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel's pixels, scaled to 0..1, to four digits; exact
    sums, so that they are the same everywhere. images: (N, C, H, W) uint8; index: (n,) of those
    that count."""
    channels = images.shape[1]
    total, squares = np.zeros(channels, dtype=np.int64), np.zeros(channels, dtype=np.int64)
    values = torch.arange(256, dtype=torch.int64)
    for positions in index.split(_each(images)):
        chunk = images[positions]
        for channel in range(channels):
            counts = torch.bincount(chunk[:, channel].reshape(-1), minlength=256)
            total[channel] += int((counts * values).sum())
            squares[channel] += int((counts * values**2).sum())
    pixels = len(index) * images[0, 0].numel()
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    rounded = (tuple(round(float(value) / 255, 4) for value in of) for of in (mean, std))
    means, stds = rounded
    return means, tuple(value or 1.0 for value in stds)  # of a channel that is the same everywhere


def _chunks(images: Tensor) -> tuple[Tensor, ...]:
    chunks: tuple[Tensor, ...] = images.split(_each(images))
    return chunks


def _each(images: Tensor) -> int:
    """Images of a chunk."""
    return max(1, CHUNK // max(1, images[0].numel()))


def numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))
