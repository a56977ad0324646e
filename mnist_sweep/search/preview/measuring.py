"""Measures how long runs take, by a few of their steps, in processes such as a search's workers.

As many at once as the search would have workers, as far as the machine has cores: they take memory
bandwidth, and time, from each other.
"""

import multiprocessing
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from statistics import fmean
from typing import Any

import psutil
from hydra.utils import execution_whitelist

from mnist_sweep import settled
from mnist_sweep.data import load
from mnist_sweep.errors import FailureError, shortened
from mnist_sweep.experiment import Experiment, to_experiment
from mnist_sweep.gpus import see_only
from mnist_sweep.profile import profile
from mnist_sweep.sets.dataset import Dataset
from mnist_sweep.sets.measured import shape_of
from mnist_sweep.settled import Source, settle
from mnist_sweep.train import Machine, State, evaluate, train_epoch
from mnist_sweep.train import settle as settle_machine

ENOUGH_S = 8.0
"""After which no other net is begun with."""

OF_ONE_S = 0.6
"""In which steps of one net are taken, at least."""

STEPS = 4
"""Of training at once; as many before, which warm it up."""

EVAL_BATCHES = 2


@dataclass(frozen=True)
class Work:
    """What a process is to measure."""

    configs: Sequence[Mapping[str, Any]]
    """Of runs."""
    threads: int | None
    """CPU threads of a run where its config leaves that open; None: all."""
    gpu: str | None
    """The one that it is to see; None: all."""
    own: Mapping[str, Source]
    """Modules of the user's own."""
    whitelist: Sequence[str]
    first: int
    """Of an order of the configs, so that not all processes measure the same one at a time."""


@dataclass(frozen=True)
class Timed:
    """A run, as far as its net and its settings decide its time."""

    start_s: float
    """From its config to its first step."""
    epoch_s: float
    """Of training and of the evaluations that follow."""
    end_s: float
    """Of the evaluations after the last epoch."""
    epochs: int


@dataclass(frozen=True)
class Measured:
    runs: list[Timed | None]
    """Of each config, the mean over the processes; None where there was no time left for it."""
    start_s: float
    """Of a worker, from its first line to its first run, the data loaded."""
    worker_mb: float
    """Memory of a worker's own, in units of 10^6 bytes; the largest."""


def measure(works: Sequence[Work]) -> Measured:
    """
    Raises:
        FailureError: a net cannot be trained, or a process was killed.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([settled.NAME, __name__])
    start = time.perf_counter()
    # A process that is ended while it imports leaves semaphores, of which the tracker that removes
    # them would speak; and its start would let Ctrl-C through again.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    resource_tracker.ensure_running()
    pipes = []
    for work in works:
        ours, theirs = processes.Pipe()
        process = processes.Process(target=_measure, args=(theirs,), daemon=True)
        # A Ctrl-C is not for these processes, nor for the server that they are forked from.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.send(work)
        pipes.append((ours, process))
    ready: list[float] = []
    memory: list[float] = []
    found: dict[int, list[Timed]] = {place: [] for place in range(len(works[0].configs))}
    for pipe, process in pipes:
        try:
            report = pipe.recv()
        except EOFError as error:
            process.join()
            raise FailureError(
                f"a process that measured ended with exit code {process.exitcode} (out of memory?)"
            ) from error
        process.join()
        if isinstance(report, str):
            raise FailureError(report)
        ready_at, worker_mb, runs = report
        ready.append(ready_at - start)
        memory.append(worker_mb)
        for place, timed in runs:
            found[place].append(timed)
    return Measured(list(map(_mean, found.values())), max(ready), max(memory))


def _mean(runs: Sequence[Timed]) -> Timed | None:
    if not runs:
        return None
    return Timed(
        fmean(run.start_s for run in runs),
        fmean(run.epoch_s for run in runs),
        fmean(run.end_s for run in runs),
        runs[0].epochs,
    )


def _measure(pipe: Connection) -> None:
    """The life of a process; it sends its report, or why there is none."""
    with suppress(EOFError, BrokenPipeError):  # the command was ended meanwhile
        work: Work = pipe.recv()
        try:
            report: object = _report(work)
        except Exception as error:
            report = f"{type(error).__name__}: {shortened(error)}"
        pipe.send(report)


def _report(work: Work) -> tuple[float, float, list[tuple[int, Timed]]]:
    """When the process was ready, by a clock that all have in common; its memory; the runs."""
    if work.gpu is not None:
        see_only(work.gpu)
    settle(work.own)
    found: list[tuple[int, Timed]] = []
    places = _order(len(work.configs), work.first)
    with execution_whitelist(list(work.whitelist)):
        _data_of(_made(work.configs[places[0]])[0])
        ready_at = time.perf_counter()
        for place in places:
            if found and time.perf_counter() > ready_at + ENOUGH_S:
                break
            found.append((place, _timed(work.configs[place], work.threads)))
    return ready_at, psutil.Process().memory_full_info().uss / 1e6, found


def _order(count: int, first: int) -> list[int]:
    """The ends and the middle before the others, as there may be no time for all; first: how many
    of this order come last."""
    order = list(dict.fromkeys([0, count - 1, count // 2, *range(count)]))
    return [*order[first:], *order[:first]]


def _made(config: Mapping[str, Any]) -> tuple[Experiment, float]:
    """And how long that took."""
    start = time.perf_counter()
    experiment = to_experiment(config)
    profile(experiment.model, shape_of(experiment.settings.data))
    return experiment, time.perf_counter() - start


def _data_of(experiment: Experiment) -> Dataset:
    trainer, settings = experiment.settings.trainer, experiment.settings
    whole = load(settings.data, settings.protocol)
    return whole.limited(trainer.limit_train, trainer.limit_val, trainer.limit_test)


def _timed(config: Mapping[str, Any], threads: int | None) -> Timed:
    experiment, made_s = _made(config)
    settings, trainer = experiment.settings, experiment.settings.trainer
    machine = settle_machine(trainer, threads)
    data = _data_of(experiment).to(machine.device)
    start = time.perf_counter()
    state = State.start(experiment, machine)
    start_s = made_s + time.perf_counter() - start

    step_s = _step_s(experiment, data, state, machine)
    image_s = _evaluation_s(experiment, data, state, machine)
    times = 1 if state.average is None else 2  # raw and averaged weights
    by_epoch = 0 if data.val is None else times * len(data.val)
    if settings.protocol.name == "published":
        by_epoch += times * len(data.test)
    steps = -(-len(data.train) // trainer.batch_size)
    return Timed(
        start_s,
        steps * step_s + by_epoch * image_s,
        times * len(data.test) * image_s,
        trainer.epochs,
    )


def _step_s(experiment: Experiment, data: Dataset, state: State, machine: Machine) -> float:
    """Seconds a step of training, the first few left out."""
    few = data.limited(train=STEPS * experiment.settings.trainer.batch_size)
    steps: list[float] = []
    train_epoch(experiment, few, state, machine, lambda images: None)
    end = time.perf_counter() + OF_ONE_S
    while not steps or time.perf_counter() < end:
        start = time.perf_counter()
        count = 0

        def count_step(images: int) -> None:
            nonlocal count
            count += 1

        train_epoch(experiment, few, state, machine, count_step)
        steps.append((time.perf_counter() - start) / count)
    return fmean(steps)


def _evaluation_s(experiment: Experiment, data: Dataset, state: State, machine: Machine) -> float:
    """Seconds an image."""
    split = data.test if data.val is None else data.val
    size = experiment.settings.trainer.eval_batch_size
    few = split.first(EVAL_BATCHES * size)
    evaluate(state.model, few.first(size), data, machine, size)
    start = time.perf_counter()
    evaluate(state.model, few, data, machine, size)
    return (time.perf_counter() - start) / len(few)
