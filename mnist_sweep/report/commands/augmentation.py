"""`report augmentation`: digits as they are, and as an augmentation changes them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.paths import CONF, RECIPES
from mnist_sweep.report.commands.arguments import add_picture
from mnist_sweep.report.commands.picture import save_picture
from mnist_sweep.report.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_sweep.experiment import Experiment

DRAWS = 2
"""Rows for each choice."""


def add_augmentation(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A digit of each kind as it is, and as training sees it: of MNIST where it is at hand, "
        "else of scikit-learn's small digits."
    )
    parser.add_argument(
        "names",
        nargs="?",
        metavar="NAME[,NAME]",
        help="choices of augmentation (default: all); a+b is one after the other",
    )
    add_picture(parser, default="augmentation.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """A digit of each kind, as it is and augmented."""
    import torch

    from mnist_sweep.data import load
    from mnist_sweep.figures.augmentation import augmentation
    from mnist_sweep.figures.saving import check_suffix

    check_suffix(arguments.output)
    known = _augmentations(CONF)
    names = [name for name in (arguments.names or "").split(",") if name.strip()]
    names = [name.strip() for name in names] or [name for name in known if name != "none"]
    experiments = {name: _experiment_with(name, known) for name in names}
    settings = next(iter(experiments.values())).settings
    data = load(settings.data, settings.protocol)
    labels = data.train.labels[data.train.index]
    first_of_each = torch.stack([(labels == digit).nonzero()[0, 0] for digit in range(10)])
    images, _ = data.train.batch(first_of_each)
    rows = {"original": _pixels(images)[None]}
    for name, experiment in experiments.items():
        generator = torch.Generator().manual_seed(0)
        draws = []
        for _ in range(DRAWS):
            augmented = images
            for augment in experiment.augmentation:
                augmented = augment(augmented, generator)
            draws.append(_pixels(augmented))
        rows[name] = np.stack(draws)
    title = f"Augmentations of {data.name}, {counted(DRAWS, 'draw')} each"
    save_picture(augmentation(rows, title), arguments.output)


def _augmentations(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "augmentation").glob("*.yaml"))


def _experiment_with(name: str, known: Sequence[str]) -> "Experiment":
    """The main recipe with this augmentation, or these, one after the other: `affine+elastic`.

    Raises:
        UserError: there is no such choice.
    """
    from hydra import compose, initialize_config_dir
    from hydra.utils import execution_whitelist

    from mnist_sweep.config import resolved
    from mnist_sweep.config_roots import register_recipes, todays
    from mnist_sweep.experiment import to_experiment
    from mnist_sweep.whitelist import TARGETS

    parts = [todays(f"augmentation={part}").partition("=")[2] for part in name.split("+")]
    register_recipes()
    for part in parts:
        if part not in [*known, *_augmentations(RECIPES)]:
            raise UserError(
                f"augmentation={part}: no such choice{did_you_mean(part, known)}; augmentation is "
                f"one of {', '.join(known)}"
            )
    with initialize_config_dir(str(CONF)), execution_whitelist(TARGETS):
        cfg = compose("config", [f"augmentation=[{','.join(parts)}]"])
        return to_experiment(resolved(cfg))


def _pixels(images: "Tensor") -> np.ndarray:
    """(N, 1, H, W) in 0..1 -> (N, H, W) uint8."""
    return np.asarray((images.squeeze(1) * 255).round().clamp(0, 255).byte())
