"""The second root of config groups, recipes/: what a published recipe sets in a group, as a choice.

`experiment=rf_cnn optimizer=adam` so replaces the recipe's optimizer whole. A folder within the
group, `optimizer/published/`, would not do: since Hydra 1.4 a defaults list takes
`override /optimizer: published/rf_cnn` for a choice of the group `optimizer/published`.
"""

import re

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from mnist_sweep.paths import CONF, RECIPES

OLD_NAMES = {
    "model=ours_ds_cnn": "model=ds_cnn_long",
    "augmentation=ours_affine": "augmentation=ds_cnn_long",
    "sweep=ours_arch_space": "sweep=arch_space",
}


class RecipesRoot(SearchPathPlugin):
    """Has Hydra look for choices in recipes/, too."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("recipes", f"file://{RECIPES}")


def register_recipes() -> None:
    """Before anything is composed."""
    Plugins.instance().register(RecipesRoot)


def todays(override: str) -> str:
    """An override by today's names: choices of recipes/ had a prefix in version 0.1.0."""
    override = OLD_NAMES.get(override, override)
    group, equals, choice = override.partition("=")
    if not (RECIPES / group).is_dir():
        return override

    def new(found: re.Match[str]) -> str:
        is_there = any((root / group / f"{found[1]}.yaml").exists() for root in (CONF, RECIPES))
        return found[1] if is_there else found[0]  # which is quoted as the user wrote it

    choice = re.sub(r"published_([a-z]\w*)", new, choice)
    return f"{group}{equals}{choice}"
