"""hydra.sweeper.zip: makes one parameter of keys that move together, a choice a pair of values."""

from collections.abc import Mapping, Sequence

from hydra.core.config_loader import ConfigLoader
from optuna.distributions import BaseDistribution, CategoricalDistribution

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.hydra_private import values_in_order
from mnist_sweep.search.points.wording import bare_key
from mnist_sweep.search.study.zipped import zip_choice, zip_name

KEY = "hydra.sweeper.zip"

Groups = Sequence[Sequence[str]]


def zip_together(
    distributions: Mapping[str, BaseDistribution],
    groups: Groups,
    written: Mapping[str, str],
    loader: ConfigLoader | None,
) -> dict[str, BaseDistribution]:
    """The space with a parameter for each group, in the place of its first key. Keys that are not
    in the space, as others rule them out, move with nobody. written: key -> its override.

    Raises:
        UserError: the values of a group's keys cannot be zipped.
    """
    found = dict(distributions)
    for group in groups:
        names = [name for key in group for name in distributions if bare_key(name) == key]
        if len(names) < 2:
            continue
        columns = [_values(written[name], loader) for name in names]
        _check_lengths(names, columns)
        choices = dict.fromkeys(map(zip_choice, zip(*columns, strict=True)))
        whole = zip_name(names), CategoricalDistribution(list(choices))
        found = dict(
            whole if name == names[0] else (name, distribution)
            for name, distribution in found.items()
            if name not in names[1:]
        )
    return found


def check_groups(groups: Groups, searched: Sequence[str], fixed: Mapping[str, str]) -> None:
    """searched, fixed: keys as in overrides; the latter with these overrides.

    Raises:
        UserError: a group has a single key, a key is in two, or is not one that has several values.
    """
    known = list(map(bare_key, searched))
    settled = {bare_key(key): override for key, override in fixed.items()}
    seen: set[str] = set()
    for group in groups:
        shown = f"{KEY}=[[{','.join(group)}]]"
        if len(group) < 2:
            raise UserError(f"{shown}: a single key has none to move with: name two or more")
        for key in group:
            if key in seen:
                raise UserError(f"{shown}: {key} is in {KEY} twice: leave it in one place")
            seen.add(key)
            if key in settled:
                raise UserError(
                    f"{shown}: {key} is fixed ({settled[key]}): give it as many values as the "
                    f"others, or take it out of {KEY}"
                )
            if key not in known:
                raise UserError(
                    f"{shown}: {key} is not swept{did_you_mean(key, known)}: give it values, such "
                    f"as {key}=choice(A, B), or take it out of {KEY}"
                )


def _values(override: str, loader: ConfigLoader | None) -> list[str]:
    """As they stand in the override, which the space has parsed before."""
    try:
        return values_in_order(override, loader)
    except ValueError as error:
        raise UserError(
            f"{KEY}: {override} {error}, so others cannot move with it: use choice(...) or "
            "range(...)"
        ) from error


def _check_lengths(names: Sequence[str], columns: Sequence[Sequence[str]]) -> None:
    lengths = list(map(len, columns))
    if len(set(lengths)) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in zip(names, lengths, strict=True))
        raise UserError(
            f"{KEY}: its keys need as many values each, and have {counts}: they are taken in their "
            "order, the first with the first"
        )
