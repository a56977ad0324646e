"""The pieces that every net here is made of."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "hardswish"]
Padding = Literal["valid", "same"]
Width = Annotated[int, Field(ge=1, le=4096, strict=True)]
Probability = Annotated[float, Field(ge=0, lt=1, strict=True)]
Switch = Annotated[bool, Field(strict=True)]
NumClasses = Annotated[int, Field(ge=2, le=1000, strict=True)]
Side = Annotated[int, Field(ge=4, le=1024, strict=True)]
ImageSize = tuple[Side, Side]
"""Height and width in pixels."""

# In place where the backward pass needs only the output.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}


class Unit(nn.Sequential):
    """A chain of layers shown as one row of the layer table: a convolution and what belongs to it.

    Its layers run strictly one after another, which is what `profile` relies on.
    """


class ResidualUnit(Unit):
    """(B, C, H, W) -> the same shape, which its layers must keep: the input plus their output."""

    def forward(self, input: Tensor) -> Tensor:
        output = input
        for layer in self:
            output = layer(output)
        return input + output


def conv_unit(
    in_channels: int,
    out_channels: int,
    order: str = "conv-bn-relu",
    *,
    kernel: int = 3,
    padding: Padding = "valid",
    stride: int = 1,
    dropout2d: float = 0.0,
    bias: bool = True,
    groups: int = 1,
) -> Unit:
    """(B, in_channels, H, W) -> (B, out_channels, H', W').

    order: the layers and their order, as words joined by '-': conv, bn, an activation.
    kernel: side in pixels. padding: `valid` (none) or `same` (kernel // 2, odd kernels).
    stride: of the convolution, in pixels.
    dropout2d: probability of dropping a channel, after the rest.
    """
    unit = Unit()
    channels = in_channels
    for word in order.split("-"):
        if word == "conv":
            pad = kernel // 2 if padding == "same" else 0
            unit.append(
                nn.Conv2d(in_channels, out_channels, kernel, stride, pad, bias=bias, groups=groups)
            )
            channels = out_channels
        elif word == "bn":
            unit.append(nn.BatchNorm2d(channels))
        elif word in ACTIVATIONS:
            unit.append(ACTIVATIONS[word]())
        else:
            words = ", ".join(["conv", "bn", *ACTIVATIONS])
            raise ValueError(f"order={order}: '{word}' is none of {words}")
    if dropout2d:
        unit.append(nn.Dropout2d(dropout2d))
    return unit


def separable_unit(
    in_channels: int,
    out_channels: int,
    order: str = "conv-bn-relu",
    *,
    kernel: int = 3,
    padding: Padding = "same",
    stride: int = 1,
) -> Unit:
    """(B, in_channels, H, W) -> (B, out_channels, H', W'): a depthwise, then a 1x1 convolution.

    Each is a `conv_unit` of the order given, without biases: a batch norm follows each in the
    original (Howard et al. 2017, MobileNets). kernel, padding, stride: of the depthwise one.
    """
    depthwise = conv_unit(
        in_channels,
        in_channels,
        order,
        kernel=kernel,
        padding=padding,
        stride=stride,
        bias=False,
        groups=in_channels,
    )
    pointwise = conv_unit(in_channels, out_channels, order, kernel=1, bias=False)
    return Unit(*depthwise, *pointwise)


class GlobalAvgPool(nn.Module):
    """(B, C, H, W) -> (B, C)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class GlobalMaxPool(nn.Module):
    """(B, C, H, W) -> (B, C)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.amax((2, 3))
