"""Optimizers against torch's own, in steps on given gradients."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn, optim

from mnist_sweep.models.blocks import conv_unit, separable_unit
from mnist_sweep.optimizers import Adam, AdamW, Muon, Optimizer, RmsProp, Sgd, Soap
from tests.conftest import choices, environment, make_experiment

OPTIMIZERS = choices("optimizer")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@cache
def from_yaml(name: str) -> Optimizer:
    return make_experiment(f"optimizer={name}").optimizer


def changed(name: str, **fields: Any) -> Optimizer:
    """The yaml's optimizer but for `fields`."""
    spec = from_yaml(name)
    return type(spec)(**{**spec.model_dump(), **fields})


def make_net() -> nn.Module:
    """All kinds of parameters: first, 3x3, depthwise and 1x1 filters, norms, biases, a matrix.

    In doubles, so that a comparison can be far closer than any setting's effect.
    """
    torch.manual_seed(0)
    net = nn.Sequential(
        conv_unit(1, 6),
        conv_unit(6, 8),
        separable_unit(8, 12),
        conv_unit(12, 4, kernel=1),
        nn.Flatten(),
        nn.Linear(4, 10),
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            # Norm weights start at 1 and norm biases at 0, where too little could go wrong.
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return net


def give_gradients(net: nn.Module, step: int, memory_format: torch.memory_format) -> None:
    """Random gradients through autograd, which sees to the layout that fused steps rely on."""
    generator = torch.Generator().manual_seed(step)
    for parameter in net.parameters():
        gradient = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        if gradient.ndim == 4:
            gradient = gradient.contiguous(memory_format=memory_format)
        parameter.grad = None
        parameter.backward(gradient)


def take_steps(
    net: nn.Module,
    step: Callable[[], Any],
    num_steps: int = 3,
    *,
    first: int = 0,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> None:
    for number in range(first, first + num_steps):
        give_gradients(net, number, memory_format)
        step()


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def is_bias_or_norm(name: str, net: nn.Module) -> bool:
    owner, _, kind = name.rpartition(".")
    return kind == "bias" or isinstance(net.get_submodule(owner), nn.BatchNorm2d)


class PlainSoap:
    """SOAP written down a second time: one tensor at a time, its sides by name, no batches."""

    def __init__(self, net: nn.Module, spec: Soap) -> None:
        self.net, self.spec, self.number = net, spec, 0
        self.memory: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        self.number += 1
        for name, parameter in self.net.named_parameters():
            lr = self.spec.lr
            owner = self.net.get_submodule(name.rpartition(".")[0])
            if parameter.ndim > 1 and isinstance(owner, nn.Linear):  # the last, before no norm
                lr *= self.spec.head_lr * min(
                    1.0, float(parameter.norm()) / parameter.numel() ** 0.5
                )
            if self.spec.decay_bias_and_norm or not is_bias_or_norm(name, self.net):
                factor = self.spec.head_lr if isinstance(owner, nn.Linear) and "w" in name else 1
                parameter.mul_(1 - self.spec.lr * factor * self.spec.weight_decay)
            assert parameter.grad is not None
            step = self.direction(self.memory.setdefault(name, {}), parameter.grad)
            parameter.sub_(lr * step.reshape(parameter.shape))

    def direction(self, memory: dict[str, Tensor], gradient: Tensor) -> Tensor:
        matrix = gradient.reshape(len(gradient) if gradient.ndim > 1 else 1, -1)
        first, second = self.spec.betas
        sides = {"U": matrix @ matrix.T, "V": matrix.T @ matrix}
        if self.number == 1:
            memory |= {basis: torch.eye(len(side)).double() for basis, side in sides.items()}
            memory["mean"], memory["square"] = torch.zeros_like(matrix), torch.zeros_like(matrix)
        for basis, side in sides.items():
            before = memory.get(f"{basis}2", side)
            moments = memory[f"{basis}2"] = second * before + (1 - second) * side
            if (
                self.number == 1
                or self.number % max(self.spec.basis_every, self.number // 100) == 0
            ):
                ridge = 1e-4 * moments.trace() / len(moments) * torch.eye(len(moments))
                memory[basis] = torch.linalg.qr((moments + ridge) @ memory[basis])[0]
        U, V = memory["U"], memory["V"]
        memory["mean"] = first * memory["mean"] + (1 - first) * matrix
        memory["square"] = second * memory["square"] + (1 - second) * (U.T @ matrix @ V) ** 2
        if self.number == 1:
            return torch.zeros_like(matrix)
        mean = U.T @ (memory["mean"] / (1 - first**self.number)) @ V
        # eps comes before the correction of the second moment's start.
        scale = (memory["square"].sqrt() + 1e-8) / (1 - second**self.number) ** 0.5
        step: Tensor = U @ (mean / scale) @ V.T
        return step


class Reference:
    """torch's optimizers, one tensor at a time, with the settings of one of ours."""

    def __init__(self, net: nn.Module, spec: Optimizer) -> None:
        self.matrices: dict[Tensor, nn.Parameter] = {}
        if isinstance(spec, Soap):
            self.optimizers: list[Any] = [PlainSoap(net, spec)]
            return
        if isinstance(spec, Muon):
            convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
            self.matrices = {
                # reshape, unlike a view, puts the columns in the order of (in, height, width).
                conv.weight: nn.Parameter(conv.weight.detach().reshape(conv.out_channels, -1))
                for conv in convolutions[1:]
                if conv.groups == 1
            }
        decayed: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in net.named_parameters():
            if parameter not in self.matrices:
                plain = is_bias_or_norm(name, net) and not spec.decay_bias_and_norm
                (others if plain else decayed).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": spec.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizers = [self.build(groups, spec)]
        if isinstance(spec, Muon):
            muon = optim.Muon(
                self.matrices.values(),
                lr=spec.lr,
                weight_decay=spec.weight_decay,
                momentum=spec.momentum,
                adjust_lr_fn="match_rms_adamw",
            )
            self.optimizers.append(muon)

    def build(self, groups: list[dict[str, Any]], spec: Optimizer) -> optim.Optimizer:
        match spec:
            case Sgd(lr=lr, momentum=momentum, nesterov=nesterov):
                return optim.SGD(groups, lr, momentum, nesterov=nesterov, foreach=False)
            case AdamW(lr=lr, betas=betas, eps=eps):
                return optim.AdamW(groups, lr, betas, eps, foreach=False)
            case Adam(lr=lr, betas=betas, eps=eps):
                return optim.Adam(groups, lr, betas, eps, foreach=False)
            case RmsProp(lr=lr, alpha=alpha, momentum=momentum, eps=eps):
                return optim.RMSprop(groups, lr, alpha, eps, momentum=momentum, foreach=False)
            case Muon(lr=lr, betas=betas):
                return optim.AdamW(groups, lr, betas, foreach=False)
        raise AssertionError(f"write down what {type(spec).__name__} is to be compared with")

    @torch.no_grad()
    def step(self) -> None:
        for parameter, matrix in self.matrices.items():
            assert parameter.grad is not None
            matrix.grad = parameter.grad.reshape(matrix.shape)
        for optimizer in self.optimizers:
            optimizer.step()
        for parameter, matrix in self.matrices.items():
            parameter.copy_(matrix.view(parameter.shape))


@pytest.mark.parametrize(
    "fields",
    [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decay_bias_and_norm": True}],
    ids=["as the yaml", "decay of weights", "decay of all"],
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_torchs_optimizer(name: str, fields: dict[str, Any]) -> None:
    spec = changed(name, **fields)
    ours, theirs = make_net(), make_net()
    take_steps(ours, spec.build(ours).step)
    take_steps(theirs, Reference(theirs, spec).step)
    # Muon computes in bfloat16, whatever the parameters are; the same operations, though.
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("sgd", {"momentum": 0.0, "nesterov": False}),
        ("sgd", {"momentum": 0.5, "nesterov": False}),
        ("adam", {"betas": (0.5, 0.7), "eps": 0.1}),
        ("adamw", {"betas": (0.5, 0.7), "eps": 0.1, "lr": 0.3}),
        ("rmsprop", {"momentum": 0.9, "alpha": 0.5, "eps": 0.1}),
        ("muon", {"momentum": 0.5, "betas": (0.5, 0.7), "lr": 0.3}),
        ("soap", {"betas": (0.5, 0.7), "lr": 0.3, "basis_every": 2, "head_lr": 0.5}),
    ],
)
def test_every_setting_reaches_torch(name: str, fields: dict[str, Any]) -> None:
    spec = changed(name, **fields)
    ours, theirs, by_yaml = make_net(), make_net(), make_net()
    take_steps(ours, spec.build(ours).step)
    take_steps(theirs, Reference(theirs, spec).step)
    take_steps(by_yaml, from_yaml(name).build(by_yaml).step)
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-6, atol=1e-6)
    assert all(
        not torch.allclose(weights(ours)[key], value) for key, value in weights(by_yaml).items()
    )


@pytest.mark.parametrize("gradient_layout", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_memory_format_makes_no_difference(
    name: str, layout: str, gradient_layout: str
) -> None:
    # A large decay, so that it would show even in what Muon rounds.
    spec = changed(name, weight_decay=5)
    ours, theirs = make_net(), make_net()
    ours = ours.to(memory_format=LAYOUTS[layout])
    take_steps(ours, spec.build(ours).step, memory_format=LAYOUTS[gradient_layout])
    take_steps(theirs, Reference(theirs, spec).step)
    # In another layout Muon's bfloat16 sums may be taken in another order. What that rounding moves
    # a weight by is far less than lr / 2, which is what taking one column for another would.
    close = 0.02 * spec.lr if isinstance(spec, Muon) else 1e-9
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=0, atol=close)
    for parameter in ours.parameters():
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=LAYOUTS[layout])


@pytest.mark.parametrize("decay_bias_and_norm", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_and_norms_decay_only_if_asked(name: str, decay_bias_and_norm: bool) -> None:
    assert not from_yaml(name).decay_bias_and_norm
    net = make_net()
    before = weights(net)
    spec = changed(name, weight_decay=0.1, decay_bias_and_norm=decay_bias_and_norm)
    stepper = spec.build(net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepper.step()
    for key, after in weights(net).items():
        if is_bias_or_norm(key, net) and not decay_bias_and_norm:
            assert torch.equal(after, before[key]), key
        else:
            # Towards 0: adam and rmsprop may step past it.
            assert ((before[key] - after) * before[key] > 0).all(), key


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loaded_state_goes_on_bitwise(name: str, layout: str) -> None:
    spec, memory_format = from_yaml(name), LAYOUTS[layout]

    def copy_of(net: nn.Module) -> nn.Module:
        copy = make_net().to(memory_format=memory_format)
        copy.load_state_dict(net.state_dict())
        return copy

    straight = copy_of(make_net())
    stepper = spec.build(straight)
    take_steps(straight, stepper.step)
    file = io.BytesIO()
    torch.save(stepper.state_dict(), file)
    file.seek(0)
    resumed, forgetful = copy_of(straight), copy_of(straight)
    resumed_stepper = spec.build(resumed)
    # As checkpoints are read: tensors and plain values only.
    resumed_stepper.load_state_dict(torch.load(file, weights_only=True))
    for net, its_stepper in (
        (straight, stepper),
        (resumed, resumed_stepper),
        (forgetful, spec.build(forgetful)),
    ):
        take_steps(net, its_stepper.step, 2, first=3)
    after, after_resumed = weights(straight), weights(resumed)
    assert all(torch.equal(after[key], after_resumed[key]) for key in after)
    assert any(not torch.equal(after[key], value) for key, value in weights(forgetful).items())


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_lr_written_into_the_groups_is_used(name: str, is_loaded: bool) -> None:
    spec, net = from_yaml(name), make_net()
    stepper = spec.build(net)
    take_steps(net, stepper.step, 1)
    if is_loaded:
        state = stepper.state_dict()
        stepper = spec.build(net)
        stepper.load_state_dict(state)
    lrs = {spec.lr, spec.lr * spec.head_lr} if isinstance(spec, Soap) else {spec.lr}
    assert {group["initial_lr"] for group in stepper.param_groups} == lrs
    for group in stepper.param_groups:
        group["lr"] = 0.0
    before = weights(net)
    take_steps(net, stepper.step, 1, first=1)
    assert all(torch.equal(value, before[key]) for key, value in weights(net).items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zero_grad_forgets_every_gradient(name: str) -> None:
    net = make_net()
    stepper = from_yaml(name).build(net)
    take_steps(net, stepper.step, 1)
    assert all(parameter.grad is not None for parameter in net.parameters())
    stepper.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(p.grad is None for group in stepper.param_groups for p in group["params"])


def test_muon_takes_a_net_without_inner_convolutions() -> None:
    net = nn.Sequential(conv_unit(1, 4), nn.Flatten(), nn.Linear(4, 10)).double()
    spec = from_yaml("muon")
    before = weights(net)
    take_steps(net, spec.build(net).step)
    assert all(not torch.equal(value, before[key]) for key, value in weights(net).items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_muon_gives_every_filter_an_orthogonal_step(layout: str) -> None:
    # What Muon is for: all singular values of a step are about the same (0.7 to 1.2 in torch's).
    spec = changed("muon", weight_decay=0.0)
    net = make_net().to(memory_format=LAYOUTS[layout])
    before = weights(net)
    take_steps(net, spec.build(net).step, 1)
    inner = [key for key, value in before.items() if value.ndim == 4 and value.shape[1] > 1]
    assert len(inner) == 3
    for key in inner:
        step = (weights(net)[key] - before[key]).flatten(1)
        size = spec.lr * 0.2 * max(step.shape) ** 0.5
        values = torch.linalg.svdvals(step) / size
        assert values.min() > 0.5 and values.max() < 1.4, key


def test_soap_turns_a_basis_less_often_as_it_settles() -> None:
    spec = from_yaml("soap")
    assert isinstance(spec, Soap)
    ours, theirs = (nn.Sequential(nn.Linear(3, 2)).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    take_steps(ours, spec.build(ours).step, 510)
    take_steps(theirs, PlainSoap(theirs, spec).step, 510)
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_has_no_gradient_stays_as_it_is(name: str) -> None:
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))).double()
    net[1].requires_grad_(False)
    before = weights(net)
    stepper = changed(name, weight_decay=0.1).build(net)
    for _ in range(3):
        net[2](net[0](torch.ones(1, 4).double())).sum().backward()
        stepper.step()
    assert [torch.equal(before[key], value) for key, value in weights(net).items()] == [
        *(False, False, True, True, False, False, True, True)
    ]


def test_soap_leaves_a_long_side_as_it_is() -> None:
    spec, rotated = changed("soap", max_basis=8), changed("soap", max_basis=64)
    short, long = (nn.Linear(number, 4, bias=False).double() for number in (8, 40))
    for net, is_same in ((short, True), (long, False)):
        start = weights(net)
        after = []
        for one in (spec, rotated):
            net.load_state_dict(start)
            take_steps(net, one.build(net).step)
            after.append(weights(net)["weight"])
        assert torch.equal(*after) == is_same


def test_soap_steps_do_not_depend_on_the_axes_of_the_gradients() -> None:
    # What SOAP is for, and what Adam cannot: turned gradients give the turned step.
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)))[0]
    steps = []
    for matrix in (torch.eye(5), turn):
        net = nn.Linear(5, 5, bias=False).double()
        nn.init.zeros_(net.weight)
        stepper = changed("soap", head_lr=1.0, weight_decay=0.0, basis_every=1).build(net)
        for group in stepper.param_groups:
            group["relative"] = False
        for number in range(60):
            generator = torch.Generator().manual_seed(number)
            scales = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
            gradient = torch.randn(5, 5, generator=generator) * scales
            net.weight.grad = (gradient @ matrix).double()
            before = net.weight.detach().clone()
            stepper.step()
        steps.append(net.weight.detach() - before)
    torch.testing.assert_close(steps[0] @ turn.double(), steps[1], rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0), ("lr", -0.1), ("weight_decay", -1), ("decay_bias_and_norm", 1), ("colour", "red")],
)
def test_bad_settings_are_refused_by_name(name: str, field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        changed(name, **{field: value})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("sgd", "momentum", 1.0),
        ("sgd", "nesterov", "yes"),
        ("adam", "betas", (0.9, 1.0)),
        ("adamw", "betas", (0.9,)),
        ("adamw", "eps", 0),
        ("rmsprop", "alpha", -0.1),
        ("muon", "momentum", 1.5),
        ("muon", "betas", (-0.1, 0.9)),
        ("soap", "basis_every", 0),
        ("soap", "max_basis", 0),
        ("soap", "head_lr", 0),
    ],
)
def test_bad_settings_of_one_optimizer_are_refused_by_name(
    name: str, field: str, value: Any
) -> None:
    with pytest.raises(ValidationError, match=field):
        changed(name, **{field: value})


STEP_IN_A_FRESH_PROCESS = """
import importlib, json, sys
import torch
from torch import nn

net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 10))
for module, name, fields in json.loads(sys.argv[1]):
    spec = getattr(importlib.import_module(module), name)(**fields)
    stepper = spec.build(net)
    for _ in range(2):
        stepper.zero_grad()
        net(torch.ones(1, 1, 5, 5)).sum().backward()
        stepper.step()
        stepper.load_state_dict(stepper.state_dict())
    print(name, "torch._dynamo" in sys.modules)
"""


def test_stepping_imports_no_compiler(tmp_path: Path) -> None:
    specs = [from_yaml(name) for name in OPTIMIZERS]
    recipes = [(type(spec).__module__, type(spec).__name__, spec.model_dump()) for spec in specs]
    done = subprocess.run(
        [sys.executable, "-c", STEP_IN_A_FRESH_PROCESS, json.dumps(recipes)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"{type(spec).__name__} False" for spec in specs]
