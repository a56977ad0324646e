"""What a net costs, without training it: parameters, multiply-accumulates, receptive field."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mnist_sweep.config import BudgetConfig
from mnist_sweep.errors import BudgetError, UserError, shortened
from mnist_sweep.models.blocks import GlobalAvgPool, GlobalMaxPool, ResidualUnit, Unit
from mnist_sweep.sets.shape import MNIST_SHAPE, DataShape


@dataclass(frozen=True)
class LayerProfile:
    """One row of the layer table; shape is the output's, without the batch."""

    label: str
    shape: tuple[int, ...]
    receptive_field: int
    """Pixels of the input, along one side, that one output value can see (padding included)."""
    num_params: int
    macs: int


@dataclass(frozen=True)
class Profile:
    layers: tuple[LayerProfile, ...]
    num_params: int
    macs: int
    """Multiply-accumulates of convolutions and linear layers for one image; biases not counted."""
    receptive_field: int
    image: tuple[int, int, int] = MNIST_SHAPE.image
    """(C, H, W) of what it was shown."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaves = Unit | GlobalAvgPool | GlobalMaxPool
        return isinstance(m, leaves) or super().is_leaf_module(m, module_qualified_name)


class _Profiler(fx.Interpreter):
    """Runs a traced net on one image and notes each module's costs.

    field: for each node, (receptive field, jump): how many input pixels a value sees, and how many
    lie between neighbouring values. Where branches join, the larger of each holds.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.field: dict[fx.Node, tuple[int, int]] = {}
        self.layers: list[LayerProfile] = []

    def run_node(self, n: fx.Node) -> Any:
        before = [self.field[node] for node in n.all_input_nodes] or [(1, 1)]
        self.here = (max(field for field, _ in before), max(jump for _, jump in before))
        result = super().run_node(n)
        self.field[n] = self.here
        return result

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        layers = list(module) if isinstance(module, Unit) else [module]
        value: Tensor = args[0]
        macs = 0
        for layer in layers:
            self.here = _widen(layer, value, *self.here)
            value = layer(value)
            macs += _macs(layer, value)
        label = ", ".join(map(describe, layers))
        if isinstance(module, ResidualUnit):  # of the two ways, the layers' sees further
            value = args[0] + value
            label += ", add input"
        num_params = count_params(module)
        self.layers.append(
            LayerProfile(label, tuple(value.shape[1:]), self.here[0], num_params, macs)
        )
        return value


def count_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def profile(model: nn.Module, shape: DataShape = MNIST_SHAPE) -> Profile:
    """Costs of one (C, H, W) image's forward pass on a CPU; leaves the model as it was.

    A forward method must not branch on values, and pooling must be a module, not a function.

    Raises:
        UserError: a layer does not fit the image, or what the layers before made of it.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        profiler = _Profiler(fx.GraphModule(model, _Tracer().trace(model)))
        with torch.no_grad():
            profiler.run(torch.zeros(1, *shape.image))
    except RuntimeError as error:
        coloured = "" if shape.channels == 1 else f" and {shape.channels} channels"
        image = f"{shape.height}x{shape.width}{coloured}"
        advice = "; its class may take in_channels and image_size" if shape != MNIST_SHAPE else ""
        raise UserError(f"model: takes no image of {image}{advice} ({shortened(error)})") from error
    finally:
        for module, training in modes.items():
            module.training = training
    return Profile(
        layers=tuple(profiler.layers),
        num_params=count_params(model),
        macs=sum(layer.macs for layer in profiler.layers),
        receptive_field=max(layer.receptive_field for layer in profiler.layers),
        image=shape.image,
    )


def check_outputs(costs: Profile, shape: DataShape) -> None:
    """
    Raises:
        UserError: the net does not give a logit for each class.
    """
    given = costs.layers[-1].shape
    if given != (shape.num_classes,):
        raise UserError(
            f"model: gives {'x'.join(map(str, given))} values, and the data have "
            f"{shape.num_classes} classes: its class may take num_classes"
        )


def check_budget(costs: Profile, budget: BudgetConfig) -> None:
    """
    Raises:
        BudgetError: the net has more parameters or multiply-accumulates than allowed, or
            fewer parameters.
    """
    check_size(costs.num_params, budget)
    _check_limit("max_macs", "multiply-accumulates", costs.macs, budget.max_macs)


def check_size(num_params: int, budget: BudgetConfig) -> None:
    """
    Raises:
        BudgetError: a net has more parameters than allowed, or fewer.
    """
    least = budget.min_params
    if least is not None and num_params < least:
        raise BudgetError(
            f"the model has {num_params:,} parameters, under budget.min_params={least}; "
            f"nothing was trained. Choose a larger model or lower budget.min_params"
        )
    _check_limit("max_params", "parameters", num_params, budget.max_params)


def _check_limit(key: str, what: str, cost: int, limit: int | None) -> None:
    if limit is not None and cost > limit:
        raise BudgetError(
            f"the model has {cost:,} {what}, over budget.{key}={limit}; nothing was trained. "
            f"Choose a smaller model or raise the limit: budget.{key}={cost}"
        )


def _widen(layer: nn.Module, value: Tensor, field: int, jump: int) -> tuple[int, int]:
    """Receptive field and jump after `layer`, whose input is `value` (1, C, H, W)."""
    side = value.shape[-1] if value.ndim == 4 else 1
    match layer:
        case nn.Conv2d() | nn.MaxPool2d():
            kernel = _side(layer.dilation) * (_side(layer.kernel_size) - 1) + 1
            stride = _side(layer.stride)
        case nn.AvgPool2d():
            kernel, stride = _side(layer.kernel_size), _side(layer.stride)
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
            windows = _side(layer.output_size)  # overlap by one pixel where the side is uneven
            kernel, stride = -(-side // windows), side // windows
        case GlobalAvgPool() | GlobalMaxPool() | nn.Flatten():
            kernel = stride = side
        case _:
            kernel = stride = 1
    return field + (kernel - 1) * jump, jump * stride


def _side(size: Any) -> int:
    """The longer side of what torch gives as a number or a pair."""
    return int(size if isinstance(size, int) else max(size))


def _macs(layer: nn.Module, output: Tensor) -> int:
    match layer:
        case nn.Conv2d():
            side_h, side_w = layer.kernel_size
            return output.numel() * side_h * side_w * layer.in_channels // layer.groups
        case nn.Linear():
            return output.numel() * layer.in_features
    return 0


def describe(layer: nn.Module) -> str:
    """A layer in the words of the field: `conv 1-8 3x3 valid`, `BN`, `maxpool 2`."""
    words: dict[type[nn.Module], Callable[[Any], str]] = {
        nn.Conv2d: _describe_conv,
        nn.BatchNorm2d: lambda _: "BN",
        nn.MaxPool2d: lambda pool: f"maxpool {pool.kernel_size}",
        nn.AvgPool2d: lambda pool: f"avgpool {pool.kernel_size}",
        nn.Dropout: lambda dropout: f"dropout {dropout.p:g}",
        nn.Dropout2d: lambda dropout: f"dropout2d {dropout.p:g}",
        nn.Linear: lambda linear: f"linear {linear.in_features}-{linear.out_features}",
        nn.Flatten: lambda _: "flatten",
        nn.AdaptiveAvgPool2d: lambda pool: f"adaptive avgpool {pool.output_size}",
        GlobalAvgPool: lambda _: "global avgpool",
        GlobalMaxPool: lambda _: "global maxpool",
    }
    return words.get(type(layer), lambda other: type(other).__name__)(layer)


def _describe_conv(conv: nn.Conv2d) -> str:
    side = "x".join(map(str, conv.kernel_size))
    depthwise = "depthwise " if conv.groups == conv.in_channels > 1 else ""
    padding = ""
    if conv.kernel_size != (1, 1):
        padding = " valid" if conv.padding == (0, 0) else " same"
    stride = f" stride {conv.stride[0]}" if conv.stride[0] > 1 else ""
    return f"{depthwise}conv {conv.in_channels}-{conv.out_channels} {side}{padding}{stride}"
