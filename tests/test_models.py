"""Every net of conf/model: the published sizes and layers, and what each net must be able to do."""

from copy import deepcopy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_sweep.errors import UserError
from mnist_sweep.models.blocks import conv_unit
from mnist_sweep.models.reference import TransitionCnn
from mnist_sweep.profile import Profile, count_params, profile
from tests.conftest import choices, make_experiment

MODELS = choices("model")
PUBLISHED_PARAMS = {
    "ds_cnn": 17_418,
    "ds_cnn_v1": 5_226,
    "ds_cnn_v2": 4_070,
    "ds_cnn_v3": 6_526,
    "ds_cnn_v2_code": 6_590,
    "ds_cnn_v3_code": 4_538,
    "rf_cnn": 19_642,
    "pointwise_cnn": 24_210,
    "transition_cnn": 16_034,
}


@cache
def from_yaml(name: str) -> nn.Module:
    return make_experiment(f"model={name}").model


def make_model(name: str) -> nn.Module:
    return deepcopy(from_yaml(name))


@cache
def costs(name: str) -> Profile:
    return profile(make_model(name))


def images(batch: int) -> Tensor:
    return torch.randn(batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "num_params"), PUBLISHED_PARAMS.items())
def test_parameter_count_is_the_published_one(name: str, num_params: int) -> None:
    assert costs(name).num_params == num_params
    assert sum(layer.num_params for layer in costs(name).layers) == num_params


R1_LAYERS = [
    ("conv 1-8 3x3 valid, BN, ReLU", (8, 26, 26)),
    ("conv 8-16 3x3 valid, BN, ReLU", (16, 24, 24)),
    ("maxpool 2", (16, 12, 12)),
    ("dropout 0.1", (16, 12, 12)),
    ("conv 16-24 3x3 valid, BN, ReLU", (24, 10, 10)),
    ("conv 24-24 3x3 valid, BN, ReLU", (24, 8, 8)),
    ("maxpool 2", (24, 4, 4)),
    ("dropout 0.2", (24, 4, 4)),
    ("conv 24-32 3x3 valid, BN, ReLU", (32, 2, 2)),
    ("global avgpool", (32,)),
    ("linear 32-10", (10,)),
]


def r2_layers(a: int, b: int) -> list[tuple[str, tuple[int, ...]]]:
    return [
        (f"conv 1-{a} 3x3 same, BN, ReLU", (a, 28, 28)),
        ("maxpool 2", (a, 14, 14)),
        ("dropout 0.1", (a, 14, 14)),
        (f"conv {a}-{b} 3x3 same, BN, ReLU", (b, 14, 14)),
        ("maxpool 2", (b, 7, 7)),
        ("dropout 0.2", (b, 7, 7)),
        ("global avgpool", (b,)),
        (f"linear {b}-10", (10,)),
    ]


PUBLISHED_LAYERS: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    "ds_cnn": R1_LAYERS,
    "ds_cnn_v1": r2_layers(16, 32),
    "ds_cnn_v2": r2_layers(14, 28),
    "ds_cnn_v3": r2_layers(18, 36),
    "ds_cnn_v2_code": [
        ("conv 1-4 3x3 valid, BN, ReLU", (4, 26, 26)),
        ("conv 4-4 3x3 valid, BN, ReLU", (4, 24, 24)),
        ("conv 4-8 3x3 valid, BN, ReLU", (8, 22, 22)),
        ("maxpool 2", (8, 11, 11)),
        ("dropout 0.1", (8, 11, 11)),
        ("conv 8-16 3x3 valid, BN, ReLU", (16, 9, 9)),
        ("conv 16-16 3x3 valid, BN, ReLU", (16, 7, 7)),
        ("conv 16-16 3x3 valid, BN, ReLU", (16, 5, 5)),
        ("maxpool 2", (16, 2, 2)),
        ("dropout 0.2", (16, 2, 2)),
        ("global avgpool", (16,)),
        ("linear 16-10", (10,)),
    ],
    "ds_cnn_v3_code": [
        ("conv 1-4 3x3 valid, BN, ReLU", (4, 26, 26)),
        ("conv 4-8 3x3 valid, BN, ReLU", (8, 24, 24)),
        ("maxpool 2", (8, 12, 12)),
        ("dropout 0.1", (8, 12, 12)),
        ("conv 8-12 3x3 valid, BN, ReLU", (12, 10, 10)),
        ("conv 12-12 3x3 valid, BN, ReLU", (12, 8, 8)),
        ("maxpool 2", (12, 4, 4)),
        ("dropout 0.2", (12, 4, 4)),
        ("conv 12-16 3x3 valid, BN, ReLU", (16, 2, 2)),
        ("global avgpool", (16,)),
        ("linear 16-10", (10,)),
    ],
    "rf_cnn": [
        ("conv 1-16 3x3 same, ReLU, BN", (16, 28, 28)),
        ("conv 16-16 3x3 same, ReLU, BN", (16, 28, 28)),
        ("maxpool 2", (16, 14, 14)),
        ("dropout2d 0.1", (16, 14, 14)),
        ("conv 16-32 3x3 same, ReLU, BN", (32, 14, 14)),
        ("conv 32-32 3x3 same, ReLU, BN", (32, 14, 14)),
        ("maxpool 2", (32, 7, 7)),
        ("dropout2d 0.1", (32, 7, 7)),
        ("conv 32-16 1x1, ReLU, BN", (16, 7, 7)),
        ("conv 16-16 3x3 same, ReLU, BN", (16, 7, 7)),
        ("global avgpool", (16,)),
        ("linear 16-10", (10,)),
    ],
    "pointwise_cnn": [
        ("conv 1-8 3x3 same, ReLU", (8, 28, 28)),
        ("maxpool 2", (8, 14, 14)),
        ("conv 8-16 3x3 same, ReLU", (16, 14, 14)),
        ("maxpool 2", (16, 7, 7)),
        ("conv 16-8 1x1", (8, 7, 7)),
        ("conv 8-16 3x3 same, ReLU", (16, 7, 7)),
        ("conv 16-16 1x1", (16, 7, 7)),
        ("conv 16-32 3x3 same, ReLU", (32, 7, 7)),
        ("conv 32-32 1x1", (32, 7, 7)),
        ("flatten", (1568,)),
        ("linear 1568-10", (10,)),
    ],
    "transition_cnn": [
        ("conv 1-16 3x3 valid, ReLU, BN, dropout2d 0.05", (16, 26, 26)),
        ("conv 16-16 3x3 valid, ReLU, BN, dropout2d 0.05", (16, 24, 24)),
        ("conv 16-32 3x3 valid, ReLU, BN, dropout2d 0.05", (32, 22, 22)),
        ("maxpool 2", (32, 11, 11)),
        ("conv 32-8 1x1, ReLU", (8, 11, 11)),
        ("conv 8-16 3x3 valid, ReLU, BN, dropout2d 0.05", (16, 9, 9)),
        ("conv 16-16 3x3 valid, ReLU, BN, dropout2d 0.05", (16, 7, 7)),
        ("conv 16-32 3x3 valid, ReLU", (32, 5, 5)),
        ("global avgpool", (32,)),
        ("linear 32-10", (10,)),
    ],
}


@pytest.mark.parametrize("name", PUBLISHED_LAYERS)
def test_layers_are_the_published_ones_in_order(name: str) -> None:
    assert [(layer.label, layer.shape) for layer in costs(name).layers] == PUBLISHED_LAYERS[name]


def test_rf_cnn_has_the_receptive_fields_of_its_own_table() -> None:
    table = [
        (3, 160 + 32, (16, 28, 28)),
        (5, 2_320 + 32, (16, 28, 28)),
        (6, 0, (16, 14, 14)),
        (10, 4_640 + 64, (32, 14, 14)),
        (14, 9_248 + 64, (32, 14, 14)),
        (16, 0, (32, 7, 7)),
        (16, 528 + 32, (16, 7, 7)),
        (24, 2_320 + 32, (16, 7, 7)),
        (48, 0, (16,)),  # 16x1x1 in the table
        (48, 170, (10,)),
    ]
    rows = costs("rf_cnn").layers
    # The table counts dropout to the max-pooling above it.
    assert [
        (row.receptive_field, row.num_params, row.shape)
        for row in rows
        if not row.label.startswith("dropout")
    ] == table
    for above, row in zip(rows, rows[1:], strict=False):
        if row.label.startswith("dropout"):
            assert (row.receptive_field, row.shape) == (above.receptive_field, above.shape)
    assert costs("rf_cnn").receptive_field == 48


class PlainRfCnn(nn.Module):
    """R3 as its description has it, in plain torch, down to the log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv3, self.norm3 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv4, self.norm4 = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv5, self.norm5 = nn.Conv2d(32, 16, 1), nn.BatchNorm2d(16)
        self.conv6, self.norm6 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(F.relu(self.conv1(x)))
        x = self.norm2(F.relu(self.conv2(x)))
        x = F.dropout2d(F.max_pool2d(x, 2), 0.1, self.training)
        x = self.norm3(F.relu(self.conv3(x)))
        x = self.norm4(F.relu(self.conv4(x)))
        x = F.dropout2d(F.max_pool2d(x, 2), 0.1, self.training)
        x = self.norm5(F.relu(self.conv5(x)))
        x = self.norm6(F.relu(self.conv6(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return F.log_softmax(self.linear(x), dim=1)


class PlainTransitionCnn(nn.Module):
    """R5 as its description has it, in plain torch, down to the log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16)
        self.conv3, self.norm3 = nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32)
        self.transition = nn.Conv2d(32, 8, 1)
        self.conv4, self.norm4 = nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)
        self.conv5, self.norm5 = nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16)
        self.conv6 = nn.Conv2d(16, 32, 3)
        self.linear = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        def dropout(x: Tensor) -> Tensor:
            return F.dropout2d(x, 0.05, self.training)

        x = dropout(self.norm1(F.relu(self.conv1(x))))
        x = dropout(self.norm2(F.relu(self.conv2(x))))
        x = dropout(self.norm3(F.relu(self.conv3(x))))
        x = F.relu(self.transition(F.max_pool2d(x, 2)))
        x = dropout(self.norm4(F.relu(self.conv4(x))))
        x = dropout(self.norm5(F.relu(self.conv5(x))))
        x = F.relu(self.conv6(x))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return F.log_softmax(self.linear(x), dim=1)


@pytest.mark.parametrize(
    ("name", "plain_class"), [("rf_cnn", PlainRfCnn), ("transition_cnn", PlainTransitionCnn)]
)
def test_net_computes_what_its_description_says(name: str, plain_class: type[nn.Module]) -> None:
    model, plain = make_model(name), plain_class()
    with torch.no_grad():
        # Away from the start, where norms do nothing and a layer's place could not be told.
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) if "var" in key else torch.randn_like(value) / 5)
    values = model.state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    batch = images(16)
    for training in (False, True):
        outputs = []
        for net in (model, plain):
            net.train(training)
            torch.manual_seed(1)  # the same channels are dropped if dropout is in the same places
            outputs.append(net(batch))
        ours = F.log_softmax(outputs[0], dim=1)
        torch.testing.assert_close(ours, outputs[1])
    # Training moved both nets' running statistics alike.
    torch.testing.assert_close(list(model.state_dict().values()), list(plain.state_dict().values()))


def test_transition_cnn_starts_as_published() -> None:
    torch.manual_seed(0)
    widths = (16, 16, 32, 8, 16, 16, 32)
    # Of many nets together, so that the statistics are tight enough to tell fan in from fan out.
    nets = [TransitionCnn(widths=widths, dropout2d=0.05) for _ in range(60)]
    convs = [[m for m in net.modules() if isinstance(m, nn.Conv2d)] for net in nets]
    assert len(convs[0]) == 7
    for same_conv in zip(*convs, strict=True):
        conv = same_conv[0]
        fan_out = conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1]
        filters = torch.stack([conv.weight.detach() for conv in same_conv])
        assert filters.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert filters.mean().item() == pytest.approx(0, abs=0.05 * filters.std().item())
        # The fourth moment tells a normal (3) from a uniform distribution (1.8).
        assert (filters / filters.std()).pow(4).mean().item() == pytest.approx(3, abs=0.3)
        assert all(conv.bias is not None and (conv.bias == 0).all() for conv in same_conv)
    linears = [module for net in nets for module in net.modules() if isinstance(module, nn.Linear)]
    matrix = torch.stack([linear.weight.detach() for linear in linears])
    assert matrix.std().item() == pytest.approx(0.01, rel=0.03)
    assert matrix.mean().item() == pytest.approx(0, abs=0.0005)
    assert (matrix / matrix.std()).pow(4).mean().item() == pytest.approx(3, abs=0.2)
    assert all((linear.bias == 0).all() for linear in linears)
    norms = [module for module in nets[0].modules() if isinstance(module, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


def test_separable_cnn_is_depthwise_separable_and_within_the_budget() -> None:
    model = make_model("separable_cnn")
    assert count_params(model) < 20_000
    stem, *convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert stem.in_channels == 1
    depthwise, pointwise = convs[::2], convs[1::2]
    assert len(depthwise) == len(pointwise) > 1
    for spatial, mixing in zip(depthwise, pointwise, strict=True):
        assert spatial.groups == spatial.in_channels == spatial.out_channels
        assert spatial.kernel_size == (3, 3)
        assert mixing.kernel_size == (1, 1) and mixing.groups == 1
        assert mixing.in_channels == spatial.out_channels
    with torch.no_grad():  # one channel's input moves no other channel's output
        spatial = depthwise[-1]
        one_channel = torch.zeros(1, spatial.in_channels, 7, 7)
        one_channel[:, 3] = 1
        moved = spatial(one_channel) - spatial(torch.zeros_like(one_channel))
    assert moved[:, 3].abs().sum() > 0
    assert moved.abs().sum() == moved[:, 3].abs().sum()


@pytest.mark.parametrize("name", [name for name in PUBLISHED_PARAMS if name.startswith("ds_cnn")])
def test_the_nets_called_ds_cnn_are_plain_as_published(name: str) -> None:
    convs = [module for module in make_model(name).modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.groups == 1 and conv.bias is not None for conv in convs)


@pytest.mark.parametrize("name", MODELS)
def test_every_net_maps_images_to_logits_and_every_parameter_learns(name: str) -> None:
    model = make_model(name)
    logits = model(images(8))
    assert logits.shape == (8, 10) and logits.dtype == torch.float32
    F.cross_entropy(logits, torch.arange(8)).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        if parameter.ndim > 1:  # a bias before a batch norm has no influence, as published
            assert parameter.grad.abs().sum() > 0, f"{key} has no influence on the output"


@pytest.mark.parametrize("name", MODELS)
def test_every_net_sees_each_image_alone_in_evaluation(name: str) -> None:
    model, batch = make_model(name).eval(), images(5)
    with torch.no_grad():
        logits = model(batch)
        assert torch.equal(model(batch), logits), "evaluation is not random"
        torch.testing.assert_close(logits, torch.cat([model(image[None]) for image in batch]))
        last = model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(batch), logits)


@pytest.mark.parametrize("name", MODELS)
def test_every_nets_output_is_logits_rather_than_log_probabilities(name: str) -> None:
    with torch.no_grad():
        logits = make_model(name).eval()(images(4))
    assert not torch.allclose(logits.exp().sum(1), torch.ones(4))


@pytest.mark.parametrize("name", ["ds_cnn", "transition_cnn"])  # torch's initialisation, its own
def test_the_seed_decides_the_initial_weights(name: str) -> None:
    first, again, other = (
        make_experiment(f"model={name}", f"seed={seed}").model.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["+model.colour=red"], "model.colour"),
        (["~model.padding"], "model.padding"),
        (["model.padding=full"], "model.padding=full"),
        (["model.widths=8"], "model.widths=8"),
        (["model.widths=[[8],[0],[8]]"], "model.widths.1.0=0"),
        (["model.widths=[[8],[8.5],[8]]"], "model.widths.1.0=8.5"),
        (["model.dropout=[0.1,1.0]"], "model.dropout.1=1.0"),
        (["model.dropout=[-0.1,0.1]"], "model.dropout.0=-0.1"),
        (["model.dropout=[0.1]"], "dropout has 1 values; the 3 blocks of widths need 2"),
        (["model=rf_cnn", "model.widths=[16,32]"], "model.widths"),
        (["model=rf_cnn", "model.bottleneck=3"], "model.bottleneck=3"),
        (["model=rf_cnn", "model.dropout2d=1"], "model.dropout2d=1"),
        (["model=pointwise_cnn", "model.squeeze=0"], "model.squeeze=0"),
        (["model=transition_cnn", "model.widths=[1,2,3,4,5,6,7,8]"], "model.widths"),
        (["model=transition_cnn", "model.dropout2d=much"], "model.dropout2d=much"),
        (["model=separable_cnn", "model.stem=5000"], "model.stem=5000"),
        (["model=separable_cnn", "model.dropout=1.5"], "model.dropout=1.5"),
    ],
)
def test_a_bad_field_is_refused_by_name(overrides: list[str], key: str) -> None:
    with pytest.raises(UserError) as refusal:
        make_experiment(*overrides)
    message = str(refusal.value)
    assert key in message and "\n" not in message and message.startswith("model")


def test_rf_cnns_ablation_can_be_expressed() -> None:
    steps = [
        make_experiment("model=rf_cnn", *overrides).model
        for overrides in (
            ["model.dropout2d=0", "model.bottleneck=false"],
            ["model.dropout2d=0.1", "model.bottleneck=false"],
            ["model.dropout2d=0.1", "model.bottleneck=true"],
        )
    ]
    labels = [[layer.label for layer in profile(model).layers] for model in steps]
    assert [sum(label == "dropout2d 0.1" for label in net) for net in labels] == [0, 2, 2]
    assert [sum(" 1x1" in label for label in net) for net in labels] == [0, 0, 1]
    assert all(model(images(2)).shape == (2, 10) for model in steps)


def test_a_conv_unit_runs_its_layers_in_the_order_asked() -> None:
    unit = conv_unit(2, 4, "bn-relu-conv", kernel=5, padding="same", dropout2d=0.3)
    kinds = [type(layer) for layer in unit]
    assert kinds == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.Dropout2d]
    assert unit(torch.randn(3, 2, 9, 9)).shape == (3, 4, 9, 9)
    with pytest.raises(ValueError, match="'swish'"):
        conv_unit(2, 4, "conv-swish")
