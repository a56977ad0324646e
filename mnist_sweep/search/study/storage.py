"""Where a study is kept: a journal file in the sweep's directory, or any Optuna storage URL."""

import os
import re
import time
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import make_url

from mnist_sweep.errors import UserError
from mnist_sweep.locks import network_file_system
from mnist_sweep.paths import JOURNAL
from mnist_sweep.search.optuna_private import CachedDatabase, Journal
from mnist_sweep.search.study.credentials import without_credentials, without_secrets
from mnist_sweep.search.study.journal import JournalFile
from mnist_sweep.search.study.lasting import name_losses
from mnist_sweep.search.study.recent import RecentTrials

OPENING_ATTEMPTS = 10

POSTGRES = ("psycopg", "psycopg2")
"""SQLAlchemy's drivers that take these settings of PostgreSQL's own client."""

UNANSWERED = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}
"""When a server that does not answer (a cut line, a machine that is off) counts as lost."""


def open_storage(url: str | None, sweep_dir: Path) -> BaseStorage:
    """
    Raises:
        UserError: it cannot be opened, read or written, or needs a package that is not here.
    """
    if url is None:
        return _open_journal(sweep_dir / JOURNAL)
    _check_place(url)
    database = _open_database(url)
    name_losses(database.engine)
    return RecentTrials(CachedDatabase(database), url)


def _open_journal(path: Path) -> BaseStorage:
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
        return Journal(JournalFile(path))
    except OSError as error:
        raise UserError(
            f"hydra.sweeper.storage: {path} cannot be written ({error.strerror}): "
            "set hydra.sweep.dir to a place that can"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise UserError(
            f"hydra.sweeper.storage: {path} is damaged ({error!r}): move it away to begin a "
            "new study there"
        ) from error


def _check_place(url: str) -> None:
    """
    Raises:
        UserError: an SQLite file on a network file system, whose locks it cannot trust.
    """
    found = re.match(r"sqlite(\+\w+)?:///(?P<path>[^?]+)", url)
    kind = network_file_system(Path(found["path"])) if found else None
    if kind is not None:
        raise UserError(
            f"hydra.sweeper.storage={without_credentials(url)} is on a network file system "
            f"({kind}), where SQLite damages its file: leave hydra.sweeper.storage out (a journal "
            "locks safely there), or use a database server"
        )


def _open_database(url: str) -> RDBStorage:
    shown = without_credentials(url)
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            return RDBStorage(url, engine_kwargs=_engine_settings(url))
        except ImportError as error:
            raise UserError(
                f"hydra.sweeper.storage={shown} needs the package {error.name or 'of its database'}"
                ": pip install 'mnist-sweep[postgres]' brings PostgreSQL's"
            ) from error
        except Exception as error:  # SQLAlchemy's, alembic's or the driver's own
            reason = " ".join(str(error.__cause__ or error).split())
            if "already exists" in reason and attempts_left:
                time.sleep(1)  # another controller is making the tables
                continue
            raise UserError(
                f"hydra.sweeper.storage={shown} cannot be opened "
                f"({without_secrets(reason, url)[:160]}): check that the "
                "server runs, the name and the password, and that it may be written"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def _engine_settings(url: str) -> dict[str, Any]:
    """For SQLAlchemy: a connection is tried before it is used, since it may have been idle for as
    long as a training takes."""
    settings: dict[str, Any] = {"pool_pre_ping": True}
    parsed = make_url(url)
    if parsed.get_driver_name() in POSTGRES:
        settings["connect_args"] = {
            name: value for name, value in UNANSWERED.items() if name not in parsed.query
        }
    return settings
