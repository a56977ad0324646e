"""Is one more worker of a search, on this machine."""

import shlex
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.paths import INVITATION
from mnist_sweep.report.read.study import find_search
from mnist_sweep.search.engines.guest import Guest


def join(source: Path | None, copy: Path | None) -> None:
    """copy: of the invitation, where the search's directory is not seen.

    Raises:
        UserError: there is no search to join, or anybody may read its key.
    """
    if copy is None:
        Guest(find_search(source) / INVITATION).live()
        return
    if source is not None:
        raise UserError(f"--invitation={copy}: says where the search is; leave {source} out")
    if copy.is_file() and copy.stat().st_mode & 0o077:
        raise UserError(
            f"--invitation={copy}: others may read it, and it holds the key to the search: "
            f"chmod 600 {shlex.quote(str(copy))}"
        )
    Guest(copy).live()
