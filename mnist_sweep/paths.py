"""Where the config files are, and what they may name as `_target_`."""

import os
from pathlib import Path

PACKAGE = Path(__file__).parent
# Inside the package once installed, beside it in a checkout.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())

RECIPE_PARTS = ("published_", "ours_")  # choices that only an experiment uses

# The environment, unlike a config, is the user's own word.
TARGETS = [
    *(
        f"mnist_sweep.{module}.*"
        for module in ("models", "optimizers", "schedulers", "augment", "loggers")
    ),
    "mnist_sweep.sweep_progress.SweepProgress",
    *os.environ.get("MNIST_SWEEP_TARGETS", "").split(),
]
