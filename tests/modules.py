"""The package's modules, read as syntax: their files, and what they import of each other."""

import ast
from functools import cache
from pathlib import Path

import mnist_sweep

PACKAGE = Path(mnist_sweep.__file__).parent


@cache
def module_files() -> dict[str, Path]:
    """Dotted name within the package ("" for the package itself) -> file."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


@cache
def syntax(module: str) -> ast.Module:
    return ast.parse(module_files()[module].read_text(encoding="utf-8"))


def imported(module: str) -> set[str]:
    """What a module imports of the package, inside its functions too."""
    files = module_files()
    is_package = files[module].name == "__init__.py"
    package = module.split(".") if is_package else module.split(".")[:-1]
    found = set()
    for node in ast.walk(syntax(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = ["mnist_sweep", *package]
            base = here[: len(here) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # a name, or a module of the package
                inner = f"{origin}.{alias.name}"
                found.add(inner if inner.removeprefix("mnist_sweep.") in files else origin)
    return {
        name.removeprefix("mnist_sweep").removeprefix(".")
        for name in found
        if name.partition(".")[0] == "mnist_sweep"
    }
