"""What makes a run what it is: lists of keys, derived from the marks on the schemas' fields.

A resolved config is compared as dotted keys, `trainer.epochs` and so on.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

from mnist_sweep.config import Leaves, NotIn, Schema, Settings


@cache
def keys(mark: NotIn, schema: type[Schema] = Settings) -> tuple[str, ...]:
    """The keys that bear this mark, those below a marked group not listed again."""
    found = [*_marked(schema, mark, "")]
    if schema is Settings:
        hints = get_type_hints(Leaves, include_extras=True)
        found += [name for name, hint in hints.items() if _bears(_metadata(hint), mark)]
    return tuple(found)


def _marked(schema: type[Schema], mark: NotIn, prefix: str) -> Iterator[str]:
    for name, field in schema.model_fields.items():
        if _bears(field.metadata, mark):
            yield prefix + name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Schema):
            yield from _marked(field.annotation, mark, f"{prefix}{name}.")


def _metadata(hint: Any) -> Collection[Any]:
    """Of an Annotated type, also within NotRequired."""
    inner = getattr(hint, "__args__", (hint,))[0]
    return (*getattr(hint, "__metadata__", ()), *getattr(inner, "__metadata__", ()))


def _bears(metadata: Collection[Any], mark: NotIn) -> bool:
    return any(isinstance(item, NotIn) and mark in item for item in metadata)


def config_hash(config: Mapping[str, Any]) -> str:
    """A short digest of all that decides the result but for the seed."""
    return _digest(config, keys(NotIn.HASH))


def result_key(config: Mapping[str, Any]) -> str:
    """A short digest of all that decides the result, the seed included."""
    return _digest(config, keys(NotIn.RESULT))


def _digest(config: Mapping[str, Any], without: Collection[str]) -> str:
    flat = {key: _as_float(value) for key, value in flat_config(config, without).items()}
    text = json.dumps(flat, sort_keys=True, default=str)
    # A letter first, so that no reader takes it for a number.
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:11]


def differing(
    before: Mapping[str, Any], now: Mapping[str, Any], without: Collection[str]
) -> list[str]:
    """The dotted keys in which two resolved configs differ."""
    old, new = flat_config(before, without), flat_config(now, without)
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]


def flat_config(config: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """A resolved config as dotted keys, but for these keys and those below them."""
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if prefix in without:
            return
        if isinstance(value, Mapping):
            for key, child in value.items():
                visit(f"{prefix}.{key}".strip("."), child)
        else:
            flat[prefix] = value

    visit("", config)
    return flat


def _as_float(value: Any) -> Any:
    """1 and 1.0 mean the same in a config."""
    if isinstance(value, list):
        return [_as_float(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
