"""Where a study is kept: a journal file in the sweep's directory, or any Optuna storage URL."""

import os
from pathlib import Path

from optuna.storages import BaseStorage

from mnist_sweep.errors import UserError
from mnist_sweep.paths import JOURNAL
from mnist_sweep.search.optuna_private import Journal
from mnist_sweep.search.study.database import open_database
from mnist_sweep.search.study.journal import ANEW, JournalFile
from mnist_sweep.search.study.recent import RecentTrials

KEY = "hydra.sweeper.storage"

PROXY = "grpc://"


def open_storage(url: str | None, sweep_dir: Path, key: str = KEY) -> BaseStorage:
    """key: where the URL was given.

    Raises:
        UserError: it cannot be opened, read or written, or needs a package that is not here.
    """
    if url is None:
        return _open_journal(sweep_dir / JOURNAL)
    return RecentTrials(open_remote(url, key), url)


def open_remote(url: str, key: str) -> BaseStorage:
    """One whose losses are named, and are the caller's to deal with.

    Raises:
        UserError: as `open_storage`.
    """
    if not url.lower().startswith(PROXY):
        return open_database(url, key)
    try:
        from mnist_sweep.search.study.proxy import open_proxy  # here, for grpc is an extra
    except ImportError as error:
        raise UserError(
            f"{key}={PROXY}...: needs the package {error.name}: pip install 'mnist-sweep[grpc]'"
        ) from error
    return open_proxy(url, key)


def check_journal(path: Path) -> None:
    """
    Raises:
        UserError: it is there, and cannot be written.
    """
    if path.exists() and not os.access(path, os.W_OK):
        raise _unwritable(path, PermissionError(13, "Permission denied"))


def _open_journal(path: Path) -> BaseStorage:
    check_journal(path)
    try:
        return Journal(JournalFile(path))
    except OSError as error:
        raise _unwritable(path, error) from error
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise UserError(f"hydra.sweeper.storage: {path} is damaged ({error!r}): {ANEW}") from error


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"hydra.sweeper.storage: {path} cannot be written ({error.strerror}): "
        "set hydra.sweep.dir to a place that can"
    )
