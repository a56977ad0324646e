"""Which code this is: all of a search's workers are to run the same."""

import hashlib
from functools import cache

from mnist_sweep.paths import CONF, PACKAGE, RECIPES


@cache
def code_name() -> str:
    """Short; another one whenever a source or config file of this package is another."""
    digest = hashlib.sha256()
    for root, pattern in ((PACKAGE, "*.py"), (CONF, "*.yaml"), (RECIPES, "*.yaml")):
        for path in sorted(root.rglob(pattern)):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
