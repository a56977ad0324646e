"""The command line: `python -m mnist_sweep`. Hydra does the work; this file words its errors."""

import argparse
import errno
import os
import re
import runpy
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

from mnist_sweep import __version__
from mnist_sweep.blame import blamed, names, overrides_in, suspects
from mnist_sweep.config_roots import register_recipes, todays
from mnist_sweep.hydra_private import (
    PastHydra,
    flag_names,
    is_of_defaults_list,
    is_of_hydra,
    parse_flags,
    use_loader,
)
from mnist_sweep.output import lose_rather_than_fail
from mnist_sweep.paths import CONF, PACKAGE, RECIPES, RUN_HYDRA
from mnist_sweep.resume import expand_resume
from mnist_sweep.search.plugin import SearchSweeper
from mnist_sweep.search.study.credentials import hide_in_arguments
from mnist_sweep.usage import COMMANDS, PROGRAM, usage
from mnist_sweep.vault import scrubbed
from mnist_sweep.whitelist import TARGETS

EXIT_FAILURE, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130

UNWRITABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EFBIG, errno.EDQUOT),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
)

LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm", "ray")
"""Those of extras, which a machine may do without."""

LOST_WORKER = (
    "TerminatedWorkerError",
    "UncompletedJobError",
    "FailedJobError",
    "WorkerCrashedError",
)
"""What launchers raise whose process was killed, or died."""

OF_A_SWEEP = ("hydra.sweeper.", "hydra/sweeper")

OF_ANOTHER_SWEEPER = (
    r"(?P<name>\w*Sweeper)\b.*unexpected keyword argument '(?P<key>\w+)'",
    r"Key '(?P<key>\w+)' not in '(?P<name>\w*Sweeper)Conf'",
)
"""What Hydra says where hydra.sweeper has a key that the chosen sweeper has not."""

ENTRY_POINTS = ("cli.py", "rerun.py")
"""Files of this package whose frames are in every error's traceback."""


@hydra.main(config_path=str(CONF), config_name="config", execution_whitelist=TARGETS)
def app(cfg: DictConfig) -> float:
    # Here, so that --help and --cfg import no torch.
    from mnist_sweep.errors import FailureError, UserError
    from mnist_sweep.runs.run import run

    lose_rather_than_fail()  # this may be a launcher's own process
    try:
        _check_single_run(cfg)
        return run(cfg)
    except (UserError, FailureError, OSError) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        raise PastHydra from error


def main() -> int:
    """Returns the exit code: 0, 1 for a failure, 2 for a mistake of the user's."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        del sys.argv[0]
        runpy.run_module(f"mnist_sweep.{sys.argv[0]}", run_name="__main__", alter_sys=True)
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises; it is worded here, once for all
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # as nohup has the terminal's end ignored
            signal.signal(ending, _interrupt)
    lose_rather_than_fail()
    flags = argparse.Namespace()
    try:
        _look_for_modules_here()
        sys.argv[1:] = hide_in_arguments(sys.argv[1:])
        flags = check_arguments(sys.argv[1:])
        if flags.help or flags.version:
            folders = [Path(flags.config_dir)] if flags.config_dir else []
            print(usage(folders) if flags.help else f"mnist_sweep {__version__}\n", end="")
            return 0
        sys.argv[1:] = [*map(todays, expand_resume(sys.argv[1:]))]
        use_loader()
        Plugins.instance().register(SearchSweeper)
        register_recipes()
        app()
    except SystemExit as ended:
        if ended.code and flags.package is not None:  # which is not in the config, as Hydra said
            return EXIT_USER_ERROR
        raise
    except KeyboardInterrupt as interrupt:
        kept = "interrupted; finished epochs are kept: resume=<run dir> goes on"
        print(interrupt.args[0] if interrupt.args else kept, file=sys.stderr)
        return EXIT_INTERRUPTED
    except (Exception, PastHydra) as caught:
        error = caught.__cause__ if isinstance(caught, PastHydra) else caught
        assert isinstance(error, Exception)
        if full_error:
            print(scrubbed("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        message, code = word(error, sys.argv[1:])
        print(f"error: {scrubbed(' '.join(message.split()))}", file=sys.stderr)
        return code
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _check_single_run(cfg: DictConfig) -> None:
    """
    Raises:
        UserError: what is given is of a sweep, and this is a single run, of other settings.
    """
    from mnist_sweep.errors import UserError

    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN or cfg.get("resume") is not None:
        return
    given = [o for o in hydra.overrides.hydra if o.lstrip("+").startswith(OF_A_SWEEP)]
    fixed = {o.lstrip("+~").partition("=")[0] for o in hydra.overrides.task}
    swept = set(map(str, hydra.sweeper.get("params") or {}))
    choice = hydra.runtime.choices.get("sweep")
    if choice is not None and swept and not swept & fixed:  # else it is one of the sweep's runs
        given = [f"sweep={choice}", *given]
    if given:
        raise UserError(
            f"{' '.join(given)}: without -m this is a single run, and no sweep: put -m before it, "
            "or leave it out"
        )


def check_arguments(arguments: list[str]) -> argparse.Namespace:
    """Hydra's flags, and `version`.

    Raises:
        UserError: an argument is neither a flag nor KEY=VALUE, or a name here is no UTF-8.
    """
    from mnist_sweep.errors import UserError, did_you_mean

    _check_encoding(arguments)
    # Hydra would show its own, also for a beginning of the word.
    others = [word for word in arguments if len(word) < 3 or not "--version".startswith(word)]
    try:
        flags, unknown = parse_flags(others)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; --help has the usage") from error
    if unknown:
        near = did_you_mean(unknown[0].partition("=")[0], flag_names())
        raise UserError(f"{unknown[0]}: no such flag{near}; --help and --hydra-help list them")
    flags.version = others != arguments
    if flags.config_dir is not None and not os.path.isdir(flags.config_dir):
        raise UserError(f"--config-dir={flags.config_dir}: no such folder")
    rerun = flags.experimental_rerun
    if rerun is not None and not os.path.isfile(Path(rerun) / RUN_HYDRA):
        raise UserError(
            f"--experimental-rerun={rerun}: is no run directory (it has no {RUN_HYDRA}); "
            f"{PROGRAM} rerun RUN runs one again"
        )
    for override in flags.overrides:
        if override in COMMANDS:
            raise UserError(f"{override}: comes first, as in {PROGRAM} {override} --help")
        if "=" not in override and not override.startswith("~") and flags.info != "aliases":
            near = did_you_mean(override, COMMANDS)
            raise UserError(f"{override!r}: is no KEY=VALUE{near}; --help has the usage")
    return flags


def _check_encoding(arguments: list[str]) -> None:
    """
    Raises:
        UserError: a name that goes into config files is no UTF-8, which they are written in; or
            there is no current folder.
    """
    from mnist_sweep.errors import UserError

    try:
        folder = os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the current folder is no more: go to another one") from error
    data = os.environ.get("MNIST_SWEEP_DATA", "")
    named = [("the current folder, ", folder), ("MNIST_SWEEP_DATA=", data)]
    for before, name in [*named, *(("", argument) for argument in arguments)]:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise UserError(
                f"{before}{shown}: is no UTF-8, which config files and tables are written in; "
                "use another name"
            ) from error


def _look_for_modules_here() -> None:
    """As `python -m mnist_sweep` does, so that the command `mnist-sweep` finds the same classes."""
    if not sys.flags.safe_path and not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())


def word(error: Exception, arguments: list[str]) -> tuple[str, int]:
    """One line that says what is wrong and what to do, and the exit code."""
    from hydra.errors import CompactHydraException

    from mnist_sweep.errors import FailureError, UserError, shortened, unforeseen

    text = re.sub(r"^Error when parsing .*\n", "", str(error))  # lists the whole line
    text = " ".join(text.split())
    if isinstance(error, UserError):
        return text, EXIT_USER_ERROR
    if isinstance(error, FailureError):
        return text, EXIT_FAILURE
    if type(error).__name__ in LOST_WORKER:
        return (
            f"a worker of the launcher was killed, or crashed ({shortened(text)}): the run that it "
            "trained is interrupted, and resume=<run dir> goes on with it"
        ), EXIT_FAILURE
    if found := re.search(r"Could not (?:find|load) '([\w/-]+)/([^'/]*)'", text):
        return _unknown_choice(found.group(1), found.group(2), text), EXIT_USER_ERROR
    if found := re.search(r"Unknown plugin class : 'hydra_plugins\.hydra_(\w+)_launcher\.", text):
        return _not_installed(found.group(1)), EXIT_USER_ERROR
    if found := re.search(r"Could not override '([^']*)'", text):
        return _unknown_key(found.group(1), arguments), EXIT_USER_ERROR
    if is_of_defaults_list(_raised_in(error)):  # of optimizer=3, and names no key
        for group, _, choice in (argument.partition("=") for argument in arguments):
            if (CONF / group).is_dir() and not os.path.exists(CONF / group / f"{choice}.yaml"):
                return _unknown_choice(group, choice, ""), EXIT_USER_ERROR
    for pattern in OF_ANOTHER_SWEEPER:
        if found := re.search(pattern, text):
            return _of_another_sweeper(found["name"], found["key"]), EXIT_USER_ERROR
    if isinstance(error, ValueError) and "--" in text and is_of_hydra(_raised_in(error)):
        return text, EXIT_USER_ERROR  # two of Hydra's flags that do not go together
    if found := re.search(r"Cannot find primary config '([^']*)'", text):
        name = f"--config-name={found.group(1)}"
        return f"{name}: no such config; without the flag it is `config`", EXIT_USER_ERROR
    if isinstance(error, CompactHydraException | OmegaConfBaseException):
        if text.startswith("Error merging override") and error.__cause__ is not None:
            text = f"{text}: {str(error.__cause__).splitlines()[0]}"  # what the value should be
        about = blamed(error, arguments)
        if not about and "interpolation" in text.lower():  # which is resolved when a run begins
            about = [override for override in overrides_in(arguments) if "${" in override]
        return _with_key(text, arguments, about), EXIT_USER_ERROR
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        where = f"{error.filename or 'the run directory'} cannot be written ({error.strerror})"
        remedy = "make room there, or set hydra.run.dir or hydra.sweep.dir to a place that can"
        return f"{where}: {remedy}", EXIT_USER_ERROR
    if _is_of_the_line(error):
        reason = f"{type(error).__name__}: {text}".strip(": ")
        text = f"cannot be used ({reason}); --cfg hydra and --cfg job show what can"
        about = blamed(error, arguments) or suspects(arguments)
        return _with_key(text, arguments, about), EXIT_USER_ERROR
    return unforeseen(error), EXIT_FAILURE


def _raised_in(error: Exception) -> str:
    """The module whose code raised it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")) if frames else ""


def _is_of_the_line(error: Exception) -> bool:
    """Whether Hydra came to grief over what the command line says, before any run began."""
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ran = [file for file in files if PACKAGE in file.parents and file.name not in ENTRY_POINTS]
    in_plugin = any("hydra_plugins" in file.parts for file in files)
    return not ran and not (in_plugin and isinstance(error, RuntimeError | OSError))


def _with_key(text: str, arguments: list[str], about: list[str]) -> str:
    """text, after the overrides that it is about if it names none."""
    from mnist_sweep.errors import shortened

    if any(names(text, override) for override in overrides_in(arguments)):
        return text
    return ": ".join([*filter(None, [", ".join(map(shortened, about))]), text])


def _unknown_choice(group: str, choice: str, text: str) -> str:
    """text: Hydra's, which often lists the choices, those of plugins too."""
    from mnist_sweep.errors import did_you_mean

    if group == "hydra/launcher" and choice in LAUNCHERS:
        return _not_installed(choice)
    listed = text.partition("Available options in")[2].partition(":")[2]
    names = listed.partition("Config search path")[0].split()
    names = names or sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    choices = [name for name in names if not (RECIPES / group / f"{name}.yaml").exists()]
    known = f"; {group} is one of {', '.join(choices)}" if choices else ""
    return f"{group}={choice}: no such choice{did_you_mean(choice, choices)}{known}"


def _not_installed(launcher: str) -> str:
    extra = launcher.partition("_")[0]
    return (
        f"hydra/launcher={launcher} is not installed: pip install 'mnist-sweep[{extra}]' brings it"
    )


def _of_another_sweeper(name: str, key: str) -> str:
    from mnist_sweep.search.settings import of_today

    if advice := of_today(key):
        return f"hydra.sweeper.{key}: {advice}"
    return (
        f"hydra.sweeper.{key}: is no key of {name}: choose the sweeper that has it with `override "
        "/hydra/sweeper: search` under defaults, or hydra/sweeper=search, and leave "
        "hydra.sweeper._target_ out"
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
