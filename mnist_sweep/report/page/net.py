"""The winning net, drawn layer by layer."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mnist_sweep.config import IMAGE_SIZE, resolved
from mnist_sweep.errors import UserError
from mnist_sweep.runs.saved import SavedRun

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


def draw(run: SavedRun) -> dict[str, Any]:
    """The net that the run's config builds, as the page shows it: its costs, layers and steps, a
    step being a picture of a feature map under the name of what made it.

    Raises:
        UserError: the config is gone or builds no net, or not the net that was trained.
    """
    # Here, so that a page without a net to draw imports no torch.
    from hydra.utils import execution_whitelist

    from mnist_sweep.experiment import build_model
    from mnist_sweep.profile import profile
    from mnist_sweep.whitelist import TARGETS

    config = run.config()
    try:
        with execution_whitelist(TARGETS):
            costs = profile(build_model(resolved(config)))
    except Exception as error:  # whatever a net of the user's own raises
        raise UserError(f"its net cannot be built here ({' '.join(str(error).split())})") from error
    trained = run.record.num_params
    if trained is not None and trained != costs.num_params:
        raise UserError(
            f"its config now builds a net of {costs.num_params:,} parameters, and the one that was "
            f"trained had {trained:,}: the code has changed since"
        )
    layers = [asdict(layer) for layer in costs.layers]
    return {
        "words": f"{costs.num_params:,} parameters, {costs.macs:,} multiply-accumulates an image; "
        f"a value of the last layers sees up to {costs.receptive_field} pixels along a side.",
        "layers": layers,
        "steps": list(_steps(layers, costs.num_params)),
        "num_params": costs.num_params,
        "macs": costs.macs,
        "receptive_field": costs.receptive_field,
    }


def _steps(layers: Sequence[Mapping[str, Any]], num_params: int) -> Iterator[dict[str, Any]]:
    """What the drawing shows: the image, then each layer with its output. Dropout, which changes
    no shape, is named with the layer before it."""
    image = {"label": "image", "shape": (1, IMAGE_SIZE, IMAGE_SIZE), "num_params": 0}
    merged: list[dict[str, Any]] = []
    for layer in [image, *layers]:
        if layer["label"].startswith("dropout") and merged:
            merged[-1]["label"] += f", {layer['label']}"
        else:
            merged.append(dict(layer))
    for layer in merged:
        operation, _, rest = layer["label"].partition(", ")
        share = 100 * layer["num_params"] / max(num_params, 1)
        yield {
            "kind": _kind(operation),
            "operation": operation,
            "rest": rest,
            "shape": "×".join(map(str, layer["shape"])),
            "sheets": _sheets(layer["shape"]),
            "num_params": layer["num_params"],
            "share": f"{share:.1f}",
        }


def _kind(operation: str) -> str:
    kinds = {"depthwise": "depthwise", "conv": "conv", "pool": "pool", "linear": "linear"}
    return next((kind for word, kind in kinds.items() if word in operation), "other")


def _sheets(shape: Sequence[int]) -> list[Sheet]:
    """A feature map (C, H, W) as a pile: the more channels the more sheets, as large as the map; a
    vector as a bar, the longer the more values."""
    if len(shape) < 3:
        length = round(14 + 10 * math.log2(max(shape[0], 1)), 1)
        return [Sheet(SIDE / 2 - 6, round((SIDE - length) / 2, 1), 12, length)]
    channels, *sides = shape
    number = min(MOST_SHEETS, 1 + round(math.log2(max(channels, 1))))
    height, width = (round(max(4.0, LARGEST * min(1, side / IMAGE_SIZE)), 1) for side in sides[-2:])
    depth = SHIFT * (number - 1)
    left, top = (SIDE - width - depth) / 2, (SIDE - height - depth) / 2
    return [
        Sheet(round(left + SHIFT * n, 1), round(top + depth - SHIFT * n, 1), width, height)
        for n in reversed(range(number))
    ]
