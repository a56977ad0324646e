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
import traceback
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_sweep import __version__
from mnist_sweep.config import resolved
from mnist_sweep.data import Dataset, fetch, load
from mnist_sweep.errors import BudgetError, FailureError, UserError
from mnist_sweep.experiment import to_experiment
from mnist_sweep.loggers import Loggers, RunStart
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.profile import check_budget, profile
from mnist_sweep.runs.console import (
    EpochLines,
    budget_line,
    make_console,
    show_data,
    show_profile,
    show_result,
    warn,
)
from mnist_sweep.runs.record import (
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

NO_PART_OF_RESULT = ("resume", "record", "logger", "data.root", "data.download", "trainer.threads")
"""Settings that do not change what is trained (threads do in the last digits)."""

NOT_IN_HASH = ("seed", "resume", "record", "logger", "data.root", "data.download")

# What a logger gets: the config but for some keys, and some columns of the results table.
NOT_LOGGED = ("resume", "record", "logger")
LOGGED_TAGS = (
    *("run_id", "data", "model", "protocol", "seed", "num_params", "macs"),
    *("study", "trial", "rung"),
)
LOGGED_RESULTS = ("test_acc", "test_loss", "val_acc", "val_loss", "epochs_done", "seconds")


class DivergedError(FailureError):
    """The run is over and recorded, and its loss is no number."""


class PrunedError(Exception):
    """Raised by a search after an epoch, to end a run that is not worth going on with."""


@dataclass(frozen=True)
class TrialInfo:
    """Where in a search a run belongs."""

    study: str
    trial: int
    rung: int | None
    earlier: Path | None = None
    """Run directory of an attempt that was cut short, whose checkpoint is gone on from."""


def run(cfg: DictConfig) -> float:
    """Trains what `cfg` says, leaves a row, and returns val_acc (NaN where there is none).

    Missing data is downloaded by a single run only: a sweep's controller has done so before.

    Raises:
        UserError: the configuration, the data or the output directory will not do.
        DivergedError: of a single run; in a multirun the row and NaN say so, and the sweep goes on.
            So it is with a net over budget.
    """
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    run_dir = Path(hydra.runtime.output_dir)
    attempt = _Attempt(cfg, run_dir)
    settings = attempt.experiment.settings
    if in_sweep and settings.protocol.name != "select" and _has_objective(hydra):
        raise UserError(
            f"protocol={settings.protocol.name} has no validation set, so hydra/sweeper="
            f"{hydra.runtime.choices['hydra/sweeper']} has nothing to go by: use protocol=select"
        )
    if settings.resume is not None:
        _check_same_config(attempt.config, run_dir)
    check_writable(run_dir)
    tables = [ResultsTable(Path(settings.record.table))]
    sweep_dir = Path(hydra.sweep.dir) if in_sweep else run_dir.parent
    sweep_table = ResultsTable(sweep_dir / "results.csv")
    if in_sweep or (settings.resume is not None and sweep_table.path.exists()):
        tables.append(sweep_table)
    for table in tables:
        table.check()

    record = attempt.record
    replace = settings.resume is not None or (run_dir / RESULT).exists()
    with closing(attempt):
        try:
            attempt.train(in_sweep=in_sweep)
        except BudgetError as error:
            if not in_sweep:
                raise
            warn(attempt.console, "over budget", str(error))
        finally:
            _leave(record, run_dir, tables, replace=replace)
            show_result(attempt.console, record, settings.record.table)
    if record.status == "diverged" and not in_sweep:
        raise DivergedError(str(record.error))
    return math.nan if record.val_acc is None or record.status != "completed" else record.val_acc


def run_trial(
    cfg: DictConfig, info: TrialInfo, on_epoch: Callable[[list[EpochMetrics]], None]
) -> RunRecord:
    """One run of a search: trains what `cfg` says and leaves result.json, but no row.

    What goes wrong is in the record, whose row is the search's to write. on_epoch: as of `train`;
    may raise PrunedError.

    Raises:
        KeyboardInterrupt: it was told to stop; result.json says so.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    attempt = _Attempt(cfg, run_dir, info)
    with closing(attempt):
        try:
            attempt.train(in_sweep=True, on_epoch=on_epoch)
        except Exception:  # it is in the record; HYDRA_FULL_ERROR has the rest
            traceback.print_exc()
        finally:
            write_result(run_dir, attempt.record)
    return attempt.record


class _Attempt:
    """A run under way: its typed configuration, and the record that it fills whatever its end."""

    def __init__(self, cfg: DictConfig, run_dir: Path, info: TrialInfo | None = None) -> None:
        self.start = time.perf_counter()
        self.config = resolved(cfg)
        self.earlier = None if info is None else info.earlier
        self.run_dir = run_dir
        self.experiment = to_experiment(self.config)
        self.costs = profile(self.experiment.model)
        self.console = make_console()
        hydra = HydraConfig.get()
        overrides = shlex.join(hydra.overrides.task)
        self.record = new_record(self.config, hydra.runtime.choices, overrides, run_dir, info)
        self.record.num_params, self.record.macs = self.costs.num_params, self.costs.macs
        self.record.receptive_field = self.costs.receptive_field
        self.record.lr = self.experiment.optimizer.lr
        self.loggers = Loggers(self.experiment.loggers, self._warn_of_logger)

    def train(
        self,
        *,
        in_sweep: bool,
        on_epoch: Callable[[list[EpochMetrics]], None] = lambda history: None,
    ) -> None:
        """Trains and tests. Raises what ended it; of the ends, `pruned` and `diverged` are none."""
        record = self.record
        try:
            check_budget(self.costs, self.experiment.settings.budget)
            self._train(in_sweep, on_epoch)
        except PrunedError as error:
            record.status, record.error = "pruned", str(error) or None
            (self.run_dir / CHECKPOINT).unlink(missing_ok=True)
        except BudgetError as error:
            record.status, record.error = "infeasible", str(error)
            raise
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
            record.seconds = time.perf_counter() - self.start
            record.peak_rss_mb = _peak_rss_mb()
            really_used = {**self.config["data"], "name": record.groups["data"]}
            record.config_hash = config_hash({**self.config, "data": really_used})

    def _train(self, in_sweep: bool, after_epoch: Callable[[list[EpochMetrics]], None]) -> None:
        """Loads, trains, tests and saves, filling the record on the way."""
        experiment, record, console = self.experiment, self.record, self.console
        settings, trainer = experiment.settings, experiment.settings.trainer
        machine = settle(trainer)
        record.device, record.precision = str(machine.device), machine.precision
        record.threads = machine.threads
        problem = None if in_sweep else fetch(settings.data)
        data = load(settings.data, settings.protocol).limited(
            trainer.limit_train, trainer.limit_val
        )
        record.groups["data"] = data.name
        record.train_images, record.test_images = len(data.train), len(data.test)
        record.val_images = None if data.val is None else len(data.val)
        if settings.data.name == "auto" and data.name == "digits":
            warn(
                console,
                "NOT MNIST",
                "MNIST is not here, so this run uses scikit-learn's 1,797 small digits. Its "
                f"figures say nothing about MNIST. To use MNIST, {problem or 'fetch it first.'}",
            )
        show_data(console, data)
        if in_sweep:
            model, budget = record.groups["model"], budget_line(self.costs, settings.budget)
            console.print(f"model   {model}: {budget}")
        else:
            show_profile(console, self.costs, settings.budget)

        checkpoint = self.run_dir / CHECKPOINT
        if settings.resume is None:
            checkpoint.unlink(missing_ok=True)  # of an earlier run in the same directory
        if self.earlier is not None and _take_over(self.earlier, checkpoint, self.config, data):
            console.print(f"resumes {self.earlier.name}, which was cut short")

        def on_epoch(history: list[EpochMetrics]) -> None:
            record.learn(history)
            write_history(self.run_dir, history)
            lines.epoch(history)
            self.loggers.epoch(history)
            after_epoch(history)

        self.loggers.open(self._log_start())
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
        write_history(self.run_dir, result.history)
        self.loggers.epoch(result.history)
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
        save_whole(result.weights, self.run_dir / MODEL)
        checkpoint.unlink(missing_ok=True)

    def _log_start(self) -> RunStart:
        row = self.record.row()
        return RunStart(
            run_id=self.record.run_id,
            run_dir=self.run_dir,
            config=flat_config(self.config, NOT_LOGGED),
            tags={name: row[name] for name in LOGGED_TAGS if row[name] is not None},
            group=self.record.study,
            is_resumed=self.experiment.settings.resume is not None,
        )

    def close(self) -> None:
        """Ends its logs; after its record is written, since a tracker may take its time."""
        result = {name: getattr(self.record, name) for name in LOGGED_RESULTS}
        self.loggers.close(self.record.status, result)

    def _warn_of_logger(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="red", markup=False, soft_wrap=True)


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


def new_record(
    config: Mapping[str, Any],
    choices: Mapping[str, Any],
    overrides: str,
    run_dir: Path,
    info: TrialInfo | None = None,
) -> RunRecord:
    """The row of a run that has not begun. choices: of the groups, as Hydra has them."""
    commit, dirty = git_state()
    return RunRecord(
        run_id=run_id_of(run_dir),
        status="failed",
        groups=_group_choices(config, choices),
        seed=config["seed"],
        epochs=config["trainer"]["epochs"],
        batch_size=config["trainer"]["batch_size"],
        lr=config["optimizer"].get("lr"),
        mnist_sweep_version=__version__,
        torch_version=torch.__version__,
        python_version=platform.python_version(),
        git_commit=commit,
        git_dirty=dirty,
        overrides=overrides,
        run_dir=os.path.relpath(run_dir),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        study=None if info is None else info.study,
        trial=None if info is None else info.trial,
        rung=None if info is None else info.rung,
    )


def _group_choices(config: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, str | None]:
    """The config groups in their order, Hydra's own left out; several choices joined by '+'."""
    named: dict[str, str | None] = {}
    for group, choice in reversed(list(choices.items())):  # Hydra has the last group first
        if not group.startswith("hydra/") and group != "logger":  # it is no part of the result
            named[group] = choice
    # Hydra does not list a group of which several are chosen.
    named.setdefault("augmentation", "+".join(map(str, config["augmentation"])))
    return named


def config_hash(config: Mapping[str, Any], without: Collection[str] = NOT_IN_HASH) -> str:
    """A short digest of all that decides the result; by default without the seed."""
    flat = {key: _as_float(value) for key, value in flat_config(config, without).items()}
    text = json.dumps(flat, sort_keys=True, default=str)
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:11]


def flat_config(config: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    """A resolved config as dotted keys, but for these keys and those below them."""
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if prefix in without:
            return
        if isinstance(value, Mapping):
            for key, child in value.items():
                visit(f"{prefix}.{key}".strip("."), child)
        else:
            flat[prefix] = value

    visit("", config)
    return flat


def _as_float(value: Any) -> Any:
    """1 and 1.0 mean the same in a config."""
    if isinstance(value, list):
        return [_as_float(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _take_over(earlier: Path, checkpoint: Path, config: Mapping[str, Any], data: Dataset) -> bool:
    """Copies the checkpoint of `earlier` if that was a run of this config and data set.

    Where it left none, or that is damaged, the run starts over.
    """
    try:
        content = torch.load(earlier / CHECKPOINT, weights_only=True)
        both = (_recorded_config(earlier), config)
        before, now = (flat_config(each, NO_PART_OF_RESULT) for each in both)
        if before != now or content["data"] != data.name:
            return False
    except Exception:  # torch.load raises nearly anything on a damaged file
        return False
    save_whole(content, checkpoint)
    return True


def _recorded_config(run_dir: Path) -> dict[str, Any]:
    cfg = OmegaConf.load(run_dir / ".hydra" / "config.yaml")
    assert isinstance(cfg, DictConfig)
    return resolved(cfg)


def _check_same_config(config: Mapping[str, Any], run_dir: Path) -> None:
    old, new = (flat_config(each, NOT_IN_HASH) for each in (_recorded_config(run_dir), config))
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


@cache
def git_state() -> tuple[str | None, bool | None]:
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
