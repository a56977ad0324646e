"""The net of an architecture search: every key is a dimension that a sweep can vary."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, validate_call
from torch import nn

from mnist_sweep.config import Schema
from mnist_sweep.models.blocks import (
    ACTIVATIONS,
    Activation,
    GlobalAvgPool,
    GlobalMaxPool,
    ImageSize,
    NumClasses,
    Padding,
    Probability,
    ResidualUnit,
    Unit,
    Width,
    conv_unit,
    separable_unit,
)
from mnist_sweep.sets.shape import MNIST_SHAPE

Order = Literal["conv-bn-act", "conv-act-bn", "bn-act-conv"]
Head = Literal["gap", "gmp", "linear"]


class Stage(Schema):
    """Units of one width."""

    units: Annotated[int, Field(ge=1, le=6)]
    width: Annotated[int, Field(ge=1, le=512)]
    """Output channels of each unit."""
    kernel: Literal[3, 5]
    conv: Literal["plain", "separable"]
    """separable: a depthwise convolution, then a 1x1; with norm and activation each, no biases."""
    residual: bool
    """Whether each unit whose input and output shapes agree adds its input to its output."""


class LaterStage(Stage):
    """A stage that follows another."""

    pool: Literal["max", "avg", "stride", "none"]
    """How it is entered: by a 2x2 pooling, by a first convolution of stride 2, or as it is."""


class SpaceCnn(nn.Sequential):
    """Stages of convolution units, the later ones entered by a pooling; a head.

    The net's first convolution is always plain: a depthwise one over the image's only channel
    would be a single filter.

    stem_stride: of the net's first convolution. num_stages: the stages after them are not built.
    order: of each convolution, its batch norm and its activation. `bn-act-conv` leaves the image
    as it is and has one more norm and activation before the head (He et al. 2016, pre-activation).
    Plain convolutions have a bias in `conv-act-bn` only; in the two others a norm cancels it.
    padding: of every convolution that is not 1x1.
    dropout: probability, between the stages (after the pooling); 0: none.
    head: `gap` and `gmp` pool over all positions (average, maximum), `linear` averages down to
    2x2 positions and flattens them; a linear layer follows.

    Raises:
        ValueError: a convolution or pooling does not fit the map that it gets, or a stage is
            residual although no shapes can agree.
    """

    @validate_call
    def __init__(
        self,
        stem_stride: Annotated[int, Field(ge=1, le=2, strict=True)],
        num_stages: Annotated[int, Field(ge=1, le=4, strict=True)],
        stage1: Stage,
        stage2: LaterStage,
        stage3: LaterStage,
        stage4: LaterStage,
        order: Order,
        padding: Padding,
        activation: Activation,
        dropout: Probability,
        head: Head,
        in_channels: Width = MNIST_SHAPE.channels,
        num_classes: NumClasses = MNIST_SHAPE.num_classes,
        image_size: ImageSize = (MNIST_SHAPE.height, MNIST_SHAPE.width),
    ) -> None:
        stages = (stage1, stage2, stage3, stage4)[:num_stages]
        if padding == "valid":  # `same` at most halves 28 pixels four times
            _check_valid_padding(stages, stem_stride, min(image_size))
        super().__init__()
        words = order.replace("act", activation)
        plain_unit = partial(conv_unit, bias=order == "conv-act-bn")
        channels, stride = in_channels, stem_stride
        for stage in stages:
            if isinstance(stage, LaterStage):
                if stage.pool == "max":
                    self.append(nn.MaxPool2d(2))
                elif stage.pool == "avg":
                    self.append(nn.AvgPool2d(2))
                if dropout:
                    self.append(nn.Dropout(dropout))
                stride = 2 if stage.pool == "stride" else 1
            for _ in range(stage.units):
                is_stem = len(self) == 0
                make_unit = plain_unit if is_stem or stage.conv == "plain" else separable_unit
                unit = make_unit(
                    channels,
                    stage.width,
                    "conv" if is_stem and order == "bn-act-conv" else words,
                    kernel=stage.kernel,
                    padding=padding,
                    stride=stride,
                )
                if stage.residual and channels == stage.width and stride == 1:
                    unit = ResidualUnit(*unit)
                self.append(unit)
                channels, stride = stage.width, 1
        if order == "bn-act-conv":
            self.append(Unit(nn.BatchNorm2d(channels), ACTIVATIONS[activation]()))
        if head == "linear":
            self.append(nn.AdaptiveAvgPool2d(2))
            self.append(nn.Flatten())
            self.append(nn.Linear(4 * channels, num_classes))
        else:
            self.append(GlobalAvgPool() if head == "gap" else GlobalMaxPool())
            self.append(nn.Linear(channels, num_classes))


def _check_valid_padding(stages: Sequence[Stage], stem_stride: int, side: int) -> None:
    """side: the image's shorter one.

    Raises:
        ValueError: a stage is residual, or gets a map that is too small for it.
    """
    for number, stage in enumerate(stages, start=1):
        if stage.residual:
            raise ValueError(
                f"stage{number}.residual=true does not go with padding=valid, where an output is "
                f"smaller than its input; use padding=same or stage{number}.residual=false"
            )
    remedy = "use padding=same, smaller kernels, fewer units or fewer stages"
    stride = stem_stride
    for number, stage in enumerate(stages, start=1):
        key = f"stage{number}"
        if isinstance(stage, LaterStage):
            if stage.pool in ("max", "avg"):
                if side < 2:
                    raise ValueError(
                        f"{key}: 2x2 pooling (pool={stage.pool}) does not fit its {side}x{side} "
                        f"input; {remedy}"
                    )
                side //= 2
            stride = 2 if stage.pool == "stride" else 1
        for _ in range(stage.units):
            if side < stage.kernel:
                raise ValueError(
                    f"{key}: a {stage.kernel}x{stage.kernel} valid convolution does not fit its "
                    f"{side}x{side} input; {remedy}"
                )
            side, stride = (side - stage.kernel) // stride + 1, 1
