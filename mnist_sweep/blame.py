"""Which of a command line's overrides an error is about that names none."""

import re
from collections.abc import Sequence

from mnist_sweep.hydra_private import parse_flags
from mnist_sweep.paths import CONF


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """Those arguments that are neither flags nor their values."""
    overrides: list[str] = parse_flags(arguments)[0].overrides
    return overrides


def key_of(override: str) -> str:
    """`a.b` of `a.b=1`, `+a.b=1`, `~a.b`; of a group moved elsewhere, `group@there=choice`, its
    name."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def is_for_hydra(override: str) -> bool:
    return key_of(override).startswith(("hydra.", "hydra/"))


def names(text: str, override: str) -> bool:
    """Whether a text names an override's key, as a word of its own."""
    return re.search(rf"(?<![\w.]){re.escape(key_of(override))}(?![\w])", text) is not None


def blamed(error: Exception, arguments: Sequence[str]) -> list[str]:
    """The overrides that raise such an error each by itself."""
    return [o for o in overrides_in(arguments) if type(_raised_by(o)) is type(error)]


def suspects(arguments: Sequence[str]) -> list[str]:
    """The overrides of Hydra's own keys, which it may stumble over late; without such, all."""
    overrides = overrides_in(arguments)
    return [*filter(is_for_hydra, overrides)] or overrides


def _raised_by(override: str) -> Exception | None:
    """What composing the config with this override alone raises."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF)):
            compose("config", [override], return_hydra_config=True)
    except Exception as error:
        return error
    return None
