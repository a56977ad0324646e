"""The scripts and styles of the page, each bundled into one text to stand in the file.

By hand and without a bundler: the scripts are ES modules of which the bundle needs no more than
their order. Loading one alone, as a test or an editor does, finds what it imports.
"""

import base64
import gzip
import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

SCRIPTS = Path(__file__).with_name("scripts")
STYLES = Path(__file__).with_name("styles")

STYLE_ORDER = (
    *("colors", "text", "tables", "runs", "plots", "commands", "net", "panel"),
    *("narrow", "print"),
)
"""Later ones win."""

IMPORT = re.compile(r'^import \{ [\w, ]+ \} from "\./(\w+)\.js";\n', re.MULTILINE)


def script(name: str) -> str:
    """scripts/<name>.js and all that it imports, in the order in which they need each other, as one
    script in a scope of its own."""
    ordered: list[str] = []
    _add(name, ordered)
    parts = [
        f"// {module}.js\n{_plain((SCRIPTS / f'{module}.js').read_text(encoding='utf-8'))}"
        for module in ordered
    ]
    return '"use strict";\n{\n' + "\n".join(parts) + "}\n"


def _add(name: str, ordered: list[str]) -> None:
    if name not in ordered:
        source = (SCRIPTS / f"{name}.js").read_text(encoding="utf-8")
        for needed in IMPORT.findall(source):
            _add(needed, ordered)
        ordered.append(name)


def _plain(module: str) -> str:
    return re.sub(r"^export ", "", IMPORT.sub("", module), flags=re.MULTILINE)


def style() -> str:
    return "\n".join((STYLES / f"{name}.css").read_text(encoding="utf-8") for name in STYLE_ORDER)


@cache
def plotly() -> str:
    """plotly.js as the Python package brings it."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def packed(content: str) -> str:
    """For a script element, out of which elements.js unpacks it: a fraction of its size, and
    nothing that a parser could take for markup."""
    data = content.encode("utf-8", "replace")  # a name may hold half of a surrogate pair
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def policy_source(content: str) -> str:
    """The source expression of a Content-Security-Policy that lets this script run, no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
