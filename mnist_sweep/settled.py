"""Imports modules as they were when a search began, whatever has become of their files since.

Python reads a module's file when it is first imported: in a worker that may be hours after the
command was given. A module that is settled keeps its `__file__`, beside which it may have data.

This file goes into the archive that a search leaves for its workers (`python ARCHIVE MODULE ...`
runs a module of it), so it imports nothing of this package.
"""

import io
import json
import os
import runpy
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

BEGIN = "mnist_sweep_settled"
"""This module's name in an archive; that it is imported there settles what the archive holds."""

NAME = "mnist_sweep.settled"
"""In the package, whichever of the two is running."""

INDEX = "index.json"


@dataclass(frozen=True)
class Source:
    path: str
    """Absolute; of a folder where it is a package without a file."""
    text: bytes | None
    mtime: float = 0.0


installed: dict[str, Source] = {}
"""Module -> its source, of all that are settled in this process."""

archive: Path | None = None
"""That this process runs from."""


class _Loader(SourceFileLoader):
    def __init__(self, name: str, source: Source) -> None:
        super().__init__(name, source.path)
        self.source = source

    def get_data(self, path: str) -> bytes:
        """Its bytecode is that of the file, as long as that one is the same: see `path_stats`."""
        return self.source.text or b"" if path == self.path else super().get_data(path)

    def path_stats(self, path: str) -> Mapping[str, Any]:
        return {"mtime": self.source.mtime, "size": len(self.source.text or b"")}

    def set_data(self, path: str, data: Any, *, _mode: int = 0) -> None:
        """Bytecode of a text that may no more be the file's is not kept."""


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        source = installed.get(name)
        if source is None:
            return None
        if source.text is None:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [source.path]
            return spec
        return spec_from_file_location(name, source.path, loader=_Loader(name, source))


def settle(sources: Mapping[str, Source]) -> None:
    """Has these modules imported as they stand here, from now on and in this process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name, source in sources.items():
        installed.setdefault(name, source)


def pack(sources: Mapping[str, Source]) -> bytes:
    """The archive of them."""
    index = {name: [source.path, source.mtime] for name, source in sources.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("__main__.py", f"import {BEGIN}\n{BEGIN}.main()\n")
        file.writestr(f"{BEGIN}.py", sources[NAME].text or b"")
        file.writestr(INDEX, json.dumps(index))
        for name, source in sources.items():
            file.writestr(_member(name), source.text or b"")
    return packed.getvalue()


def _member(name: str) -> str:
    return f"sources/{name}.py"


def unpack(path: Path) -> dict[str, Source]:
    with zipfile.ZipFile(path) as file:
        index = json.loads(file.read(INDEX))
        return {
            name: Source(place, file.read(_member(name)), mtime)
            for name, (place, mtime) in index.items()
        }


def main() -> None:
    sys.path[0] = os.getcwd()  # as with python -m
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == BEGIN:
    sys.modules[NAME] = sys.modules[__name__]
    archive = Path(__file__).parent
    settle(unpack(archive))
