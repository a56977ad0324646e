"""Learning-rate schedules: tables of values, and agreement with torch's own schedulers."""

from functools import cache
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler

from mnist_sweep.metrics import EpochMetrics, Monitor
from mnist_sweep.schedulers import Clock, Constant, Cosine, OneCycle, Plateau, Scheduler, Step
from tests.conftest import choices, make_experiment

SCHEDULERS = choices("scheduler")
MONITORS: tuple[Monitor, ...] = (
    "train_loss",
    "train_acc",
    "val_loss",
    "val_acc",
    "test_loss",
    "test_acc",
)


def measured(epoch: int, **values: float) -> EpochMetrics:
    """An epoch of which only `values` matter; all other figures would mislead a reader of them."""
    figures = dict.fromkeys(map(str, MONITORS), 1000.0 + epoch) | values
    return EpochMetrics(
        epoch=epoch,
        lr=1.0,
        val_loss_raw=None,
        val_acc_raw=None,
        seconds=1.0,
        images_per_s=1.0,
        **figures,
    )


def histories(monitor: Monitor, values: list[float]) -> list[EpochMetrics]:
    return [measured(epoch, **{monitor: value}) for epoch, value in enumerate(values, start=1)]


def factors(
    scheduler: Scheduler, steps_per_epoch: int, epochs: int, history: list[EpochMetrics]
) -> list[float]:
    """The factor at every step of a run in which `history` was measured."""
    return [
        scheduler.factor(Clock(step, steps_per_epoch, epochs, history[: step // steps_per_epoch]))
        for step in range(steps_per_epoch * epochs)
    ]


def torch_optimizer() -> torch.optim.Optimizer:
    """At lr 1, so that its lr is the factor."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def torch_factors(
    optimizer: torch.optim.Optimizer, scheduler: lr_scheduler.LRScheduler, num_steps: int
) -> list[float]:
    """torch's lr at steps 0, 1, ...: its scheduler moves after each but the last."""
    rates = [float(optimizer.param_groups[0]["lr"])]
    for _ in range(num_steps - 1):
        optimizer.step()
        scheduler.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


@cache
def from_yaml(name: str) -> Scheduler:
    return make_experiment(f"scheduler={name}").scheduler


@pytest.mark.parametrize(
    ("scheduler", "table"),
    [
        (Constant(warmup_epochs=0), [1, 1, 1, 1, 1, 1, 1, 1]),
        # Half an epoch is two steps; the third is at the top.
        (Constant(warmup_epochs=0.5), [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]),
        (Constant(warmup_epochs=1), [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]),
        # No warm-up takes more than half the run.
        (Constant(warmup_epochs=9), [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]),
        (Step(warmup_epochs=0, step_size=1, gamma=0.3), [1, 1, 1, 1, 0.3, 0.3, 0.3, 0.3]),
        (Step(warmup_epochs=0, step_size=2, gamma=0.3), [1, 1, 1, 1, 1, 1, 1, 1]),
        (
            Step(warmup_epochs=0.5, step_size=1, gamma=0.1),
            [1 / 3, 2 / 3, 1, 1, 0.1, 0.1, 0.1, 0.1],
        ),
        (
            Cosine(warmup_epochs=0, final=0),
            [1, 0.96194, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.03806],
        ),
        (
            Cosine(warmup_epochs=1, final=0.2),
            [0.2, 0.4, 0.6, 0.8, 1, 0.882843, 0.6, 0.317157],
        ),
        (
            # 7 steps lie between first and last: up over 2.8 of them, down over 4.2.
            OneCycle(warmup=0.4, shape="linear", start=0.1, final=0.05),
            [0.1, 0.421429, 0.742857, 0.954762, 0.728571, 0.502381, 0.27619, 0.05],
        ),
        (
            OneCycle(warmup=0, shape="cosine", start=0.1, final=0),
            [1, 0.950484, 0.811745, 0.61126, 0.38874, 0.188255, 0.049516, 0],
        ),
        (
            OneCycle(warmup=1, shape="linear", start=0.3, final=0),
            [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
        ),
    ],
)
def test_table_of_two_epochs_of_four_steps(scheduler: Scheduler, table: list[float]) -> None:
    assert factors(scheduler, 4, 2, []) == pytest.approx(table, abs=1e-6)


@pytest.mark.parametrize(
    ("monitor", "patience", "values", "table"),
    [
        ("val_acc", 0, [0.5, 0.6, 0.6, 0.7, 0.6, 0.6], [1, 1, 1, 0.5, 0.5, 0.25]),
        ("val_acc", 1, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [1, 1, 1, 0.5, 0.5, 0.25]),
        ("train_loss", 0, [2.0, 1.0, 1.5, 0.8, 0.8, 0.5], [1, 1, 1, 0.5, 0.5, 0.25]),
        ("test_loss", 2, [1.0, 2.0, 2.0, 0.5, 2.0, 2.0], [1, 1, 1, 1, 1, 1]),
        # Less than the threshold, a tenth of the best, is no improvement.
        ("test_acc", 0, [0.50, 0.54, 0.56, 0.56, 0.62, 0.62], [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("val_loss", 0, [1.0, 0.95, 0.89, 0.85, 0.80, 0.5], [1, 1, 0.5, 0.5, 0.25, 0.25]),
    ],
)
def test_table_of_a_plateau(
    monitor: Monitor, patience: int, values: list[float], table: list[float]
) -> None:
    plateau = Plateau(warmup_epochs=0, monitor=monitor, gamma=0.5, patience=patience, threshold=0.1)
    assert factors(plateau, 1, 6, histories(monitor, values)) == pytest.approx(table)


def test_a_plateau_warms_up_and_keeps_its_factor_within_an_epoch() -> None:
    plateau = Plateau(warmup_epochs=1, monitor="val_acc", gamma=0.5, patience=0, threshold=0)
    # Epoch 1 does not improve on anything, epoch 2 not on epoch 1.
    history = histories("val_acc", [0.9, 0.9, 0.95])
    table = [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert factors(plateau, 3, 4, history) == pytest.approx(table)


@given(
    epochs=st.integers(1, 25),
    step_size=st.integers(1, 8),
    gamma=st.floats(0.01, 1),
    steps_per_epoch=st.integers(1, 4),
)
@settings(max_examples=50, deadline=None)
def test_step_is_torchs_step_lr(
    epochs: int, step_size: int, gamma: float, steps_per_epoch: int
) -> None:
    optimizer = torch_optimizer()
    by_epoch = torch_factors(optimizer, lr_scheduler.StepLR(optimizer, step_size, gamma), epochs)
    step = Step(warmup_epochs=0, step_size=step_size, gamma=gamma)
    expected = [rate for rate in by_epoch for _ in range(steps_per_epoch)]
    assert factors(step, steps_per_epoch, epochs, []) == pytest.approx(expected, rel=1e-9)


# Few distinct values among them, so that ties and values near the threshold are common.
LOSSES = st.sampled_from([0.0, 0.5, 0.9, 0.9999, 1.0, 2.0]) | st.floats(0, 10)
ACCURACIES = st.sampled_from([0.0, 0.5, 0.9, 0.9001, 0.99, 1.0]) | st.floats(0, 1)


@given(
    values=st.lists(LOSSES, min_size=1, max_size=25),
    accuracies=st.lists(ACCURACIES, min_size=1, max_size=25),
    part=st.sampled_from(["train", "val", "test"]),
    mode=st.sampled_from(["min", "max"]),
    gamma=st.floats(0.05, 0.95),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]) | st.floats(0, 0.99),
)
@settings(max_examples=300, deadline=None)
def test_plateau_is_torchs_reduce_lr_on_plateau(
    values: list[float],
    accuracies: list[float],
    part: Literal["train", "val", "test"],
    mode: Literal["min", "max"],
    gamma: float,
    patience: int,
    threshold: float,
) -> None:
    optimizer = torch_optimizer()
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=gamma,
        patience=patience,
        threshold=threshold,
        eps=0,  # torch lets tiny reductions be; a factor of the lr has no such scale
    )
    monitor: Monitor
    if mode == "max":
        values, monitor = accuracies, f"{part}_acc"  # type: ignore[assignment]
    else:
        monitor = f"{part}_loss"  # type: ignore[assignment]
    expected = [1.0]
    for value in values:
        reference.step(value)
        expected.append(float(optimizer.param_groups[0]["lr"]))
    plateau = Plateau(
        warmup_epochs=0, monitor=monitor, gamma=gamma, patience=patience, threshold=threshold
    )
    found = factors(plateau, 1, len(values) + 1, histories(monitor, values))
    assert found == pytest.approx(expected, rel=1e-9)


@given(
    steps_per_epoch=st.integers(1, 30),
    epochs=st.integers(1, 10),
    final=st.floats(0, 1),
    warmup_epochs=st.integers(0, 3),
)
@settings(max_examples=50, deadline=None)
def test_cosine_is_torchs_cosine_annealing_at_every_step_after_the_warmup(
    steps_per_epoch: int, epochs: int, final: float, warmup_epochs: int
) -> None:
    num_steps = steps_per_epoch * epochs
    warmup = min(warmup_epochs * steps_per_epoch, num_steps // 2)
    optimizer = torch_optimizer()
    annealing = lr_scheduler.CosineAnnealingLR(optimizer, num_steps - warmup, eta_min=final)
    expected = torch_factors(optimizer, annealing, num_steps - warmup)
    cosine = Cosine(warmup_epochs=warmup_epochs, final=final)
    found = factors(cosine, steps_per_epoch, epochs, [])
    assert found[warmup:] == pytest.approx(expected, abs=1e-9)
    assert found[:warmup] == pytest.approx([(i + 1) / (warmup + 1) for i in range(warmup)])


@given(
    num_steps=st.integers(20, 200),
    warmup=st.floats(0.05, 0.9),
    start=st.floats(0.01, 1),
    final=st.floats(0.001, 1),
    shape=st.sampled_from(["linear", "cosine"]),
)
@settings(max_examples=50, deadline=None)
def test_one_cycle_is_torchs(
    num_steps: int, warmup: float, start: float, final: float, shape: Literal["linear", "cosine"]
) -> None:
    optimizer = torch_optimizer()
    reference = lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=num_steps,
        # torch counts the share from the step before the first, we from the first.
        pct_start=(warmup * (num_steps - 1) + 1) / num_steps,
        anneal_strategy="cos" if shape == "cosine" else "linear",
        cycle_momentum=False,
        div_factor=1 / start,
        final_div_factor=start / final,
    )
    expected = torch_factors(optimizer, reference, num_steps)
    one_cycle = OneCycle(warmup=warmup, shape=shape, start=start, final=final)
    assert factors(one_cycle, num_steps, 1, []) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_one_cycle_starts_peaks_and_ends_where_it_should(
    shape: Literal["linear", "cosine"],
) -> None:
    one_cycle = OneCycle(warmup=0.25, shape=shape, start=0.04, final=0.01)
    found = factors(one_cycle, 101, 1, [])
    assert found[0] == 0.04
    assert found[25] == max(found) == 1
    assert found[-1] == pytest.approx(0.01)
    assert found[:26] == sorted(found[:26]) and found[25:] == sorted(found[25:], reverse=True)


@pytest.mark.parametrize(("warmup", "num_steps"), [(0.2, 2), (0.9, 10)])
def test_one_cycle_ends_at_final_even_if_its_descent_is_shorter_than_a_step(
    warmup: float, num_steps: int
) -> None:
    one_cycle = OneCycle(warmup=warmup, shape="linear", start=0.04, final=0.0)
    assert factors(one_cycle, num_steps, 1, [])[-1] == pytest.approx(0)


@pytest.mark.parametrize("name", SCHEDULERS)
@given(data=st.data(), steps_per_epoch=st.integers(1, 40), epochs=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_every_factor_lies_between_0_and_1(
    name: str, data: st.DataObject, steps_per_epoch: int, epochs: int
) -> None:
    scheduler = from_yaml(name)
    values = data.draw(st.lists(ACCURACIES, min_size=epochs, max_size=epochs))
    history = [
        measured(epoch, **dict.fromkeys(MONITORS, value))
        for epoch, value in enumerate(values, start=1)
    ]
    found = factors(scheduler, steps_per_epoch, epochs, history)
    assert all(0 <= factor <= 1 for factor in found)
    assert max(found) > 0, "a run whose lr is 0 throughout learns nothing"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_factor_depends_on_its_clock_alone(name: str) -> None:
    scheduler = from_yaml(name)
    history = [measured(epoch, val_acc=0.5) for epoch in range(1, 5)]
    clocks = [Clock(step, 7, 5, history[: step // 7]) for step in range(35)]
    forward = [scheduler.factor(clock) for clock in clocks]
    backward = [scheduler.factor(clock) for clock in reversed(clocks)]
    assert forward == backward[::-1]
    # A resumed run starts in the middle with a schedule built anew.
    resumed = type(scheduler)(**scheduler.model_dump())
    assert [resumed.factor(clock) for clock in clocks[21:]] == forward[21:]


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Constant, {"warmup_epochs": -0.5}),
        (Step, {"warmup_epochs": 0, "step_size": 0, "gamma": 0.5}),
        (Step, {"warmup_epochs": 0, "step_size": 1, "gamma": 0.0}),
        (Step, {"warmup_epochs": 0, "step_size": 1, "gamma": 1.1}),
        (Step, {"warmup_epochs": 0, "step_size": 1.5, "gamma": 0.5}),
        (Cosine, {"warmup_epochs": 0, "final": 1.5}),
        (Cosine, {"warmup_epochs": 0}),
        (OneCycle, {"warmup": 1.2, "shape": "linear", "start": 0.1, "final": 0}),
        (OneCycle, {"warmup": 0.2, "shape": "square", "start": 0.1, "final": 0}),
    ],
)
def test_bad_settings_are_rejected(cls: type[Scheduler], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls(**fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [("monitor", "val_f1"), ("gamma", 1.0), ("gamma", 0.0), ("patience", -1), ("threshold", 1.0)],
)
def test_bad_plateau_settings_are_rejected(field: str, value: Any) -> None:
    good = {"warmup_epochs": 0, "monitor": "val_acc", "gamma": 0.5, "patience": 0, "threshold": 0}
    with pytest.raises(ValidationError, match=field):
        Plateau(**{**good, field: value})
