"""Classes and functions that `hydra.sweeper` names as `_target_`."""

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
        cause = error.__cause__ or error
        raise UserError(
            f"{key}._target_={config.get('_target_')}: {' '.join(str(cause).split())}; use one of "
            "the group's choices, with the keys that --cfg hydra shows"
        ) from error
