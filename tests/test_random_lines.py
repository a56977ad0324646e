"""Whatever the command line says, it ends in a result or in one line about a key."""

import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from mnist_sweep.blame import key_of, names
from mnist_sweep.usage import COMMANDS
from tests.conftest import Done, cli_in
from tests.random_commands import MADE, random_command
from tests.random_lines import keys, random_run
from tests.random_searches import random_search

CLOSED = "http://127.0.0.1:9"
"""Nothing is downloaded."""

KINDS = (random_run, random_search, random_search, random_command)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs and a search, for the commands that read them."""
    folder = tmp_path_factory.mktemp("made")
    for line in MADE:
        assert cli_in(folder)(*line).returncode == 0
    return folder


def random_line(seed: int) -> list[str]:
    draw = random.Random(seed)
    return draw.choice(KINDS)(draw)


def check(seeds: range, folder: Path, made: Path) -> None:
    faults = []
    for seed in seeds:
        here = folder / str(seed) / "here"
        line = random_line(seed)
        if line[0] in COMMANDS:
            shutil.copytree(made, here)
        else:
            here.mkdir(parents=True)
        done = cli_in(here)(*line, http_proxy=CLOSED, https_proxy=CLOSED)
        found = fault(line, done)
        if not any(".." in argument for argument in line) and len([*here.parent.iterdir()]) > 1:
            found += " written outside the folder"
        if found:
            faults.append(f"{found}, seed {seed}: {line}\n{done.stderr[-1500:]}")
        shutil.rmtree(here.parent)
    assert not faults, f"{len(faults)} of {len(seeds)}:\n" + "\n".join(faults)


def fault(line: Sequence[str], done: Done) -> str:
    """What is wrong with how the command ended; "" if nothing is."""
    lines = done.stderr.splitlines()
    errors = [text for text in lines if text.startswith("error: ")]
    if done.returncode not in (0, 1, 2):
        return f"exit code {done.returncode}"
    if "Traceback" in done.stderr + done.stdout:
        return "a traceback"
    if done.returncode == 0:
        return "an error and exit code 0" if errors else ""
    if len(errors) != 1 or lines[-1] != errors[0]:
        return "not one line that says what is wrong, at the end"
    if done.returncode == 1:
        return "" if any(word in errors[0] for word in FAILURES) else "exit code 1"
    return "" if _is_named(line, errors[0]) else "no key is named"


FAILURES = ("the loss is no finite number",)
"""Of what ends with exit code 1: the line was right, and the run was not."""


def _is_named(line: Sequence[str], error: str) -> bool:
    flags = [argument.partition("=")[0] for argument in line if argument.startswith("-")]
    if line[0] in COMMANDS:
        given = [argument for argument in line[1:] if argument]
        return any(text in error for text in ("required", "RUN=", *flags, *given))
    named = [*line, *(key.replace("/", ".") for key in line)]
    if any(key_of(override) in ("sweep", "experiment") for override in line):
        named += [key for of in keys() for key in of]  # which it sets
    for override in (text for text in line if key_of(text) == "hydra.sweeper.params"):
        named += re.findall(r"[\w.]+", override)
    dicts = [f"{key_of(override).rpartition('.')[0]}={{" for override in line if "." in override]
    values = [value for _, equals, value in (text.partition("=") for text in line) if "/" in value]
    found = (names(error, text) for text in named)
    return any(found) or any(text in error for text in (*flags, *values, *dicts))


@pytest.mark.parametrize("part", range(20))
def test_random_command_lines(part: int, tmp_path: Path, made: Path) -> None:
    check(range(part * 10, part * 10 + 10), tmp_path, made)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(240))
def test_more_random_command_lines(part: int, tmp_path: Path, made: Path) -> None:
    """Beyond those above, 5,000 in all."""
    check(range(200 + part * 20, 220 + part * 20), tmp_path, made)
