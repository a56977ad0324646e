"""Images as files, a folder for each class: `cats/1.png`, or `train/cats/1.png` and so on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_sweep.errors import UserError
from mnist_sweep.sets.own import OwnSet, Part

TRAIN, VAL, TEST = "train", "val", "test"

MODES = {1: "L", 3: "RGB"}
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
"""Pillow's modes without colour."""


def read_folder(root: Path, side: int, channels: int | None) -> OwnSet:
    """side: of the images, in pixels, that all are brought to. channels: 1 or 3; None takes what
    the files have.

    Raises:
        UserError: it is no such folder, a file is no image, or grey ones are among coloured ones.
    """
    where = f"data.path={root}"
    if not root.is_dir():
        raise UserError(
            f"{where}: {'is no folder' if root.exists() else 'does not exist'}: give one that has "
            "a folder of images for each class"
        )
    parts = {name: root / name for name in (TRAIN, VAL, TEST) if (root / name).is_dir()}
    if TRAIN not in parts:
        parts = {TRAIN: root}
    class_names = _classes(parts[TRAIN])
    if not class_names:
        raise UserError(
            f"data.path={parts[TRAIN]}: has no folder: put the images of each class into one, "
            "named as the class"
        )
    files = {name: list(_files(folder, class_names)) for name, folder in parts.items()}
    every = [path for found in files.values() for path, _ in found]
    channels = _channels(every, where) if channels is None else channels
    made = {
        name: Part(
            torch.from_numpy(_pixels([path for path, _ in found], side, channels)),
            torch.tensor([label for _, label in found], dtype=torch.int64),
        )
        for name, found in files.items()
    }
    return OwnSet(made[TRAIN], made.get(VAL), made.get(TEST), class_names)


def _classes(folder: Path) -> tuple[str, ...]:
    inner = (path for path in folder.iterdir() if not path.name.startswith("."))
    return tuple(sorted(path.name for path in inner if path.is_dir()))


def _files(folder: Path, class_names: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Each file and its label, in the order of their names."""
    for name in _classes(folder):
        if name not in class_names:
            raise UserError(
                f"data.path={folder / name}: is of a class that has no training images: use "
                f"{', '.join(class_names[:5])}"
            )
        found = sorted(p for p in (folder / name).iterdir() if not p.name.startswith("."))
        if not found:
            raise UserError(
                f"data.path={folder / name}: is an empty folder: give it images, or remove it"
            )
        for path in found:
            yield path, class_names.index(name)


def _channels(files: Sequence[Path], where: str) -> int:
    first: dict[int, Path] = {}
    for path in files:
        with _opened(path) as image:
            first.setdefault(1 if image.mode in GREY else 3, path)
    if len(first) > 1:
        raise UserError(
            f"{where}: some images are grey ({first[1]}) and others coloured ({first[3]}): use "
            "data.channels=1 or data.channels=3 for all of them"
        )
    return next(iter(first))


def _pixels(files: Sequence[Path], side: int, channels: int) -> np.ndarray:
    """(N, channels, side, side) uint8: each image turned upright as its camera says, cut to its
    middle square, and brought to the side."""
    images = np.empty((len(files), channels, side, side), dtype=np.uint8)
    for number, path in enumerate(files):
        with _opened(path) as image:
            try:
                upright = ImageOps.exif_transpose(image)
                converted = _in_bytes(upright).convert(MODES[channels])
                small = ImageOps.fit(converted, (side, side), Image.Resampling.BILINEAR)
            except (OSError, ValueError, SyntaxError) as error:
                raise _damaged(path, error) from error
        images[number] = np.asarray(small).reshape(side, side, channels).transpose(2, 0, 1)
    return images


def _in_bytes(image: Image.Image) -> Image.Image:
    """Pillow cuts off what is above 255 where an image has 16 bits a pixel."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values / max(values.max(), 65535) * 255).astype(np.uint8))
    return image


def _opened(path: Path) -> Image.Image:
    """
    Raises:
        UserError: it is no image.
    """
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    what = "is no image" if isinstance(error, UnidentifiedImageError) else "cannot be read"
    reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
    return UserError(f"data.path={path}: {what}{reason}: remove it, or replace it by a whole image")
