"""What a net costs, against torch's own counting and against what an output really depends on."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_sweep.config import BudgetConfig
from mnist_sweep.errors import BudgetError, UserError
from mnist_sweep.models.blocks import GlobalAvgPool, conv_unit, separable_unit
from mnist_sweep.profile import LayerProfile, Profile, check_budget, count_params, profile
from tests.conftest import choices, make_experiment

MODELS = choices("model")
# Nets that run their children one after another, so that they can be cut anywhere.
CHAINS = [
    "ds_cnn",
    "ds_cnn_v1",
    "ds_cnn_v2",
    "ds_cnn_v3",
    "ds_cnn_v2_code",
    "ds_cnn_v3_code",
    "rf_cnn",
    "pointwise_cnn",
    "transition_cnn",
    "separable_cnn",
]


@cache
def from_yaml(name: str) -> nn.Module:
    return make_experiment(f"model={name}").model


class Residual(nn.Module):
    """A block whose input is added to its output, which sees further."""

    def __init__(self, *block: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*block)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.block(x)
        return out


class Branches(nn.Module):
    """Several ways side by side, their channels joined."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


HAND_MADE: dict[str, nn.Sequential] = {
    "residual": nn.Sequential(
        conv_unit(1, 4),
        nn.MaxPool2d(2),
        Residual(conv_unit(4, 4, padding="same"), conv_unit(4, 4, kernel=5, padding="same")),
        nn.MaxPool2d(2),
        Residual(separable_unit(4, 4)),
    ),
    "branches": nn.Sequential(
        conv_unit(1, 4, "conv-relu"),
        Branches(
            conv_unit(4, 2, kernel=1),
            nn.Sequential(conv_unit(4, 3, padding="same"), conv_unit(3, 3, padding="same")),
            conv_unit(4, 2, padding="same"),
        ),
        nn.AvgPool2d(3, stride=2),
        conv_unit(7, 4),
    ),
    "strides and dilation": nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2, padding=2),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2, groups=2),
        nn.AvgPool2d(3, stride=1),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 2, 3),
    ),
}


def footprint(layers: Sequence[nn.Module], canvas: int, window: int = 1) -> int:
    """How many input columns `window` neighbouring outputs of `layers` depend on, measured.

    That is where the gradient of the outputs with respect to the image is not zero. It can be
    zero by chance only through cancellation, closed ReLUs or a max-pool's choice: all weights
    are made positive, and max-pooling averages instead. On a canvas so large that no border is
    near; in doubles, of which torch computes each convolution directly, so that zeros are exact.
    """
    net = nn.Sequential(*deepcopy(list(layers))).double().eval()
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(child.kernel_size, child.stride))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_().add_(0.1)
    image = torch.ones(1, 1, canvas, canvas, dtype=torch.float64, requires_grad=True)
    out = net(image)
    low = (out.shape[-1] - window) // 2
    out[:, :, low : low + window, low : low + window].sum().backward()
    assert image.grad is not None
    columns = image.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    first, last = int(columns[0]), int(columns[-1])
    assert first > 0 and last < canvas - 1, "the canvas is too small"
    return last - first + 1


@pytest.mark.parametrize("name", CHAINS)
def test_receptive_fields_are_what_outputs_depend_on(name: str) -> None:
    model = from_yaml(name)
    children, rows = list(model.children()), profile(model).layers
    assert len(children) == len(rows)
    head = next(i for i, c in enumerate(children) if isinstance(c, GlobalAvgPool | nn.Flatten))
    for count in range(1, head + 1):
        found = footprint(children[:count], canvas=72)
        assert rows[count - 1].receptive_field == found, rows[count - 1].label
    # The head sees all positions of what it is given.
    found = footprint(children[:head], canvas=96, window=rows[head - 1].shape[-1])
    assert {row.receptive_field for row in rows[head:]} == {found}
    assert profile(model).receptive_field == found


@pytest.mark.parametrize("name", HAND_MADE)
def test_receptive_field_of_joined_and_strided_ways(name: str) -> None:
    net = HAND_MADE[name]
    assert profile(net).receptive_field == footprint(list(net), canvas=96)


def same_conv(kernel: int, stride: int, dilation: int) -> nn.Module:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(1, 1, kernel, stride, padding, dilation)


def pool(kind: type[nn.MaxPool2d] | type[nn.AvgPool2d], kernel: int, stride: int) -> nn.Module:
    return kind(kernel, stride, padding=kernel // 2)


LAYERS = st.one_of(
    st.builds(same_conv, st.sampled_from([1, 3, 5]), st.sampled_from([1, 1, 2]), st.integers(1, 2)),
    st.builds(pool, st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]), st.just(3), st.integers(1, 2)),
    st.just(nn.AvgPool2d(2)),
    st.builds(lambda kernel: Residual(same_conv(kernel, 1, 1)), st.sampled_from([1, 3])),
)


@given(layers=st.lists(LAYERS, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_receptive_field_of_any_chain(layers: list[nn.Module]) -> None:
    layers = [nn.Conv2d(1, 1, 1), *layers]
    assert profile(nn.Sequential(*layers)).receptive_field == footprint(layers, canvas=256)


def flops(model: nn.Module) -> int:
    model = deepcopy(model).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.zeros(1, 1, 28, 28))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", MODELS)
def test_macs_of_every_net_are_half_of_torchs_flops(name: str) -> None:
    costs = profile(from_yaml(name))
    assert 2 * costs.macs == flops(from_yaml(name))
    assert costs.macs == sum(layer.macs for layer in costs.layers)


@pytest.mark.parametrize("name", HAND_MADE)
def test_macs_of_hand_made_nets_are_half_of_torchs_flops(name: str) -> None:
    assert 2 * profile(HAND_MADE[name]).macs == flops(HAND_MADE[name])


def test_macs_counted_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, groups=4), GlobalAvgPool()
    )
    net.append(nn.Linear(4, 10))
    macs = [layer.macs for layer in profile(net).layers]
    assert macs == [26 * 26 * 4 * 9, 0, 11 * 11 * 4 * 9, 0, 4 * 10]


def test_rows_are_in_order_of_execution_with_a_units_layers_in_one() -> None:
    rows = profile(HAND_MADE["residual"]).layers
    assert [(row.label, row.shape, row.num_params) for row in rows] == [
        ("conv 1-4 3x3 valid, BN, ReLU", (4, 26, 26), 40 + 8),
        ("maxpool 2", (4, 13, 13), 0),
        ("conv 4-4 3x3 same, BN, ReLU", (4, 13, 13), 148 + 8),
        ("conv 4-4 5x5 same, BN, ReLU", (4, 13, 13), 404 + 8),
        ("maxpool 2", (4, 6, 6), 0),
        (
            "depthwise conv 4-4 3x3 same, BN, ReLU, conv 4-4 1x1, BN, ReLU",
            (4, 6, 6),
            36 + 8 + 16 + 8,
        ),
    ]


@pytest.mark.parametrize("name", [*MODELS, *HAND_MADE])
def test_parameters_are_counted_once_each(name: str) -> None:
    net = HAND_MADE[name] if name in HAND_MADE else from_yaml(name)
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert profile(net).num_params == count_params(net) == len(vector)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_profiling_leaves_the_net_as_it_was(name: str, training: bool) -> None:
    model = deepcopy(from_yaml(name)).train(training)
    before: dict[str, Tensor] = deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    first = profile(model)
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert profile(model) == first


def test_a_net_that_cannot_be_profiled_keeps_its_training_mode() -> None:
    net = nn.Sequential(conv_unit(1, 2), nn.Linear(3, 10))
    with pytest.raises(UserError, match="takes no image of 28x28"):
        profile(net)
    assert all(module.training for module in net.modules())


def test_profiling_leaves_a_frozen_layer_frozen() -> None:
    net = nn.Sequential(conv_unit(1, 2), conv_unit(2, 2))
    net[0].eval()
    profile(net)
    assert net.training and not net[0].training


def budget(**limits: int | None) -> BudgetConfig:
    return BudgetConfig(**{"min_params": None, "max_params": None, "max_macs": None, **limits})


COSTS = Profile(
    layers=(LayerProfile("linear 1-1", (1,), 1, 1234, 5678),),
    num_params=1234,
    macs=5678,
    receptive_field=1,
)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_params": 1234},
        {"max_macs": 5678},
        {"max_params": 1234, "max_macs": 5678},
        {"max_params": 10**9, "max_macs": 10**9},
    ],
)
def test_a_net_within_or_exactly_at_its_budget_passes(limits: dict[str, Any]) -> None:
    check_budget(COSTS, budget(**limits))


@pytest.mark.parametrize(
    ("limits", "key", "cost"),
    [
        ({"max_params": 1233}, "max_params", 1234),
        ({"max_params": 1}, "max_params", 1234),
        ({"max_macs": 5677}, "max_macs", 5678),
        ({"max_params": 1234, "max_macs": 5677}, "max_macs", 5678),
        ({"max_params": 1233, "max_macs": 5678}, "max_params", 1234),
    ],
)
def test_a_net_over_its_budget_is_refused_with_key_limit_and_remedy(
    limits: dict[str, Any], key: str, cost: int
) -> None:
    with pytest.raises(BudgetError) as refusal:
        check_budget(COSTS, budget(**limits))
    message = str(refusal.value)
    assert f"budget.{key}={limits[key]}" in message
    assert message.endswith(f"budget.{key}={cost}"), "the remedy is the limit that just fits"
    assert f"{cost:,}" in message and "\n" not in message


def test_the_remedy_that_is_offered_works() -> None:
    costs = profile(from_yaml("pointwise_cnn"))
    with pytest.raises(BudgetError) as refusal:
        check_budget(costs, make_experiment("model=pointwise_cnn").settings.budget)
    remedy = str(refusal.value).split()[-1]
    check_budget(costs, make_experiment("model=pointwise_cnn", remedy).settings.budget)
