"""The training loop against a plain torch loop, and every combination of choices a few steps."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_sweep.config import Settings
from mnist_sweep.data import load
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import Experiment
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.sets.dataset import Dataset, Split
from mnist_sweep.train import (
    Machine,
    TrainResult,
    averaged_pairs,
    settle,
    train,
    update_average,
)
from tests.conftest import choices, make_experiment

CPU = Machine(torch.device("cpu"), "fp32", threads=1)


def dataset(experiment: Experiment) -> Dataset:
    trainer = experiment.settings.trainer
    data = load(experiment.settings.data, experiment.settings.protocol)
    return data.limited(trainer.limit_train, trainer.limit_val, trainer.limit_test)


def run(*overrides: str) -> TrainResult:
    experiment = make_experiment("data=digits", *overrides)
    return train(experiment, dataset(experiment), CPU)


def with_trainer(settings: Settings, **changes: Any) -> Settings:
    trainer = settings.trainer.model_copy(update=changes)
    return settings.model_copy(update={"trainer": trainer})


def test_training_equals_a_plain_torch_loop() -> None:
    """Three epochs of SGD with momentum, decay, clipping and smoothing, in the order of the data.

    One batch an epoch: then the random order does not matter to the sums but for rounding.
    """
    overrides = [
        "data=digits", "optimizer=sgd", "optimizer.decay_bias_and_norm=true", "optimizer.lr=0.02",
        "scheduler=step", "scheduler.warmup_epochs=0", "scheduler.step_size=1",
        "scheduler.gamma=0.5", "augmentation=none", "model.dropout=[0.0,0.0]",
        "trainer.epochs=3", "trainer.batch_size=2000", "trainer.limit_train=200",
        "trainer.label_smoothing=0.1", "trainer.grad_clip_norm=0.5", "trainer.ema_horizon=0",
    ]  # fmt: skip
    experiment = make_experiment(*overrides)
    data = dataset(experiment)
    plain = deepcopy(experiment.model)
    result = train(experiment, data, CPU)

    optimizer = torch.optim.SGD(
        plain.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    images, labels = data.train.batch(torch.arange(200))
    images = (images - data.mean[0]) / data.std[0]
    losses = []
    plain.train()
    for _ in range(3):
        loss = F.cross_entropy(plain(images), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert [m.train_loss for m in result.history] == pytest.approx(losses, rel=1e-4)
    assert [m.lr for m in result.history] == pytest.approx([0.02, 0.01, 0.005])
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(result.weights[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        name if name in ("ds_cnn", "cnn_space") else pytest.param(name, marks=pytest.mark.slow)
        for name in choices("model")
    ],
)
def test_every_combination_with_a_model_trains_a_few_steps(model: str) -> None:
    """optimizer x scheduler x augmentation: finite weights that moved."""
    base = make_experiment("data=digits", "trainer.epochs=2", "trainer.batch_size=8")
    settings = with_trainer(base.settings, eval_batch_size=8)
    data = dataset(base).limited(16, 8, 8)
    fresh = make_experiment(f"model={model}", "budget.max_params=null").model
    optimizers = {
        name: make_experiment(f"optimizer={name}").optimizer for name in choices("optimizer")
    }
    schedulers = {
        name: make_experiment(f"scheduler={name}").scheduler for name in choices("scheduler")
    }
    augmentations = {
        name: make_experiment(f"augmentation={name}").augmentation
        for name in choices("augmentation")
    }
    combinations = list(product(optimizers, schedulers, augmentations))
    assert len(combinations) >= 5 * 5 * 5
    for optimizer, scheduler, augmentation in combinations:
        experiment = replace(
            base,
            settings=settings,
            model=deepcopy(fresh),
            optimizer=optimizers[optimizer],
            scheduler=schedulers[scheduler],
            augmentation=augmentations[augmentation],
        )
        result = train(experiment, data, CPU)
        where = f"{optimizer} {scheduler} {augmentation}"
        assert result.status == "completed", where
        before, after = dict(fresh.named_parameters()), result.weights
        assert all(after[name].isfinite().all() for name in before), where
        assert any(not torch.equal(after[name], before[name]) for name in before), where


@pytest.mark.parametrize(
    ("fade_out", "shares"),
    [("0", [1, 1, 1, 1]), ("0.5", [1, 1, 1, 0.5]), ("1", [1, 0.75, 0.5, 0.25])],
)
def test_dropout_and_augmentation_fade_out_together(fade_out: str, shares: list[float]) -> None:
    experiment = make_experiment(
        "data=digits",
        "trainer.limit_train=128",
        "trainer.epochs=2",
        "model.dropout=[0.2,0.4]",
        f"trainer.fade_out={fade_out}",
    )
    layers = [layer for layer in experiment.model.modules() if isinstance(layer, nn.Dropout)]
    seen: list[list[float]] = []

    def look(images: int) -> None:
        seen.append([layer.p for layer in layers])

    train(experiment, dataset(experiment), CPU, on_step=look)
    assert seen == [[pytest.approx(0.2 * share), pytest.approx(0.4 * share)] for share in shares]
    (augmentation,) = experiment.augmentation
    weaker = type(augmentation)(**{**augmentation.model_dump(), "strength": 0.25})
    images = torch.rand(4, 1, 28, 28)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(
        augmentation(images, generators[0], share=0.25), weaker(images, generators[1])
    )
    assert augmentation(images, generators[0], share=0.0) is images


def test_augmentations_compose_in_their_order() -> None:
    experiment = make_experiment("augmentation=[elastic,affine]")
    names = [type(augmentation).__name__ for augmentation in experiment.augmentation]
    assert names == ["Elastic", "Affine"]
    assert make_experiment("augmentation=none").augmentation == ()


def test_the_average_is_a_mean_of_weights_and_batch_norm_statistics() -> None:
    torch.manual_seed(0)
    average, model = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(2))
    model(torch.randn(8, 3))
    expected = {
        name: 0.9 * old + 0.1 * new if old.is_floating_point() else old
        for (name, old), new in zip(
            average.state_dict().items(), model.state_dict().values(), strict=True
        )
    }
    update_average(averaged_pairs(average, model), decay=0.9)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_averaged_weights_are_evaluated_beside_the_raw_ones() -> None:
    averaged = run("trainer.epochs=2")
    plain = run("trainer.epochs=2", "trainer.ema_horizon=0")
    for ours, theirs in zip(averaged.history, plain.history, strict=True):
        assert ours.val_loss_raw == theirs.val_loss, "averaging must not change the training"
        assert ours.val_loss != ours.val_loss_raw
        assert theirs.val_loss == theirs.val_loss_raw
    assert averaged.test_raw == plain.test and averaged.test != averaged.test_raw


def test_best_weights_are_those_of_the_best_validation_epoch() -> None:
    overrides = ["trainer.epochs=5", "optimizer.lr=0.05", "scheduler=constant"]
    stopped = run(*overrides, "trainer.weights=best", "seed=2")
    accuracies = [metrics.val_acc or 0.0 for metrics in stopped.history]
    assert stopped.weights_epoch == 1 + accuracies.index(max(accuracies))
    last = run(*overrides, "seed=2")
    assert last.weights_epoch == 5
    assert (stopped.test == last.test) == (stopped.weights_epoch == 5)


def test_early_stopping_waits_its_patience() -> None:
    result = run(
        "trainer.epochs=40",
        "trainer.early_stopping=2",
        "optimizer.lr=1e-6",
        "trainer.ema_horizon=0",
    )
    accuracies = [metrics.val_acc or 0.0 for metrics in result.history]
    best = 1 + accuracies.index(max(accuracies))
    assert len(accuracies) < 40
    assert len(accuracies) - best == 2


def test_a_nan_loss_ends_the_run_as_diverged() -> None:
    seen: list[int] = []
    experiment = make_experiment(
        "data=digits", "optimizer=sgd", "optimizer.lr=1e30", "trainer.epochs=9"
    )
    result = train(
        experiment, dataset(experiment), CPU, on_epoch=lambda h: seen.append(h[-1].epoch)
    )
    assert result.status == "diverged" and result.test is None
    assert seen[-1] == len(result.history) < 9
    assert not math.isfinite(result.history[-1].train_loss)


def test_a_last_step_that_blows_up_is_no_completed_run() -> None:
    """The training loss is of the weights before each step; evaluation sees those after it."""
    experiment = make_experiment(
        "data=digits", "optimizer=sgd", "optimizer.lr=1e30", "trainer.epochs=1",
        "trainer.batch_size=2000", "scheduler=constant", "scheduler.warmup_epochs=0",
        "trainer.ema_horizon=0", "protocol=final", "model=pointwise_cnn",
    )  # fmt: skip
    result = train(experiment, dataset(experiment), CPU)
    assert math.isfinite(result.history[0].train_loss)
    assert result.status == "diverged" and result.test is None


def test_an_early_stopped_run_that_resumes_is_still_over(tmp_path: Path) -> None:
    overrides = [
        "data=digits", "trainer.epochs=30", "trainer.early_stopping=1", "optimizer.lr=1e-6",
        "trainer.ema_horizon=0",
    ]  # fmt: skip
    checkpoint = tmp_path / "checkpoint.pt"
    whole, again = (
        train(experiment, dataset(experiment), CPU, checkpoint=checkpoint)
        for experiment in (make_experiment(*overrides), make_experiment(*overrides))
    )
    assert len(whole.history) < 30
    assert again.history == whole.history and again.test == whole.test


def test_a_checkpoint_of_another_data_set_is_refused(tmp_path: Path) -> None:
    experiment = make_experiment("data=digits", "trainer.epochs=1")
    data = dataset(experiment)
    train(experiment, data, CPU, checkpoint=tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="was on data=digits, and data=mnist is"):
        train(
            make_experiment("trainer.epochs=2"),
            replace(data, name="mnist"),
            CPU,
            checkpoint=tmp_path / "checkpoint.pt",
        )


@pytest.mark.parametrize("overrides", [["trainer.precision=bf16"], ["trainer.deterministic=true"]])
def test_other_ways_to_compute_learn_as_well(overrides: list[str]) -> None:
    experiment = make_experiment("data=digits", "trainer.epochs=4", *overrides)
    try:
        result = train(experiment, dataset(experiment), settle(experiment.settings.trainer))
    finally:
        torch.use_deterministic_algorithms(False)
    assert result.history[-1].train_acc > 0.7


def test_what_on_epoch_raises_ends_the_run() -> None:
    class Enough(Exception):
        pass

    def stop(history: list[EpochMetrics]) -> None:
        if len(history) == 2:
            raise Enough

    experiment = make_experiment("data=digits", "trainer.limit_train=64")
    with pytest.raises(Enough):
        train(experiment, dataset(experiment), CPU, on_epoch=stop)


def test_threads_of_one_run_are_not_those_of_the_next() -> None:
    auto = settle(make_experiment().settings.trainer).threads
    assert (
        settle(make_experiment(f"trainer.threads={auto + 1}").settings.trainer).threads == auto + 1
    )
    assert settle(make_experiment().settings.trainer).threads == auto


def test_limits_take_the_first_images() -> None:
    split = Split(torch.zeros(5, 28, 28, dtype=torch.uint8), torch.arange(5), torch.arange(5))
    assert split.first(3).index.tolist() == [0, 1, 2]
    assert len(split.first(None)) == 5


SINGLE_CHANGES = [
    f"{group}={name}"
    for group in ("model", "optimizer", "scheduler", "augmentation")
    for name in choices(group)
]


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.parametrize("change", SINGLE_CHANGES)
def test_each_single_change_of_the_default_passes_97_percent_in_one_epoch(
    change: str, mnist_root: str
) -> None:
    experiment = make_experiment(
        "data=mnist", f"data.root={mnist_root}", "trainer.epochs=1", change
    )
    result = train(experiment, dataset(experiment), settle(experiment.settings.trainer))
    assert result.test is not None
    assert result.test.acc > 0.97
