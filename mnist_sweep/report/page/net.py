"""The section of the winning nets, drawn layer by layer."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from mnist_sweep.config import resolved
from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.tracks import track_name
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.runs.data_card import shape_for
from mnist_sweep.runs.saved import SavedRun

if TYPE_CHECKING:  # it imports torch
    from mnist_sweep.profile import Profile

MOST_NETS = 3

SIDE = 96  # of the picture, in its units
LARGEST = 62  # side of a sheet as large as the image
SHIFT = 5  # between two sheets of a pile
MOST_SHEETS = 7


@dataclass(frozen=True)
class Sheet:
    """A rectangle of a picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Step:
    """A picture of a feature map under the name of what made it."""

    kind: str
    """A class of the stylesheet."""
    operation: str
    rest: str
    """What else is to say of the operation."""
    shape: str
    sheets: Sequence[Sheet]
    num_params: int
    share: float
    """Percent of the net's parameters."""


@dataclass(frozen=True)
class WinningNet:
    """The net of the first of a ranking."""

    title: str
    run_id: str
    costs: "Profile | None"
    """None if it cannot be drawn."""
    problem: str = ""
    """Why it cannot."""

    @property
    def steps(self) -> list[Step]:
        return list(_steps(self.costs)) if self.costs else []


def winning_nets(tracks: Sequence[pd.DataFrame], folders: RunFolders) -> list[WinningNet]:
    """Each drawing once; if there is none, what stood in the way of the first.

    tracks: of the leaderboard, the lines of each.
    """
    nets = [_winning_net(track.iloc[0], folders) for track in tracks[:MOST_NETS]]
    drawn: dict[Any, WinningNet] = {}
    for net in nets:
        if net.costs:
            drawn.setdefault(net.costs.layers, net)
    return list(drawn.values()) or nets[:1]


def _winning_net(best: "pd.Series[Any]", folders: RunFolders) -> WinningNet:
    title = f"{best.label} ({track_name(best)})"
    run = folders.first(best.run_ids)
    if run is None:
        run_id = best.run_ids[0]
        gone = f"The directory of run {run_id} is not here, so its net cannot be drawn."
        return WinningNet(title, run_id, None, gone)
    run_id = run.record.run_id
    try:
        return WinningNet(title, run_id, _costs(run))
    except UserError as error:
        return WinningNet(title, run_id, None, f"Run {run_id} cannot be drawn: {error}.")


def _costs(run: SavedRun) -> "Profile":
    """Of the net that the run's config builds.

    Raises:
        UserError: the config is gone or builds no net, or not the net that was trained.
    """
    # Here, so that a page without a net to draw imports no torch.
    from hydra.utils import execution_whitelist

    from mnist_sweep.experiment import build_model
    from mnist_sweep.profile import profile
    from mnist_sweep.whitelist import TARGETS

    config, shape = run.config(), shape_for(run.run_dir)
    try:
        with execution_whitelist(TARGETS):
            costs = profile(build_model(resolved(config), shape), shape)
    except Exception as error:  # whatever a net of the user's own raises
        raise UserError(f"its net cannot be built here ({' '.join(str(error).split())})") from error
    trained = run.record.num_params
    if trained is not None and trained != costs.num_params:
        raise UserError(
            f"its config now builds a net of {costs.num_params:,} parameters, and the one that was "
            f"trained had {trained:,}: the code has changed since"
        )
    return costs


def _steps(costs: "Profile") -> Iterator[Step]:
    """What the drawing shows: the image, then each layer with its output. Dropout, which changes
    no shape, is named with the layer before it."""
    layers: list[tuple[str, tuple[int, ...], int]] = [("image", costs.image, 0)]
    for layer in costs.layers:
        if layer.label.startswith("dropout"):
            label, shape, num_params = layers[-1]
            layers[-1] = (f"{label}, {layer.label}", shape, num_params)
        else:
            layers.append((layer.label, layer.shape, layer.num_params))
    for label, shape, num_params in layers:
        operation, _, rest = label.partition(", ")
        yield Step(
            kind=_kind(operation),
            operation=operation,
            rest=rest,
            shape="×".join(map(str, shape)),
            sheets=_sheets(shape, max(costs.image[1:])),
            num_params=num_params,
            share=100 * num_params / max(costs.num_params, 1),
        )


def _kind(operation: str) -> str:
    kinds = {"depthwise": "depthwise", "conv": "conv", "pool": "pool", "linear": "linear"}
    return next((kind for word, kind in kinds.items() if word in operation), "other")


def _sheets(shape: Sequence[int], largest: int) -> list[Sheet]:
    """A feature map (C, H, W) as a pile: the more channels the more sheets, as large as the map; a
    vector as a bar, the longer the more values. largest: side of the image."""
    if len(shape) < 3:
        length = round(14 + 10 * math.log2(max(shape[0], 1)), 1)
        return [Sheet(SIDE / 2 - 6, round((SIDE - length) / 2, 1), 12, length)]
    channels, *sides = shape
    number = min(MOST_SHEETS, 1 + round(math.log2(max(channels, 1))))
    height, width = (round(max(4.0, LARGEST * min(1, side / largest)), 1) for side in sides[-2:])
    depth = SHIFT * (number - 1)
    left, top = (SIDE - width - depth) / 2, (SIDE - height - depth) / 2
    return [
        Sheet(round(left + SHIFT * n, 1), round(top + depth - SHIFT * n, 1), width, height)
        for n in reversed(range(number))
    ]
