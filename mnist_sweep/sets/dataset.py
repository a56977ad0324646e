"""A data set on a device: images chosen by index, and how they are normalised."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mnist_sweep.sets.shape import DataShape


@dataclass(frozen=True)
class Split:
    """Images of a set, chosen by index.

    images: (N, C, H, W) uint8, labels: (N,) int64, both of the whole file; index: (n,) int64.
    """

    images: Tensor
    labels: Tensor
    index: Tensor

    @classmethod
    def whole(cls, images: Tensor, labels: Tensor) -> "Split":
        return cls(images, labels, torch.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) positions in this split -> (B, C, H, W) float images in 0..1, (B,) labels."""
        chosen = self.index[positions]
        return self.images[chosen].float().div_(255), self.labels[chosen]

    def first(self, limit: int | None) -> "Split":
        return self if limit is None else replace(self, index=self.index[:limit])

    def at(self, positions: Tensor) -> "Split":
        """(n,) positions in this split."""
        return replace(self, index=self.index[positions])

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device), self.index.to(device))


@dataclass(frozen=True)
class Dataset:
    """val: None unless one is held out."""

    name: str
    """Of the set really used; of a user's own one with a digest of its content."""
    train: Split
    val: Split | None
    test: Split
    mean: tuple[float, ...]
    """Of each channel, over the training images' pixels scaled to 0..1."""
    std: tuple[float, ...]
    class_names: tuple[str, ...]

    @property
    def shape(self) -> DataShape:
        channels, height, width = self.train.images.shape[1:]
        return DataShape(channels, height, width, len(self.class_names))

    def limited(
        self, train: int | None = None, val: int | None = None, test: int | None = None
    ) -> "Dataset":
        """The first so many images of the training, validation and test sets; None for all."""
        return replace(
            self,
            train=self.train.first(train),
            val=None if self.val is None else self.val.first(val),
            test=self.test.first(test),
        )

    def to(self, device: torch.device) -> "Dataset":
        val = None if self.val is None else self.val.to(device)
        return replace(self, train=self.train.to(device), val=val, test=self.test.to(device))

    def normalise(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in 0..1 -> zero mean, unit variance over the training set; in place."""
        if len(self.mean) == 1:
            return images.sub_(self.mean[0]).div_(self.std[0])
        mean, std = (images.new_tensor(of).view(-1, 1, 1) for of in (self.mean, self.std))
        return images.sub_(mean).div_(std)
