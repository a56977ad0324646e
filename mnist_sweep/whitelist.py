"""What a config may name as `_target_`."""

import os

VARIABLE = "MNIST_SWEEP_TARGETS"


def of_the_environment() -> list[str]:
    """Which, unlike a config, is the user's own word."""
    return os.environ.get(VARIABLE, "").split()


TARGETS = [
    *(
        f"mnist_sweep.{module}.*"
        for module in ("models", "optimizers", "schedulers", "augment", "loggers")
    ),
    "mnist_sweep.sweep_progress.SweepProgress",
    *of_the_environment(),
]
