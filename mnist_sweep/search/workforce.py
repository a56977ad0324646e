"""How many workers a search starts, and which GPUs of this machine they share."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from mnist_sweep import gpus
from mnist_sweep.errors import UserError
from mnist_sweep.search.launching.staffing import PROCESSES, are_here
from mnist_sweep.search.settings import SearchSettings

MOST_A_CORE = 16
"""Workers, of which each keeps a core busy."""


@dataclass(frozen=True)
class Workforce:
    size: int
    """Workers that are started."""
    is_here: bool
    """Whether they are of this machine."""
    device: str | None
    """trainer.device; None where it is not the same for all runs."""
    gpus: tuple[str, ...]
    """Of this machine, that the workers are spread over; those elsewhere have what their launcher
    gave them."""
    per_gpu: int
    """Workers that are meant to share one."""

    def doubts(self) -> Iterator[str]:
        """What is allowed and is hardly what is meant, a line each."""
        key = f"hydra.sweeper.workers_per_gpu={self.per_gpu}"
        if self.per_gpu > 1 and not self.gpus:
            if self.device in (None, *gpus.ANY):
                yield (
                    f"{key} counts for nothing: the workers find no GPU of this machine to be "
                    "spread over; set hydra.sweeper.n_jobs"
                )
            else:
                yield (
                    f"{key} counts for nothing with trainer.device={self.device}: use "
                    "trainer.device=cuda, which spreads the workers over the GPUs"
                )
        if len(self.gpus) * self.per_gpu < self.size and self.gpus:
            yield (
                f"hydra.sweeper.n_jobs={self.size}: up to {math.ceil(self.size / len(self.gpus))} "
                f"workers share each GPU, of which {len(self.gpus)} are in sight, for all that "
                f"{key}: use hydra.sweeper.n_jobs=auto"
            )
        is_one = str(self.device).startswith("cuda:")
        if is_one and self.size > 1 and self.per_gpu == 1 and len(gpus.in_sight()) > 1:
            yield (
                f"trainer.device={self.device} has all {self.size} workers on one GPU: use "
                "trainer.device=cuda, which spreads them"
            )


def make_workforce(
    settings: SearchSettings, cfg: DictConfig, n_trials: int, device: str | None
) -> Workforce:
    """
    Raises:
        UserError: there would be so many that they only took each other's memory and time, or they
            are of a cluster, whose size is not to be guessed.
    """
    n_jobs, launcher = settings.n_jobs, cfg.hydra.runtime.choices["hydra/launcher"]
    cores, here = num_cores(), are_here(launcher, cfg.hydra.launcher)
    shared: tuple[str, ...] = ()
    if device in gpus.ANY and n_jobs != 0 and here and launcher != "ray":
        shared = gpus.in_sight()
    if n_jobs == "auto":
        if not here:
            raise UserError(
                "hydra.sweeper.n_jobs=auto: goes by the cores and GPUs of this machine; say how "
                f"many hydra/launcher={launcher} is to start, such as hydra.sweeper.n_jobs=16"
            )
        of_joblib = cfg.hydra.launcher.get("n_jobs")
        of_machine = settings.workers_per_gpu * len(shared) or cores
        n_jobs = of_joblib if of_joblib is not None and of_joblib > 0 else of_machine
    size = min(n_jobs, n_trials)
    if launcher in PROCESSES and size > MOST_A_CORE * cores:
        raise UserError(
            f"hydra.sweeper.n_jobs={n_jobs}: {size:,} workers, each a process of a few hundred "
            f"MB, for {cores} cores: use at most {MOST_A_CORE * cores}, or auto, one a core"
        )
    return Workforce(size, here and n_jobs != 0, device, shared, settings.workers_per_gpu)


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
