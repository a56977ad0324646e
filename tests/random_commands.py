"""Random lines of report, rerun, evaluate and export, in a folder with runs and a search."""

import random
from collections.abc import Sequence

from mnist_sweep.report.__main__ import COMMANDS as REPORTS
from tests.conftest import TINY
from tests.random_searches import STORAGES

MADE = (
    [*TINY, "hydra.run.dir=outputs/one"],
    [*TINY, "hydra.run.dir=outputs/two", "seed=1"],
    [
        *("-m", "hydra/sweeper=search", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"),
        *("hydra.sweeper.study_name=s", "optimizer.lr=interval(0.001,0.1)", *TINY),
    ],
)
"""What is there to be read."""

SOURCES = (
    *("outputs", "multirun", "outputs/results.csv", "multirun/s", "nowhere", ".", "", "/dev/null"),
    *("multirun/s/results.csv", "multirun/s/study.journal", "x", "a b", "ä", "..", "README.md"),
)
RUNS = ("outputs/one", "multirun/s/0", "multirun/s", "outputs", "r000000000", "", "nowhere", "r")
FILES = (
    "p.png",
    "p.svg",
    "p.html",
    "p.md",
    "p.csv",
    "p.onnx",
    "p.x",
    "p",
    "nowhere/p.png",
    ".",
    "",
)
EXPRESSIONS = (
    *("seed == 0", "params < 8000", "x == 1", "seed ==", "'affine' in augmentation", "1", "", "("),
    *("seed in [0,1]", "__import__('os')", "model == None", "seed < 'a'", "not seed", "a.b", "1/0"),
    *("seed == " + "9" * 400, "(" * 200 + "1" + ")" * 200, "val_acc > 1e400", "lambda: 1"),
)
OPTIONS: dict[str, Sequence[str]] = {
    "--where": EXPRESSIONS,
    "--by": ("model", "model,seed", "x", ",", ""),
    "--sort": ("num_params:asc", "x", "model", "val_acc:", ":asc", ""),
    "--format": ("rich", "md", "csv", "json", "latex", "x"),
    "--top": ("0", "1", "-1", "x", "1" + "0" * 30),
    "-o": FILES,
    "--output": FILES,
    "--title": ("t", "", "<b>"),
    "--cost": ("macs", "num_params", "x"),
    "--score": ("val_acc", "test_acc", "x"),
    "--table": ("t.csv", "nowhere/t.csv", "outputs/results.csv", "."),
    "--objective": ("val_acc", "num_params", "x"),
    "--storage": STORAGES,
    "--check-images": ("1", "0", "-1", "x", "1" + "0" * 30),
    "--check": (),
    "--help": (),
    "--nothing": ("x",),
}


def random_command(draw: random.Random) -> list[str]:
    """A command, what it is to read, and options that it may not have."""
    command = draw.choice(("report", "report", "report", "rerun", "evaluate", "export"))
    line = [command]
    if command == "report":
        line += draw.choice(
            ([], [draw.choice((*REPORTS, "x", "--help"))], [draw.choice(tuple(REPORTS))])
        )
    there = draw.random() < 0.5
    named = SOURCES if command == "report" and draw.random() < 0.8 else RUNS
    line += [
        draw.choice(named[:2] if there else named) for _ in range(draw.choice((0, 1, 1, 1, 2)))
    ]
    if command == "export" and draw.random() < 0.8:
        line += ["-o", draw.choice(("net.onnx", *FILES))]
    if command == "rerun" and draw.random() < 0.5:
        line.append(
            draw.choice(("seed=1", "x=1", "optimizer.lr=a", "seed", "resume=x", "-m", "--"))
        )
    for option in draw.sample(tuple(OPTIONS), draw.choice((0, 1, 1, 2))):
        line += [option, *([draw.choice(OPTIONS[option])] if OPTIONS[option] else [])]
    return line
