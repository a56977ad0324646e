"""Which sources a run is made with: this package's, and modules of the user's own."""

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from mnist_sweep import settled
from mnist_sweep.paths import PACKAGE, WORKERS
from mnist_sweep.settled import Source
from mnist_sweep.writing import write_whole

READERS = ("report", "figures", "sweep", "evaluate.py", "export.py", "rerun.py")
"""Of this package, what only looks at runs: an edit there changes no result."""

OF_OTHERS = {"site-packages", "dist-packages"}
"""Folders of what was installed: the versions of that are another matter."""


@cache
def of_package() -> dict[str, Source]:
    """Module -> source, of all that trains: as it is settled, or else as it is now."""
    name = PACKAGE.name
    if name in settled.installed:
        found = settled.installed.items()
        return {module: text for module, text in found if module.split(".")[0] == name}
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE.parent)
        if place.parts[1] not in READERS:
            parts = place.parent.parts if path.stem == "__init__" else place.with_suffix("").parts
            sources[".".join(parts)] = _read(path)
    return sources


def of_config(config: Any) -> dict[str, Source]:
    """Modules of the user's own that a config (of plain values) names, with all that they import
    of such: what is installed is not among them."""
    sources: dict[str, Source] = {}
    waiting = list(named(config))
    while waiting:
        for module, source in _on_the_way_to(waiting.pop()):
            if module not in sources:
                sources[module] = source
                waiting += _imported_by(module, source)
    return sources


def named(config: Any) -> Iterator[str]:
    """The classes that a config of plain values names."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        for value in config.values():
            yield from named(value)
    elif isinstance(config, list):
        for value in config:
            yield from named(value)


def _on_the_way_to(name: str) -> Iterator[tuple[str, Source]]:
    """The modules of the user's own that are imported for a module or class of this name."""
    top = name.partition(".")[0]
    if top == PACKAGE.name or top in sys.stdlib_module_names:
        return
    module, path = "", None
    folders: list[tuple[str, Source]] = []
    for part in name.split("."):
        module = f"{module}.{part}".lstrip(".")
        spec = _spec(module, path)
        if spec is None or (source := _own_source(spec)) is None:
            return
        if source.text is None:
            folders.append((module, source))  # any folder will do, where a module follows
        else:
            yield from (*folders, (module, source))
            folders = []
        path = spec.submodule_search_locations
        if path is None:
            return


def _spec(module: str, path: Any) -> ModuleSpec | None:
    """As `importlib.util.find_spec`, which would import the packages on the way."""
    for finder in sys.meta_path:
        with suppress(ImportError, ValueError, AttributeError):
            if (spec := finder.find_spec(module, path)) is not None:
                return spec
    return None


def _own_source(spec: ModuleSpec) -> Source | None:
    folders = list(spec.submodule_search_locations or [])
    if spec.name in settled.installed:
        return settled.installed[spec.name]
    place = spec.origin or (folders[0] if folders else None)
    if place is None or OF_OTHERS & set(Path(place).parts) or place in ("built-in", "frozen"):
        return None
    if Path(place).is_relative_to(sysconfig.get_path("stdlib")):
        return None
    if spec.origin is None:
        return Source(os.path.abspath(place), None)
    with suppress(OSError):
        return _read(Path(place)) if place.endswith(".py") else None
    return None


def _imported_by(module: str, source: Source) -> Iterator[str]:
    """Also what a function of it imports when it is called."""
    if source.text is None:
        return
    is_package = Path(source.path).name == "__init__.py"
    try:
        tree = ast.parse(source.text)
    except (SyntaxError, ValueError):  # its import will say so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") if node.level else []
            parts = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*parts, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _read(path: Path) -> Source:
    return Source(os.path.abspath(path), path.read_bytes(), path.stat().st_mtime)


def name_of(sources: Mapping[str, Source]) -> str:
    """Short; a letter first, so that no reader of a table takes it for a number."""
    digest = hashlib.sha256()
    for module, source in sorted(sources.items()):
        digest.update(f"{module}\0".encode() + (source.text or b"") + b"\0")
    return "s" + digest.hexdigest()[:11]


@cache
def package_name() -> str:
    """Another one whenever a source file of this package is another."""
    return name_of(of_package())


def archive_in(sweep_dir: Path, code: str) -> Path:
    """Where a search leaves the sources of this name for its workers."""
    return sweep_dir / WORKERS / f"{code}.zip"


def leave_archive(sweep_dir: Path) -> Path:
    """The sources of this package, for workers to run from.

    Raises:
        OSError: it cannot be written.
    """
    path = archive_in(sweep_dir, package_name()).absolute()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, settled.pack(of_package()))
    return path
