"""SOAP: Adam in the eigenbasis of the gradients' second moments, for many small tensors at once."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, optim

EPS = 1e-8
RIDGE = 1e-4
"""Of the mean second moment, added to all of them when the basis is turned."""
SETTLING = 100
"""A hundredth of the steps so far may pass between two updates of a basis, which settles."""


class Soap(optim.Optimizer):
    """Source: Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam".

    All parameters of a group have one shape and are stepped together, as (number, rows, columns): a
    weight of shape (out, ...) has `out` rows, a vector has one.

    It departs from the authors' code (nikhilvyas/SOAP) in nine ways:

    - A basis starts as one step of orthogonal iteration on the first gradient's moments; theirs as
      their eigenvectors.
    - The first gradient has the whole weight in the moments; in theirs 1 - beta, as any later one.
    - The first gradient, on which neither takes a step, counts in Adam's averages; not in theirs.
    - The directions of a basis keep their places; theirs are sorted by their moments anew.
    - A basis is updated before the step that it is due at; theirs after it.
    - RIDGE is added to the moments.
    - Updates of a basis become rarer (SETTLING); theirs keep their distance.
    - A vector is rotated too: biases and norms are a large part of a small net, and theirs are what
      its channels share out among themselves. Theirs leaves vectors to Adam, by default.
    - A weight of more than two dimensions is a matrix; theirs has a basis for each dimension, by
      default.

    What each is worth, in points of val_acc: benchmarks/soap_departures.py, whose optimizer follows
    their code to 5e-4 in 40 steps where it undoes all nine. One epoch of the default recipe with
    `model=ds_cnn_v2` and seeds 0, 1, 2 gives 96.93 ± 0.09 %. With all nine undone it is 0.27 ± 0.16
    less, at each seed less; with vectors left to Adam 0.15 ± 0.17, with bases of four dimensions
    0.15 ± 0.14 less, at each seed less. Each of the others, undone alone, moves it by 0.02 to 0.11,
    up at one seed and down at another: no more than the seed does. `model=ds_cnn`, seeds 0
    and 1: 99.21 and 99.09 %; with all undone 99.01 and 99.02 %. So theirs is no option here.

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
        basis_every: steps between two updates of the basis at first (see SETTLING).
        max_basis: a side longer than this is not rotated.
        """
        defaults = {"lr": lr, "weight_decay": 0.0, "relative": False}
        super().__init__(groups, defaults)
        self.betas, self.basis_every, self.max_basis = betas, basis_every, max_basis

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # takes no closure
        """One step; a parameter without a gradient stays as it is."""
        for group in self.param_groups:
            parameters: list[Tensor] = group["params"]
            given = [parameter.grad is not None for parameter in parameters]
            if not any(given):
                continue
            gradients = torch.stack([_gradient(parameter) for parameter in parameters])
            # One entry a group, under its first parameter: torch wants state to be a parameter's.
            state = self.state[parameters[0]]
            if not state:
                self._start(state, gradients)
            update, size = self._direction(state, gradients)
            if group["relative"]:
                weights = torch.stack([_as_matrix(parameter) for parameter in parameters])
                update *= weights.square().mean((1, 2), keepdim=True).sqrt_().clamp_(max=1)
            # One by one: the foreach functions are slow on channels_last.
            for parameter, step, has_step in zip(parameters, update.unbind(), given, strict=True):
                if not has_step:
                    continue
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(step.view(parameter.shape), alpha=-group["lr"] * size)

    def _start(self, state: dict[str, Any], gradients: Tensor) -> None:
        state["step"] = 0
        state["mean"], state["square"] = (torch.zeros_like(gradients) for _ in range(2))
        for side in ("rows", "columns"):
            matrices = _sideways(gradients, side)
            if 1 < matrices.shape[1] <= self.max_basis:
                state[side] = torch.bmm(matrices, matrices.mT)
                identity = torch.eye(matrices.shape[1]).to(matrices)
                state[f"{side}_basis"] = identity.repeat(len(matrices), 1, 1)
                _turn(state, side)

    def _direction(self, state: dict[str, Any], gradients: Tensor) -> tuple[Tensor, float]:
        """(number, rows, columns), and the factor that makes each entry about 1.

        The first step only measures: its factor is 0.
        """
        state["step"] += 1
        step: int = state["step"]
        mean_beta, square_beta = self.betas
        is_due = step % max(self.basis_every, step // SETTLING) == 0
        for side in ("rows", "columns"):
            if side in state and step > 1:
                matrices = _sideways(gradients, side)
                state[side].baddbmm_(matrices, matrices.mT, beta=square_beta, alpha=1 - square_beta)
                if is_due:
                    _turn(state, side)

        rotated = _rotate(gradients, state)
        mean, square = state["mean"], state["square"]
        mean.lerp_(rotated, 1 - mean_beta)
        square.mul_(square_beta).addcmul_(rotated, rotated, value=1 - square_beta)
        update = _rotate_back(mean / square.sqrt().add_(EPS), state)
        size = (1 - square_beta**step) ** 0.5 / (1 - mean_beta**step)
        return update, size if step > 1 else 0.0


def _turn(state: dict[str, Any], side: str) -> None:
    """One step of orthogonal iteration; the mean gradient goes along.

    Directions without gradients so far stay as they are, thanks to RIDGE, instead of being left to
    rounding.
    """
    basis, moments = state[f"{side}_basis"], state[side]
    size = moments.diagonal(dim1=1, dim2=2).mean(1)
    turned = torch.linalg.qr(moments @ basis + RIDGE * size[:, None, None] * basis).Q
    state[f"{side}_basis"] = turned
    mean = torch.bmm(turned.mT, torch.bmm(basis, _sideways(state["mean"], side)))
    state["mean"] = _sideways(mean, side).contiguous()


def _gradient(parameter: Tensor) -> Tensor:
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return _as_matrix(gradient)


def _as_matrix(tensor: Tensor) -> Tensor:
    return tensor.reshape(tensor.shape[0] if tensor.ndim > 1 else 1, -1)


def _sideways(matrices: Tensor, side: str) -> Tensor:
    """With that side as the rows; and back."""
    return matrices if side == "rows" else matrices.mT


def _rotate(matrices: Tensor, state: dict[str, Any]) -> Tensor:
    """`matrices` in the basis."""
    if "rows" in state:
        matrices = torch.bmm(state["rows_basis"].mT, matrices)
    if "columns" in state:
        matrices = torch.bmm(matrices, state["columns_basis"])
    return matrices


def _rotate_back(matrices: Tensor, state: dict[str, Any]) -> Tensor:
    if "rows" in state:
        matrices = torch.bmm(state["rows_basis"], matrices)
    if "columns" in state:
        matrices = torch.bmm(matrices, state["columns_basis"].mT)
    return matrices
