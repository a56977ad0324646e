"""The command line: `python -m mnist_sweep`. Hydra does the work; this file words its errors."""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

EXIT_FAILURE, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130


def _config_dir() -> Path:
    """conf/ inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return next(path for path in (package / "conf", package.parent / "conf") if path.is_dir())


@hydra.main(
    config_path=str(_config_dir()), config_name="config", execution_whitelist=["mnist_sweep.*"]
)
def app(cfg: DictConfig) -> float:
    from mnist_sweep.run import run  # here, so that --help and --cfg import no torch

    return run(cfg)


def main() -> int:
    """Returns the exit code: 0, 1 for a failure, 2 for a mistake of the user's."""
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises; it is worded here, once for all
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.argv[1:] = expand_resume(sys.argv[1:])
        app()
    except KeyboardInterrupt:
        print("interrupted; finished epochs are kept: resume=<run dir> goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if full_error:
            traceback.print_exc()
        message, code = word(error)
        print(f"error: {message}", file=sys.stderr)
        return code
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def expand_resume(arguments: list[str]) -> list[str]:
    """`resume=<run dir>` -> that run's overrides, to be run again in its directory.

    Raises:
        UserError: the directory is no run, the run is complete, or other overrides stand beside.
    """
    from mnist_sweep.errors import UserError

    given = [argument for argument in arguments if argument.startswith("resume=")]
    if not given or given[-1] == "resume=null":
        return arguments
    directory = Path(given[-1].removeprefix("resume=").strip("'\""))
    others = [a for a in arguments if a not in given and not a.startswith(("-", "hydra."))]
    if others:
        raise UserError(
            f"resume={directory} takes the run's own settings: leave out {' '.join(others)}"
        )
    saved = directory / ".hydra" / "overrides.yaml"
    if not saved.is_file():
        raise UserError(f"resume={directory} is not a run directory: it has no {saved.name}")
    result = directory / "result.json"
    if result.is_file() and '"status": "completed"' in result.read_text(encoding="utf-8"):
        raise UserError(f"resume={directory}: that run is complete; its figures are in {result}")
    quoted = "'" + str(directory).replace("'", "\\'") + "'"
    return [
        *(argument for argument in arguments if argument not in given),
        *(str(override) for override in OmegaConf.load(saved)),
        f"resume={quoted}",
        f"hydra.run.dir={quoted}",
        "hydra.mode=RUN",
        "hydra.output_subdir=null",  # keep the files of the run's start
    ]


def word(error: Exception) -> tuple[str, int]:
    """One line that says what is wrong and what to do, and the exit code."""
    from hydra.errors import CompactHydraException, MissingConfigException

    from mnist_sweep.errors import UserError

    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text, EXIT_USER_ERROR
    if isinstance(error, MissingConfigException):
        return text, EXIT_USER_ERROR
    if isinstance(error, CompactHydraException | OmegaConfBaseException):
        return text, EXIT_USER_ERROR
    hint = "HYDRA_FULL_ERROR=1 shows where"
    return f"{type(error).__name__}: {text} ({hint})", EXIT_FAILURE
