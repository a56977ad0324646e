"""A Markdown page, taken apart: its commands, snippets, files, names and links."""

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

PROGRAMS = (
    *("python", "python3", "pytest", "mnist-sweep", "source", "eval"),
    *("tensorboard", "mlflow", "wandb", "optuna-dashboard"),
)

TABLE = re.compile(r"^(\|.*)\n\|[-:| ]+\|\n((?:\|.*\n)+)", re.MULTILINE)
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """language: `sh` (commands), `text` (what they print), `python`, `yaml`."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that this is, if it begins with a comment that is a path (after `@package`)."""
        found = re.match(r"(?:# @package .*\n)?# (\S+\.(?:py|yaml))\n", self.text)
        return found.group(1) if found else None


@dataclass(frozen=True)
class Command:
    """variables: set for it alone. words: the program and its arguments."""

    text: str
    variables: dict[str, str]
    words: list[str]

    @property
    def module(self) -> str | None:
        """What `python -m` runs, if it is of this package."""
        match self.words:
            case ["mnist-sweep", *_]:
                return "mnist_sweep"
            case ["python", "-m", module, *_] if module.partition(".")[0] == "mnist_sweep":
                return module
        return None

    @property
    def arguments(self) -> list[str]:
        return self.words[1:] if self.words[0] == "mnist-sweep" else self.words[3:]


def to_command(line: str) -> Command:
    """Of `eval "$(<command>)"` it is the command within."""
    text = re.sub(r"\s+#.*", "", line)
    words = shlex.split(re.sub(r'^eval "\$\((.*)\)"$', r"\1", text))
    start = next(at for at, word in enumerate(words) if not re.match(r"[A-Z_]+=", word))
    variables = dict(word.split("=", 1) for word in words[:start])
    return Command(text, variables, words[start:])


def is_command(span: str) -> bool:
    return re.sub(r"^([A-Z_]+=\S+ )+", "", span).startswith(tuple(f"{name} " for name in PROGRAMS))


@dataclass(frozen=True)
class Page:
    text: str

    @cached_property
    def fences(self) -> list[Fence]:
        return [Fence(language, text) for language, text in FENCE.findall(self.text)]

    def write_files(self, folder: Path) -> None:
        """The files that its blocks are."""
        for fence in self.fences:
            if fence.file is not None:
                (folder / fence.file).parent.mkdir(parents=True, exist_ok=True)
                (folder / fence.file).write_text(fence.text, encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        return FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> list[str]:
        return code_in(self.prose)

    @cached_property
    def commands(self) -> list[Command]:
        """Those of the blocks in their order, then those of the prose; each once."""
        lines = [
            line
            for fence in self.fences
            if fence.language == "sh"
            for line in fence.text.splitlines()
        ]
        found = [to_command(line) for line in (*lines, *filter(is_command, self.spans))]
        return list({command.text: command for command in found}.values())

    @cached_property
    def links(self) -> list[str]:
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @cached_property
    def anchors(self) -> set[str]:
        """Of its headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.*)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def dead_links(page: Page, folder: Path) -> list[str]:
    """folder: where its relative links start. Addresses of the web are not followed."""
    return [
        link
        for link in page.links
        if not link.startswith("https://") and not _leads_somewhere(link, page, folder)
    ]


def _leads_somewhere(link: str, page: Page, folder: Path) -> bool:
    file, _, anchor = link.partition("#")
    target = folder / file
    if file and not target.is_file():
        return False
    return not anchor or anchor in (read_page(target) if file else page).anchors


def table_rows(page: Page, column: str) -> list[dict[str, str]]:
    """The rows of all tables with that column, as their cells by column."""
    rows = []
    for head, body in TABLE.findall(page.prose):
        columns = _cells(head)
        if column in columns:
            rows += [dict(zip(columns, _cells(line), strict=True)) for line in body.splitlines()]
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def code_in(text: str) -> list[str]:
    """What stands in `backticks`; such a span may go on in the next line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
