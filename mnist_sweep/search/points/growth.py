"""Whether a command's space goes with the one that its study has, and what of the study changes.

A study keeps each parameter's distribution with each trial. A choice that is added comes last, so
that what is kept of the others stays as it is; a range that is widened holds what it held. A key
that all trials so far had one value of may become a parameter: that value is theirs.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from mnist_sweep.errors import UserError
from mnist_sweep.identity import flat_config
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.space import Conditions, Space, all_values
from mnist_sweep.search.points.wording import bare_key, shown
from mnist_sweep.search.study.attributes import SEARCHED
from mnist_sweep.search.study.zipped import keys_of

KINDS = {
    kind.__name__: kind for kind in (CategoricalDistribution, FloatDistribution, IntDistribution)
}

MOST_EARLIER = 1000
"""Combinations of values of new parameters of which one may be that of all earlier trials."""

WHOLE = 1e-8
"""How near to whole a number of steps is."""

Settings = Mapping[str, Any]
"""What the commands on a study have in common, by their keys."""


@dataclass(frozen=True)
class Growth:
    before: Space
    """As the study's trials had it; what is new in `now` is fixed at their value."""
    now: Space
    earlier: Mapping[str, Any]
    """New parameter -> the value that all trials so far had."""

    @property
    def changed(self) -> dict[str, BaseDistribution]:
        """Parameters that trials have, and that are searched over something else now."""
        old = self.before.distributions
        return {k: d for k, d in self.now.distributions.items() if k in old and old[k] != d}

    @property
    def added(self) -> dict[str, tuple[BaseDistribution, Any]]:
        """New parameters, each with the value of the trials so far."""
        return {name: (self.now.distributions[name], v) for name, v in self.earlier.items()}

    def changes(self) -> Iterator[tuple[str, str, str]]:
        """Key, what it was, what it is."""
        for name, distribution in self.changed.items():
            yield name, shown(self.before.distributions[name]), shown(distribution)
        for name, (distribution, value) in self.added.items():
            yield name, str(value), shown(distribution)

    def __bool__(self) -> bool:
        return bool(self.changed or self.added)


class Grower:
    """Compares a command with its study.

    own: the command's space. shared: of a configuration and of what is searched (parameter -> its
    text), all that commands on one study have in common.
    """

    def __init__(
        self,
        own: Space,
        composer: Composer,
        shared: Callable[[Mapping[str, Any], Mapping[str, str]], Settings],
        *,
        is_grid: bool,
    ) -> None:
        self.own = own
        self.composer = composer
        self.shared = shared
        self.is_grid = is_grid

    def grow(self, settings: Settings) -> Growth:
        """settings: the study's.

        Raises:
            UserError: the study cannot take this space in, or is of other settings.
        """
        distributions, conditions = recorded_space(settings)
        own = self.own
        if self.is_grid:
            own = _with_fixed_ones(own, distributions, self.composer)
        new = [name for name in own.distributions if name not in distributions]
        earlier = self._earlier(settings, own, new) if new else {}
        merged = {
            name: self._merged(name, before, own.distributions[name])
            if name in own.distributions
            else before
            for name, before in distributions.items()
        }
        for name in merged.keys() & own.distributions.keys():
            self._check_conditions(name, own, conditions)
        for name in new:
            merged[name] = self._new(name, own.distributions[name], earlier[name])
        now = Space(merged, own.fixed, {**own.conditions, **conditions}, own.extender)
        if not self.is_grid and distributions.keys() - own.distributions.keys():
            now = own  # which is refused: what a search goes by is not fixed later
        fixed = (*own.fixed, *(f"{name}={value}" for name, value in earlier.items()))
        return Growth(Space(distributions, fixed, conditions, own.extender), now, earlier)

    def _merged(
        self, name: str, before: BaseDistribution, now: BaseDistribution
    ) -> BaseDistribution:
        if self.is_grid:
            return _with_values(name, before, list(all_values(name, now)))
        if type(before) is not type(now):
            raise _refused(name, before, now, "its kind cannot change")
        if isinstance(before, CategoricalDistribution) and isinstance(now, CategoricalDistribution):
            gone = [c for c in before.choices if not any(_same(c, other) for other in now.choices)]
            if gone:
                raise _refused(
                    name, before, now,
                    f"a search cannot lose a choice that its trials may have: add "
                    f"{', '.join(map(str, gone))}",
                )  # fmt: skip
            return _with_values(name, before, list(now.choices))
        if getattr(before, "log", None) != getattr(now, "log", None):
            raise _refused(name, before, now, "whether it is searched by its logarithm is settled")
        return now

    def _check_conditions(self, name: str, own: Space, before: Conditions) -> None:
        parents = {p: v for p, v in before.get(name, {}).items() if p in own.distributions}
        now = own.conditions.get(name, {})
        known = {p: tuple(v) for p, v in now.items()}
        if {p: tuple(v) for p, v in parents.items()} != known:
            raise UserError(
                f"hydra.sweeper.conditions: {name} was searched where "
                f"{dict(before.get(name, {})) or 'always'}, and is where {known or 'always'}: "
                "restore it, or give the study another name"
            )

    def _new(self, name: str, now: BaseDistribution, value: Any) -> BaseDistribution:
        """Of a new parameter, that holds the value of all trials so far."""
        if holds(now, value):
            return now
        if self.is_grid:
            if isinstance(now, CategoricalDistribution):
                return CategoricalDistribution([value, *now.choices])
            return _with_values(name, now, [value])
        raise UserError(
            f"{name} is {shown(now)} now, and all trials of the study had {value}, which is not "
            "among that: take it in, or give the study another name"
        )

    def _earlier(self, settings: Settings, own: Space, new: Sequence[str]) -> dict[str, Any]:
        """New parameter -> its value with which this command is the one that the study was begun
        with.

        Raises:
            UserError: there are none, or the command differs in more than that.
        """
        searched = {
            key.removeprefix(SEARCHED): text
            for key, text in settings.items()
            if key.startswith(SEARCHED)
        }
        fewest: list[str] | None = None
        options = [list(self._options(name, settings, own)) for name in new]
        for n, values in enumerate(product(*options)):
            if n == MOST_EARLIER:
                break
            overrides = [f"{name}={value}" for name, value in zip(new, values, strict=True)]
            config, _ = self.composer.task((*own.fixed, *overrides))
            now = self.shared(config, searched)
            differing = [key for key in {**settings, **now} if settings.get(key) != now.get(key)]
            if not differing:
                return dict(zip(new, values, strict=True))
            if fewest is None or len(differing) < len(fewest):
                fewest = [f"{k} (was {settings.get(k)}, is {now.get(k)})" for k in differing]
        why = "it was none that can be told" if fewest is None else ", ".join(fewest[:5])
        raise UserError(
            f"{', '.join(new)}: was no parameter of the study, and with no value of it is this the "
            f"command that the study was begun with ({why}): restore that, or give the study "
            "another name"
        )

    def _options(self, name: str, settings: Settings, own: Space) -> Iterator[Any]:
        """Values that all trials so far may have had."""
        if not self.composer.is_group(name):
            value = settings.get(bare_key(name))
            if isinstance(value, str | int | float):
                yield value
            return
        now = own.distributions[name]
        choices = now.choices if isinstance(now, CategoricalDistribution) else ()
        yield from dict.fromkeys([*choices, *self.composer.loader.get_group_options(name)])


def grid_points(own: Space, study: Space, composer: Composer, at_most: int) -> list[dict[str, Any]]:
    """The points that a command asks for. own: its space; study: that which has all of it.

    Raises:
        UserError: a parameter is continuous, or the points are more than this.
    """
    own = _with_fixed_ones(own, study.distributions, composer)
    values = {
        name: [_as_in(distribution, v) for v in all_values(name, own.distributions[name])]
        for name, distribution in study.distributions.items()
    }
    choices: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(found) for name, found in values.items()
    }
    points = replace(study, distributions=choices).points(at_most)
    if points is None:
        raise UserError(
            f"{', '.join(values)}: a grid of more than {at_most:,} points; give fewer values"
        )
    return points


def recorded_space(
    settings: Settings,
) -> tuple[dict[str, BaseDistribution], dict[str, dict[str, tuple[Any, ...]]]]:
    """Of a study's settings, which say it as text: its distributions, and its conditions.

    Raises:
        UserError: a text is none that this program wrote.
    """
    distributions: dict[str, BaseDistribution] = {}
    conditions: dict[str, dict[str, tuple[Any, ...]]] = {}
    for key, text in settings.items():
        if not key.startswith(SEARCHED):
            continue
        name = key.removeprefix(SEARCHED)
        written, _, where = str(text).rpartition(" where ")
        try:
            call = ast.parse(written, mode="eval").body
            assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            given = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
            distributions[name] = KINDS[call.func.id](**given)
            if where != "always":
                found = ast.literal_eval(where)
                conditions.update({name: found} if keys_of(name) == (name,) else found)
        except (SyntaxError, ValueError, AssertionError, LookupError, TypeError) as error:
            raise UserError(
                f"hydra.sweeper.study_name: what the study has of {name} cannot be read ({text}): "
                "give the study another name"
            ) from error
    return distributions, conditions


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the value is one of the distribution's."""
    match distribution:
        case CategoricalDistribution():
            return any(_same(choice, value) for choice in distribution.choices)
        case FloatDistribution() | IntDistribution():
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            steps = 0.0
            if distribution.step is not None:
                steps = (value - distribution.low) / distribution.step
            is_whole = abs(steps - round(steps)) < WHOLE
            return bool(distribution.low <= value <= distribution.high) and is_whole
    return False


def _with_values(name: str, before: BaseDistribution, values: list[Any]) -> BaseDistribution:
    """The distribution with these values as well, which comes to the same where it has them."""
    more = [value for value in values if not holds(before, value)]
    if not more:
        return before
    if isinstance(before, CategoricalDistribution):
        return CategoricalDistribution([*before.choices, *more])
    if isinstance(before, IntDistribution):
        if not all(type(value) is int for value in more):
            raise UserError(f"{name}={more[0]}: the study has whole numbers of it: give such")
        step = gcd(before.step, *(value - before.low for value in more))
        low, high = min(before.low, *more), max(before.high, *more)
        return IntDistribution(low, high, before.log, 1 if before.log else step)
    assert isinstance(before, FloatDistribution)
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in more):
        raise UserError(f"{name}={more[0]}: the study has numbers of it: give such")
    low, high = min(before.low, *more), max(before.high, *more)
    stride = before.step
    if stride is not None:
        steps = [(value - low) / stride for value in (*more, before.low, before.high)]
        stride = stride if all(abs(n - round(n)) < WHOLE for n in steps) else None
    return FloatDistribution(low, high, before.log, stride)


def _with_fixed_ones(
    own: Space, distributions: Mapping[str, BaseDistribution], composer: Composer
) -> Space:
    """The space, with what the study searches and this command fixes as parameters of one value."""
    missing = [name for name in distributions if name not in own.distributions]
    if not missing:
        return own
    config, choices = composer.task(own.fixed)
    flat = flat_config(config)
    single: dict[str, BaseDistribution] = {}
    for name in missing:
        is_group, key = composer.is_group(name), bare_key(name)
        value = choices.get(name) if is_group else flat.get(key)
        if value is None or isinstance(value, list):
            raise UserError(
                f"{name}: the study has several values of it, and this command says none: give it "
                "one, or several"
            )
        single[name] = CategoricalDistribution([value])
    keys = set(map(bare_key, missing))
    fixed = tuple(override for override in own.fixed if bare_key(override) not in keys)
    return replace(own, distributions={**own.distributions, **single}, fixed=fixed)


def _as_in(distribution: BaseDistribution, value: Any) -> Any:
    """The value as the distribution has it."""
    match distribution:
        case CategoricalDistribution():
            return next(choice for choice in distribution.choices if _same(choice, value))
        case IntDistribution():
            return int(value)
        case _:
            return float(value)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _refused(name: str, before: BaseDistribution, now: BaseDistribution, reason: str) -> UserError:
    return UserError(
        f"{name} was {shown(before)} in this study, and is {shown(now)}: {reason}, or give the "
        "study another name"
    )
