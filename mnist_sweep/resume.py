"""`resume=<run dir>` on the command line: that run's overrides, to be run in its directory."""

import os
from pathlib import Path

from omegaconf import OmegaConf

from mnist_sweep.blame import is_for_hydra, key_of, overrides_in
from mnist_sweep.paths import CHECKPOINT, RESULT, RUN_CONFIG, RUN_OVERRIDES


def expand_resume(arguments: list[str]) -> list[str]:
    """`resume=<run dir>` -> that run's overrides, to be run again in its directory.

    Raises:
        UserError: the directory is no run, the run is complete, or other overrides stand beside.
    """
    given = [a for a in arguments if key_of(a) == "resume" and "=" in a]
    if not given or given[-1].endswith("resume=null"):
        return arguments
    from mnist_sweep.errors import UserError
    from mnist_sweep.runs.record import read_result
    from mnist_sweep.runs.saved import read_overrides, reason_of
    from mnist_sweep.runs.surroundings import Surroundings

    directory = Path(given[-1].partition("=")[2].strip("'\""))
    others = [
        override
        for override in overrides_in(arguments)
        if override not in given and not is_for_hydra(override)
    ]
    if others:
        raise UserError(
            f"resume={directory} takes the run's own settings: leave out {' '.join(others)}"
        )
    saved = directory / RUN_OVERRIDES
    if not os.path.isfile(saved):  # Path's own raises over a name that is too long
        raise UserError(
            f"resume={directory} is not a run directory (it has no {RUN_OVERRIDES}): "
            "give the path that the run printed as `run`"
        )
    result = directory / RESULT
    try:
        status = read_result(directory).status if result.is_file() else ""
    except UserError as error:
        assert isinstance(error.__cause__, Exception)
        raise UserError(
            f"resume={directory}: {result} is damaged ({reason_of(error.__cause__)}): delete it, "
            f"and the run goes on from {CHECKPOINT} or, where there is none, from its start"
        ) from error
    if status in ("completed", "diverged", "infeasible"):
        raise UserError(f"resume={directory}: that run has ended ({status}); see {result}")
    is_placed = any(
        "hydra.searchpath" in a or a.startswith(("--config-d", "-cd")) for a in arguments
    )
    quoted = "'" + str(directory).replace("'", "\\'") + "'"
    return [
        *(argument for argument in arguments if argument not in given),
        *read_overrides(directory),
        *([] if is_placed else Surroundings.recorded(directory).overrides()),
        *_limit_of_older(directory),
        f"resume={quoted}",
        f"hydra.run.dir={quoted}",
        "hydra.mode=RUN",
        "hydra.output_subdir=null",  # keep the files of the run's start
    ]


def _limit_of_older(directory: Path) -> list[str]:
    """Of a run from before the key `limit_test`: what it tests on, where that was limited."""
    try:
        trainer = OmegaConf.load(directory / RUN_CONFIG).trainer
        limit = trainer.limit_val if "limit_test" not in trainer else None
    except Exception:  # it is damaged, and the run itself will say how
        return []
    return [] if limit is None else [f"trainer.limit_test={limit}"]
