"""What a config may name as `_target_`."""

import os

# The environment, unlike a config, is the user's own word.
TARGETS = [
    *(
        f"mnist_sweep.{module}.*"
        for module in ("models", "optimizers", "schedulers", "augment", "loggers")
    ),
    "mnist_sweep.sweep_progress.SweepProgress",
    *os.environ.get("MNIST_SWEEP_TARGETS", "").split(),
]
