"""A true depthwise-separable net."""

from collections.abc import Sequence

from pydantic import validate_call
from torch import nn

from mnist_sweep.models.blocks import (
    GlobalAvgPool,
    NumClasses,
    Probability,
    Width,
    conv_unit,
    separable_unit,
)
from mnist_sweep.sets.shape import MNIST_SHAPE


class SeparableCnn(nn.Sequential):
    """A plain 3x3 stem, then blocks of depthwise-separable units; GAP; dropout; linear.

    stem: channels of the first convolution. widths: output channels of each separable unit, one
    list a block, with max-pooling between the blocks. dropout: before the linear layer.
    """

    @validate_call
    def __init__(
        self,
        stem: Width,
        widths: Sequence[Sequence[Width]],
        dropout: Probability,
        in_channels: Width = MNIST_SHAPE.channels,
        num_classes: NumClasses = MNIST_SHAPE.num_classes,
    ) -> None:
        super().__init__(conv_unit(in_channels, stem, padding="same", bias=False))
        channels = stem
        for block, block_widths in enumerate(widths):
            if block > 0:
                self.append(nn.MaxPool2d(2))
            for width in block_widths:
                self.append(separable_unit(channels, width))
                channels = width
        self.append(GlobalAvgPool())
        if dropout:
            self.append(nn.Dropout(dropout))
        self.append(nn.Linear(channels, num_classes))
