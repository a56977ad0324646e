"""Who takes part in training_speed.py: each prepares in a process of its own, and hands back what
runs one round. Only these processes import torch."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose, initialize_config_dir
from hydra.utils import execution_whitelist
from rich.console import Console

from mnist_sweep.paths import CONF
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.whitelist import TARGETS

if TYPE_CHECKING:
    from mnist_sweep.experiment import Experiment
    from mnist_sweep.sets.dataset import Dataset
    from mnist_sweep.train import Machine

USUAL_BATCH_SIZE, USUAL_THREADS = 32, 2
ROWS_EACH = 1000


@dataclass(frozen=True)
class Job:
    images: int = 0
    """A round."""
    overrides: tuple[str, ...] = ()
    """Of the default config."""
    table: str = ""
    writer: int = 0


Round = Callable[[], None]
Contestant = Callable[[Job], Round]


def ours(job: Job) -> Round:
    """`train_epoch` with all that a run on a terminal does, its progress bar included."""
    from mnist_sweep.runs.console import EpochLines
    from mnist_sweep.train import State, train_epoch

    experiment, machine, data = prepare(job)
    assert experiment.settings.trainer.ema_horizon > 0
    state = State.start(experiment, machine)

    def epoch() -> None:
        terminal = Console(file=io.StringIO(), force_terminal=True)
        with EpochLines(terminal, 1, len(data.train)) as lines:
            train_epoch(experiment, data, state, machine, lines.step)

    return epoch


def bare(job: Job) -> Round:
    """The same net and optimizer on batches made beforehand; nothing else."""
    import torch
    import torch.nn.functional as F

    experiment, machine, data = prepare(job)
    model = experiment.model
    (optimizer,) = experiment.optimizer.build(model).parts
    generator = torch.Generator().manual_seed(0)
    batches = []
    for positions in torch.arange(len(data.train)).split(experiment.settings.trainer.batch_size):
        images, labels = data.train.batch(positions)
        for augmentation in experiment.augmentation:
            images = augmentation(images, generator)
        batches.append((data.normalise(images), labels))

    def epoch() -> None:
        model.train()
        for images, labels in batches:
            with machine.autocast():
                logits = model(images)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def usual(job: Job) -> Round:
    """The loop of the tutorials. Never in one process with `settle`, which would speed it up."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    torch.set_num_threads(USUAL_THREADS)
    affine = transforms.RandomAffine(10, translate=(0.1, 0.1))
    normalise = transforms.Normalize((0.1307,), (0.3081,))
    transform = transforms.Compose([affine, transforms.ToTensor(), normalise])
    train_set = datasets.MNIST(os.environ["MNIST_SWEEP_DATA"], train=True, transform=transform)
    loader = DataLoader(train_set, batch_size=USUAL_BATCH_SIZE, shuffle=True, num_workers=0)
    model = default_experiment(job).model
    optimizer = torch.optim.Adam(model.parameters())

    def epoch() -> None:
        model.train()
        loss_sum, num_correct = 0.0, 0.0
        for images, labels in islice(loader, job.images // USUAL_BATCH_SIZE):
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            num_correct += (logits.argmax(dim=1) == labels).sum().item()

    return epoch


def append(job: Job) -> Round:
    """One of the processes that write to the same results table."""
    table = ResultsTable(Path(job.table))

    def rows() -> None:
        for row in range(ROWS_EACH):
            table.append(row_of(job.writer, row))

    return rows


def default_experiment(job: Job) -> "Experiment":
    from mnist_sweep.config import resolved
    from mnist_sweep.experiment import to_experiment

    with initialize_config_dir(str(CONF)), execution_whitelist(TARGETS):
        return to_experiment(resolved(compose("config", ["trainer.device=cpu", *job.overrides])))


def prepare(job: Job) -> "tuple[Experiment, Machine, Dataset]":
    """As a run does before its first epoch; the training set has the round's images."""
    import torch

    from mnist_sweep.data import load
    from mnist_sweep.train import settle

    experiment = default_experiment(job)
    settings = experiment.settings
    experiment.model.to(memory_format=torch.channels_last)
    data = load(settings.data, settings.protocol).limited(job.images, None)
    return experiment, settle(settings.trainer), data


def row_of(writer: int, row: int) -> RunRecord:
    """As long as a real one, and no two alike in any text."""
    return RunRecord(
        run_id=f"r{writer}-{row}",
        status="completed",
        groups={"model": "ds_cnn", "optimizer": "adamw", "data": "mnist"},
        seed=writer * ROWS_EACH + row,
        overrides=" ".join([f"seed={writer}", f"optimizer.lr={row}"] * 8),
        run_dir=f"multirun/{writer}/{row}",
    )


@cache
def prepared(contestant: Contestant, job: Job) -> Round:
    return contestant(job)


def play(contestant: Contestant, job: Job) -> None:
    prepared(contestant, job)()


def settled() -> str:
    """What `auto` comes to on this machine."""
    from mnist_sweep.train import settle

    machine = settle(default_experiment(Job()).settings.trainer)
    return f"{machine.precision}, {machine.threads} threads"
