"""What each of the ways in which `mnist_sweep.soap` departs from its source is worth, in accuracy.

    MNIST_SWEEP_DATA=<folder that holds MNIST/raw> python benchmarks/soap_departures.py

Trains the default recipe for one epoch, with one departure undone at a time and with all of them,
66 runs. Shown are val_acc in percent, mean ± standard deviation over the seeds, and its difference
from ours at the same seeds. The optimizer here is written one tensor at a time: without departures
it is the authors' code (nikhilvyas/SOAP), with all of them ours.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import torch
from contestants import Job, default_experiment
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn, optim

from mnist_sweep.data import load
from mnist_sweep.optimizers import Soap, Stepper
from mnist_sweep.soap import EPS, RIDGE, SETTLING
from mnist_sweep.train import settle, train

DEPARTURES = {
    "start": "a basis starts as one step of orthogonal iteration",
    "weight": "the first gradient has the whole weight in the moments, not 1 - beta of it",
    "first": "the first gradient counts in Adam's averages",
    "places": "the directions of a basis keep their places",
    "before": "a basis is updated before the step",
    "ridge": "RIDGE is added to the moments",
    "settling": "updates of a basis become rarer",
    "vectors": "vectors are rotated",
    "matrices": "weights of more than two dimensions are matrices",
}
OURS = frozenset(DEPARTURES)


class DepartingSoap(optim.Optimizer):
    """departures: those that are kept; the other arguments are as of `mnist_sweep.soap.Soap`."""

    def __init__(
        self, groups: Sequence[dict[str, Any]], spec: Soap, departures: frozenset[str]
    ) -> None:
        super().__init__(groups, {"lr": spec.lr})
        self.spec, self.departures = spec, departures

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                assert parameter.grad is not None
                update = self._direction(self.state[parameter], self._shaped(parameter.grad))
                if group["relative"]:
                    update = update * parameter.square().mean().sqrt().clamp(max=1)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"])

    def _shaped(self, gradient: Tensor) -> Tensor:
        if gradient.ndim == 1 or "matrices" not in self.departures:
            return gradient
        return gradient.flatten(1)

    def _direction(self, state: dict[str, Any], gradient: Tensor) -> Tensor:
        is_first = not state
        if is_first:
            self._start(state, gradient)
        if is_first and "first" not in self.departures:
            return torch.zeros_like(gradient)
        state["step"] += 1
        if "before" in self.departures and not is_first:
            self._learn(state, gradient)
        rotated = gradient
        for side, basis in state["bases"].items():
            rotated = _along(side, rotated, basis)
        first, second = self.spec.betas
        state["mean"] = first * state["mean"] + (1 - first) * rotated
        state["square"] = second * state["square"] + (1 - second) * rotated.square()
        if is_first:
            return torch.zeros_like(gradient)
        size = (1 - second ** state["step"]) ** 0.5 / (1 - first ** state["step"])
        update: Tensor = size * state["mean"] / (state["square"].sqrt() + EPS)
        for side, basis in state["bases"].items():
            update = _along(side, update, basis.T)
        if "before" not in self.departures:
            self._learn(state, gradient)
        return update

    def _start(self, state: dict[str, Any], gradient: Tensor) -> None:
        state |= {"step": 0, "mean": torch.zeros_like(gradient), "bases": {}, "moments": {}}
        state["square"] = torch.zeros_like(gradient)
        if gradient.ndim == 1 and "vectors" not in self.departures:
            return
        weight = 1.0 if "weight" in self.departures else 1 - self.spec.betas[1]
        for side, length in enumerate(gradient.shape):
            if 1 < length <= self.spec.max_basis:
                moments = state["moments"][side] = weight * _moments(gradient, side)
                if "start" in self.departures:
                    basis = self._turned(torch.eye(length), moments)
                else:
                    basis = torch.linalg.eigh(moments + 1e-30 * torch.eye(length))[1].flip(1)
                state["bases"][side] = basis

    def _learn(self, state: dict[str, Any], gradient: Tensor) -> None:
        rarer = state["step"] // SETTLING if "settling" in self.departures else 0
        is_due = state["step"] % max(self.spec.basis_every, rarer) == 0
        for side, basis in list(state["bases"].items()):
            moments = state["moments"][side]
            moments.lerp_(_moments(gradient, side), 1 - self.spec.betas[1])
            if not is_due:
                continue
            state["mean"] = _along(side, state["mean"], basis.T)
            if "places" not in self.departures:
                order = (basis.T @ moments @ basis).diagonal().argsort(descending=True)
                basis, state["square"] = basis[:, order], state["square"].index_select(side, order)
            basis = state["bases"][side] = self._turned(basis, moments)
            state["mean"] = _along(side, state["mean"], basis)

    def _turned(self, basis: Tensor, moments: Tensor) -> Tensor:
        ridge = RIDGE * moments.diagonal().mean() if "ridge" in self.departures else 0
        turned: Tensor = torch.linalg.qr(moments @ basis + ridge * basis).Q
        return turned


def _moments(gradient: Tensor, side: int) -> Tensor:
    others = [other for other in range(gradient.ndim) if other != side]
    moments: Tensor = torch.tensordot(gradient, gradient, dims=(others, others))
    return moments


def _along(side: int, tensor: Tensor, basis: Tensor) -> Tensor:
    """One side of `tensor` in that basis."""
    turned: Tensor = torch.tensordot(tensor, basis, dims=([side], [0]))
    return turned.movedim(-1, side)


class DepartingSpec(Soap):
    departures: frozenset[str]

    def build(self, model: nn.Module) -> Stepper:
        return Stepper(DepartingSoap(super().build(model).param_groups, self, self.departures))


def accuracy(model: str, seed: int, departures: frozenset[str], overrides: Sequence[str]) -> float:
    chosen = f"model={model}", f"seed={seed}", "trainer.epochs=1", "trainer.threads=1"
    experiment = default_experiment(Job(overrides=(*chosen, "data=mnist", *overrides)))
    settings = experiment.settings
    assert isinstance(experiment.optimizer, Soap)
    spec = DepartingSpec(**experiment.optimizer.model_dump(), departures=departures)
    data, machine = load(settings.data, settings.protocol), settle(settings.trainer)
    result = train(replace(experiment, optimizer=spec), data, machine)
    return float(result.history[-1].val_acc or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", nargs="+", default=["ds_cnn_v2", "ds_cnn"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--undo", nargs="+", choices=["none", *DEPARTURES, "all"])
    parser.add_argument("overrides", nargs="*", default=[], help="such as optimizer.lr=0.05")
    arguments = parser.parse_args()
    undone = {"none": OURS, **{name: OURS - {name} for name in DEPARTURES}, "all": frozenset[str]()}
    found: dict[tuple[str, str], list[float]] = {}
    for model in arguments.models:
        for seed in arguments.seeds:
            for name in arguments.undo or undone:
                acc = 100 * accuracy(model, seed, undone[name], arguments.overrides)
                found.setdefault((model, name), []).append(acc)
                print(f"{model} seed {seed} undone {name}: {acc:.2f}", flush=True)
    table = Table("undone", *arguments.models, box=None)
    for name in arguments.undo or undone:
        accs = [found[model, name] for model in arguments.models]
        ours = [found.get((model, "none"), []) for model in arguments.models]
        table.add_row(name, *map(_spread, accs, ours))
    Console().print(table)


def _spread(accs: list[float], ours: list[float]) -> str:
    spread = f" ± {stdev(accs):.2f}" if len(accs) > 1 else ""
    difference = mean(a - b for a, b in zip(accs, ours, strict=True)) if ours else float("nan")
    return f"{mean(accs):.2f}{spread} ({difference:+.2f})"


if __name__ == "__main__":
    main()
