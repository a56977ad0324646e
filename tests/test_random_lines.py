"""Whatever the command line says, it ends in a result or in one line about a key."""

from pathlib import Path

import pytest

from tests.conftest import cli_in
from tests.random_lines import fault, random_line

CLOSED = "http://127.0.0.1:9"
"""Nothing is downloaded."""


def check(seeds: range, folder: Path) -> None:
    faults = []
    for seed in seeds:
        here = folder / str(seed) / "here"
        here.mkdir(parents=True)
        line = random_line(seed)
        done = cli_in(here)(*line, http_proxy=CLOSED, https_proxy=CLOSED)
        if found := fault(line, done):
            faults.append(f"{found}, seed {seed}: {line}\n{done.stderr[-1500:]}")
    assert not faults, f"{len(faults)} of {len(seeds)}:\n" + "\n".join(faults)


@pytest.mark.parametrize("part", range(20))
def test_random_command_lines(part: int, tmp_path: Path) -> None:
    check(range(part * 10, part * 10 + 10), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(24))
def test_more_random_command_lines(part: int, tmp_path: Path) -> None:
    """Beyond those above, 5,000 in all."""
    check(range(200 + part * 200, 400 + part * 200), tmp_path)
