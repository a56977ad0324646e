"""Takes the passwords of storages from a command line before Hydra sees it."""

import re
from collections.abc import Sequence

from hydra.errors import HydraException

from mnist_sweep.errors import UserError
from mnist_sweep.hydra_private import with_texts
from mnist_sweep.vault import close, hide
from mnist_sweep.vault import without_credentials as without_credentials
from mnist_sweep.vault import without_secrets as without_secrets


def hide_in_arguments(arguments: Sequence[str]) -> list[str]:
    """The same with references in the place of URLs with credentials.

    Raises:
        UserError: one is not of Hydra's grammar, whose own words would quote it.
    """
    if any(argument.startswith("--re") for argument in arguments):  # --resolve shows what it finds
        close()
    return list(map(_hidden, arguments))


def _hidden(argument: str) -> str:
    key, _, value = argument.partition("=")
    is_of_storage = re.match(r"[+~]*hydra\b", key) is not None or "storage" in argument
    if argument.startswith("-") or not is_of_storage or not re.search(r":.*[@?:]", value, re.S):
        return argument
    try:
        return with_texts(argument, hide)
    except HydraException:
        pass
    raise UserError(
        f"{key}=***: its value is not of the grammar of overrides; put it into quotes of its own: "
        f"'{key}=\"postgresql+psycopg://...\"', and write special characters of a password as in "
        "a URL, such as %40 for @"
    )
