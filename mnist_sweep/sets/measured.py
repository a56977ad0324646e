"""Sets whose shape, mean and digest are taken from their files: the user's, torchvision's."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mnist_sweep.config import OWN, TORCHVISION, DataConfig, ProtocolConfig, unchecked
from mnist_sweep.errors import UserError
from mnist_sweep.sets.csv_table import read_csv
from mnist_sweep.sets.dataset import Split
from mnist_sweep.sets.folder import read_folder
from mnist_sweep.sets.idx import read_idx
from mnist_sweep.sets.npz import read_npz
from mnist_sweep.sets.own import OwnSet, checked, own_name
from mnist_sweep.sets.shape import MNIST_SHAPE, DataShape
from mnist_sweep.sets.splitting import stratified_one_in
from mnist_sweep.sets.torchvision_sets import read_torchvision, torchvision_shape

TEST_ONE_IN = 5
"""One image in so many is held out to test, of a set that has no test images."""


@lru_cache(maxsize=2)
def _read(config: DataConfig, stamp: tuple[int, ...]) -> tuple[OwnSet, str]:
    """Also its name. stamp: of the file, so that another one in its place is read anew.

    Raises:
        UserError: it is not there, or nothing to train a net on.
    """
    if config.path is None:
        found = read_torchvision(config.name, config.root, config.split, download=False)
        return found, own_name(found, "-".join(filter(None, (config.name, config.split))))
    path = Path(config.path)
    match config.name:
        case "npz":
            found = read_npz(path, config.x, config.y)
        case "folder":
            found = read_folder(path, config.image_size or MNIST_SHAPE.side, config.channels)
        case "csv":
            found = read_csv(path, None if config.test_path is None else Path(config.test_path))
        case _:
            found = read_idx(path)
    found = checked(found, f"data.path={config.path}")
    return found, own_name(found, config.path)


def measured_set(config: DataConfig) -> tuple[OwnSet, str]:
    """A set that is measured, and its name.

    Raises:
        UserError: as `_read`.
    """
    if config.path is None:
        return _read(config, ())
    try:
        found = os.stat(config.path)
    except OSError as error:
        raise UserError(
            f"data.path={config.path}: {error.strerror}: give the file or folder of your images"
        ) from error
    return _read(config, (found.st_mtime_ns, found.st_size, found.st_ino))


def shape_of(config: DataConfig) -> DataShape:
    """
    Raises:
        UserError: the set is the user's own, and not there.
    """
    if config.name in TORCHVISION:
        return torchvision_shape(config.name, config.split)
    if not config.is_own:
        return MNIST_SHAPE
    found, _ = measured_set(config)
    channels, height, width = found.train.images.shape[1:]
    return DataShape(channels, height, width, len(found.class_names))


def shape_in(config: Mapping[str, Any]) -> DataShape:
    """Of the data that a resolved config names, which need not be checked yet.

    Raises:
        UserError: as `shape_of`.
    """
    data = config.get("data")
    if not isinstance(data, Mapping) or data.get("name") not in (*OWN, *TORCHVISION):
        return MNIST_SHAPE
    return shape_of(unchecked(config).data)


def check_classes(config: DataConfig, train: Split, class_names: Sequence[str]) -> None:
    """
    Raises:
        UserError: no image of some class is left to train on.
    """
    left = set(train.labels[train.index].tolist())
    for number, name in enumerate(class_names):
        if number not in left:
            raise UserError(
                f"data.path={config.path}: of class {name} no image is left to train on beside "
                "those held out to validate and to test; use more images"
            )


@dataclass(frozen=True)
class Parts:
    train: Split
    val: Split | None
    """Of the set's own; None where it has none, or nothing is chosen on it."""
    test: Split
    class_names: tuple[str, ...]


def measured_parts(config: DataConfig, protocol: ProtocolConfig) -> Parts:
    """Without test images, some training images are held out for it.

    Raises:
        UserError: as `_read`.
    """
    found, _ = measured_set(config)
    train = Split.whole(found.train.images, found.train.labels)
    if found.test is not None:
        test = Split.whole(found.test.images, found.test.labels)
    else:
        rest, held_out = stratified_one_in(found.train.labels, TEST_ONE_IN, seed=0)
        train, test = train.at(rest), train.at(held_out)
    val = None
    if found.val is not None and protocol.val_one_in is not None:
        val = Split.whole(found.val.images, found.val.labels)
    elif found.val is not None:  # nothing is chosen, so they are training images like the others
        images = torch.cat([found.train.images, found.val.images])
        labels = torch.cat([found.train.labels, found.val.labels])
        more = torch.arange(len(found.train), len(labels))
        train = Split(images, labels, torch.cat([train.index, more]))
    return Parts(train, val, test, found.class_names)
