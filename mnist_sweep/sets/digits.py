"""scikit-learn's small digits, which are there without a network."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_sweep.sets.shape import MNIST_SHAPE

MEAN, STD = 0.3053, 0.3246
TEST_ONE_IN = 5


def read_digits() -> tuple[Tensor, Tensor]:
    """The 1,797 digits, 8x8 with values 0..16, as (1797, 1, 28, 28) uint8 and labels.

    Their file is read as it lies there: importing its reader takes longer than training on them.
    """
    spec = find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations, "scikit-learn is required"
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.int64))
    small = table[:, :64].view(-1, 1, 8, 8).float() * (255 / 16)
    large = F.interpolate(small, size=MNIST_SHAPE.side, mode="bilinear", align_corners=False)
    return large.round().clamp(0, 255).byte(), table[:, 64].clone()
