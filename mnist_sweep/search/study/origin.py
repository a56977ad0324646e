"""What a study's trials are made with, kept in the study: the code, and the choices searched."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch
from optuna.study import Study

from mnist_sweep import __version__
from mnist_sweep.config import NotIn
from mnist_sweep.errors import UserError
from mnist_sweep.identity import flat_config, keys
from mnist_sweep.runs.provenance import Code

ORIGIN = "made_with:"
"""Attributes of the study that begin so, one for each origin of its trials; earlier versions wrote
none."""


@dataclass(frozen=True)
class Origin:
    code: Code
    choices: Mapping[str, str]
    """`group=choice`, of those that are searched -> a digest of what it sets. What is fixed is
    compared key by key, with all other settings."""
    version: str = __version__
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    torch: str = torch.__version__.partition("+")[0]
    """It is recorded and no part of the origin: workers of one search may differ in it."""

    @classmethod
    def of(cls, code: Code, choices: Mapping[str, Mapping[str, Any]]) -> "Origin":
        """choices: `group=choice` -> a whole configuration with it."""
        return cls(code, {name: _digest(config) for name, config in choices.items()})

    @classmethod
    def recorded(cls, kept: Mapping[str, Any]) -> "Origin":
        return cls(**{**kept, "code": Code(**kept["code"])})

    @property
    def key(self) -> str:
        text = json.dumps([self.code.name, self.choices], sort_keys=True)
        return ORIGIN + hashlib.sha256(text.encode()).hexdigest()[:12]


def _digest(config: Mapping[str, Any]) -> str:
    flat = flat_config(config, keys(NotIn.STUDY))
    text = json.dumps(flat, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def origins(study: Study) -> dict[str, Origin]:
    return {
        key: Origin.recorded(kept)
        for key, kept in study.user_attrs.items()
        if key.startswith(ORIGIN)
    }


def note_origin(study: Study, origin: Origin, *, mixed: bool) -> str | None:
    """Notes in a study what trials of this command are made with; what there is to say of it.

    mixed: whether it may be something else than so far.

    Raises:
        UserError: it is something else.
    """
    doubt = check_origin(study, origin, mixed=mixed)
    if origin.key not in study.user_attrs:
        study.set_user_attr(origin.key, asdict(origin))
    return doubt


def check_origin(study: Study, origin: Origin, *, mixed: bool) -> str | None:
    """As `note_origin`, and writes nothing."""
    known = origins(study)
    if origin.key in known:
        before = known[origin.key].torch
        same = before == origin.torch
        return None if same else f"torch {origin.torch} has not the results of {before}, so far"
    if not known:  # its trials, if any, are of a version that did not say
        return None
    difference = _difference(max(known.values(), key=lambda one: one.since), origin)
    if not mixed:
        raise UserError(
            f"hydra.sweeper.study_name={study.study_name}: {difference}; go back to what it was, "
            "give the study another name, or mix both with hydra.sweeper.mixed_code=true"
        )
    return f"{difference}; from here on both are in one study"


def _difference(before: Origin, now: Origin) -> str:
    if before.code.package != now.code.package:
        return (
            f"its trials were made with {before.code} of version {before.version}, and this is "
            f"{now.code} of version {now.version}"
        )
    if before.code.name != now.code.name:
        return "its trials were made with other sources of your own modules"
    changed = [name for name in now.choices if before.choices.get(name) != now.choices[name]]
    return f"the config files of {', '.join(changed)} were others when its trials were made"
