"""The reference systems' nets: four families, nine parameterisations (see conf/model).

Of other images than MNIST's the first layer has other inputs, and of other classes the last one
other outputs; nothing else changes.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, validate_call
from torch import nn

from mnist_sweep.models.blocks import (
    GlobalAvgPool,
    ImageSize,
    NumClasses,
    Padding,
    Probability,
    Switch,
    Width,
    conv_unit,
)
from mnist_sweep.sets.shape import MNIST_SHAPE


class BlockCnn(nn.Sequential):
    """Blocks of conv-BN-ReLU units with max-pooling and dropout between them; GAP; linear.

    Called "depthwise separable" (`ds_cnn`) by its authors, but these are plain convolutions;
    `separable_cnn` is the true thing.

    widths: output channels of each unit, one list a block; the last block (may be empty) is
    followed by the global average pool, each other block by max-pooling and dropout.
    dropout: one probability for each max-pooling.
    padding: of every 3x3 convolution.
    """

    @validate_call
    def __init__(
        self,
        widths: Annotated[Sequence[Sequence[Width]], Field(min_length=1)],
        dropout: Sequence[Probability],
        padding: Padding,
        in_channels: Width = MNIST_SHAPE.channels,
        num_classes: NumClasses = MNIST_SHAPE.num_classes,
    ) -> None:
        if len(dropout) != len(widths) - 1:
            raise ValueError(
                f"dropout has {len(dropout)} values; the {len(widths)} blocks of widths need "
                f"{len(widths) - 1}"
            )
        super().__init__()
        channels = in_channels
        for block, block_widths in enumerate(widths):
            if block > 0:
                self.append(nn.MaxPool2d(2))
                self.append(nn.Dropout(dropout[block - 1]))
            for width in block_widths:
                self.append(conv_unit(channels, width, padding=padding))
                channels = width
        self.append(GlobalAvgPool())
        self.append(nn.Linear(channels, num_classes))


class RfCnn(nn.Sequential):
    """conv-ReLU-BN units, "same", two max-pools, a 1x1 bottleneck; receptive field 24 (48 at GAP).

    widths: channels of the 28x28, 14x14 and 7x7 stages.
    dropout2d: probability of dropping a channel after each max-pool (0: none).
    bottleneck: whether a 1x1 unit comes down to the last width before the last 3x3 unit.
    """

    @validate_call
    def __init__(
        self,
        widths: tuple[Width, Width, Width],
        dropout2d: Probability,
        bottleneck: Switch,
        in_channels: Width = MNIST_SHAPE.channels,
        num_classes: NumClasses = MNIST_SHAPE.num_classes,
    ) -> None:
        super().__init__()
        order = "conv-relu-bn"
        channels = in_channels
        for width in widths[:2]:
            self.append(conv_unit(channels, width, order, padding="same"))
            self.append(conv_unit(width, width, order, padding="same"))
            self.append(nn.MaxPool2d(2))
            if dropout2d:
                self.append(nn.Dropout2d(dropout2d))
            channels = width
        if bottleneck:
            self.append(conv_unit(channels, widths[2], order, kernel=1))
            channels = widths[2]
        self.append(conv_unit(channels, widths[2], order, padding="same"))
        self.append(GlobalAvgPool())
        self.append(nn.Linear(widths[2], num_classes))


class PointwiseCnn(nn.Sequential):
    """3x3 convolutions with ReLU and 1x1 convolutions without, no BN, no dropout, flat head.

    widths: channels of the four 3x3 convolutions. squeeze: channels of the first 1x1; the two
    others keep theirs.
    """

    @validate_call
    def __init__(
        self,
        widths: tuple[Width, Width, Width, Width],
        squeeze: Width,
        in_channels: Width = MNIST_SHAPE.channels,
        num_classes: NumClasses = MNIST_SHAPE.num_classes,
        image_size: ImageSize = (MNIST_SHAPE.height, MNIST_SHAPE.width),
    ) -> None:
        def conv3x3(in_channels: int, out_channels: int) -> nn.Module:
            return conv_unit(in_channels, out_channels, "conv-relu", padding="same")

        def conv1x1(in_channels: int, out_channels: int) -> nn.Module:
            return conv_unit(in_channels, out_channels, "conv", kernel=1)

        a, b, c, d = widths
        positions = (image_size[0] // 4) * (image_size[1] // 4)
        super().__init__(
            conv3x3(in_channels, a),
            nn.MaxPool2d(2),
            conv3x3(a, b),
            nn.MaxPool2d(2),
            conv1x1(b, squeeze),
            conv3x3(squeeze, c),
            conv1x1(c, c),
            conv3x3(c, d),
            conv1x1(d, d),
            nn.Flatten(),
            nn.Linear(d * positions, num_classes),
        )


class TransitionCnn(nn.Sequential):
    """conv-ReLU-BN-dropout2d units, "valid", around a max-pool + 1x1 transition; GAP; linear.

    widths: channels of the three units, of the transition, of the two units after it, and of the
    last convolution (which has neither BN nor dropout).
    Convolutions start Kaiming-normal (fan out), biases at 0, the linear weights at N(0, 0.01).
    """

    @validate_call
    def __init__(
        self,
        widths: tuple[Width, Width, Width, Width, Width, Width, Width],
        dropout2d: Probability,
        in_channels: Width = MNIST_SHAPE.channels,
        num_classes: NumClasses = MNIST_SHAPE.num_classes,
    ) -> None:
        def unit(in_channels: int, out_channels: int) -> nn.Module:
            return conv_unit(in_channels, out_channels, "conv-relu-bn", dropout2d=dropout2d)

        a, b, c, transition, d, e, f = widths
        super().__init__(
            unit(in_channels, a),
            unit(a, b),
            unit(b, c),
            nn.MaxPool2d(2),
            conv_unit(c, transition, "conv-relu", kernel=1),
            unit(transition, d),
            unit(d, e),
            conv_unit(e, f, "conv-relu"),
            GlobalAvgPool(),
            nn.Linear(f, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
