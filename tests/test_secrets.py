"""A storage's password reaches no file, log, table or terminal, in whatever form it is given."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_sweep.paths import RUN_HYDRA
from mnist_sweep.vault import as_shown, hide, scrubbed, without_credentials, without_secrets
from tests.conftest import TINY, Cli, Done, read_result

SECRET = "Zq7s3cret"
AS_FILE = f"sqlite:///file:study.db?uri=true&password={SECRET}"
"""A storage that opens without a server, and has a password that it ignores."""
ON_SERVER = f"postgresql+psycopg://tester:{SECRET}@127.0.0.1:1/db"

SEARCH = ["-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"]
STOCK = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.study_name=s", "hydra.sweep.dir=multirun/s"]
SMALL = [*TINY, "model=ds_cnn_v3_code", "trainer.epochs=1", "optimizer.lr=choice(0.01,0.02)"]
TRIALS = "hydra.sweeper.n_trials=2"

FORMS = {
    "quoted": [f"hydra.sweeper.storage='{AS_FILE}'", TRIALS],
    "in double quotes": [f'hydra.sweeper.storage="{AS_FILE}"', TRIALS],
    "forced": [f"++hydra.sweeper.storage='{AS_FILE}'", TRIALS],
    "in a dict": [f"hydra.sweeper={{storage: '{AS_FILE}', n_trials: 2}}"],
    "from a file": ["--config-dir", "mine", "sweep=mine"],
}


def check_secret(done: Done, folder: Path, secret: str = SECRET) -> None:
    assert secret not in done.stdout and secret not in done.stderr
    (folder / "looked_through").touch()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files and not [path for path in files if secret.encode() in path.read_bytes()]


def write_own_sweep(folder: Path, sweeper: str) -> Path:
    path = folder / "mine" / "sweep" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "# @package _global_\n"
        f"defaults: [override /hydra/sweeper: {sweeper}]\n"
        f"hydra: {{sweeper: {{n_trials: 2, storage: '{AS_FILE}'}}}}\n"
    )
    return path


def test_a_warm_start_leaves_no_password(cli: Cli, tmp_path: Path) -> None:
    assert cli(*SEARCH, *SMALL, *FORMS["quoted"]).returncode == 0
    other = [SEARCH[0], SEARCH[1], SEARCH[3], "hydra.sweeper.study_name=t", *SMALL, TRIALS]
    done = cli(*other, f"hydra.sweeper.warm_start='s@{AS_FILE}'", "hydra.verbose=true")
    assert "s@sqlite:///file:study.db: 2 runs told to the sampler" in done.stdout, done.stderr
    refused = cli(*other, f"hydra.sweeper.warm_start='u@{ON_SERVER}'")
    assert refused.returncode == 2 and "127.0.0.1:1/db" in refused.stderr
    check_secret(refused, tmp_path)
    check_secret(done, tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("begin", [SEARCH, STOCK], ids=["search", "stock"])
def test_a_search_leaves_no_password(cli: Cli, tmp_path: Path, form: str, begin: list[str]) -> None:
    """Also where Hydra tells all that it does."""
    sweeper = begin[1].partition("=")[2]
    own = write_own_sweep(tmp_path, sweeper)
    chosen = [begin[0], *begin[2:]] if form == "from a file" else begin
    verbose = ["hydra.verbose=true"] if form in ("in a dict", "from a file") else []
    done = cli(*chosen, *SMALL, *FORMS[form], *verbose)
    assert done.returncode == 0, done.stderr
    own.unlink()  # the one place where it may be
    check_secret(done, tmp_path)
    assert (tmp_path / "study.db").stat().st_size > 0, "the study is where the URL says"
    runs = sorted(path.parent.parent for path in (tmp_path / "multirun").rglob("hydra.yaml"))
    assert [read_result(run)["status"] for run in runs] == ["completed"] * 2
    assert all("sqlite:///file:study.db" in (run / RUN_HYDRA).read_text() for run in runs)


def test_workers_get_no_password(cli: Cli, tmp_path: Path) -> None:
    own = write_own_sweep(tmp_path, "search")
    begin = ["-m", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=2"]
    done = cli(*begin, *SMALL, *FORMS["from a file"])
    assert done.returncode == 0, done.stderr
    own.unlink()
    check_secret(done, tmp_path)


def test_a_single_run_leaves_none(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "hydra/sweeper=search", f"hydra.sweeper.storage='{AS_FILE}'")
    assert done.returncode == 2 and "put -m before it" in done.stderr
    check_secret(done, tmp_path)
    assert "sqlite:///file:study.db" in done.stderr


@pytest.mark.parametrize("flags", [["--cfg", "hydra"], ["--cfg", "all", "--resolve"]])
def test_the_config_is_shown_without_it(cli: Cli, tmp_path: Path, flags: list[str]) -> None:
    own = write_own_sweep(tmp_path, "search")
    done = cli("--config-dir", "mine", "sweep=mine", *flags)
    assert done.returncode == 0, done.stderr
    own.unlink()
    check_secret(done, tmp_path)
    assert "sqlite:///file:study.db" in done.stdout


@pytest.mark.parametrize(
    "argument",
    [
        f"hydra.sweeper.storage={ON_SERVER}",
        f"hydra.sweeper.storage=postgresql+psycopg://127.0.0.1:1/db?user=me\\&password={SECRET}",
        f"hydra.sweeper.storage=postgresql:/tester:{SECRET}@h/db",
        f"hydra.sweeper.storage=postgresql://u:a@{SECRET}/b@h/db",
        f"hydra.sweeper.storage=postgresql://u:a({SECRET}@h/db",
        f"hydra.sweeper.storage=postgresql://u:'{SECRET}@h/db",
        f"hydra.sweeper.storage=postgresql://u:#{SECRET}@h/db",
        f"hydra.sweeper.storage={ON_SERVER},other",
        f"hydra.sweeper.storage={{url: '{ON_SERVER}'}}",
        f"hydra.sweeper={{storage: [{ON_SERVER}]}}",
        f"hydra.sweeper={{storage: {ON_SERVER}",
        f"+hydra.sweeper.storage={ON_SERVER}",
        f"~hydra.sweeper.storage={ON_SERVER}",
        f"hydra.sweeper.storag={ON_SERVER}",
        f"hydra.storage={ON_SERVER}",
        f"storage={ON_SERVER}",
        f"hydra/sweeper={ON_SERVER}",
    ],
)
def test_no_error_quotes_it(cli: Cli, tmp_path: Path, argument: str) -> None:
    done = cli(*SEARCH, *SMALL, argument)
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1
    check_secret(done, tmp_path)
    done = cli(*SEARCH, *SMALL, argument, HYDRA_FULL_ERROR="1")
    assert done.returncode == 2 and "Traceback" in done.stderr
    check_secret(done, tmp_path)


@pytest.mark.parametrize("option", ["--storage", "--storag"])
def test_a_report_does_not_quote_it(cli: Cli, tmp_path: Path, option: str) -> None:
    (tmp_path / "multirun").mkdir()
    (tmp_path / "multirun" / "study.journal").touch()
    for url in (ON_SERVER, f"postgresql+psycopg://127.0.0.1:1/db?user=me&password={SECRET}"):
        done = cli("parallel", "multirun", f"{option}={url}", module="mnist_sweep.report")
        assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
        check_secret(done, tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("sqlite:////home/me@work/study.db", "sqlite:////home/me@work/study.db"),
        ("postgresql+psycopg://host:5432/db", "postgresql+psycopg://host:5432/db"),
        ("postgresql+psycopg://me:pw@host:5432/db", "postgresql+psycopg://host:5432/db"),
        ("postgresql://me@host/db?sslmode=require", "postgresql://host/db"),
        ("postgresql://host/db?user=me&password=pw", "postgresql://host/db"),
        ("postgresql://me:p/w@host/db", "postgresql://host/db"),
        ("postgresql://me:p?w@host/db", "postgresql://***"),
        ("postgresql://me:p@w@host/db", "postgresql://***"),
        ("postgresql://host/db?password=p@w", "postgresql://***"),
        ("postgresql://me:pw@ho st/db", "postgresql://***"),
        ("postgresql:/me:pw@host/db", "***"),
        ("post gres://me:pw@host/db", "***"),
        ("redis://:pw@host", "redis://host"),
    ],
)
def test_of_a_url_the_place_is_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
    reference = hide(url)
    assert as_shown(f"a: {reference}, b") == f"a: {shown}, b"
    assert (reference == url) == (shown == url)


@given(st.text(min_size=1), st.text())
def test_no_password_is_shown_whatever_is_in_it(password: str, user: str) -> None:
    secret = f"<{password}>"
    for url in (
        f"postgresql://{quote(user)}:{secret}@host/db",
        f"postgresql://{quote(user)}:{quote(secret)}@host/db",
        f"postgresql://host/db?user={quote(user)}&password={quote(secret)}",
    ):
        assert secret not in without_credentials(url)
        assert secret not in without_secrets(f"of {url}: {secret} is wrong", url)


def test_what_comes_from_the_environment_stays_as_typed() -> None:
    for url in (
        "${oc.env:STORAGE}",
        "postgresql://me:${oc.env:PASSWORD}@host/db",
        "postgresql://host/db?user=me&password=${oc.env:PASSWORD}",
    ):
        assert hide(url) == url


def test_what_looks_like_a_password_is_no_part_of_a_message() -> None:
    assert scrubbed("no mysql://me:pw@place/x") == "no mysql://***@place/x"
