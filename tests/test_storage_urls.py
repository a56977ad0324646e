"""A storage that cannot be reached: one line with its URL, what is wrong and what to do, whoever
was given it, and never the password."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mnist_sweep.errors import UserError
from mnist_sweep.search.study.storage import open_storage
from tests.conftest import TINY, Cli
from tests.postgres import IN_URL, PASSWORD, new_database, running_server

SECRET = "Zq7s3cret"
GRPC_FORM = "grpc://localhost:13000"

MISTYPED = {
    f"postgres://me:{SECRET}@host/db": ("did you mean postgresql", "postgresql+psycopg://"),
    f"postgresql+psycop://me:{SECRET}@host/db": ("postgresql+psycopg://",),
    f"postgresql+psycopg://me:{SECRET}/db": ("host and port",),
    f"postgresql+psycopg://me:{SECRET}@host:port/db": ("'port'",),
    f"postgresql+psycopg://me:{SECRET}@nohost.invalid/db": ("nohost.invalid",),
    f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db": ("refused", "127.0.0.1:1/db"),
    f"postgresql+pg8000://me:{SECRET}@host/db": ("package pg8000", "mnist-sweep[postgres]"),
    f"mysql://me:{SECRET}@host/db": ("needs the package", "mysql+pymysql://"),
    f"http://me:{SECRET}@host:80": ("no URL of a storage", "sqlite:///study.db"),
    "study.db": ("no URL of a storage", "sqlite:///study.db"),
    "sqlite://study.db": ("no URL of a storage", "sqlite:///study.db"),
    "sqlite:///no/such/folder/study.db": ("unable to open", "its folder must be there"),
    "sqlite://": ("in memory", "sqlite:///study.db"),
    "sqlite:///:memory:": ("in memory", "sqlite:///study.db"),
    "grpc://host": ("host and port", GRPC_FORM),
    "grpc://host:port": ("host and port", GRPC_FORM),
    "grpc://:13000": ("host and port", GRPC_FORM),
    f"grpc://me:{SECRET}@host:13000": ("no password", GRPC_FORM),
    "grpc://127.0.0.1:1": ("refused", "mnist_sweep.sweep serve"),
    "grpc://nohost.invalid:13000": ("nohost.invalid", "mnist_sweep.sweep serve"),
}


@pytest.mark.parametrize("url", MISTYPED, ids=lambda url: url.replace(SECRET, "pw"))
def test_a_mistyped_url_is_said_with_what_to_write(url: str, tmp_path: Path) -> None:
    check_refused(url, tmp_path, *MISTYPED[url])


def check_refused(url: str, folder: Path, *words: str) -> None:
    if url.startswith("grpc"):
        pytest.importorskip("grpc", reason="the extra grpc is not installed")
    with pytest.raises(UserError) as caught:
        open_storage(url, folder, "--storage")
    text = str(caught.value)
    assert text.startswith("--storage=") and "\n" not in text and SECRET not in text
    assert all(word in text for word in words), text
    assert not list(folder.iterdir())


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.block_on_close = False
        server.shutdown()


@contextmanager
def silence() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("who", [web_server, silence])
def test_where_something_else_listens_that_is_said(
    who: Callable[[], AbstractContextManager[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with who() as port:
        url = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:{port}/db?connect_timeout=2"
        check_refused(url, tmp_path, "cannot be opened", "check that the server runs")
        proxy = pytest.importorskip("mnist_sweep.search.study.proxy", exc_type=ImportError)
        monkeypatch.setattr(proxy, "ANSWER_S", 2)
        check_refused(f"grpc://127.0.0.1:{port}", tmp_path, "cannot be reached")


def test_a_wrong_password_or_database_is_said(tmp_path: Path) -> None:
    with running_server() as server:
        url = new_database(server.port)
        check_refused(f"{url}x", tmp_path, "does not exist", "the database's name")
        check_refused(url.replace(IN_URL, SECRET), tmp_path, "password", "authentication failed")
        open_storage(url, tmp_path)
    with pytest.raises(UserError) as caught:
        open_storage(url, tmp_path)
    assert "refused" in str(caught.value)
    assert PASSWORD not in str(caught.value) and IN_URL not in str(caught.value)


@pytest.mark.parametrize("url", [f"postgres://me:{SECRET}@host/db", "grpc://127.0.0.1:1"])
def test_every_command_that_takes_one_says_so(url: str, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "s"
    folder.mkdir(parents=True)
    (folder / "study.journal").touch()
    sweep, report = "mnist_sweep.sweep", "mnist_sweep.report"
    search = ["-m", "hydra/sweeper=search", *TINY, "optimizer.lr=interval(0.1,0.2)"]
    for done in (
        cli(*search, f"hydra.sweeper.storage='{url}'"),
        cli("status", "--storage", url, module=sweep),
        cli("stop", "--storage", url, module=sweep),
        cli("serve", "--storage", url, "--port", "0", module=sweep),
        cli("importance", "--storage", url, module=report),
    ):
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done
        assert "storage=" in done.stderr and SECRET not in done.stderr
    assert not list(folder.glob("*/.hydra"))
