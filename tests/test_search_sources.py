"""A search keeps the code and the config files that it was begun with, whatever is edited."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_sweep.paths import PACKAGE
from tests.books import check_books
from tests.conftest import TINY, cli_in
from tests.searches import LR, Search, is_fork_server, search, wait_until

__all__ = ["search"]  # a fixture

SPACE = ("--config-dir=mine", "optimizer=moody,moody_too", LR)

MINE = {
    "helper.py": "FACTOR = 1.0\n",
    "mine/optimizer/moody.yaml": "defaults: [adamw]\n_target_: moody.Moody\n",
    "mine/optimizer/moody_too.yaml": "defaults: [moody]\nweight_decay: 0.01\n",
}

USES_HELPER = """
    def build(self, model):
        import helper

        assert helper.FACTOR == 1.0
"""


def commit(tree: Path, what: str) -> str:
    for command in (
        ["add", "-A"],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "-m", what],
    ):
        subprocess.run(["git", "-C", tree, *command], check=True, capture_output=True)
    done = subprocess.run(
        ["git", "-C", tree, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of this package, which the commands run from."""
    tree = tmp_path_factory.mktemp("tree")
    for name in (PACKAGE.name, "conf", "recipes"):
        shutil.copytree(
            PACKAGE.parent / name, tree / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tree / ".gitignore").write_text("__pycache__\n")
    subprocess.run(["git", "init", "-q", tree], check=True)
    monkeypatch.setenv("PYTHONPATH", str(tree))
    return tree


@pytest.fixture
def own(search: Search) -> Search:
    """With config files and modules of the user's own."""
    for name, text in MINE.items():
        (search.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (search.folder / name).write_text(text)
    moody = search.folder / "moody.py"
    moody.write_text(moody.read_text().replace("    def build(self, model):\n", USES_HELPER))
    return search


def spoil(tree: Path, folder: Path) -> None:
    """Every file that a run reads is now one with which it would fail."""
    for path in [*(tree / PACKAGE.name).rglob("*.py"), folder / "moody.py", folder / "helper.py"]:
        path.write_text("raise RuntimeError('edited')\n")
    for path in (tree / PACKAGE.name / "train.py", tree / "conf", tree / "recipes"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (folder / "mine").rglob("*.yaml"):
        path.write_text("_target_: edited\n")


@pytest.mark.parametrize(
    ("n_jobs", "launcher"),
    [
        pytest.param(1, "basic", marks=pytest.mark.slow),
        (2, "basic"),
        pytest.param(2, "submitit_local", marks=pytest.mark.slow),
    ],
)
def test_an_edit_reaches_no_trial_of_a_search_under_way(
    own: Search, tree: Path, n_jobs: int, launcher: str
) -> None:
    first = commit(tree, "first")
    own.arguments = [*SPACE, f"hydra/launcher={launcher}"]
    own.arguments += ["hydra.sweeper.n_trials=4", f"hydra.sweeper.n_jobs={n_jobs}"]
    own.shut_gate()
    command = own.start()
    wait_until(lambda: len(list(own.folder.glob("waits.*"))) == n_jobs, command)
    spoil(tree, own.folder)
    commit(tree, "second")
    others = [process for process in command.tree() if is_fork_server(process)]
    if launcher == "basic" and n_jobs > 1:
        for process in [*command.workers(), *others]:
            process.kill()  # they are replaced
    own.open_gate()
    assert command.wait() == 0, command
    check_books(own, 4)
    table = own.table()
    assert set(table.git_commit) == {first} and not table.git_dirty.any()
    assert table.code.nunique() == 1 and table.code.notna().all()


def edit(path: Path) -> None:
    path.write_text(f"{path.read_text()}\n# edited\n")


def test_a_study_is_of_one_code_unless_it_is_to_be_mixed(own: Search, tree: Path) -> None:
    first = commit(tree, "first")
    own.arguments = [*SPACE, "hydra.sweeper.n_jobs=1", "hydra.sweeper.n_trials=1"]
    own.shut_gate()
    command = own.start()
    wait_until(lambda: list(own.folder.glob("waits.*")), command)
    edit(tree / PACKAGE.name / "train.py")
    refused = own.run(code=2).err.read_text()  # a second controller, while the first one is at work
    assert refused.count("\n") == 1 and f"commit {first[:10]} of version" in refused
    assert f"commit {first[:10]} (changed)" in refused
    assert "hydra.sweeper.mixed_code=true" in refused and "its trials were made with" in refused
    own.open_gate()
    assert command.wait() == 0, command

    edit(tree / PACKAGE.name / "report" / "wording.py")  # which looks at runs, and makes none
    mixed = own.run("hydra.sweeper.mixed_code=true", "hydra.sweeper.n_trials=2")
    assert "from here on both are in one study" in " ".join(mixed.out.read_text().split())
    own.run()  # what was allowed once is not asked for again
    check_books(own, 2)
    table = own.table()
    assert table.code.nunique() == 2 and list(table.git_dirty) == [False, True]
    assert set(table.git_commit) == {first}
    done = cli_in(own.folder)("multirun/s", module="mnist_sweep.report")
    shown = " ".join(done.stdout.split())
    assert "study s mixes code: " in shown and f"{first[:10]} (changed): 1 run" in shown


def test_own_modules_and_choices_of_a_study_stay_what_they_were(own: Search) -> None:
    def call(code: int) -> str:
        done = cli_in(own.folder)(
            *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", *TINY),
            *("model=ds_cnn_v3_code", "trainer.epochs=1", *SPACE, "hydra.sweeper.n_jobs=1"),
            "hydra.sweeper.n_trials=1",
            MNIST_SWEEP_TARGETS="moody.*",
        )
        assert done.returncode == code and done.stderr.count("\n") == bool(code), done
        return done.stderr

    call(0)
    moody_too = own.folder / "mine/optimizer/moody_too.yaml"
    settings = moody_too.read_text()
    edit(moody_too)  # which sets what it did
    (own.folder / "mine/optimizer/unused.yaml").write_text("_target_: nothing\n")
    (own.folder / "unused.py").write_text("nothing\n")
    call(0)
    moody_too.write_text(settings.replace("0.01", "0.02"))
    assert "config files of optimizer=moody_too were others" in call(2)
    moody_too.write_text(settings)
    edit(own.folder / "helper.py")
    assert "other sources of your own modules" in call(2)


PROGRAM = """
import sys
import mnist_sweep.cli, mnist_sweep.search.assembly, mnist_sweep.search.engines.guest
from mnist_sweep.sources import READERS, of_package

loaded = {name for name in sys.modules if name.startswith("mnist_sweep")}
assert loaded <= set(of_package()), loaded - set(of_package())
assert not {f"mnist_sweep.{name.removesuffix('.py')}" for name in READERS} & set(of_package())
"""


def test_what_a_search_imports_is_settled_and_what_reads_runs_is_not() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
