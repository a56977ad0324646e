"""What `--help` shows, on one screen: usage, examples, the other commands, the config groups."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from mnist_sweep.paths import CONF

COMMANDS = ("report", "rerun", "evaluate", "export", "sweep")
"""Modules of this package that have a command line of their own."""

PROGRAM = "python -m mnist_sweep"

COLUMNS, LINES = 79, 23
"""Of a small terminal, but for the next prompt."""

USAGE = f"""usage: {PROGRAM} [GROUP=CHOICE KEY=VALUE ...] [-m] [--cfg job]
       {PROGRAM} {" | ".join(COMMANDS)} ...
  {PROGRAM} model=rf_cnn trainer.epochs=12    train a net
  {PROGRAM} -m optimizer=adam,sgd seed=0,1,2  train each with each
  {PROGRAM} -m sweep=arch_20k                 search
  {PROGRAM} report                            rank what was trained
  {PROGRAM} rerun RUN   (evaluate RUN, export RUN -o net.onnx)

"""

FOOT = """
COMMAND --help: its options; --cfg job: all keys; --hydra-help, --version
"""


def usage(config_dirs: Sequence[Path] = ()) -> str:
    """config_dirs: the user's own, whose choices are listed, too."""
    groups = sorted(_choices([CONF, *config_dirs]).items())
    lines = [
        line
        for group, names in groups
        for line in textwrap.wrap(f"{group}: {' '.join(names)}", COLUMNS, subsequent_indent="  ")
    ]
    return USAGE + "\n".join(lines) + FOOT


def _choices(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Group -> its choices, of groups where there is something to choose."""
    found: dict[str, set[str]] = {}
    for file in (file for folder in folders for file in folder.glob("*/*.yaml")):
        found.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in found.items() if names != {"default"}}
