"""The pieces that every net here is made of."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

Padding = Literal["valid", "same"]
Width = Annotated[int, Field(ge=1, le=4096, strict=True)]
Probability = Annotated[float, Field(ge=0, lt=1, strict=True)]
Switch = Annotated[bool, Field(strict=True)]


class Unit(nn.Sequential):
    """A chain of layers shown as one row of the layer table: a convolution and what belongs to it.

    Its layers run strictly one after another, which is what `profile` relies on.
    """


def conv_unit(
    in_channels: int,
    out_channels: int,
    order: str = "conv-bn-relu",
    *,
    kernel: int = 3,
    padding: Padding = "valid",
    dropout2d: float = 0.0,
    bias: bool = True,
    groups: int = 1,
) -> Unit:
    """(B, in_channels, H, W) -> (B, out_channels, H', W').

    order: the layers and their order, as words joined by '-': conv, bn, relu.
    kernel: side in pixels. padding: `valid` (none) or `same` (kernel // 2, odd kernels).
    dropout2d: probability of dropping a channel, after the rest.
    """
    unit = Unit()
    channels = in_channels
    for word in order.split("-"):
        if word == "conv":
            pad = kernel // 2 if padding == "same" else 0
            unit.append(
                nn.Conv2d(in_channels, out_channels, kernel, padding=pad, bias=bias, groups=groups)
            )
            channels = out_channels
        elif word == "bn":
            unit.append(nn.BatchNorm2d(channels))
        elif word == "relu":
            unit.append(nn.ReLU(inplace=True))
        else:
            raise ValueError(f"order={order}: '{word}' is none of conv, bn, relu")
    if dropout2d:
        unit.append(nn.Dropout2d(dropout2d))
    return unit


def separable_unit(in_channels: int, out_channels: int) -> Unit:
    """(B, in_channels, H, W) -> (B, out_channels, H, W): depthwise, BN, ReLU, pointwise, BN, ReLU.

    No biases: a batch norm follows each convolution. Source: Howard et al. 2017 (MobileNets).
    """
    depthwise = conv_unit(in_channels, in_channels, padding="same", bias=False, groups=in_channels)
    pointwise = conv_unit(in_channels, out_channels, kernel=1, bias=False)
    return Unit(*depthwise, *pointwise)


class GlobalAvgPool(nn.Module):
    """(B, C, H, W) -> (B, C)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))
