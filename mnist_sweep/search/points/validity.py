"""Whether the values of a search can be, each by itself: what is fixed, and what is to be tried.

A point that is no valid net is no mistake, and is rejected when it comes. A value that no run can
have, with whatever it comes together, is one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import FloatDistribution
from pydantic import ValidationError

from mnist_sweep.config import settings_of, unchecked
from mnist_sweep.data import fetch, is_here
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import build_loggers, build_model, build_training
from mnist_sweep.runs.console import make_console, warn
from mnist_sweep.search.points.space import Space
from mnist_sweep.search.points.wording import bare_key, whole_numbers_of
from mnist_sweep.search.study.zipped import keys_of
from mnist_sweep.sets.measured import shape_in
from mnist_sweep.train import settle

Config = Mapping[str, Any]


def check_values(space: Space, configs: Sequence[Config]) -> None:
    """configs: resolved, of some points of the space in which each parameter has several values.

    Raises:
        UserError: a value can be in no run, or what is fixed goes together in none of these.
    """
    searches_model = any(key.startswith("model") for key in space.keys)
    checks: dict[str, Callable[[Config], object]] = {
        "settings": settings_of,
        "training": build_training,
        "loggers": build_loggers,
        "model": lambda config: build_model(config, shape_in(config)),
    }
    faults: Counter[str] = Counter()
    first: dict[str, UserError] = {}
    for config in configs:
        for part, check in checks.items():
            try:
                check(config)
            except UserError as error:
                _check_single(space, part, error)
                faults[part] += 1
                first.setdefault(part, error)
            except Exception:  # of a class of the user's; its run will fail, and say why
                continue
    for part, count in faults.items():
        if count == len(configs) and not (part == "model" and searches_model):
            raise first[part]


def _check_single(space: Space, part: str, error: UserError) -> None:
    """
    Raises:
        UserError: it is about a single value, which no other parameter can mend.
    """
    if not _is_of_a_single_key(error):
        return
    searched = {
        bare_key(key): d for name, d in space.distributions.items() for key in keys_of(name)
    }
    wrong = [key for key in searched if f"{key}=" in str(error)]
    for key in wrong:
        distribution = searched[key]
        if isinstance(distribution, FloatDistribution) and "valid integer" in str(error):
            remedy = whole_numbers_of(key, distribution)
            raise UserError(f"{error}; {key} takes whole numbers: {remedy}") from error
        if isinstance(distribution, FloatDistribution) and part != "model":
            reach = f"is searched from {distribution.low:g} to {distribution.high:g}"
            raise UserError(f"{error}; {key} {reach}: give it other ends") from error
    if not wrong or part != "model":
        raise error


def _is_of_a_single_key(error: UserError) -> bool:
    """Whether the schema of one key refuses its value; else several keys do not go together."""
    cause = error.__cause__
    return isinstance(cause, ValidationError) and any(
        finding["loc"] and not isinstance(finding["input"], dict) for finding in cause.errors()
    )


def check_places(
    configs: Iterable[Config], *, trains_here: bool, downloads: bool = True
) -> list[str]:
    """Whether these can run; `downloads` data that are missing, which workers do not, or names
    those that it would. trains_here: whether the devices are those of this machine.

    Raises:
        UserError: the data or the device are not here.
    """
    jobs = [*map(unchecked, configs)]
    missing: list[str] = []
    for data in dict.fromkeys(job.data for job in jobs):
        if not downloads and data.download and not is_here(data):
            missing.append(data.name)
        elif problem := fetch(data):
            warn(make_console(), f"no data={data.name}", problem)
    for job in jobs:
        if trains_here and job.trainer.device not in ("auto", "cpu"):
            settle(job.trainer.model_copy(update={"threads": 1}))
    return missing
