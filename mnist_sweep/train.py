"""Training one net: from an experiment and a data set to metrics and weights."""

import ctypes
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_sweep.config import TrainerConfig
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import Experiment
from mnist_sweep.gpus import limit
from mnist_sweep.metrics import EpochMetrics, Score, best_epoch
from mnist_sweep.optimizers import Stepper
from mnist_sweep.schedulers import Clock
from mnist_sweep.sets.dataset import Dataset, Split
from mnist_sweep.writing import write_whole

Weights = dict[str, Tensor]
Dropout = nn.modules.dropout._DropoutNd

AUTO_THREADS = torch.get_num_threads()  # before any run of this process changed it
CPU_INFO = Path("/proc/cpuinfo")  # of Linux, which alone runs on matrix units


@dataclass(frozen=True)
class Machine:
    """What a run computes on, after every `auto` is settled."""

    device: torch.device
    precision: Literal["fp32", "bf16"]
    threads: int

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


@dataclass(frozen=True)
class TrainResult:
    """status: `diverged` when a loss is no finite number, in training or evaluation.

    test and test_raw: of the averaged and the raw weights, once, after the last epoch; None for a
    run that diverged. weights: of `weights_epoch`, averaged where averaging is on, on the CPU.
    """

    status: Literal["completed", "diverged"]
    history: list[EpochMetrics]
    test: Score | None
    test_raw: Score | None
    weights: Weights
    weights_epoch: int


@dataclass
class State:
    """All that a later epoch depends on, with the seed: what a checkpoint holds."""

    model: nn.Module
    average: nn.Module | None
    optimizer: Stepper
    dropouts: list[tuple[Dropout, float]]
    """Layers and their full probabilities."""
    history: list[EpochMetrics]
    best: dict[str, Weights]
    """Weights of the epoch with the best val_acc: `model`, and `average` where there is one."""

    @classmethod
    def start(cls, experiment: Experiment, machine: Machine) -> "State":
        model = experiment.model.to(machine.device).to(memory_format=torch.channels_last)
        averages = experiment.settings.trainer.ema_horizon > 0
        average = deepcopy(model).requires_grad_(False) if averages else None
        optimizer = experiment.optimizer.build(model)
        dropouts = [(layer, layer.p) for layer in model.modules() if isinstance(layer, Dropout)]
        return cls(model, average, optimizer, dropouts, history=[], best={})

    @property
    def averaged(self) -> nn.Module:
        return self.model if self.average is None else self.average

    def snapshot(self) -> dict[str, Weights]:
        modules = {"model": self.model, "average": self.average}
        return {
            key: {name: value.clone() for name, value in module.state_dict().items()}
            for key, module in modules.items()
            if module is not None
        }

    def restore(self, weights: dict[str, Weights]) -> None:
        self.model.load_state_dict(weights["model"])
        if self.average is not None:
            self.average.load_state_dict(weights["average"])

    def save(self, path: Path, data: str) -> None:
        """data: the name of the set that is trained on."""
        content = {
            "data": data,
            "weights": self.snapshot(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(metrics) for metrics in self.history],
            "best": self.best,
        }
        save_whole(content, path)

    def load(self, path: Path, device: torch.device, data: str) -> None:
        """
        Raises:
            UserError: the file is no checkpoint of this net, optimizer and data set.
        """
        try:
            content = torch.load(path, weights_only=True, map_location=device)
            self.restore(content["weights"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.history = [EpochMetrics(**metrics) for metrics in content["history"]]
            self.best = content["best"]
            before = content["data"]
        except Exception as error:  # torch.load raises nearly anything on a damaged file
            reason = str(error).splitlines()[0][:120]
            raise UserError(
                f"resume: {path} is damaged or of another net ({reason}); "
                "start the run again without resume"
            ) from error
        if before != data:
            raise UserError(
                f"resume: that run was on data={before}, and data={data} is what is here now; "
                f"bring {before} back, or start a new run"
            )


def settle(trainer: TrainerConfig, auto_threads: int | None = None) -> Machine:
    """Decides what is `auto` and prepares torch accordingly.

    auto_threads: what trainer.threads=auto means, if not torch's own choice.

    Raises:
        UserError: the device is not on this machine.
    """
    name = _best_device() if trainer.device == "auto" else trainer.device
    kind, _, number = name.partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:  # torch itself takes no number beyond 127
            raise UserError(
                f"trainer.device={trainer.device}: torch finds {count} CUDA devices here{limit()}; "
                f"use trainer.device={'cuda, ' if count else ''}cpu or auto"
            )
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.device=mps: not on this machine; use trainer.device=cpu or auto")
    own_choice = auto_threads or AUTO_THREADS
    torch.set_num_threads(own_choice if trainer.threads == "auto" else trainer.threads)
    if torch.are_deterministic_algorithms_enabled() != trainer.deterministic:
        # Only then: the call imports the compiler, 150 MB.
        torch.use_deterministic_algorithms(trainer.deterministic)
    if device.type == "cpu":
        _keep_freed_memory()
    precision = trainer.precision
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16(device) else "fp32"
    return Machine(device, precision, torch.get_num_threads())


def train(
    experiment: Experiment,
    data: Dataset,
    machine: Machine,
    *,
    on_step: Callable[[int], None] = lambda images: None,
    on_epoch: Callable[[list[EpochMetrics]], None] = lambda history: None,
    checkpoint: Path | None = None,
) -> TrainResult:
    """Trains, evaluates after each epoch, tests at the end.

    on_step: told the number of images of each batch. on_epoch: told the metrics of all epochs
    so far; what it raises ends the run. checkpoint: file to write to, and to go on from where it
    exists.
    """
    trainer = experiment.settings.trainer
    watch_test = experiment.settings.protocol.name == "published"
    data = data.to(machine.device)
    state = State.start(experiment, machine)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, machine.device, data.name)

    def score(net: nn.Module, split: Split) -> Score:
        return evaluate(net, split, data, machine, trainer.eval_batch_size)

    while not _is_over(state.history, trainer):
        start = time.perf_counter()
        train_score, lr = train_epoch(experiment, data, state, machine, on_step)
        seconds = time.perf_counter() - start
        val, val_raw = _pair(score, state, data.val)
        test, _ = _pair(score, state, data.test if watch_test else None)
        metrics = EpochMetrics(
            epoch=len(state.history) + 1,
            lr=lr,
            train_loss=train_score.loss,
            train_acc=train_score.acc,
            val_loss=None if val is None else val.loss,
            val_acc=None if val is None else val.acc,
            val_loss_raw=None if val_raw is None else val_raw.loss,
            val_acc_raw=None if val_raw is None else val_raw.acc,
            test_loss=None if test is None else test.loss,
            test_acc=None if test is None else test.acc,
            seconds=seconds,
            images_per_s=len(data.train) / seconds,
        )
        state.history.append(metrics)
        if best_epoch(state.history) == metrics.epoch and trainer.weights == "best":
            state.best = state.snapshot()
        if checkpoint is not None and _is_due(metrics.epoch, trainer):
            state.save(checkpoint, data.name)
        on_epoch(state.history)

    weights_epoch = len(state.history)
    test = test_raw = None
    if state.history[-1].is_finite:
        if trainer.weights == "best":
            state.restore(state.best)
            weights_epoch = best_epoch(state.history) or weights_epoch
        test, test_raw = _pair(score, state, data.test)
    weights = {name: value.cpu() for name, value in state.averaged.state_dict().items()}
    if test is None or not math.isfinite(test.loss):
        return TrainResult("diverged", state.history, None, None, weights, weights_epoch)
    return TrainResult("completed", state.history, test, test_raw, weights, weights_epoch)


def save_whole(content: object, path: Path) -> None:
    """torch.save, whole or not at all, and onto the disk."""
    buffer = io.BytesIO()  # Ctrl-C in a file's write, called by torch.save, ends the process
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def train_epoch(
    experiment: Experiment,
    data: Dataset,
    state: State,
    machine: Machine,
    on_step: Callable[[int], None],
) -> tuple[Score, float]:
    """One pass over the training set in a random order; returns the score and the last lr.

    Everything random is drawn from (seed, epoch), so that an epoch depends on the state before it
    and on nothing else. Nothing here waits for the device before the epoch is over.
    """
    trainer, split, epoch = experiment.settings.trainer, data.train, len(state.history)
    seeds = np.random.SeedSequence([experiment.settings.seed, epoch]).generate_state(3, np.uint64)
    torch.manual_seed(int(seeds[0]))  # dropout
    order_generator = torch.Generator().manual_seed(int(seeds[1]))
    augment_generator = torch.Generator(machine.device).manual_seed(int(seeds[2]))

    order = torch.randperm(len(split), generator=order_generator).to(machine.device)
    batches = order.split(trainer.batch_size)
    horizon = trainer.ema_horizon * len(batches) * trainer.epochs
    decay = math.exp(-1 / horizon) if horizon else 0.0
    parameters = list(state.model.parameters())
    pairs = [] if state.average is None else averaged_pairs(state.average, state.model)
    loss_sum = torch.zeros((), device=machine.device)
    num_correct = torch.zeros((), device=machine.device, dtype=torch.int64)
    lr = 0.0
    state.model.train()
    for step, positions in enumerate(batches, start=epoch * len(batches)):
        clock = Clock(step, len(batches), trainer.epochs, state.history)
        factor = experiment.scheduler.factor(clock)
        for group in state.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        lr = experiment.optimizer.lr * factor
        share = _regularised(clock, trainer.fade_out)
        for layer, probability in state.dropouts:
            layer.p = probability * share

        images, labels = split.batch(positions)
        for augmentation in experiment.augmentation:
            images = augmentation(images, augment_generator, share)
        images = data.normalise(images)
        with machine.autocast():
            logits = state.model(images)
        logits = logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=trainer.label_smoothing)

        state.optimizer.zero_grad()
        loss.backward()
        if trainer.grad_clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, trainer.grad_clip_norm)
        state.optimizer.step()
        if pairs:
            update_average(pairs, min(decay, (step + 1) / (step + 10)))

        loss_sum += loss.detach() * len(labels)
        num_correct += (logits.detach().argmax(1) == labels).sum()
        on_step(len(labels))
    return Score(loss_sum.item() / len(split), num_correct.item() / len(split)), lr


def _regularised(clock: Clock, fade_out: float) -> float:
    """The share of full augmentation and dropout at this step."""
    left = 1 - clock.step / clock.num_steps
    return min(1.0, left / fade_out) if fade_out else 1.0


def averaged_pairs(average: nn.Module, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """What is averaged, and what of: parameters and batch-norm statistics."""
    pairs = zip(_tensors(average), _tensors(model), strict=True)
    return [(mean, now) for mean, now in pairs if mean.is_floating_point()]


@torch.no_grad()
def update_average(pairs: list[tuple[Tensor, Tensor]], decay: float) -> None:
    """average = decay * average + (1 - decay) * model."""
    means, nows = zip(*pairs, strict=True)
    torch._foreach_lerp_(means, nows, 1 - decay)


@torch.inference_mode()
def evaluate(
    model: nn.Module, split: Split, data: Dataset, machine: Machine, batch_size: int
) -> Score:
    """Loss and accuracy of `model` in evaluation mode over a whole split."""
    model.eval()
    loss_sum = torch.zeros((), device=machine.device)
    num_correct = torch.zeros((), device=machine.device, dtype=torch.int64)
    for positions in torch.arange(len(split), device=machine.device).split(batch_size):
        images, labels = split.batch(positions)
        with machine.autocast():
            logits = model(data.normalise(images))
        logits = logits.float()
        loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        num_correct += (logits.argmax(1) == labels).sum()
    return Score(loss_sum.item() / len(split), num_correct.item() / len(split))


def _pair(
    score: Callable[[nn.Module, Split], Score], state: State, split: Split | None
) -> tuple[Score | None, Score | None]:
    """Scores of the averaged and of the raw weights (the same where nothing is averaged)."""
    if split is None:
        return None, None
    raw = score(state.model, split)
    return (raw if state.average is None else score(state.average, split)), raw


def _is_over(history: list[EpochMetrics], trainer: TrainerConfig) -> bool:
    """Whether the epochs are done, a loss is no number, or val_acc has not improved for long."""
    if not history:
        return False
    best = best_epoch(history)
    patience = trainer.early_stopping
    stopped = patience is not None and best is not None and len(history) - best >= patience
    return stopped or len(history) >= trainer.epochs or not history[-1].is_finite


def _is_due(epoch: int, trainer: TrainerConfig) -> bool:
    return trainer.checkpoint_every > 0 and epoch % trainer.checkpoint_every == 0


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_fast_bf16(device: torch.device) -> bool:
    """On a CPU only matrix units (AMX) count: with AVX512-BF16 alone, bf16 took 1.3 x fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and CPU_INFO.exists() and "amx_bf16" in CPU_INFO.read_text()


def _keep_freed_memory() -> None:
    """Stops glibc from handing large blocks back to the kernel after every step.

    Each step frees and allocates the same activations; paging them in anew costs a tenth to a
    third of it, more with larger batches.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            m_trim_threshold, m_mmap_threshold = -1, -3
            mallopt(m_mmap_threshold, 1 << 30)
            mallopt(m_trim_threshold, (1 << 31) - 1)
