"""Splits off a part of a set, the same whenever it is done."""

import torch
from torch import Tensor


def stratified_one_in(labels: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Splits off one index in `n`, at random and with the same share of each class.

    labels: (N,). Returns (N - ceil(N / n),) and (ceil(N / n),) indices, both ascending. Shuffled
    indices sorted by class (stably), then every n-th: each class gives its share, rounded.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[by_class[::n]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
