"""One run, from Hydra's config to its row in the results table."""

import hashlib
import json
import math
import os
import platform
import resource
import shlex
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from mnist_sweep import __version__
from mnist_sweep.console import (
    EpochLines,
    budget_line,
    make_console,
    show_data,
    show_profile,
    show_result,
    warn,
)
from mnist_sweep.data import fetch, load
from mnist_sweep.errors import BudgetError, UserError
from mnist_sweep.experiment import Experiment, to_experiment
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.profile import Profile, check_budget, profile
from mnist_sweep.record import (
    CHECKPOINT,
    MODEL,
    RESULT,
    ResultsTable,
    RunRecord,
    check_writable,
    run_id_of,
    write_history,
    write_result,
)
from mnist_sweep.train import save_whole, settle, train

NOT_IN_HASH = ("seed", "resume", "record", "data.root", "data.download")


class DivergedError(Exception):
    """The run is over and recorded, and its loss is no number. Exit code 1."""


def run(cfg: DictConfig) -> float:
    """Trains what `cfg` says, leaves a row, and returns val_acc (NaN where there is none).

    Missing data is downloaded by a single run only: a sweep's controller has done so before.

    Raises:
        UserError: the configuration, the data or the output directory will not do.
        DivergedError: of a single run; in a multirun the row and NaN say so, and the sweep goes on.
            So it is with a net over budget.
    """
    start = time.perf_counter()
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    run_dir = Path(hydra.runtime.output_dir)
    experiment = to_experiment(cfg)
    settings = experiment.settings
    if in_sweep and settings.protocol.name != "select" and _has_objective(hydra):
        raise UserError(
            f"protocol={settings.protocol.name} has no validation set, so hydra/sweeper="
            f"{hydra.runtime.choices['hydra/sweeper']} has nothing to go by: use protocol=select"
        )
    if settings.resume is not None:
        _check_same_config(cfg, run_dir)
    check_writable(run_dir)
    tables = [ResultsTable(Path(settings.record.table))]
    sweep_dir = Path(hydra.sweep.dir) if in_sweep else run_dir.parent
    sweep_table = ResultsTable(sweep_dir / "results.csv")
    if in_sweep or (settings.resume is not None and sweep_table.path.exists()):
        tables.append(sweep_table)
    for table in tables:
        table.check()

    console = make_console()
    costs = profile(experiment.model)
    record = _new_record(cfg, experiment, costs, run_dir)
    replace = settings.resume is not None or (run_dir / RESULT).exists()
    try:
        check_budget(costs, settings.budget)
        _train(experiment, costs, run_dir, record, console, in_sweep=in_sweep)
    except BudgetError as error:
        record.status, record.error = "infeasible", str(error)
        if not in_sweep:
            raise
        warn(console, "over budget", str(error))
    except KeyboardInterrupt:
        record.status = "interrupted"
        raise
    except SystemExit:  # rich's answer to a closed pipe
        record.status, record.error = "failed", "standard output was closed"
        raise
    except Exception as error:
        record.status, record.error = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        record.seconds = time.perf_counter() - start
        record.peak_rss_mb = _peak_rss_mb()
        really_used = {"data": {"name": record.groups["data"]}}
        record.config_hash = config_hash(cast(DictConfig, OmegaConf.merge(cfg, really_used)))
        _leave(record, run_dir, tables, replace=replace)
        show_result(console, record, settings.record.table)
    if record.status == "diverged" and not in_sweep:
        raise DivergedError(str(record.error))
    return math.nan if record.val_acc is None or record.status != "completed" else record.val_acc


def _train(
    experiment: Experiment,
    costs: Profile,
    run_dir: Path,
    record: RunRecord,
    console: Console,
    *,
    in_sweep: bool,
) -> None:
    """Loads, trains, tests and saves, filling the record on the way."""
    settings, trainer = experiment.settings, experiment.settings.trainer
    machine = settle(trainer)
    record.device, record.precision = str(machine.device), machine.precision
    record.threads = machine.threads
    problem = None if in_sweep else fetch(settings.data)
    data = load(settings.data, settings.protocol).limited(trainer.limit_train, trainer.limit_val)
    record.groups["data"] = data.name
    record.train_images, record.test_images = len(data.train), len(data.test)
    record.val_images = None if data.val is None else len(data.val)
    if settings.data.name == "auto" and data.name == "digits":
        warn(
            console,
            "NOT MNIST",
            "MNIST is not here, so this run uses scikit-learn's 1,797 small digits. Its figures "
            f"say nothing about MNIST. To use MNIST, {problem or 'fetch it first.'}",
        )
    show_data(console, data)
    if in_sweep:
        console.print(f"model   {record.groups['model']}: {budget_line(costs, settings.budget)}")
    else:
        show_profile(console, costs, settings.budget)

    checkpoint = run_dir / CHECKPOINT
    if settings.resume is None:
        checkpoint.unlink(missing_ok=True)  # of an earlier run in the same directory

    def on_epoch(history: list[EpochMetrics]) -> None:
        record.learn(history)
        write_history(run_dir, history)
        lines.epoch(history)

    with EpochLines(console, trainer.epochs, len(data.train)) as lines:
        result = train(
            experiment,
            data,
            machine,
            on_step=lines.step,
            on_epoch=on_epoch,
            checkpoint=checkpoint,
        )
    # A run that was killed after its last epoch resumes with none to train.
    record.learn(result.history)
    write_history(run_dir, result.history)
    record.status = result.status
    record.weights_epoch = result.weights_epoch
    if result.status == "diverged":
        record.error = (
            f"the loss is no finite number in epoch {record.epochs_done}; "
            f"try a lower optimizer.lr than {experiment.optimizer.lr:g}"
        )
    if result.test is not None and result.test_raw is not None:
        record.test_acc, record.test_loss = result.test.acc, result.test.loss
        record.test_acc_raw, record.test_loss_raw = result.test_raw.acc, result.test_raw.loss
    chosen = result.history[result.weights_epoch - 1]
    record.val_acc, record.val_loss = chosen.val_acc, chosen.val_loss
    record.val_acc_raw, record.val_loss_raw = chosen.val_acc_raw, chosen.val_loss_raw
    save_whole(result.weights, run_dir / MODEL)
    checkpoint.unlink(missing_ok=True)


def _leave(record: RunRecord, run_dir: Path, tables: list[ResultsTable], *, replace: bool) -> None:
    """Writes result.json and the rows, each even where another cannot be written."""
    problems: list[Exception] = []
    try:
        write_result(run_dir, record)
    except OSError as error:
        problems.append(error)
    for table in tables:
        try:
            table.append(record, replace=replace)
        except UserError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _has_objective(hydra: Any) -> bool:
    """Whether the sweeper goes by what a run returns."""
    return bool(hydra.runtime.choices["hydra/sweeper"] != "basic")


def _new_record(
    cfg: DictConfig, experiment: Experiment, costs: Profile, run_dir: Path
) -> RunRecord:
    hydra = HydraConfig.get()
    commit, dirty = _git_state()
    return RunRecord(
        run_id=run_id_of(run_dir),
        status="failed",
        groups=_group_choices(cfg, hydra.runtime.choices),
        seed=experiment.settings.seed,
        num_params=costs.num_params,
        macs=costs.macs,
        receptive_field=costs.receptive_field,
        epochs=experiment.settings.trainer.epochs,
        batch_size=experiment.settings.trainer.batch_size,
        lr=experiment.optimizer.lr,
        mnist_sweep_version=__version__,
        torch_version=torch.__version__,
        python_version=platform.python_version(),
        git_commit=commit,
        git_dirty=dirty,
        overrides=shlex.join(hydra.overrides.task),
        run_dir=os.path.relpath(run_dir),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _group_choices(cfg: DictConfig, choices: Mapping[str, Any]) -> dict[str, str | None]:
    """The config groups in their order, Hydra's own left out; several choices joined by '+'."""
    named: dict[str, str | None] = {}
    for group, choice in reversed(list(choices.items())):  # Hydra has the last group first
        if not group.startswith("hydra/"):
            named[group] = choice
    # Hydra does not list a group of which several are chosen.
    named.setdefault("augmentation", "+".join(map(str, cfg.augmentation)))
    return named


def config_hash(cfg: DictConfig) -> str:
    """A short digest of all that decides the result but the seed."""
    text = json.dumps(_flat(cfg), sort_keys=True, default=str)
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:11]


def _flat(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as dotted keys, without what the result does not depend on."""
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if prefix in NOT_IN_HASH:
            return
        if isinstance(value, dict):
            for key, child in value.items():
                visit(f"{prefix}.{key}".strip("."), child)
        else:
            flat[prefix] = _as_float(value)

    visit("", OmegaConf.to_container(cfg, resolve=True))
    return flat


def _as_float(value: Any) -> Any:
    """1 and 1.0 mean the same in a config."""
    if isinstance(value, list):
        return [_as_float(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_same_config(cfg: DictConfig, run_dir: Path) -> None:
    before = OmegaConf.load(run_dir / ".hydra" / "config.yaml")
    assert isinstance(before, DictConfig)
    old, new = _flat(before), _flat(cfg)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if changed:
        raise UserError(
            f"resume={run_dir}: the config files have changed since that run began "
            f"({', '.join(changed)}); restore them, or start a new run"
        )


def _peak_rss_mb() -> float:
    """Of this process since it started, in units of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the parent's peak towards getrusage's
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def _git_state() -> tuple[str | None, bool | None]:
    """Commit of this code and whether it was changed since; None where it is no checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        commit, _, dirty = git(
            "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
        ).partition("-")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit, bool(dirty)
