"""README, CONTRIBUTING and docs/: each name in the text, each file, link and figure is there."""

import csv
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from mnist_sweep.paths import CONF
from mnist_sweep.report.__main__ import COMMANDS
from tests.conftest import choices, cli_in, make_whole_config
from tests.pages import PAGES, ROOT, Page, code_in, dead_links, is_command, read_page, table_rows

OURS = ("mnist_sweep", "conf", "benchmarks", "tests", "docs")
WORD = re.compile(r"[A-Za-z_]\w*")

# Names


@pytest.fixture(scope="module")
def vocabulary() -> set[str]:
    """All that the package, its config files and what it is built on are called."""
    files = [ROOT / "pyproject.toml", ROOT / ".ci" / "run", *CONF.rglob("*.yaml")]
    for folder in ("mnist_sweep", "benchmarks"):
        files += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.csv")]
    words = [f"{file.relative_to(ROOT)} {file.read_text(encoding='utf-8')}" for file in files]
    with initialize_config_dir(str(CONF)):
        loader = GlobalHydra.instance().config_loader()
        for group in ("sampler", "pruner"):
            words += loader.get_group_options(f"hydra/sweeper/{group}")
    return set(WORD.findall(" ".join(words)))


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Of all commands, as their help has them."""
    helps: list[tuple[str, ...]] = [("mnist_sweep", "--hydra-help")]
    helps += [(f"mnist_sweep.{module}", "--help") for module in ("rerun", "evaluate", "export")]
    helps += [("mnist_sweep.report", command, "--help") for command in COMMANDS]
    helps += [("mnist_sweep.sweep", command, "--help") for command in ("stop", "list", "serve")]
    cli = cli_in(tmp_path_factory.mktemp("help"))
    texts = [cli(*arguments, module=module).stdout for module, *arguments in helps]
    return set(re.findall(r"(?<![\w-])--?\w[\w-]*", " ".join(texts)))


def problems_of_names(page: Page, vocabulary: set[str], options: set[str]) -> Iterator[str]:
    own = {word for fence in page.fences for word in WORD.findall(fence.text)}
    for span in page.spans:
        for path in re.findall(rf"\b(?:{'|'.join(OURS)})/[\w./-]+\b", span):
            if "<" not in span and not (ROOT / path).exists():
                yield f"{path}: no such file"
        if is_command(span):
            continue
        if re.fullmatch(r"\w+\.(?:py|js|css)", span) and not [*(ROOT / "mnist_sweep").rglob(span)]:
            yield f"{span}: no such file in the package"
        said = re.sub(r"<.*?>", "", span)  # a placeholder
        if "/" not in said:
            unknown = [word for word in WORD.findall(said) if word not in vocabulary | own]
            yield from (f"{span}: nothing is called {word}" for word in unknown)
        if re.match(r"--?\w", said) and said.split()[0] not in options:
            yield f"{span}: no command has this option"
        yield from problems_of_keys(said)


def problems_of_keys(span: str) -> Iterator[str]:
    """Of overrides, `a.b=1 c=2`, and of keys, `a.b`."""
    given = r"[a-z][\w./]*=[^\s<=]+"
    if re.fullmatch(rf"{given}(?: {given})*", span):
        words = span.split()
        search = [] if "hydra/sweeper=" in span else ["hydra/sweeper=search"]
        try:
            make_whole_config(*search, *words)
        except Exception as error:
            yield f"{span}: {error}"
    elif re.fullmatch(r"(?:trainer|budget|protocol|data|record|hydra)(?:\.(?!py$)\w+)+", span):
        config = make_whole_config("hydra/sweeper=search")
        if OmegaConf.select(config, span, default="nowhere") == "nowhere":
            yield f"{span}: no such key"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_name_in_a_page_is_known(path: Path, vocabulary: set[str], options: set[str]) -> None:
    problems = [*problems_of_names(read_page(path), vocabulary, options)]
    assert not problems, "\n".join(problems)


def test_the_readme_lists_every_choice_of_every_group() -> None:
    rows = table_rows(read_page(ROOT / "README.md"), "group")
    listed = {row["group"].strip("`"): set(code_in(row["choices"])) for row in rows}
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    assert set(listed) == groups
    assert [
        (group, choice)
        for group in groups
        for choice in choices(group)
        if choice not in listed[group]
    ] == []


def test_every_extra_that_a_page_installs_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = "".join(read_page(path).text for path in PAGES)
    named = {extra for found in re.findall(r"'\.\[(.*?)\]'", text) for extra in found.split(",")}
    assert "dev" in named
    assert named - set(project["optional-dependencies"]) == set()


# Links and figures


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert dead_links(read_page(path), path.parent) == []


def test_every_page_is_linked_from_the_readme() -> None:
    links = read_page(ROOT / "README.md").links
    assert {str(path.relative_to(ROOT)) for path in PAGES} - {*links, "README.md"} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_says_what_it_is(path: Path) -> None:
    known = ("sh", "text", "python", "yaml")
    assert [fence for fence in read_page(path).fences if fence.language not in known] == []


def tree_of_the_readme() -> Iterator[Path]:
    [tree] = [
        fence.text
        for fence in read_page(ROOT / "README.md").fences
        if fence.text.startswith("conf/")
    ]
    folders: list[str] = []
    for line in tree.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split(", ")
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [names[0]]
        yield from (Path(*folders[:depth], name) for name in names)


def test_the_tree_of_the_readme_names_what_is_there() -> None:
    named = set(tree_of_the_readme())
    assert [path for path in named if not (ROOT / path).exists()] == []
    package = ROOT / "mnist_sweep"
    inner = [path for parent in ("report", "search") for path in (package / parent).iterdir()]
    there = [*package.iterdir(), *(path for path in inner if path.is_dir())]
    missing = {path.relative_to(ROOT) for path in there if not path.name.startswith("__")} - named
    assert missing - {Path("mnist_sweep/conf")} == set()


def test_the_known_records_are_those_that_are_drawn() -> None:
    rows = table_rows(read_page(ROOT / "docs" / "reference_systems.md"), "most credible")
    said = {int(re.sub(r"\D", "", row["parameters"])): row for row in rows}
    [file] = (ROOT / "mnist_sweep").rglob("known_records.csv")
    for record in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        column = "most credible" if record["kind"] == "credible" else "a claim"
        percent = f"{100 * float(record['test_acc']):.2f}".removesuffix("0")
        assert percent in said[int(record["max_params"])][column]


# Whether these tests can fail

MISTAKES = {
    "an option": "See `--srot COLUMN`.\n",
    "a key": "See `hydra.sweeper.n_trails`.\n",
    "overrides": "Add `optimizer=adamw trainer.fadeout=0`.\n",
    "a choice": "The nets are `ds_cnn` and `ds_cnm`.\n",
    "a file": "All keys are in `mnist_sweep/search/setings.py`.\n",
    "a link": "See [there](docs/serach.md).\n",
    "an anchor": "See [there](docs/search.md#kyes).\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_text_is_found(
    mistake: str, vocabulary: set[str], options: set[str]
) -> None:
    page = Page(MISTAKES[mistake])
    assert [*problems_of_names(page, vocabulary, options), *dead_links(page, ROOT)]
