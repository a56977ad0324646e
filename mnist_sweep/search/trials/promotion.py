"""Which trials of a rung go on where several objectives count: by rank, and then far apart.

The trials that no other one beats have rank 1, those that only these beat rank 2, and so on. Whole
ranks go on as far as there is room; of the rank that has not enough room those trials that are
farthest from each other, so that a front is kept along its whole length (epsilon-net: Salinas et
al. 2021; asynchronous successive halving by it: Schmucker et al. 2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnist_sweep.dominance import ranks as ranks_of


@dataclass(frozen=True)
class Place:
    """Of one trial among those of its rung."""

    goes_on: bool
    rank: int
    ranks: int
    """Of the whole rung."""
    peers: int
    """Trials of its rank, itself among them."""
    room: int
    """So many of its rank go on."""
    beaten_by: tuple[int, ...]
    """Trials that are as good in each objective, and better in one."""


def place(scores: Mapping[int, Sequence[float]], trial: int, num_going_on: int) -> Place:
    """scores: trial -> its objectives, more is better; of all trials of the rung."""
    numbers = np.array(sorted(scores))
    points = np.array([scores[number] for number in numbers])
    ranks = ranks_of(points)
    own = int(np.flatnonzero(numbers == trial)[0])
    peers = np.flatnonzero(ranks == ranks[own])
    room = min(max(0, num_going_on - int((ranks < ranks[own]).sum())), len(peers))
    net = peers if room == len(peers) else peers[_far_apart(points[peers], room)]
    beats = (points >= points[own]).all(axis=1) & (points > points[own]).any(axis=1)
    return Place(
        goes_on=bool((points[net] == points[own]).all(axis=1).any()),  # or one as good does
        rank=int(ranks[own]) + 1,
        ranks=int(ranks.max()) + 1,
        peers=len(peers),
        room=room,
        beaten_by=tuple(map(int, numbers[beats])),
    )


def _far_apart(points: np.ndarray, size: int) -> np.ndarray:
    """(N, objectives) -> (size,): from the best by the first objective on, always the one that is
    farthest from all chosen ones; of equals the first. Distances are of places in the order by each
    objective, whose units differ."""
    if size == 0:
        return np.array([], dtype=int)
    places = np.stack([np.unique(column, return_inverse=True)[1] for column in points.T], axis=1)
    scaled = places / np.maximum(places.max(axis=0), 1)
    chosen = [int(np.argmax(points[:, 0]))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < size:
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen)
