"""Keys that move together (hydra.sweeper.zip), as the one parameter of a study that they are.

`zip(model, optimizer.lr)` has choices such as `ds_cnn, 0.1`. Whoever reads a study finds the keys
and their values in these two texts.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any


def zip_name(keys: Sequence[str]) -> str:
    """Of the parameter. keys: as in overrides."""
    return f"zip({', '.join(keys)})"


def zip_choice(values: Sequence[str]) -> str:
    """One of the parameter's choices. values: as in overrides, one for each key."""
    return ", ".join(values)


def keys_of(name: str) -> tuple[str, ...]:
    """The keys that a parameter stands for: its own name, unless it is a zip."""
    is_zip = name.startswith("zip(") and name.endswith(")")
    return tuple(name[len("zip(") : -1].split(", ")) if is_zip else (name,)


@lru_cache(maxsize=4096)
def values_of(choice: str) -> tuple[Any, ...]:
    """Of a zip's choice, as other parameters have theirs: numbers, and all else as in overrides."""
    from mnist_sweep.hydra_private import (
        elements_of,
    )  # few studies have a zip, and it takes a while

    return elements_of(choice)


def unzipped(params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters with each key by itself."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        keys = keys_of(name)
        if keys == (name,):
            found[name] = value
        else:
            found.update(zip(keys, values_of(str(value)), strict=True))
    return found
