"""Opens a database by its URL, and says in one line why it cannot be opened."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from optuna.storages import RDBStorage
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.locks import network_file_system
from mnist_sweep.search.optuna_private import CachedDatabase
from mnist_sweep.search.study.credentials import without_credentials, without_secrets
from mnist_sweep.search.study.lasting import name_losses

Opened = TypeVar("Opened")

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

KINDS = ("postgresql", "mysql", "sqlite", "grpc")
"""How URLs of storages begin."""

EXAMPLES = "postgresql+psycopg://user@host/database, sqlite:///study.db, grpc://host:13000"

DRIVERS = {
    "postgresql": "postgresql+psycopg://..., whose package comes with "
    "pip install 'mnist-sweep[postgres]'",
    "mysql": "mysql+pymysql://..., whose package comes with pip install pymysql",
}
"""What to write where a database's driver is not here."""


def open_database(url: str, key: str) -> CachedDatabase:
    """key: where the URL was given.

    Raises:
        UserError: it cannot be opened, read or written, or needs a package that is not here.
    """
    _check_place(url, key)
    database = _opened(url, key, lambda: RDBStorage(url, engine_kwargs=engine_settings(url)))
    name_losses(database.engine, url)
    return CachedDatabase(database)


def is_optunas(url: str, key: str) -> bool:
    """Whether a database is there that has Optuna's tables, which opening it would make; writes
    nothing.

    Raises:
        UserError: as `open_database`.
    """
    _check_place(url, key)
    file = _file_of(url)
    if file is not None and not file.exists() and file.parent.is_dir():
        return False  # a look at it would make it

    def has_tables() -> bool:
        engine = create_engine(url, **engine_settings(url))
        try:
            return inspect(engine).has_table("studies")
        finally:
            engine.dispose()

    return _opened(url, key, has_tables)


def _file_of(url: str) -> Path | None:
    """That SQLite keeps its database in; None of another one's."""
    found = re.match(r"sqlite(\+\w+)?:///(?P<path>[^?]+)", url)
    return Path(found["path"]) if found else None


def _check_place(url: str, key: str) -> None:
    """
    Raises:
        UserError: it would be an SQLite file on a network file system, whose locks SQLite cannot
            trust, or in no file at all.
    """
    if re.fullmatch(r"sqlite(\+\w+)?://(/?|/:memory:)(\?.*)?", url):
        raise UserError(
            f"{key}={without_credentials(url)} is in memory, where nothing is kept: name a file, "
            "such as sqlite:///study.db"
        )
    file = _file_of(url)
    kind = None if file is None else network_file_system(file)
    if kind is not None:
        raise UserError(
            f"{key}={without_credentials(url)} is on a network file system "
            f"({kind}), where SQLite damages its file: leave {key} out (a journal "
            "locks safely there), or use a database server"
        )


def _opened(url: str, key: str, open_it: Callable[[], Opened]) -> Opened:
    shown = f"{key}={without_credentials(url)}"
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            return open_it()
        except ImportError as error:
            missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
            package = missing.name or "of its database"
            kind = make_url(url).get_backend_name()
            remedy = f"write {DRIVERS[kind]}" if kind in DRIVERS else "install it"
            raise UserError(f"{shown} needs the package {package}: {remedy}") from error
        except ArgumentError as error:
            begin = url.partition(":")[0].partition("+")[0]
            near = did_you_mean(begin, KINDS) if isinstance(error, NoSuchModuleError) else ""
            raise UserError(f"{shown} is no URL of a storage{near}, such as {EXAMPLES}") from error
        except Exception as error:  # SQLAlchemy's, alembic's or the driver's own
            reason = " ".join(str(error.__cause__ or error).split())
            if "already exists" in reason and attempts_left:
                time.sleep(1)  # another controller is making the tables
                continue
            said = without_secrets(reason, url)[:160]
            raise UserError(f"{shown} cannot be opened ({said}): {_remedy(url)}") from error
    raise AssertionError("the last attempt returns or raises")


def _remedy(url: str) -> str:
    if url.startswith("sqlite"):
        return "its folder must be there, and it must be a database that may be written"
    return (
        "check that the server runs, its host and port, the database's name and the password, and "
        "that it may be written"
    )


def engine_settings(url: str) -> dict[str, Any]:
    """For SQLAlchemy: a connection is tried before it is used, since it may have been idle for as
    long as a training takes."""
    settings: dict[str, Any] = {"pool_pre_ping": True}
    parsed = make_url(url)
    if parsed.get_driver_name() in POSTGRES:
        settings["connect_args"] = {
            name: value for name, value in UNANSWERED.items() if name not in parsed.query
        }
    return settings
