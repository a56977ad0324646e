"""Classes and functions that `hydra.sweeper` names as `_target_`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate

from mnist_sweep.errors import UserError

OPTUNA_CLASSES = ("optuna.samplers.*", "optuna.pruners.*", "hydra_plugins.hydra_optuna_sweeper.*")


def construct(config: Mapping[str, Any], key: str, allowed: Sequence[str] | None) -> Any:
    """
    Raises:
        UserError: the class is not among those allowed, or does not take these values.
    """
    try:
        return instantiate(dict(config), _execution_whitelist_=allowed, _convert_="all")
    except Exception as error:
        cause, target = error.__cause__ or error, str(config.get("_target_"))
        text = " ".join(str(cause).split())
        remedy = "use one of the group's choices, with the keys that --cfg hydra shows"
        if found := re.search(r"unexpected keyword argument '(\w+)'", text):
            group, choice = key.replace(".", "/"), _choice_of(target)
            text = f"it takes no {found.group(1)}, which is another's key, or misspelt"
            remedy = (
                f"in place of _target_, choose with `override /{group}: {choice}` under defaults, "
                f"or {group}={choice}; --cfg hydra shows its keys"
            )
        if name := _culprit(config, allowed):
            raise UserError(
                f"{key}.{name}={config[name]}: {text}; give it another value"
            ) from error
        raise UserError(f"{key}._target_={target}: {text}; {remedy}") from error


def _culprit(config: Mapping[str, Any], allowed: Sequence[str] | None) -> str | None:
    """The key without which the class would be content."""
    for name in config:
        others = {key: value for key, value in config.items() if key != name}
        try:
            if not name.startswith("_"):
                instantiate(others, _execution_whitelist_=allowed, _convert_="all")
                return name
        except Exception:
            continue
    return None


def _choice_of(target: str) -> str:
    """The file of a group that most likely names this class: `brute_force` of `BruteForceSampler`.

    The first letter of a word is a capital, and so may be all of a name (`TPESampler`)."""
    name = re.sub("(Sampler|Pruner)$", "", target.rpartition(".")[2])
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*", name)
    return "_".join(words).lower().replace("cma_es", "cmaes")
