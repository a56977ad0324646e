"""SOAP: Adam in the eigenbasis of the gradients' second moments, for many small tensors at once."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, optim

EPS = 1e-8


class Soap(optim.Optimizer):
    """Source: Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam".

    Unlike there a vector is rotated too: biases and norms are a large part of a small net, and
    theirs are what its channels share out among themselves. All parameters of a group have one
    shape and are stepped together, as (number, rows, columns): a weight of shape (out, ...) has
    `out` rows, a vector has one.

    A group with `relative: true` takes steps of lr times the root mean square of each parameter,
    where that is below 1.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        basis_every: int,
        max_basis: int,
    ) -> None:
        """
        betas: of the mean gradient; of the second moments, those that make the basis included.
        basis_every: steps between two updates of the basis.
        max_basis: a side longer than this is not rotated.
        """
        defaults = {"lr": lr, "weight_decay": 0.0, "relative": False}
        super().__init__(groups, defaults)
        self.betas, self.basis_every, self.max_basis = betas, basis_every, max_basis

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """One step; every parameter must have its gradient."""
        for group in self.param_groups:
            parameters: list[Tensor] = group["params"]
            update = self._direction(parameters)
            if group["relative"]:
                weights = torch.stack([_as_matrix(parameter) for parameter in parameters])
                update *= weights.square().mean((1, 2), keepdim=True).sqrt().clamp(max=1)
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            steps = [step.view(parameters[0].shape) for step in update]
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])

    def _direction(self, parameters: list[Tensor]) -> Tensor:
        """(number, rows, columns), each entry about 1; zeros in the first step, which measures."""
        gradients = torch.stack([_as_matrix(parameter.grad) for parameter in parameters])
        # One entry a group, under its first parameter: torch wants state to be a parameter's.
        state = self.state[parameters[0]]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(gradients)
            state["square"] = torch.zeros_like(gradients)
        state["step"] += 1
        step: int = state["step"]
        mean_beta, square_beta = self.betas
        for side, outer in _outer_products(gradients, self.max_basis):
            if step == 1:
                state[side] = outer
                finite = outer.nan_to_num(0.0, 0.0, 0.0)  # eigh raises, where training diverges
                state[f"{side}_basis"] = torch.linalg.eigh(finite).eigenvectors.contiguous()
            else:
                state[side].lerp_(outer, 1 - square_beta)
            if step % self.basis_every == 0:
                self._turn(state, side)

        state["mean"].lerp_(gradients, 1 - mean_beta)
        rotated = _rotate(gradients, state)
        state["square"].mul_(square_beta).addcmul_(rotated, rotated, value=1 - square_beta)
        if step == 1:
            return torch.zeros_like(gradients)
        scale = (state["square"] / (1 - square_beta**step)).sqrt_().add_(EPS)
        return _rotate_back(_rotate(state["mean"], state).div_(scale), state).div_(
            1 - mean_beta**step
        )

    def _turn(self, state: dict[str, Any], side: str) -> None:
        """One step of orthogonal iteration, the largest directions first, `square` with them."""
        basis = state[f"{side}_basis"]
        image = state[side] @ basis
        order = (image * basis).sum(1).argsort(descending=True)
        image = image.gather(2, order.unsqueeze(1).expand_as(image))
        state[f"{side}_basis"] = torch.linalg.qr(image).Q
        square = state["square"]
        index = order.unsqueeze(2 if side == "rows" else 1).expand_as(square)
        state["square"] = square.gather(1 if side == "rows" else 2, index)


def _as_matrix(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.reshape(tensor.shape[0] if tensor.ndim > 1 else 1, -1)


def _outer_products(matrices: Tensor, max_basis: int) -> list[tuple[str, Tensor]]:
    """Second moments over each side that has a basis."""
    rows, columns = matrices.shape[1:]
    outer = []
    if 1 < rows <= max_basis:
        outer.append(("rows", matrices @ matrices.mT))
    if 1 < columns <= max_basis:
        outer.append(("columns", matrices.mT @ matrices))
    return outer


def _rotate(matrices: Tensor, state: dict[str, Any]) -> Tensor:
    """A new tensor: `matrices` in the basis."""
    if "rows" in state:
        matrices = state["rows_basis"].mT @ matrices
    if "columns" in state:
        matrices = matrices @ state["columns_basis"]
    return matrices


def _rotate_back(matrices: Tensor, state: dict[str, Any]) -> Tensor:
    if "rows" in state:
        matrices = state["rows_basis"] @ matrices
    if "columns" in state:
        matrices = matrices @ state["columns_basis"].mT
    return matrices
