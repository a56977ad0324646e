"""Sets of torchvision's beside those in MNIST's layout; it fetches them and checks each by hash."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mnist_sweep.errors import UserError
from mnist_sweep.sets.own import OwnSet, Part, numbered
from mnist_sweep.sets.shape import MNIST_SHAPE, DataShape

SHAPES = {
    "qmnist": MNIST_SHAPE,
    "usps": DataShape(1, 16, 16, 10),
    "svhn": DataShape(3, 32, 32, 10),
    "cifar10": DataShape(3, 32, 32, 10),
}
CLASSES_OF_EMNIST = {
    **{"byclass": 62, "bymerge": 47, "balanced": 47},
    **{"letters": 26, "digits": 10, "mnist": 10},
}

NOT_A_CLASS = "N/A"
"""Label 0 of EMNIST's letters, which no image has."""


def read_torchvision(name: str, root: str, split: str | None, *, download: bool) -> OwnSet:
    """
    Raises:
        UserError: it is not there, or damaged.
        OSError, RuntimeError: it cannot be downloaded.
    """
    from torchvision import datasets

    def make(*, train: bool) -> Any:
        match name:
            case "emnist":
                return datasets.EMNIST(root, split=split, train=train, download=download)
            case "qmnist":
                what = "train" if train else "test10k"
                return datasets.QMNIST(root, what=what, download=download)
            case "usps":
                return datasets.USPS(root, train=train, download=download)
            case "svhn":
                return datasets.SVHN(root, "train" if train else "test", download=download)
            case _:
                return datasets.CIFAR10(root, train=train, download=download)

    try:
        found, test = make(train=True), make(train=False)
    except (OSError, RuntimeError) as error:
        if download:
            raise
        reason = " ".join(str(error).split("You can")[0].split())
        raise UserError(f"data={name}: is not in data.root={root} ({reason})") from error
    names = tuple(map(str, getattr(found, "classes", ())))
    shift = int(names[:1] == (NOT_A_CLASS,))
    train_part, test_part = (_part(name, part, shift) for part in (found, test))
    if name in ("qmnist", "usps", "svhn"):
        names = numbered(10)
    return OwnSet(train_part, None, test_part, tuple(_short(names[shift:])))


def torchvision_shape(name: str, split: str | None) -> DataShape:
    """As published, so that a net can be counted before the set is there."""
    if name in SHAPES:
        return SHAPES[name]
    return replace(MNIST_SHAPE, num_classes=CLASSES_OF_EMNIST[split or "balanced"])


def _short(names: Sequence[str]) -> list[str]:
    """`3 - three` is 3."""
    return [name.partition(" - ")[0] for name in names]


def _part(name: str, part: Any, shift: int) -> Part:
    images = torch.as_tensor(np.asarray(part.data))
    labels = torch.as_tensor(np.asarray(part.labels if name == "svhn" else part.targets)).long()
    if name == "qmnist":
        labels = labels[:, 0]  # of eight facts on each digit
    if name == "emnist":
        images = images.mT.contiguous()  # its files have rows for columns
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif name == "cifar10":
        images = images.permute(0, 3, 1, 2)
    return Part(images, labels - shift)
