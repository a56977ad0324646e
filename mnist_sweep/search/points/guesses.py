"""Points that the user wants tried first, or parts of points: `hydra.sweeper.try_first`."""

from collections.abc import Mapping, Sequence
from typing import Any

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.search.points.membership import value_in
from mnist_sweep.search.points.space import Space
from mnist_sweep.search.points.wording import bare_key
from mnist_sweep.search.settings import SearchSettings

TRY_FIRST = "hydra.sweeper.try_first"


def guesses(settings: SearchSettings, space: Space) -> list[dict[str, Any]]:
    """Those of the command, with the names and values that the space has for them.

    Raises:
        UserError: a key is not searched, a value is not in the space, or the sampler goes through
            all points.
    """
    if settings.try_first and settings.tries_every_point:
        raise UserError(
            f"{TRY_FIRST} does not go with a sampler that tries every point, in an order of its "
            "own: leave it out, or use another hydra/sweeper/sampler"
        )
    return [
        as_searched(guess, space, f"{TRY_FIRST}[{number}]")
        for number, guess in enumerate(settings.try_first)
    ]


def as_searched(given: Mapping[str, Any], space: Space, where: str) -> dict[str, Any]:
    """Key -> value, as the space has them. where: they were given.

    Raises:
        UserError: a key is not searched, or a value is not in the space.
    """
    if not given:
        raise UserError(f"{where}: it is empty: give it a key and a value, or leave it out")
    names = {bare_key(name): name for name in space.distributions}
    point = {}
    for key, value in given.items():
        if bare_key(key) not in names:
            raise UserError(f"{where}: {_not_searched(bare_key(key), space, names)}")
        name = names[bare_key(key)]
        try:
            point[name] = value_in(space.distributions[name], value)
        except ValueError as error:
            raise UserError(
                f"{where}: {key}={value} is not in the space: {error}; give it a value of these, "
                "or widen the space"
            ) from error
    for name in point:
        for parent, allowed in space.conditions.get(name, {}).items():
            if parent in point and not space.allows(name, parent, point[parent]):
                values = ", ".join(map(str, allowed))
                raise UserError(
                    f"{where}: {name} exists only where {parent} is {values}, and is given beside "
                    f"{parent}={point[parent]}: leave one of the two out"
                )
    return point


def _not_searched(key: str, space: Space, names: Mapping[str, str]) -> str:
    fixed = [override for override in space.fixed if bare_key(override) == key]
    if fixed:
        return f"{key} is not searched but fixed ({fixed[0]}): leave it out"
    known: Sequence[str] = list(names)
    return (
        f"{key} is not searched{did_you_mean(key, known)}: use keys of the space "
        f"({', '.join(known)})"
    )
