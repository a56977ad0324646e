"""The net of an architecture search: every point is a net that is exactly what it says, or refused.

`reference` is the net once more, in plain functions.
"""

import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from itertools import product
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_sweep.errors import UserError, validation_message
from mnist_sweep.models.blocks import ACTIVATIONS, Activation, ResidualUnit, Unit
from mnist_sweep.models.space import SpaceCnn
from mnist_sweep.paths import CONF
from mnist_sweep.profile import count_params, profile
from tests.conftest import make_experiment
from tests.test_profile import footprint

Point = dict[str, Any]
ORDERS = ["conv-bn-act", "conv-act-bn", "bn-act-conv"]
HEADS = ["gap", "gmp", "linear"]


def default(**changes: Any) -> Point:
    """The point of the yaml, with changes; those of a stage change single keys of it."""
    point: Point = OmegaConf.to_container(  # type: ignore[assignment]
        OmegaConf.load(CONF / "model" / "cnn_space.yaml")
    )
    del point["_target_"]
    for key, value in changes.items():
        assert key in point
        point[key] = {**point[key], **value} if isinstance(value, dict) else value
    return point


def built(point: Point) -> list[dict[str, Any]]:
    return [point[f"stage{number}"] for number in range(1, point["num_stages"] + 1)]


def reference(point: Point, take: Callable[[tuple[int, ...]], Tensor], x: Tensor) -> Tensor:
    """The point's logits in evaluation; take: gives the next weights or statistics, of a shape.

    Raises:
        RuntimeError: torch's, if a convolution or a pooling does not fit.
    """
    preactivation = point["order"] == "bn-act-conv"

    def run(words: str, out: int, kernel: int, stride: int, groups: int, bias: bool) -> None:
        nonlocal x
        for word in words.split("-"):
            channels = x.shape[1]
            if word == "conv":
                weight = take((out, channels // groups, kernel, kernel))
                padding = kernel // 2 if point["padding"] == "same" else 0
                x = F.conv2d(x, weight, take((out,)) if bias else None, stride, padding, 1, groups)
            elif word == "bn":
                weight, shift, mean, var = (take((channels,)) for _ in range(4))
                take(())  # the number of batches seen
                x = F.batch_norm(x, mean, var, weight, shift)
            else:
                x = getattr(F, point["activation"])(x)

    for number, stage in enumerate(built(point)):
        pooling = stage.get("pool")
        if pooling == "max":
            x = F.max_pool2d(x, 2)
        elif pooling == "avg":
            x = F.avg_pool2d(x, 2)
        for index in range(stage["units"]):
            before, out, kernel = x, stage["width"], stage["kernel"]
            stem = number == index == 0
            stride = point["stem_stride"] if stem else 1
            if index == 0 and pooling == "stride":
                stride = 2
            order = "conv" if stem and preactivation else point["order"]
            if stage["conv"] == "plain" or stem:
                run(order, out, kernel, stride, 1, bias=point["order"] == "conv-act-bn")
            else:
                channels = x.shape[1]
                run(order, channels, kernel, stride, channels, bias=False)
                run(order, out, 1, 1, 1, bias=False)
            if stage["residual"] and x.shape == before.shape:
                x = before + x
    if preactivation:
        run("bn-act", 0, 0, 0, 0, bias=False)
    if point["head"] == "linear":
        x = F.adaptive_avg_pool2d(x, (2, 2)).flatten(1)
    else:
        x = x.mean((-2, -1)) if point["head"] == "gap" else x.flatten(2).max(2).values
    return F.linear(x, take((10, x.shape[1])), take((10,)))


def shaken(model: SpaceCnn) -> SpaceCnn:
    """Away from the start, where norms do nothing and a layer's place could not be told."""
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) if "var" in key else torch.randn_like(value) / 5)
    return model.eval()


def images(batch: int) -> Tensor:
    return torch.randn(batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))


# The whole space


def random_point(rng: random.Random) -> Point:
    # Narrow, so that 2,000 nets are quick.
    residual = rng.random() < 0.4

    def stage(later: bool) -> dict[str, Any]:
        values = {
            "units": rng.choice([1, 1, 2, 2, 3, 4, 5, 6]),
            "width": rng.choice([1, 2, 3, 4, 6, 6]),
            "kernel": rng.choice([3, 5]),
            "conv": rng.choice(["plain", "separable"]),
            "residual": residual and rng.random() < 0.7,
        }
        return {**values, "pool": rng.choice(["max", "avg", "stride", "none"])} if later else values

    return {
        "stem_stride": rng.choice([1, 2]),
        "num_stages": rng.randint(1, 4),
        "stage1": stage(later=False),
        **{f"stage{number}": stage(later=True) for number in (2, 3, 4)},
        "order": rng.choice(ORDERS),
        "padding": rng.choice(["same", "valid"]),
        "activation": rng.choice(list(ACTIVATIONS)),
        "dropout": rng.choice([0, 0.0, 0.1, 0.5]),
        "head": rng.choice(HEADS),
    }


def break_a_value(rng: random.Random, point: Point) -> str:
    """Makes one value wrong; returns its key."""
    key = rng.choice(list(point))
    if not isinstance(point[key], dict):
        point[key] = rng.choice([None, -1, "much"])
        return f"model.{key}="
    inner = rng.choice([*point[key], "depth"])
    point[key][inner] = rng.choice([None, -1, "much"])
    return f"model.{key}.{inner}"


def refusal(point: Point) -> str:
    """Why no net can be made of a point whose values are each right; "" if one can."""
    if point["padding"] == "valid" and any(stage["residual"] for stage in built(point)):
        return "residual=true does not go with padding=valid"
    try:
        reference(point, torch.zeros, torch.zeros(1, 1, 28, 28))
    except RuntimeError:
        return "does not fit its"
    return ""


def check_net(point: Point) -> None:
    model = SpaceCnn(**point)
    torch.manual_seed(0)
    shaken(model)
    batch = images(2)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        logits = model(batch)
    assert logits.shape == (2, 10) and logits.isfinite().all()
    costs = profile(model)
    assert costs.num_params == sum(parameter.numel() for parameter in model.parameters())
    assert costs.num_params == sum(layer.num_params for layer in costs.layers)
    assert 2 * len(batch) * costs.macs == counter.get_total_flops()
    values = iter(model.state_dict().values())

    def take(shape: tuple[int, ...]) -> Tensor:
        value: Tensor = next(values)
        assert value.shape == shape
        return value

    torch.testing.assert_close(logits, reference(point, take, batch))
    assert list(values) == []


# 2,000 points in all
@pytest.mark.parametrize("seed", range(8))
def test_every_point_is_a_net_or_refused_with_its_reason(seed: int) -> None:
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(250):
        point = random_point(rng)
        wrong = break_a_value(rng, point) if rng.random() < 0.05 else ""
        if wrong:
            with pytest.raises(ValidationError) as invalid:
                SpaceCnn(**point)
            assert wrong in validation_message(invalid.value, "model")
            outcomes["wrong value"] += 1
        elif reason := refusal(point):
            with pytest.raises(ValueError) as refused:
                SpaceCnn(**point)
            message = str(refused.value)
            assert message.startswith("stage") and reason in message, point
            assert "use padding=same" in message and "\n" not in message
            outcomes[reason] += 1
        else:
            check_net(point)
            outcomes["net"] += 1
    assert outcomes["net"] > 100
    assert min(outcomes.values()) >= 4 and len(outcomes) == 4, outcomes


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_each_bound_of_the_space_is_taken(padding: str) -> None:
    least = {"units": 1, "width": 1}
    check_net(default(num_stages=1, stage1=least, padding=padding))
    check_net(default(num_stages=1, stage1={"units": 1, "width": 512}, padding=padding))
    check_net(default(num_stages=1, stage1={"units": 6, "width": 1}, padding=padding))
    check_net(
        default(
            stem_stride=2,
            num_stages=4,
            stage1={"units": 2, "width": 2},
            stage2={"units": 1, "pool": "none"},
            stage3={"units": 1, "pool": "none"},
            stage4={"units": 1, "pool": "none"},
            padding=padding,
            dropout=0.99,
        )
    )


def test_a_map_comes_down_to_one_pixel() -> None:
    point = default(stem_stride=2, num_stages=4, head="linear")
    shapes = [layer.shape for layer in profile(SpaceCnn(**point)).layers]
    assert shapes[-4:] == [(32, 1, 1), (32, 2, 2), (128,), (10,)]
    check_net(point)


def test_the_values_of_the_yaml_are_a_net_within_the_budget() -> None:
    model = make_experiment("model=cnn_space").model
    assert count_params(model) == 16_630
    check_net(default())


@pytest.mark.parametrize("order", ORDERS)
def test_a_net_can_be_built_without_memory(order: str) -> None:
    point = default(num_stages=4, order=order, stage2={"residual": True, "conv": "separable"})
    with torch.device("meta"):
        model = SpaceCnn(**point)
    assert all(value.is_meta for value in model.state_dict().values())
    assert count_params(model) == count_params(SpaceCnn(**point))


def test_every_activation_has_its_name() -> None:
    assert set(get_args(Activation)) == set(ACTIVATIONS)
    for name in ACTIVATIONS:
        values = torch.linspace(-4, 4, 33)
        unit = SpaceCnn(**default(activation=name))[0]
        assert isinstance(unit, Unit)
        assert torch.equal(unit[2](values.clone()), getattr(F, name)(values))


# Receptive field

FIELDS: dict[str, Point] = {
    "5x5 and max-pooling": default(stage1={"kernel": 5}, stage3={"kernel": 5, "units": 2}),
    "strided stem, average": default(
        stem_stride=2, num_stages=2, stage2={"pool": "avg"}, padding="valid"
    ),
    "strided stages": default(
        num_stages=4, stage2={"pool": "stride"}, stage3={"pool": "stride"}, stage4={"pool": "none"}
    ),
    "residual": default(
        stage1={"units": 3, "residual": True},
        stage2={"residual": True, "kernel": 5},
        stage3={"units": 2, "residual": True, "pool": "stride"},
    ),
    "separable": default(
        stage1={"conv": "separable"},
        stage2={"conv": "separable", "kernel": 5, "residual": True},
        stage3={"conv": "separable", "pool": "stride"},
        head="gmp",
    ),
    "flat head": default(head="linear", order="conv-act-bn"),
    "flat head on an even map": default(num_stages=2, head="linear", activation="silu"),
    "pre-activation": default(
        order="bn-act-conv", stage2={"residual": True}, activation="gelu", dropout=0.1
    ),
}


def check_fields(point: Point, canvas: int) -> None:
    """Every row's receptive field against the input pixels that have a gradient."""
    model = SpaceCnn(**point)
    children, rows = list(model.children()), profile(model).layers
    assert len(children) == len(rows)
    first_of_head = -3 if point["head"] == "linear" else -2
    body, side = children[:first_of_head], rows[first_of_head - 1].shape[-1]
    for count in range(1, len(body) + 1):
        found = footprint(body[:count], canvas)
        assert rows[count - 1].receptive_field == found, rows[count - 1].label
    whole = footprint(body, canvas, window=side)
    if point["head"] == "linear":
        window = footprint(body, canvas, window=-(-side // 2))
        assert [row.receptive_field for row in rows[-3:]] == [window, whole, whole]
    else:
        assert [row.receptive_field for row in rows[-2:]] == [whole, whole]
    assert profile(model).receptive_field == whole


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields_are_what_outputs_depend_on(name: str) -> None:
    check_fields(FIELDS[name], canvas=128)


@pytest.mark.parametrize("seed", range(12))
def test_receptive_fields_of_random_points(seed: int) -> None:
    rng = random.Random(1000 + seed)
    point = random_point(rng)
    while refusal(point):
        point = random_point(rng)
    for number in range(1, 5):
        stage = point[f"stage{number}"]
        stage.update(units=min(stage["units"], 3), width=2)
    check_fields(point, canvas=400)


# What a key means

LATER_STAGES = st.fixed_dictionaries(
    {
        "units": st.integers(1, 6),
        "width": st.integers(1, 512),
        "kernel": st.sampled_from([3, 5]),
        "conv": st.sampled_from(["plain", "separable"]),
        "residual": st.booleans(),
        "pool": st.sampled_from(["max", "avg", "stride", "none"]),
    }
)


@given(
    num_stages=st.integers(1, 3),
    stages=st.tuples(LATER_STAGES, LATER_STAGES, LATER_STAGES),
    padding=st.sampled_from(["same", "valid"]),
)
@settings(max_examples=50, deadline=None)
def test_the_stages_that_are_not_built_change_nothing(
    num_stages: int, stages: tuple[dict[str, Any], ...], padding: str
) -> None:
    point = default(num_stages=num_stages, padding=padding)
    unused = {f"stage{n}": stage for n, stage in enumerate(stages, 2) if n > num_stages}
    nets = [SpaceCnn(**point), SpaceCnn(**{**point, **unused})]
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in nets]
    assert shapes[0] == shapes[1]
    assert profile(nets[0]) == profile(nets[1])


def labels(point: Point) -> list[str]:
    return [layer.label for layer in profile(SpaceCnn(**point)).layers]


def test_the_table_is_in_the_words_of_the_field() -> None:
    point = default(
        stem_stride=2,
        stage1={"kernel": 5, "residual": True},
        stage2={"conv": "separable", "pool": "avg"},
        stage3={"pool": "stride"},
        activation="leaky_relu",
        dropout=0.1,
        head="linear",
    )
    assert labels(point) == [
        "conv 1-12 5x5 same stride 2, BN, LeakyReLU",
        "conv 12-12 5x5 same, BN, LeakyReLU, add input",
        "avgpool 2",
        "dropout 0.1",
        "depthwise conv 12-12 3x3 same, BN, LeakyReLU, conv 12-24 1x1, BN, LeakyReLU",
        "depthwise conv 24-24 3x3 same, BN, LeakyReLU, conv 24-24 1x1, BN, LeakyReLU",
        "dropout 0.1",
        "conv 24-32 3x3 same stride 2, BN, LeakyReLU",
        "adaptive avgpool 2",
        "flatten",
        "linear 128-10",
    ]


@pytest.mark.parametrize(
    ("pool", "entry", "side"),
    [
        ("max", ["maxpool 2", "conv 12-24 3x3 same, BN, ReLU"], 14),
        ("avg", ["avgpool 2", "conv 12-24 3x3 same, BN, ReLU"], 14),
        ("stride", ["conv 12-24 3x3 same stride 2, BN, ReLU"], 14),
        ("none", ["conv 12-24 3x3 same, BN, ReLU"], 28),
    ],
)
def test_how_a_stage_is_entered(pool: str, entry: list[str], side: int) -> None:
    point = default(num_stages=2, stage2={"pool": pool, "units": 2})
    stage1 = ["conv 1-12 3x3 same, BN, ReLU", "conv 12-12 3x3 same, BN, ReLU"]
    rest = ["conv 24-24 3x3 same, BN, ReLU", "global avgpool", "linear 24-10"]
    assert labels(point) == [*stage1, *entry, *rest]
    assert profile(SpaceCnn(**point)).layers[-3].shape == (24, side, side)


@pytest.mark.parametrize("pool", ["max", "avg", "stride", "none"])
def test_dropout_comes_once_between_two_stages(pool: str) -> None:
    point = default(num_stages=4, **{f"stage{number}": {"pool": pool} for number in (2, 3, 4)})
    assert not any("dropout" in label for label in labels(point))
    with_dropout = labels({**point, "dropout": 0.25})
    assert [label for label in with_dropout if label != "dropout 0.25"] == labels(point)
    assert with_dropout.count("dropout 0.25") == 3
    for above, label in zip(with_dropout, with_dropout[1:], strict=False):
        if label == "dropout 0.25":
            assert above.startswith("conv" if pool in ("stride", "none") else f"{pool}pool")


@pytest.mark.parametrize(
    ("order", "first", "second", "last", "biases"),
    [
        ("conv-bn-act", "conv 1-12 3x3 same, BN, GELU", "conv 12-12 3x3 same, BN, GELU", [], 0),
        ("conv-act-bn", "conv 1-12 3x3 same, GELU, BN", "conv 12-12 3x3 same, GELU, BN", [], 2),
        ("bn-act-conv", "conv 1-12 3x3 same", "BN, GELU, conv 12-12 3x3 same", ["BN, GELU"], 0),
    ],
)
def test_the_order_of_a_units_layers(
    order: str, first: str, second: str, last: list[str], biases: int
) -> None:
    point = default(num_stages=1, order=order, activation="gelu")
    assert labels(point) == [first, second, *last, "global avgpool", "linear 12-10"]
    convs = [module for module in SpaceCnn(**point).modules() if isinstance(module, nn.Conv2d)]
    assert sum(conv.bias is not None for conv in convs) == biases


@pytest.mark.parametrize("order", ORDERS)
def test_no_bias_is_left_out_that_would_matter(order: str) -> None:
    # A bias before a norm, in training: the same logits whatever it is.
    point = default(order=order, padding="same", stage2={"residual": True})
    torch.manual_seed(0)
    model = SpaceCnn(**point).train()
    logits = model(images(4))
    bare = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    assert len(bare) == (0 if order == "conv-act-bn" else 5)
    for conv in bare:
        conv.bias = nn.Parameter(torch.randn(conv.out_channels))
    torch.testing.assert_close(model(images(4)), logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("conv", ["plain", "separable"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_residual_unit_adds_its_input(order: str, conv: str) -> None:
    point = default(
        num_stages=2, stage2={"units": 3, "residual": True, "conv": conv}, order=order, head="gmp"
    )
    torch.manual_seed(0)
    model = shaken(SpaceCnn(**point))
    units = [module for module in model if isinstance(module, Unit)]
    # The first changes the width: nothing to add.
    residual = [isinstance(unit, ResidualUnit) for unit in units]
    assert residual == [False, False, False, True, True] + [False] * (order == "bn-act-conv")
    maps = torch.randn(2, 24, 6, 6)
    given = maps.clone()
    with torch.no_grad():
        torch.testing.assert_close(units[3](maps), given + nn.Sequential(*units[3])(given))
    assert torch.equal(maps, given), "the input is not changed in place"
    plain = SpaceCnn(**{**point, "stage2": {**point["stage2"], "residual": False}})
    assert count_params(plain) == count_params(model)


def test_only_units_whose_shapes_agree_are_residual() -> None:
    point = default(
        stage1={"residual": True, "width": 8, "units": 1},
        stage2={"residual": True, "width": 8, "units": 1, "pool": "stride"},
        stage3={"residual": True, "width": 8, "units": 1, "pool": "max"},
    )
    assert ["add input" in label for label in labels(point) if "conv" in label] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("kernel", [3, 5])
def test_separable_is_depthwise_then_pointwise_without_biases(kernel: int) -> None:
    stage = {"conv": "separable", "kernel": kernel, "units": 2}
    for order in ORDERS:
        model = SpaceCnn(**default(num_stages=2, stage1=stage, stage2=stage, order=order))
        stem, *convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        assert stem.groups == 1 and stem.out_channels == 12, "a depthwise one would be one filter"
        assert [conv.groups for conv in convs] == [12, 1, 12, 1, 24, 1]
        assert [conv.kernel_size[0] for conv in convs] == [kernel, 1] * 3
        assert all(conv.bias is None for conv in convs)


@pytest.mark.parametrize(
    ("head", "rows", "num_params"),
    [
        ("gap", ["global avgpool", "linear 32-10"], 330),
        ("gmp", ["global maxpool", "linear 32-10"], 330),
        ("linear", ["adaptive avgpool 2", "flatten", "linear 128-10"], 4 * 32 * 10 + 10),
    ],
)
def test_heads(head: str, rows: list[str], num_params: int) -> None:
    costs = profile(SpaceCnn(**default(head=head)))
    assert [layer.label for layer in costs.layers[-len(rows) :]] == rows
    assert costs.num_params == 16_300 + num_params
    assert costs.layers[-1].num_params == costs.layers[-1].macs + 10 == num_params


@pytest.mark.parametrize(("order", "head"), list(product(ORDERS, HEADS)))
def test_a_training_step_learns(order: str, head: str) -> None:
    torch.manual_seed(0)
    residual = {"units": 2, "residual": True}
    model = SpaceCnn(**default(order=order, head=head, stage1=residual, stage2=residual))
    batch, target = images(10), torch.arange(10)
    before = F.cross_entropy(model(batch), target)
    before.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    assert F.cross_entropy(model(batch), target) < before


def test_one_net_does_not_share_weights_with_another() -> None:
    point = default(stage1={"residual": True})
    first = SpaceCnn(**point)
    pointers = {parameter.data_ptr() for parameter in first.parameters()}
    for other in (SpaceCnn(**point), deepcopy(first)):
        assert pointers.isdisjoint(parameter.data_ptr() for parameter in other.parameters())
    assert len(pointers) == len(list(first.parameters()))


# Mistakes

REMEDY = "use padding=same, smaller kernels, fewer units or fewer stages"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "model.padding=valid model.stage2.units=3 model.stage3.kernel=5",
            "model: stage3: a 5x5 valid convolution does not fit its 3x3 input; " + REMEDY,
        ),
        (
            "model.padding=valid model.stage2.units=5 model.stage3.pool=stride",
            "model: stage3: a 3x3 valid convolution does not fit its 2x2 input; " + REMEDY,
        ),
        (
            "model.padding=valid model.stage1.units=1 model.stage2.units=6",
            "model: stage3: 2x2 pooling (pool=max) does not fit its 1x1 input; " + REMEDY,
        ),
        (
            "model.padding=valid model.stage1.units=1 model.stage2.units=6 model.stage3.pool=avg",
            "model: stage3: 2x2 pooling (pool=avg) does not fit its 1x1 input; " + REMEDY,
        ),
        (
            "model.padding=valid model.stage2.residual=true",
            "model: stage2.residual=true does not go with padding=valid, where an output is "
            "smaller than its input; use padding=same or stage2.residual=false",
        ),
        ("model.stem_stride=3", "model.stem_stride=3: input should be less than or equal to 2"),
        ("model.num_stages=5", "model.num_stages=5: input should be less than or equal to 4"),
        ("model.num_stages=0", "model.num_stages=0: input should be greater than or equal to 1"),
        (
            "model.stage1.width=0",
            "model.stage1.width=0: input should be greater than or equal to 1",
        ),
        (
            "model.stage2.width=513",
            "model.stage2.width=513: input should be less than or equal to 512",
        ),
        ("model.stage2.width=8.5", "model.stage2.width=8.5: input should be a valid integer"),
        ("model.stage3.units=7", "model.stage3.units=7: input should be less than or equal to 6"),
        ("model.stage3.kernel=4", "model.stage3.kernel=4: input should be 3 or 5"),
        (
            "model.stage1.conv=grouped",
            "model.stage1.conv=grouped: input should be 'plain' or 'separable'",
        ),
        ("model.stage1.residual=1", "model.stage1.residual=1: input should be a valid boolean"),
        (
            "model.stage2.pool=l2",
            "model.stage2.pool=l2: input should be 'max', 'avg', 'stride' or 'none'",
        ),
        (
            "model.order=conv-bn-relu",
            "model.order=conv-bn-relu: input should be 'conv-bn-act', 'conv-act-bn' or "
            "'bn-act-conv'",
        ),
        ("model.padding=full", "model.padding=full: input should be 'valid' or 'same'"),
        (
            "model.activation=swish",
            "model.activation=swish: input should be 'relu', 'leaky_relu', 'gelu', 'silu' or "
            "'hardswish'",
        ),
        ("model.dropout=1.0", "model.dropout=1.0: input should be less than 1"),
        ("model.head=flat", "model.head=flat: input should be 'gap', 'gmp' or 'linear'"),
        # A stage that is not built has its values checked all the same.
        (
            "model.stage4.width=0",
            "model.stage4.width=0: input should be greater than or equal to 1",
        ),
        ("+model.stage4.depth=3", "model.stage4.depth: no such key; remove it"),
        ("+model.stage1.pool=max", "model.stage1.pool: no such key; remove it"),
        ("+model.depth=3", "model.depth: no such key; remove it"),
        ("~model.head", "model.head: missing; give it a value"),
        ("~model.stage2.pool", "model.stage2.pool: missing; give it a value"),
        ("~model.stage4", "model.stage4: missing; give it a value"),
    ],
)
def test_a_mistake_is_said_with_its_key_and_remedy(overrides: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        make_experiment("model=cnn_space", *overrides.split())
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "remedy",
    [
        ["model.padding=same"],
        ["model.stage3.kernel=3"],
        ["model.stage2.units=1"],
        ["model.num_stages=2"],
    ],
)
def test_the_remedies_that_are_offered_work(remedy: list[str]) -> None:
    too_small = ["model.padding=valid", "model.stage2.units=3", "model.stage3.kernel=5"]
    net = make_experiment("model=cnn_space", *too_small, *remedy).model
    assert net(images(2)).shape == (2, 10)
