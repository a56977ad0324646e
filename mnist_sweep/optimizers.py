"""Optimizers behind one interface: what to decay, and torch's own fused step where it has one.

Published recipes decay biases and norms too (`decay_bias_and_norm: true`); ours do not.
"""

import inspect
from abc import abstractmethod
from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from mnist_sweep.config import Count, Schema
from mnist_sweep.soap import Soap as SoapOptimizer

Fraction = Annotated[float, Field(ge=0, lt=1)]
ParamGroup = dict[str, Any]


class Optimizer(Schema):
    lr: Annotated[float, Field(gt=0)]
    """Learning rate at the top of the schedule."""
    weight_decay: Annotated[float, Field(ge=0)]
    """As an L2 term of the loss (sgd, adam, rmsprop) or decoupled from it (adamw, muon, soap)."""
    decay_bias_and_norm: bool

    @abstractmethod
    def build(self, model: nn.Module) -> "Stepper":
        """What steps on the model's parameters; each group's `initial_lr` is set."""

    def groups(self, parameters: Iterable[nn.Parameter]) -> list[ParamGroup]:
        """Parameters with decay, and parameters without."""
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for parameter in parameters:
            keep = self.decay_bias_and_norm or parameter.ndim > 1
            (decayed if keep else plain).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        return [{**group, "initial_lr": self.lr} for group in groups if group["params"]]


class Sgd(Optimizer):
    momentum: Fraction
    nesterov: bool

    def build(self, model: nn.Module) -> "Stepper":
        sgd = optim.SGD(
            self.groups(model.parameters()),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            fused=True,
        )
        return Stepper(sgd)


class Adam(Optimizer):
    betas: tuple[Fraction, Fraction] = Field(strict=False)
    eps: Annotated[float, Field(gt=0)]

    def build(self, model: nn.Module) -> "Stepper":
        groups = self.groups(model.parameters())
        return Stepper(optim.Adam(groups, self.lr, self.betas, self.eps, fused=True))


class AdamW(Adam):
    def build(self, model: nn.Module) -> "Stepper":
        groups = self.groups(model.parameters())
        return Stepper(optim.AdamW(groups, self.lr, self.betas, self.eps, fused=True))


class RmsProp(Optimizer):
    alpha: Fraction
    """Smoothing of the squared gradients."""
    momentum: Fraction
    eps: Annotated[float, Field(gt=0)]

    def build(self, model: nn.Module) -> "Stepper":
        rmsprop = optim.RMSprop(
            self.groups(model.parameters()),
            lr=self.lr,
            alpha=self.alpha,
            momentum=self.momentum,
            eps=self.eps,
            foreach=True,
        )
        return Stepper(rmsprop)


class Muon(Optimizer):
    """Muon on the convolutions but the first, AdamW on everything else.

    Source: Jordan et al. 2024, as torch has it (`optim.Muon`), with its step sized to match
    AdamW's RMS, so that one learning rate serves both.
    """

    momentum: Fraction
    betas: tuple[Fraction, Fraction] = Field(strict=False)
    """Of the AdamW part."""

    def build(self, model: nn.Module) -> "Stepper":
        filters = [p for p in model.parameters() if p.ndim == 4 and p.shape[1] > 1]
        chosen = {id(parameter) for parameter in filters}
        others = [p for p in model.parameters() if id(p) not in chosen]
        adamw = optim.AdamW(self.groups(others), self.lr, self.betas, fused=True)
        return MuonStepper(adamw, filters, self) if filters else Stepper(adamw)


class Soap(Optimizer):
    """SOAP: Adam in the basis in which a layer's gradients are uncorrelated (`mnist_sweep.soap`).

    Its steps are large. A weight before a batch norm stands that, since its scale means nothing
    and grows until the steps are small beside it; other weights take steps relative to their size.
    """

    betas: tuple[Fraction, Fraction] = Field(strict=False)
    """Of the mean gradient, and of the second moments."""
    basis_every: Count
    """Steps between two updates of the basis; later on a hundredth of the steps so far."""
    max_basis: Count
    """A side of a weight longer than this is not rotated."""
    head_lr: Annotated[float, Field(gt=0)]
    """Factor on lr for the last layer's weight, which pooled features want large."""

    def build(self, model: nn.Module) -> "Stepper":
        weights, before_norm = _weights(model)
        head = weights[-1] if weights else None
        alike: dict[Any, ParamGroup] = {}
        for group in self.groups(model.parameters()):
            for parameter in group["params"]:
                relative = parameter.ndim > 1 and id(parameter) not in before_norm
                lr = self.lr * (self.head_lr if parameter is head else 1)
                key = (parameter.shape, group["weight_decay"], relative, lr)
                common = {**group, "params": [], "relative": relative, "lr": lr, "initial_lr": lr}
                alike.setdefault(key, common)["params"].append(parameter)
        soap = SoapOptimizer(alike.values(), self.lr, self.betas, self.basis_every, self.max_basis)
        return Stepper(soap)


class Stepper:
    """One or more torch optimizers that step together.

    It calls their plain `step`: the decorated one imports torch.compile (see `_keep_compiler_out`).
    """

    def __init__(self, *parts: optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[ParamGroup]:
        return list(chain.from_iterable(part.param_groups for part in self.parts))

    @torch.no_grad()
    def step(self) -> None:
        for part in self.parts:
            inspect.unwrap(type(part).step)(part)

    def zero_grad(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, part_state in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(part_state)


class MuonStepper(Stepper):
    """torch's Muon on (out, in * height * width) views of the filters, beside an AdamW.

    torch's takes matrices only. A view shares its filter's memory, whose order of columns (which
    channels_last changes) does not matter to Muon: orthogonalising commutes with permuting them.
    """

    def __init__(self, adamw: optim.Optimizer, filters: list[nn.Parameter], spec: Muon) -> None:
        self.filters = filters
        self.matrices = [nn.Parameter(_as_matrix(parameter.detach())) for parameter in filters]
        muon = optim.Muon(
            [{"params": self.matrices, "initial_lr": spec.lr}],
            lr=spec.lr,
            weight_decay=spec.weight_decay,
            momentum=spec.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        super().__init__(adamw, muon)

    @torch.no_grad()
    def step(self) -> None:
        for matrix, parameter in zip(self.matrices, self.filters, strict=True):
            assert parameter.grad is not None
            same_order = torch.empty_like(parameter).copy_(parameter.grad)
            matrix.grad = _as_matrix(same_order)
        super().step()

    def zero_grad(self) -> None:
        super().zero_grad()
        for parameter in self.filters:
            parameter.grad = None


def _weights(model: nn.Module) -> tuple[list[nn.Parameter], set[int]]:
    """The layers' weights in order, and the ids of those that a batch norm comes after."""
    weights: list[nn.Parameter] = []
    before_norm: set[int] = set()
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and weights:
            before_norm.add(id(weights[-1]))
        elif isinstance(weight, nn.Parameter) and weight.ndim > 1:
            weights.append(weight)
    return weights, before_norm


def _as_matrix(weights: Tensor) -> Tensor:
    """A dense (out, ...) tensor's memory as (out, rest), whichever layout the rest has."""
    rows = weights.shape[0]
    return weights.as_strided((rows, weights.numel() // rows), (weights.numel() // rows, 1))


def _keep_compiler_out() -> None:
    """Stops torch's optimizers from importing torch.compile, which nothing here uses.

    The first call of some methods imports it only to wrap them so that the compiler leaves them
    alone: 160 MB and about 2 s for every process. torch keeps the wrapped method in an attribute;
    here the method itself is put there. Should torch do without that attribute, so does this.
    """
    for method in vars(optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if inspect.isfunction(plain):
            vars(plain).setdefault("__dynamo_disable", plain)


_keep_compiler_out()
