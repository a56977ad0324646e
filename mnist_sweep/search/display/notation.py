"""How a trial's values, point and command are written where they are shown."""

import shlex
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial

from mnist_sweep.search.study.attributes import OVERRIDES


def format_value(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def short_params(params: Mapping[str, Any]) -> str:
    """`num_stages=2 stage1.width=16`: names without their group, numbers with four digits."""
    return " ".join(
        f"{name.removeprefix('model.')}={f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in params.items()
    )


def again(trial: FrozenTrial, command: str) -> str:
    """What runs the trial again, alone. command: of any run in the search's surroundings."""
    return f"{command} {shlex.join(trial.user_attrs[OVERRIDES])}"
