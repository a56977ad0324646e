"""One attempt at a run: trains, tests, and fills the run's record whatever its end."""

import shlex
import socket
import time
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_sweep.config import NotIn, resolved
from mnist_sweep.data import fetch, load
from mnist_sweep.errors import BudgetError
from mnist_sweep.experiment import to_experiment
from mnist_sweep.gpus import described
from mnist_sweep.identity import config_hash, flat_config, keys
from mnist_sweep.loggers import Loggers, RunStart
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import CHECKPOINT, HISTORY, MODEL, SO_FAR
from mnist_sweep.profile import check_budget, check_outputs, profile
from mnist_sweep.runs.console import (
    EpochLines,
    budget_line,
    make_console,
    show_data,
    show_profile,
    warn,
)
from mnist_sweep.runs.data_card import DataCard
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.provenance import TrialInfo, new_record, peak_rss_mb
from mnist_sweep.runs.resuming import take_over
from mnist_sweep.runs.so_far import SoFar
from mnist_sweep.sets.measured import shape_of
from mnist_sweep.train import save_whole, settle, train

LOGGED_TAGS = ("run_id", "seed", "num_params", "macs", "study", "trial", "rung")
"""Columns of the results table that a tracker gets at the start, beside the groups' choices."""

TO_GO_ON = (CHECKPOINT, SO_FAR)
"""Files that a run needs no more once it has come to its end."""

LOGGED_RESULTS = ("test_acc", "test_loss", "val_acc", "val_loss", "epochs_done", "seconds")


class PrunedError(Exception):
    """Raised by a search after an epoch, to end a run that is not worth going on with; says why."""


class Attempt:
    """A run under way: its typed configuration, and the record that it fills whatever its end."""

    def __init__(
        self,
        cfg: DictConfig,
        run_dir: Path,
        info: TrialInfo | None = None,
        auto_threads: int | None = None,
    ) -> None:
        """auto_threads: what trainer.threads=auto means, if not torch's own choice."""
        self.start = time.perf_counter()
        self.config = resolved(cfg)
        self.earlier = None if info is None else info.earlier
        self.run_dir = run_dir
        self.auto_threads = auto_threads
        self.experiment = to_experiment(self.config)
        shape = shape_of(self.experiment.settings.data)
        self.costs = profile(self.experiment.model, shape)
        check_outputs(self.costs, shape)
        self.console = make_console()
        hydra = HydraConfig.get()
        # One that is resumed was begun with all others.
        overrides = shlex.join(o for o in hydra.overrides.task if not o.startswith("resume="))
        self.record = new_record(self.config, hydra.runtime.choices, overrides, run_dir, info)
        self.record.host = socket.gethostname()
        self.so_far = SoFar()
        if self.experiment.settings.resume is not None:
            self.so_far = SoFar.of(run_dir)
            self.record.started = self.so_far.started or self.record.started
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
            record.status, record.error = "pruned", str(error)
            self.console.print(f"pruned  {error}", markup=False, soft_wrap=True)
            self._remove(*TO_GO_ON)
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
            record.seconds = self._seconds()
            record.peak_rss_mb = peak_rss_mb()
            really_used = {**self.config["data"], "name": record.groups["data"]}
            record.config_hash = config_hash({**self.config, "data": really_used})

    def _train(self, in_sweep: bool, after_epoch: Callable[[list[EpochMetrics]], None]) -> None:
        """Loads, trains, tests and saves, filling the record on the way."""
        experiment, record, console = self.experiment, self.record, self.console
        settings, trainer = experiment.settings, experiment.settings.trainer
        machine = settle(trainer, self.auto_threads)
        record.device, record.precision = str(machine.device), machine.precision
        record.threads, record.gpu = machine.threads, described(machine.device)
        if settings.resume is None:
            self._remove(HISTORY, *TO_GO_ON)  # of an earlier run in the same directory
        self._note_so_far()
        problem = None if in_sweep else fetch(settings.data)
        data = load(settings.data, settings.protocol).limited(
            trainer.limit_train, trainer.limit_val, trainer.limit_test
        )
        record.groups["data"] = data.name
        DataCard.of(data).write(self.run_dir)
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
        if self.earlier is not None and take_over(self.earlier, checkpoint, self.config, data):
            console.print(f"resumes {self.earlier.name}, which was cut short")

        def on_epoch(history: list[EpochMetrics]) -> None:
            record.learn(history)
            write_history(self.run_dir, history)
            self._note_so_far()
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
        self._remove(*TO_GO_ON)

    def _note_so_far(self) -> None:
        record = self.record
        SoFar(record.started, self._seconds(), record.host, record.gpu).note(self.run_dir)

    def _seconds(self) -> float:
        """Of all processes of the run, up to now."""
        return self.so_far.seconds + time.perf_counter() - self.start

    def _remove(self, *names: str) -> None:
        for name in names:
            (self.run_dir / name).unlink(missing_ok=True)

    def _log_start(self) -> RunStart:
        row = self.record.row()
        return RunStart(
            run_id=self.record.run_id,
            run_dir=self.run_dir,
            config=flat_config(self.config, keys(NotIn.LOG)),
            tags={
                name: row[name]
                for name in (*self.record.groups, *LOGGED_TAGS)
                if row[name] is not None
            },
            group=self.record.study,
            is_resumed=self.experiment.settings.resume is not None,
        )

    def close(self) -> None:
        """Ends its logs; after its record is written, since a tracker may take its time."""
        result = {name: getattr(self.record, name) for name in LOGGED_RESULTS}
        self.loggers.close(self.record.status, result)

    def _warn_of_logger(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="red", markup=False, soft_wrap=True)
