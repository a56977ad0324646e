"""The GPUs of a machine: which are in sight, and which one a worker is to see.

CUDA reads what it may see when it is first used, and keeps to that. Nothing here uses it.
"""

import os
from collections import Counter
from collections.abc import Iterable

import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"

ANY = ("auto", "cuda")
"""Values of trainer.device that leave open which GPU it is."""


def in_sight() -> tuple[str, ...]:
    """Those that this process may use, each by a name that CUDA_VISIBLE_DEVICES takes."""
    listed = os.environ.get(VISIBLE)
    if listed is None:
        return tuple(map(str, range(torch.cuda.device_count())))
    names = tuple(name.strip() for name in listed.split(","))
    if names[0].startswith("MIG-") and torch.backends.cuda.is_built():
        return names  # parts of a GPU, of which CUDA shows each process the first one only
    return names[: torch.cuda.device_count()]


def limit() -> str:
    """What this process may see, as an addition to a message; nothing where all is in sight."""
    return f" ({VISIBLE}={os.environ[VISIBLE]})" if VISIBLE in os.environ else ""


def least_used(gpus: Iterable[str], used: Iterable[str | None]) -> str | None:
    """Which of these is to have the next worker; used: the GPUs of the workers that there are."""
    counts = Counter(used)
    return min(gpus, key=counts.__getitem__, default=None)


def see_only(gpu: str) -> None:
    """To be called before this process uses CUDA."""
    if VISIBLE not in os.environ:  # else its numbers are meant in the order that goes with them
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # which is that of nvidia-smi
    os.environ[VISIBLE] = gpu


def described(device: torch.device) -> str | None:
    """Which one it is of the machine's, and its name, as `1: NVIDIA H100`; None of what is no GPU
    of CUDA's. Uses CUDA, where it is one."""
    if device.type != "cuda":
        return None
    number = device.index or 0
    return f"{in_sight()[number]}: {torch.cuda.get_device_name(number)}"
