"""The very run again: `python -m mnist_sweep.rerun RUN`.

The new run has the config, seed and data set of the old one, also where the config files have
changed since, and its number of threads. It goes through the same code as any run and leaves a
directory and a row of its own. On the same machine and code a CPU run comes out the same bit for
bit, and `--check` compares.
"""

import math
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from hydra.utils import execution_whitelist
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from mnist_sweep.cli import EXIT_USER_ERROR, word
from mnist_sweep.config import OWN, TORCHVISION, DataConfig, NotIn, resolved, settings_of
from mnist_sweep.config_roots import register_recipes, todays
from mnist_sweep.errors import FailureError, Parser, UserError, exit_code
from mnist_sweep.hydra_private import Callbacks, PastHydra, use_loader
from mnist_sweep.identity import flat_config, keys
from mnist_sweep.output import lose_rather_than_fail
from mnist_sweep.paths import CONF, RUN_CONFIG
from mnist_sweep.runs.lookup import RUN_HELP, find_run
from mnist_sweep.runs.outcome import Outcome, compare
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.saved import SavedRun
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.search.plugin import SearchSweeper
from mnist_sweep.search.study.credentials import hide_in_arguments
from mnist_sweep.vault import scrubbed
from mnist_sweep.whitelist import TARGETS

if TYPE_CHECKING:
    from mnist_sweep.train import Machine

OF_THE_MACHINE = keys(NotIn.RERUN)
"""What a rerun may change, with Hydra's own settings: where things are, not what is trained."""


def main() -> int:
    return exit_code(_main)


def _main() -> None:
    parser = Parser(
        prog="python -m mnist_sweep.rerun",
        description="Runs a run again: the same config, seed, data and threads, a new directory.",
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--check", action="store_true", help="compare with the recorded run, bit for bit"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help=f"settings of the machine: {', '.join(OF_THE_MACHINE)}, hydra.run.dir",
    )
    arguments = parser.parse_intermixed_args()
    for override in arguments.overrides:
        if not _is_of_machine(override) and not override.startswith(("hydra.", "hydra/")):
            raise UserError(
                f"{override}: a rerun keeps the run's settings; what it takes are "
                f"{', '.join(OF_THE_MACHINE)} and hydra.run.dir"
            )
    signal.signal(signal.SIGTERM, _interrupt)
    lose_rather_than_fail()
    use_loader()
    overrides = hide_in_arguments(arguments.overrides)
    recorded = find_run(arguments.run)
    before = Outcome.of(recorded) if arguments.check else None  # refused before it costs an hour
    new = rerun(recorded, overrides)
    if before is not None:
        print(compare(before, Outcome.of(new)))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def rerun(recorded: SavedRun, overrides: Sequence[str] = ()) -> SavedRun:
    """Trains again as recorded. overrides: of the machine's settings only.

    Raises:
        UserError, FailureError: as a run does; not where it diverges as the recorded one did.
    """
    try:
        config, warnings = _config(recorded, overrides)
    except Exception as error:
        raise _worded(error, overrides) from error
    print(f"again   {recorded.record.run_id} of {recorded.run_dir}", flush=True)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    raised = _run(config, recorded.record.threads)

    from mnist_sweep.runs.run import DivergedError

    if isinstance(raised, DivergedError) and recorded.record.status == "diverged":
        print(f"it diverged, as the recorded run did: {raised}")
    elif raised is not None:
        raise _worded(raised, overrides) from raised
    return find_run(config.hydra.runtime.output_dir)


def _worded(error: Exception, overrides: Sequence[str]) -> UserError | FailureError:
    """Hydra's errors, too, as the command line of a run words them."""
    message, code = word(error, list(overrides))
    message = scrubbed(message)
    return UserError(message) if code == EXIT_USER_ERROR else FailureError(message)


def _run(config: DictConfig, auto_threads: int | None) -> Exception | None:
    """Has Hydra run the job; returns what it raised, which Hydra would report in its own way.

    auto_threads: of the recorded run. The thread count is no setting that is pinned, since the
    config is to keep its hash.
    """
    from mnist_sweep.runs.run import run

    raised: list[Exception] = []

    def task(cfg: DictConfig) -> float:
        try:
            return run(cfg, auto_threads)
        except Exception as error:
            raised.append(error)
            return math.nan

    with initialize_config_dir(str(CONF), job_name="mnist_sweep"), execution_whitelist(TARGETS):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        callbacks = Callbacks(config)
        try:
            callbacks.on_run_start(config=config, config_name="config")
        except PastHydra as refused:
            assert isinstance(refused.__cause__, UserError)
            return refused.__cause__
        done = run_job(
            task_function=task,
            config=config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            hydra_context=HydraContext(hydra.config_loader, callbacks, TARGETS),
        )
        callbacks.on_run_end(config=config, config_name="config", job_return=done)
    return raised[0] if raised else None


# The config


def _config(recorded: SavedRun, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The recorded config under today's `hydra` node, as Hydra would compose it for a run; and a
    line on each way in which this is not what the run was.

    Raises:
        UserError: the recorded config is damaged, or hydra.run.dir is the recorded run's.
    """
    record, given = recorded.record, shlex.split(recorded.record.overrides)
    surroundings = Surroundings.recorded(recorded.run_dir)
    config, today, changed = _composed_today(overrides, given, surroundings)
    if Path(config.hydra.run.dir).resolve() == recorded.run_dir.resolve():
        raise UserError(
            f"hydra.run.dir={config.hydra.run.dir} is the recorded run's own: choose another"
        )
    cfg = recorded.config()
    if refused := surroundings.not_allowed(OmegaConf.to_container(cfg)):
        raise UserError(
            f"run {record.run_id} is made of {', '.join(refused)}, which the environment has to "
            f"allow: {surroundings.environment}python -m mnist_sweep.rerun {record.run_id}"
        )
    try:
        if today is not None:
            cfg, changed = _reconciled(cfg, today)
        new = {
            override.partition("=")[0]: override for override in filter(_is_of_machine, overrides)
        }
        for key in new:
            OmegaConf.update(cfg, key, OmegaConf.select(config, key))
        used = record.groups.get("data")
        if cfg.data.name in (*OWN, *TORCHVISION):
            _check_same_images(cfg, used)
        elif used not in (None, cfg.data.name):
            cfg.data.name, new["data"] = used, f"data={used}"
        machine, pinned = _pinned(cfg, record)
        for key, value in pinned.items():
            OmegaConf.update(cfg, key, value)
            new[key] = f"{key}={value}"
    except OmegaConfBaseException as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{recorded.run_dir / RUN_CONFIG} is damaged ({reason}); choose another run"
        ) from error

    with read_write(config), open_dict(config):
        for name in [name for name in config if name != "hydra"]:
            del config[name]
        config.merge_with(cfg)
        config.hydra.mode = RunMode.RUN
        config.hydra.runtime.choices.update(record.groups)
        kept = [override for override in given if override.partition("=")[0] not in new]
        config.hydra.overrides.task = [*kept, *new.values()]
    return config, [line for line in (changed, _elsewhere(record, machine)) if line]


def _check_same_images(cfg: DictConfig, used: str | None) -> None:
    """
    Raises:
        UserError: the user's own images are not there, or not what they were.
    """
    from mnist_sweep.data import find

    found = find(DataConfig(**resolved(cfg)["data"]))
    if found != used:
        raise UserError(
            f"data={cfg.data.name}: that run was on {used}, and these images are {found}: put "
            "them back as they were"
        )


def _composed_today(
    overrides: Sequence[str], given: list[str], surroundings: Surroundings
) -> tuple[DictConfig, DictConfig | None, str]:
    """What the config files, those of the run's own folders too, make of `overrides`, with the
    `hydra` node; what they make of the recorded overrides, or None and why they do not."""
    main, folders = surroundings.main_config(), surroundings.overrides()
    Plugins.instance().register(SearchSweeper)
    register_recipes()
    with initialize_config_dir(str(CONF), job_name="mnist_sweep"):
        config = compose(main, [*overrides, *folders], return_hydra_config=True)
        try:
            return config, compose(main, [*folders, *map(todays, given)]), ""
        except Exception as error:  # a choice or key that is no more: each raises its own
            problem = word(error, given)[0].partition(";")[0]
    return (
        config,
        None,
        f"the config files cannot make this run any more ({problem}): its recorded config is used",
    )


def _is_of_machine(override: str) -> bool:
    return override.partition("=")[0] in OF_THE_MACHINE


def _reconciled(recorded: DictConfig, today: DictConfig) -> tuple[DictConfig, str]:
    """`recorded` with the keys that the config did not have yet; and what differs, in a line."""
    old: Any = OmegaConf.to_container(recorded)
    new: Any = OmegaConf.to_container(today)
    augmentation = {name: new["augmentation"].get(name, {}) for name in old["augmentation"]}
    cfg = OmegaConf.create(_with_new_keys(old, {**new, "augmentation": augmentation}))
    uncompared = keys(NotIn.HASH | NotIn.RESULT)
    was, will_be, would_be = (
        flat_config(resolved(config), uncompared) for config in (recorded, cfg, today)
    )
    added = [key for key in will_be if key not in was]
    other = [
        key for key in {**was, **would_be} if key not in added and was.get(key) != would_be.get(key)
    ]
    lines = []
    if other:
        lines.append(
            f"the config files have other values now for {', '.join(other)}: the recorded ones "
            "are used"
        )
    if added:
        lines.append(f"{', '.join(added)} is newer than the run: today's value is used")
    return cfg, "; ".join(lines)


def _with_new_keys(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old`, and what only `new` has; not where they configure different classes."""
    if old.get("_target_") != new.get("_target_"):
        return old
    merged = {**new, **old}
    for key in old.keys() & new.keys():
        if isinstance(old[key], dict) and isinstance(new[key], dict):
            merged[key] = _with_new_keys(old[key], new[key])
    return merged


def _pinned(cfg: DictConfig, record: RunRecord) -> tuple["Machine", dict[str, Any]]:
    """What the run will compute on; and the settings that `auto` would settle differently here.

    The thread count is no such setting: it is what torch starts with, as it was then. So the
    config keeps its hash.
    """
    from mnist_sweep.train import settle

    trainer = settings_of(resolved(cfg)).trainer
    machine = settle(trainer, record.threads)
    pinned: dict[str, Any] = {}
    if trainer.device == "auto" and record.device not in (None, str(machine.device)):
        try:
            elsewhere = trainer.model_copy(update={"device": record.device})
            machine = settle(elsewhere, record.threads)
            pinned["trainer.device"] = record.device
        except UserError:  # not on this machine
            pass
    if trainer.precision == "auto" and record.precision not in (None, machine.precision):
        pinned["trainer.precision"] = record.precision
    return machine, pinned


def _elsewhere(record: RunRecord, machine: "Machine") -> str:
    """What else decides the last digits, where it is not what it was."""
    import platform

    import torch

    from mnist_sweep.runs.provenance import git_state

    pairs = {
        "commit": (_commit(record.git_commit, record.git_dirty), _commit(*git_state())),
        "torch": (record.torch_version, torch.__version__),
        "python": (record.python_version, platform.python_version()),
        "device": (record.device, str(machine.device)),
    }
    differing = [
        f"{what} was {then}, is {now}"
        for what, (then, now) in pairs.items()
        if then not in (None, now)
    ]
    if record.git_dirty and not differing:
        differing.append("the code had uncommitted changes, then as now: they may differ")
    return "; ".join(differing)


def _commit(commit: str | None, dirty: bool | None) -> str:
    return "unknown" if commit is None else commit[:10] + " and changes" * bool(dirty)


if __name__ == "__main__":
    sys.exit(main())
