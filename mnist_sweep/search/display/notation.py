"""How a trial's point and command are written where they are shown."""

import shlex
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial

from mnist_sweep.intervals import CONFIDENCE, interval
from mnist_sweep.search.objectives import format_value
from mnist_sweep.search.study.attributes import OVERRIDES, SEED_VALUES, real_widths
from mnist_sweep.search.study.zipped import unzipped


def short_params(trial: FrozenTrial) -> str:
    """`num_stages=2 stage1.width=16->74`: names without their group, numbers with four digits;
    after an arrow what a proportion is in the net."""
    return short_values(unzipped(trial.params), real_widths(trial))


def short_values(values: Mapping[str, Any], widths: Mapping[str, int]) -> str:
    """The same of keys and their values. widths: in the net, of those that are proportions."""
    return " ".join(
        f"{name.removeprefix('model.')}={_short(value)}{_arrow(widths.get(name))}"
        for name, value in values.items()
    )


def again(trial: FrozenTrial, command: str) -> str:
    """What runs the trial again, alone. command: of any run in the search's surroundings."""
    return f"{command} {shlex.join(trial.user_attrs[OVERRIDES])}"


def over_seeds(trial: FrozenTrial) -> str:
    """`, mean of 5 seeds, 95 % interval 0.9861 to 0.9891`; "" where there are not several."""
    values = trial.user_attrs.get(SEED_VALUES, ())
    if len(values) < 2:
        return f", of {len(values)} seed" if values else ""
    found = interval(values)
    ends = "" if found is None else " to ".join(map(format_value, found))
    within = f", {CONFIDENCE:.0%} interval {ends}".replace("%", " %") if ends else ", all alike"
    return f", mean of {len(values)} seeds{within}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _arrow(width: int | None) -> str:
    return "" if width is None else f"->{width}"
