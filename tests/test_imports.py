"""Imports go one way: down the table of CONTRIBUTING.md."""

import subprocess
import sys
from functools import cache

import pytest

from tests.conftest import environment
from tests.modules import PACKAGE, imported, module_files
from tests.pages import ROOT, code_in, read_page, table_rows


@cache
def layers() -> list[set[str]]:
    """The table's rows: files and folders (with a slash) of the package, in its order."""
    rows = table_rows(read_page(ROOT / "CONTRIBUTING.md"), "layer")
    return [set(code_in(row["layer"])) for row in rows]


def place_of(module: str) -> str:
    """The file or folder of the table that holds a module: the innermost of them."""
    file = module_files()[module].relative_to(PACKAGE).as_posix()
    holding = [place for layer in layers() for place in layer if is_in(file, place)]
    assert holding, f"{file} has no place in CONTRIBUTING.md's table"
    return max(holding, key=len)


def is_in(file: str, place: str) -> bool:
    return file.startswith(place) if place.endswith("/") else file == place


def test_the_table_names_each_place_once_and_no_other() -> None:
    places = [place for layer in layers() for place in layer]
    assert len(places) > 20
    assert sorted(places) == sorted(set(places))
    assert set(places) == set(map(place_of, module_files()))


@pytest.mark.parametrize("module", sorted(module_files()))
def test_imports_go_one_way(module: str) -> None:
    """From rows above, or within a folder; places of one row know nothing of each other."""
    own = place_of(module)
    row = next(number for number, layer in enumerate(layers()) if own in layer)
    allowed = {own}.union(*layers()[:row])
    wrong = {name for name in imported(module) if place_of(name) not in allowed}
    assert wrong == set()


def test_nobody_imports_the_entry_point() -> None:
    importers = {name: imported(name) for name in module_files()}
    assert [name for name, found in importers.items() if "__main__" in found] == []
    others = {name for name, found in importers.items() if "cli" in found}
    assert others == {"__main__", "rerun"}, "rerun is an entry point, too"
    seen = {name for found in importers.values() for name in found}
    assert seen >= {"train", "runs.record"}, "the test itself must see imports"


@pytest.mark.parametrize(
    "module",
    [
        *("cli", "config", "errors", "evaluate", "runs.record", "report", "rerun", "runs.saved"),
        *("sweep.status", "sweep.explaining", "report.read.changes"),
    ],
)
def test_what_answers_at_once_imports_no_torch(module: str) -> None:
    code = f"import sys, mnist_sweep.{module}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == "False\n"
