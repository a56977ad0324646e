"""The command line: `python -m mnist_sweep`. Hydra does the work; this file words its errors."""

import errno
import os
import re
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_sweep.hydra_private import is_of_defaults_list, is_of_hydra
from mnist_sweep.paths import CONF, RECIPE_PARTS, RESULT, RUN_CONFIG, RUN_OVERRIDES
from mnist_sweep.search.plugin import SearchSweeper
from mnist_sweep.whitelist import TARGETS

EXIT_FAILURE, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130

UNWRITABLE = (errno.EACCES, errno.EEXIST, errno.ENOTDIR, errno.EROFS, errno.ENOSPC, errno.EFBIG)

LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm", "ray")
"""Those of extras, which a machine may do without."""

CONFIG_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")


class _SingleRunError(BaseException):
    """Carries a run's expected error past Hydra, which reports every `Exception` in its own way."""


@hydra.main(config_path=str(CONF), config_name="config", execution_whitelist=TARGETS)
def app(cfg: DictConfig) -> float:
    # Here, so that --help and --cfg import no torch.
    from mnist_sweep.errors import FailureError, UserError
    from mnist_sweep.runs.run import run

    try:
        return run(cfg)
    except (UserError, FailureError) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        raise _SingleRunError from error


def main() -> int:
    """Returns the exit code: 0, 1 for a failure, 2 for a mistake of the user's."""
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises; it is worded here, once for all
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.argv[1:] = expand_resume(sys.argv[1:])
        Plugins.instance().register(SearchSweeper)
        app()
    except KeyboardInterrupt as interrupt:
        kept = "interrupted; finished epochs are kept: resume=<run dir> goes on"
        print(interrupt.args[0] if interrupt.args else kept, file=sys.stderr)
        return EXIT_INTERRUPTED
    except (Exception, _SingleRunError) as caught:
        error = caught.__cause__ if isinstance(caught, _SingleRunError) else caught
        assert isinstance(error, Exception)
        if full_error:
            traceback.print_exception(error)
        message, code = word(error, sys.argv[1:])
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
    given = [argument for argument in arguments if argument.startswith("resume=")]
    if not given or given[-1] == "resume=null":
        return arguments
    from mnist_sweep.errors import UserError
    from mnist_sweep.runs.record import read_result

    directory = Path(given[-1].removeprefix("resume=").strip("'\""))
    others = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if argument not in given
        and not argument.startswith(("-", "hydra.", "hydra/"))
        and before not in CONFIG_FLAGS
    ]
    if others:
        raise UserError(
            f"resume={directory} takes the run's own settings: leave out {' '.join(others)}"
        )
    saved = directory / RUN_OVERRIDES
    if not saved.is_file():
        raise UserError(
            f"resume={directory} is not a run directory (it has no {RUN_OVERRIDES}): "
            "give the path that the run printed as `run`"
        )
    result = directory / RESULT
    status = read_result(directory).status if result.is_file() else ""
    if status in ("completed", "diverged", "infeasible"):
        raise UserError(f"resume={directory}: that run has ended ({status}); see {result}")
    quoted = "'" + str(directory).replace("'", "\\'") + "'"
    return [
        *(argument for argument in arguments if argument not in given),
        *(str(override) for override in OmegaConf.load(saved)),
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


def word(error: Exception, arguments: list[str]) -> tuple[str, int]:
    """One line that says what is wrong and what to do, and the exit code."""
    from hydra.errors import CompactHydraException

    from mnist_sweep.errors import FailureError, UserError

    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text, EXIT_USER_ERROR
    if isinstance(error, FailureError):
        return text, EXIT_FAILURE
    if found := re.search(r"Could not (?:find|load) '([\w/-]+)/([^'/]*)'", text):
        return _unknown_choice(found.group(1), found.group(2), text), EXIT_USER_ERROR
    if found := re.search(r"Unknown plugin class : 'hydra_plugins\.hydra_(\w+)_launcher\.", text):
        return _not_installed(found.group(1)), EXIT_USER_ERROR
    if found := re.search(r"Could not override '([^']*)'", text):
        return _unknown_key(found.group(1), arguments), EXIT_USER_ERROR
    if is_of_defaults_list(_raised_in(error)):  # of optimizer=3, and names no key
        for group, _, choice in (argument.partition("=") for argument in arguments):
            if (CONF / group).is_dir() and not (CONF / group / f"{choice}.yaml").exists():
                return _unknown_choice(group, choice, ""), EXIT_USER_ERROR
    if isinstance(error, CompactHydraException | OmegaConfBaseException):
        return text, EXIT_USER_ERROR
    if isinstance(error, ValueError) and is_of_hydra(_raised_in(error)):
        return text, EXIT_USER_ERROR  # two of Hydra's flags that do not go together
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        where = f"{error.filename or 'the run directory'} cannot be written ({error.strerror})"
        return f"{where}: set hydra.run.dir or hydra.sweep.dir to a place that can", EXIT_USER_ERROR
    return f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)", EXIT_FAILURE


def _raised_in(error: Exception) -> str:
    """The module whose code raised it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals["__name__"]) if frames else ""


def _unknown_choice(group: str, choice: str, text: str) -> str:
    """text: Hydra's, which often lists the choices, those of plugins too."""
    from mnist_sweep.errors import did_you_mean

    if group == "hydra/launcher" and choice in LAUNCHERS:
        return _not_installed(choice)
    listed = text.partition("Available options in")[2].partition(":")[2]
    names = listed.partition("Config search path")[0].split()
    names = names or sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    choices = [name for name in names if not name.startswith(RECIPE_PARTS)]
    known = f"; {group} is one of {', '.join(choices)}" if choices else ""
    return f"{group}={choice}: no such choice{did_you_mean(choice, choices)}{known}"


def _not_installed(launcher: str) -> str:
    extra = launcher.partition("_")[0]
    return (
        f"hydra/launcher={launcher} is not installed: pip install 'mnist-sweep[{extra}]' brings it"
    )


def _unknown_key(key: str, arguments: list[str]) -> str:
    """Offers the nearest of the keys that the rest of the command line would have."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from mnist_sweep.errors import did_you_mean

    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir())
    chosen = [a for a in arguments if a.partition("=")[0] in groups and "," not in a]
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF)):
            cfg = compose("config", chosen)
        keys = _dotted_keys("", OmegaConf.to_container(cfg))
    except Exception:  # the remaining overrides have faults of their own
        keys = []
    same_end = [known for known in keys if known.endswith(f".{key}")]
    near = f", did you mean {same_end[0]}" if same_end else did_you_mean(key, [*groups, *keys])
    part = "hydra" if key.startswith("hydra.") else "job"
    return f"{key}: no such key{near}; --cfg {part} shows all keys"


def _dotted_keys(prefix: str, value: object) -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [
        dotted
        for name, child in value.items()
        for dotted in _dotted_keys(f"{prefix}.{name}".strip("."), child)
    ]
