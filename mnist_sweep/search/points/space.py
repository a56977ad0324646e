"""The search space: which keys vary, over what, and which of them exist only beside others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from math import prod
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from optuna import create_study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial

from mnist_sweep.errors import UserError
from mnist_sweep.hydra_private import distributions_of, grid_values, keys_set_by
from mnist_sweep.search.optuna_private import suggest
from mnist_sweep.search.points.wording import bare_key, check_ends, override_of
from mnist_sweep.search.points.zipping import Groups, check_groups, zip_together
from mnist_sweep.search.study.zipped import keys_of, unzipped

Conditions = Mapping[str, Mapping[str, Sequence[Any]]]
Extender = Callable[[DictConfig, Trial], None]

GOLDEN = (1 + 5**0.5) / 2

PROBES = 10
"""Points at which an extender is tried before there is a study."""


@dataclass(frozen=True)
class Space:
    distributions: dict[str, BaseDistribution]
    """In an order in which a parameter comes after those that it depends on. Of a parameter that is
    a zip of several keys see study/zipped.py."""
    fixed: tuple[str, ...]
    """The other overrides, as they were given."""
    conditions: dict[str, dict[str, tuple[Any, ...]]]
    """Key -> {parent: its values beside which the key exists}; exact names."""
    extender: Extender | None
    """Suggests more, given the configuration and the trial."""

    @property
    def keys(self) -> list[str]:
        """That are searched, without what is before them in an override."""
        return [bare_key(key) for name in self.distributions for key in keys_of(name)]

    def values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Key -> its value at a point, without those zipped keys that do not exist there."""
        values = unzipped(point)
        if len(values) == len(point):
            return values
        return {k: v for k, v in values.items() if k in point or self._exists(k, values)}

    def overrides(self, point: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of a run at this point, the fixed ones first."""
        return (*self.fixed, *(f"{key}={value}" for key, value in self.values(point).items()))

    def suggest(self, trial: Trial, config: Mapping[str, Any]) -> dict[str, Any]:
        """Lets the trial's sampler choose a value for each parameter that exists here."""
        chosen = self.choose(partial(suggest, trial))
        if self.extender is None:
            return chosen
        self.extender(OmegaConf.create(dict(config)), trial)
        overlap = trial.params.keys() & set(map(bare_key, self.fixed))
        zipped = trial.params.keys() & (set(self.keys) - self.distributions.keys())
        if overlap or zipped:
            raise UserError(
                "hydra.sweeper.custom_search_space searches "
                f"{', '.join(sorted(overlap or zipped))}, which is "
                f"{'fixed' if overlap else 'zipped'} as well: leave one of the two out"
            )
        return dict(trial.params)

    def probes(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Some random points, with what the extender suggests; none without one.

        Raises:
            UserError: the extender fails, or searches what is fixed as well.
        """
        return [trial.params for trial in self._probed(config)]

    def check_listable(self, config: Mapping[str, Any]) -> None:
        """
        Raises:
            UserError: a parameter is continuous, so that nobody can try every point.
        """
        self.grid()
        for trial in self._probed(config):
            for name, distribution in trial.distributions.items():
                all_values(name, distribution)

    def _probed(self, config: Mapping[str, Any]) -> list[FrozenTrial]:
        if self.extender is None:
            return []
        study = create_study(sampler=RandomSampler(seed=0))
        try:
            for _ in range(PROBES):
                self.suggest(study.ask(), config)
            return study.get_trials(deepcopy=False)
        except UserError:
            raise
        except Exception as error:  # whatever the user's function raises
            raise UserError(
                f"hydra.sweeper.custom_search_space={_name(self.extender)}: "
                f"{type(error).__name__}: {' '.join(str(error).split())}; it is called with the "
                "configuration and a trial, and calls trial.suggest_... for each of its keys"
            ) from error

    def choose(self, value: Callable[[str, BaseDistribution], Any]) -> dict[str, Any]:
        """A point; `value` is asked for each parameter that exists beside those before it."""
        chosen: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            if self.exists(name, chosen):
                chosen[name] = value(name, distribution)
        return chosen

    def exists(self, name: str, chosen: Mapping[str, Any]) -> bool:
        """Whether the parameter does at a point of which those before it are chosen; a zip does
        where any of its keys does."""
        if not self.conditions:
            return True
        values = self.values(chosen)
        return any(self._exists(key, values) for key in keys_of(name))

    def _exists(self, key: str, values: Mapping[str, Any]) -> bool:
        return all(
            parent in values
            and self.allows(key, parent, values[parent])
            and self._exists(parent, values)
            for parent in self.conditions.get(key, {})
        )

    def allows(self, key: str, parent: str, value: Any) -> bool:
        """Whether the key may exist where the one that it depends on has this value."""
        return _as_text(value) in map(_as_text, self.conditions[key][parent])

    def point_with(self, name: str, value: Any) -> dict[str, Any]:
        """A point in which the parameter exists and has this value."""
        wanted = {name: value}
        open_ = [*keys_of(name)]
        while open_:
            for parent, allowed in self.conditions.get(open_.pop(), {}).items():
                texts = set(map(_as_text, allowed))
                whole = next(name for name in self.distributions if parent in keys_of(name))
                values = some_values(self.distributions[whole], all_of_them=True)
                if whole == parent:
                    values += allowed
                fitting = [v for v in values if _as_text(unzipped({whole: v})[parent]) in texts]
                if whole not in wanted and fitting:
                    wanted[whole] = fitting[0]
                    open_ += keys_of(whole)
        return self.choose(lambda key, d: wanted[key] if key in wanted else some_values(d)[0])

    def points(self, at_most: int) -> list[dict[str, Any]] | None:
        """All of them, conditions considered; None if they are more than that, or not known."""
        size = self.size()
        if size is None or size > at_most:
            return None
        found: list[dict[str, Any]] = [{}]
        for name, distribution in self.distributions.items():
            values = grid_values(distribution)
            found = [
                extended
                for point in found
                for extended in (
                    [{**point, name: value} for value in values]
                    if self.exists(name, point)
                    else [point]
                )
            ]
        return found

    def grid(self) -> dict[str, list[Any]]:
        """
        Raises:
            UserError: a parameter is continuous.
        """
        return {name: list(all_values(name, d)) for name, d in self.distributions.items()}

    def size(self) -> int | None:
        """Points, conditions not considered; None if that is no finite number or not known."""
        if self.extender is not None:
            return None
        sizes = []
        for distribution in self.distributions.values():
            match distribution:
                case CategoricalDistribution():
                    sizes.append(len(distribution.choices))
                case IntDistribution():
                    steps = (distribution.high - distribution.low) // distribution.step
                    sizes.append(steps + 1)
                case _:
                    step = getattr(distribution, "step", None)
                    if step is None:
                        return None
                    sizes.append(len(grid_values(distribution)))
        return prod(sizes)

    def describe(self) -> dict[str, str]:
        """Parameter -> its values and conditions as text, the same for the same space."""
        return {
            name: f"{distribution} where {self._condition(name) or 'always'}"
            for name, distribution in self.distributions.items()
        }

    def _condition(self, name: str) -> Mapping[str, Any]:
        of_keys = {key: found for key in keys_of(name) if (found := self.conditions.get(key))}
        return of_keys.get(name, of_keys)  # of a zip that of each key


def make_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    conditions: Conditions,
    extender: Extender | None,
    loader: ConfigLoader | None = None,
    groups: Groups = (),
) -> Space:
    """The space of `hydra.sweeper.params` and of the command line, which has the last word: a key
    that it fixes is not searched, as with the stock sweeper. loader: of configs; needed for `glob`.
    groups: of keys that move together.

    Raises:
        UserError: nothing varies, a distribution or condition is wrong, the command line both
            searches and fixes a key, or a group's keys cannot move together.
    """
    distributions: dict[str, BaseDistribution] = {}
    written: dict[str, str] = {}
    fixed: dict[str, str] = {}
    for key, value in params.items():
        override = override_of(key, value)
        varying = _parse(override, loader)
        distributions.update(varying)
        written |= dict.fromkeys(varying, override)
        if not varying:
            fixed[key] = override
    varied_here: set[str] = set()
    fixed_here: set[str] = set()
    for override in arguments:
        varying = _parse(override, loader)
        key = bare_key(override)
        keys = {key, *keys_set_by(override)}
        if keys & (fixed_here if varying else varied_here):
            raise UserError(
                f"{key} is both searched and fixed on the command line ({override}): "
                "leave one of the two out"
            )
        distributions = {name: d for name, d in distributions.items() if bare_key(name) not in keys}
        literal = override.partition("=")[0]
        fixed.pop(literal, None)
        if key not in fixed_here:  # else it is of hydra.sweeper.params
            fixed.pop(key, None)
        if varying:
            distributions.update(varying)
            written |= dict.fromkeys(varying, override)
            varied_here.add(key)
        else:
            fixed[literal] = override
            fixed_here |= keys
    if not distributions and extender is None:
        raise UserError(
            "hydra.sweeper.params is empty and no override varies, so there is nothing to search: "
            "give a key several values, such as 'optimizer.lr=tag(log, interval(0.01, 0.3))'"
        )
    check_groups(groups, list(distributions), fixed)
    distributions = _without_impossible(distributions, fixed, conditions)
    exact = _exact_conditions(conditions, distributions)
    distributions = _parents_first(distributions, exact)
    if groups:
        distributions = zip_together(distributions, groups, written, loader)
        distributions = _parents_first(distributions, exact)
    return Space(distributions, tuple(fixed.values()), exact, extender)


def _parse(override: str, loader: ConfigLoader | None) -> dict[str, BaseDistribution]:
    """Key -> what it varies over; empty for a fixed value."""
    try:
        varying = distributions_of(override, loader)
    except (HydraException, ValueError, AssertionError, RuntimeError) as error:
        text = " ".join(str(error).split()) or "no sweep that Optuna knows"
        if "low <= high" in text:
            text = "its low end is above its high end: swap the two"
        raise UserError(f"{override}: {text[0].lower()}{text[1:]}") from error
    for distribution in varying.values():
        check_ends(override, distribution)
    return varying


def all_values(name: str, distribution: BaseDistribution) -> Sequence[Any]:
    """
    Raises:
        UserError: there is no end of them.
    """
    try:
        return grid_values(distribution)
    except ValueError as error:
        raise UserError(
            f"{name}=interval(...) has no end of values for a sampler that tries each of "
            f"them: use range(...) with a step, or choice(...), or another "
            "hydra/sweeper/sampler"
        ) from error


def some_values(distribution: BaseDistribution, *, all_of_them: bool = False) -> list[Any]:
    """Choices, all or a few of them; of a range its ends; of an interval a number that is as
    likely to be whole as any other there, and numbers near its ends, which themselves may be out of
    a search's reach."""
    match distribution:
        case CategoricalDistribution():
            choices = list(distribution.choices)
            return choices if all_of_them or len(choices) <= 8 else [*choices[:7], choices[-1]]
        case FloatDistribution(step=None):
            span = distribution.high - distribution.low
            return [distribution.low + span * share for share in (1 / GOLDEN, 0.001, 0.999)]
        case _:
            return [getattr(distribution, "low", None), getattr(distribution, "high", None)]


def _without_impossible(
    distributions: dict[str, BaseDistribution], fixed: Mapping[str, str], conditions: Conditions
) -> dict[str, BaseDistribution]:
    """Without the parameters that a fixed value of another one rules out."""
    values = {bare_key(key): override.partition("=")[2] for key, override in fixed.items()}
    impossible = {
        name
        for pattern, parents in conditions.items()
        for name in distributions
        if fnmatchcase(name, pattern)
        for parent, allowed in parents.items()
        if parent in values and values[parent] not in map(_as_text, allowed)
    }
    return {name: d for name, d in distributions.items() if name not in impossible}


def _exact_conditions(
    conditions: Conditions, distributions: Mapping[str, BaseDistribution]
) -> dict[str, dict[str, tuple[Any, ...]]]:
    exact: dict[str, dict[str, tuple[Any, ...]]] = {}
    for pattern, parents in conditions.items():
        for name in distributions:
            if fnmatchcase(name, pattern):
                needed = exact.setdefault(name, {})
                for parent, values in parents.items():
                    if parent in distributions:  # a fixed parent decides nothing any more
                        needed[parent] = tuple(values)
    return exact


def _parents_first(
    distributions: dict[str, BaseDistribution], conditions: Mapping[str, Mapping[str, Any]]
) -> dict[str, BaseDistribution]:
    """
    Raises:
        UserError: some depend on each other.
    """
    ordered: dict[str, BaseDistribution] = {}
    waiting = dict(distributions)

    def is_ready(name: str) -> bool:
        before = {key for other in (*ordered, name) for key in keys_of(other) if key != name}
        return all(conditions.get(key, {}).keys() <= before for key in keys_of(name))

    while waiting:
        ready = list(filter(is_ready, waiting))
        if not ready:
            raise UserError(
                f"hydra.sweeper.conditions: {', '.join(waiting)} depend on each other in a circle"
            )
        for name in ready:
            ordered[name] = waiting.pop(name)
    return ordered


def _name(extender: Extender) -> str:
    function = extender.func if isinstance(extender, partial) else extender
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"


def _as_text(value: Any) -> str:
    """Choices from the command line are text, those of a condition typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)
