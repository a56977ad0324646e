"""The search itself: asks for points, has them trained, prunes, and tells what became of them."""

import json
import math
import os
import shlex
import signal
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
import torch
from hydra.types import HydraContext
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from mnist_sweep.config import NotIn
from mnist_sweep.errors import FailureError, UserError
from mnist_sweep.experiment import build_loggers
from mnist_sweep.identity import flat_config, keys
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import RESULT, RESULTS_TABLE, SWEEP_CONFIG
from mnist_sweep.runs.provenance import TrialInfo, new_record
from mnist_sweep.runs.record import RunRecord, Status, read_result, run_id_of, write_result
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.candidate import Candidate, Candidates
from mnist_sweep.search.composer import Composer
from mnist_sweep.search.engines.pool import (
    Ended,
    Inline,
    Job,
    Pool,
    SweepContext,
    hide_credentials,
)
from mnist_sweep.search.grid import MOST_ORDERED, LongestFirst
from mnist_sweep.search.ledger import (
    ATTEMPT,
    CONFIG,
    ERROR,
    NUM_PARAMS,
    OVERRIDES,
    RETRY,
    RETRY_OF,
    Ledger,
    is_finished,
    is_rejected,
)
from mnist_sweep.search.progress import Progress
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.space import make_space
from mnist_sweep.search.storage import open_storage
from mnist_sweep.writing import write_whole

OPTUNA_CLASSES = ["optuna.samplers.*", "optuna.pruners.*", "hydra_plugins.hydra_optuna_sweeper.*"]

REPEATS_BEFORE_RANDOM = 10
"""After so many repeats in a row the sampler is stuck, and the next point is a random one."""

REJECTS_BEFORE_RANDOM = 100
"""After so many refused points in a row it is stuck as well, and two of three are random ones: they
may lie where it does not look, and take half the time."""

ENUMERATE = (GridSampler, BruteForceSampler)
"""Samplers that are never stuck, and whose turn no random point may take."""

WAIT_S = 0.5


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C; the study can be gone on with."""


class SearchFailedError(FailureError):
    """More trials failed than allowed."""


class Controller:
    """Runs one sweep, alone or beside others on the same study."""

    def __init__(
        self,
        settings: SearchSettings,
        config: DictConfig,
        context: HydraContext,
        arguments: Sequence[str],
    ) -> None:
        self.settings = settings
        self.config = config
        self.sweep_dir = Path(config.hydra.sweep.dir)
        extender = None
        if settings.custom_search_space is not None:
            extender = _construct(
                {"_target_": settings.custom_search_space, "_partial_": True},
                "hydra.sweeper.custom_search_space",
                context.execution_whitelist,
            )
        self.space = make_space(settings.params or {}, arguments, settings.conditions, extender)
        torch.set_num_threads(1)  # counting a net is no work to share; a run sets its own
        self.candidates = Candidates(
            Composer(context.config_loader, config),
            self.space,
            settings.fit if settings.budget == "fit" else (),
            settings.fit_rest,
        )
        self.base = self.candidates.base
        self.seeds = [int(self.base["seed"]) + n for n in range(settings.replicates)]
        self._check()
        self.n_trials = self._number_of_trials()
        n_jobs = settings.n_jobs if settings.n_jobs != "auto" else _num_cores()
        self.n_jobs = min(n_jobs, self.n_trials)
        self.tables = [
            ResultsTable(Path(self.base["record"]["table"])),
            ResultsTable(self.sweep_dir / RESULTS_TABLE),
        ]
        for table in self.tables:
            table.check()
        self.study = self._open_study()
        self.ledger = Ledger(self.study, settings.lease_s)
        sweep = SweepContext(context, config)
        self.workers: Inline | Pool = (
            Inline(sweep, self._on_epoch)
            if self.n_jobs == 1
            else Pool(self.n_jobs, sweep, self._on_epoch)
        )
        self.progress = Progress(self.study, self.n_trials, settings, self.sweep_dir)
        self.running: dict[int, _Running] = {}
        self.unwritten: list[RunRecord] = []
        """Rows of rejected points, written together."""
        self.rejected_in_a_row = 0
        self.repeats_in_a_row = 0
        self.smallest: int | None = None
        """Parameters of the smallest net that was over budget."""
        self.ended = 0
        self.failures: list[str] = []
        self.stopping = False
        self.start = time.monotonic()

    def _check(self) -> None:
        """
        Raises:
            UserError: the sweep as a whole cannot work.
        """
        launcher = self.config.hydra.runtime.choices["hydra/launcher"]
        if launcher != "basic":
            raise UserError(
                f"hydra/launcher={launcher} does not go with hydra/sweeper=search, which runs its "
                "own workers: leave it out, and set hydra.sweeper.n_jobs"
            )
        build_loggers(self.base)  # what one needs may be missing
        by_val = [name for name in self.settings.objective if name.startswith("val_")]
        for config in self.candidates.bases():
            protocol = config["protocol"]["name"]
            if protocol != "select" and by_val:
                raise UserError(
                    f"protocol={protocol} has no validation set, so hydra.sweeper."
                    f"objective={by_val[0]} is not measured: use protocol=select"
                )
        searched = self.space.distributions
        if "seed" in searched:
            raise UserError(
                "seed is no parameter to search: a search that tunes it picks luck; "
                "hydra.sweeper.replicates trains each configuration with several"
            )
        if self.settings.rungs and "trainer.epochs" in searched:
            raise UserError(
                "trainer.epochs is set by hydra.sweeper.rungs and cannot be searched at once: "
                "use hydra.sweeper.rungs=null, or do not search it"
            )

    def _number_of_trials(self) -> int:
        name = str(self.settings.sampler.get("_target_"))
        if name.endswith(("GridSampler", "BruteForceSampler")):
            size = self.space.size()
            if name.endswith("GridSampler"):
                size = math.prod(map(len, self.space.grid().values()))
            if size is not None:
                return min(size, self.settings.n_trials)
        return self.settings.n_trials

    def _open_study(self) -> Study:
        """
        Raises:
            UserError: the storage will not do, or its study is not this one.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(self.settings.storage, self.sweep_dir)
        name = self.settings.study_name or os.path.relpath(self.sweep_dir)
        directions = self.settings.direction
        try:
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                directions=list(directions),
                load_if_exists=True,
            )
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"hydra.sweeper.storage: the study {name} cannot be made or read "
                f"({type(error).__name__}): it must be writable, and no other kind of file"
            ) from error
        found = tuple(direction.name.lower() for direction in study.directions)
        if found != directions:
            raise UserError(
                f"hydra.sweeper.direction={list(directions)}: the study {name} has {list(found)}; "
                "use these, or another hydra.sweeper.study_name"
            )
        self._check_same_settings(study)
        offset = len(study.get_trials(deepcopy=False))
        study.sampler = self._make_sampler(offset)
        if self.settings.pruner is not None:
            study.pruner = _construct(self.settings.pruner, "hydra.sweeper.pruner", OPTUNA_CLASSES)
        return study

    def _check_same_settings(self, study: Study) -> None:
        settings = self.settings.model_dump(mode="json")
        fixed = (
            "objective",
            "direction",
            "rungs",
            "replicates",
            "budget",
            "fit",
            "fit_rest",
            "pruner",
        )
        now = {
            **flat_config(self.base, (*keys(NotIn.STUDY), *self.space.distributions)),
            **{f"hydra.sweeper.{key}": settings[key] for key in fixed},
            **{f"search of {key}": text for key, text in self.space.describe().items()},
        }
        now = json.loads(json.dumps(now, default=str))
        before = study.user_attrs.get("settings")
        if before is None:
            if study.get_trials(deepcopy=False):
                raise UserError(
                    f"hydra.sweeper.study_name={study.study_name}: that study was not made by "
                    "hydra/sweeper=search; use another name"
                )
            study.set_user_attr("settings", now)
            return
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if changed:
            shown = [f"{key} (was {before.get(key)}, is {now.get(key)})" for key in changed[:5]]
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise UserError(
                f"hydra.sweeper.study_name={study.study_name}: the study was begun with other "
                f"settings: {', '.join(shown)}{more}; restore them, or give the study another name"
            )

    def _make_sampler(self, offset: int) -> BaseSampler:
        """offset: so that a study that is gone on with does not repeat its random numbers."""
        config = dict(self.settings.sampler)
        grid = str(config.get("_target_")).endswith("GridSampler")
        if config.get("seed") is not None and not grid:
            config["seed"] += offset
        sampler = _construct(config, "hydra.sweeper.sampler", OPTUNA_CLASSES)
        if grid:
            points = self.space.grid()
            size = math.prod(map(len, points.values()))
            # Of a part of the grid the long ones would be no fair sample, and a trial that may end
            # early has no known length.
            is_whole = size <= self.settings.n_trials and self.settings.pruner is None
            known = is_whole and self.settings.rungs is None and self.space.extender is None
            if known and size <= MOST_ORDERED:
                sampler = LongestFirst(points, self.candidates, config.get("seed"))
            else:
                sampler = sampler(points)
        if not isinstance(sampler, BaseSampler):
            raise UserError(
                f"hydra.sweeper.sampler._target_={config.get('_target_')} is no sampler of "
                "Optuna's: use one of hydra/sweeper/sampler's choices"
            )
        return sampler

    def run(self) -> None:
        """
        Raises:
            UserError: no point fits the budget, or the study cannot be written.
            SearchFailedError: too many trials failed.
            SearchInterrupted: Ctrl-C; what was running is finished, or will be tried again.
        """
        with self.ledger, self.progress, self._signals():
            try:
                self._write_command()
                self._write_rejected_of_dead()
                self._recover()
                while True:
                    self._fill()
                    if self.workers.is_idle:
                        if self._is_done():
                            break
                        time.sleep(WAIT_S)
                        self._recover()
                    elif (ended := self.workers.next(WAIT_S)) is not None:
                        self._take(ended)
                        self._check_failures()
                    self.progress.update(self.ledger.trials())
            except BaseException as error:
                self.workers.stop()
                for number in list(self.running):
                    self._abandon(self.ledger.trials()[number], "it was stopped")
                if isinstance(error, KeyboardInterrupt):  # Ctrl-C or SIGTERM
                    raise SearchInterrupted(
                        "stopped at once; the same command goes on with the study"
                    ) from error
                raise
            finally:
                self.workers.close()
                self._write_rejected()
        self.progress.summary(self.ledger.trials())
        if self.ledger.is_over(self.n_trials):
            return
        if self.stopping:
            raise SearchInterrupted("stopped; the same command goes on with the study")
        if not self._is_late:
            self.progress.note(
                f"ended   before {self.n_trials} trials: the space has no more points to offer "
                f"({self.rejected_in_a_row} proposals in a row were refused or tried before)"
            )

    def _write_command(self) -> None:
        """The sweep's config with its overrides, where Hydra's own sweeper leaves it."""
        config = deepcopy(self.config)
        hide_credentials(config)
        write_whole(self.sweep_dir / SWEEP_CONFIG, OmegaConf.to_yaml(config))

    @contextmanager
    def _signals(self) -> Any:
        def on_interrupt(signum: int, frame: FrameType | None) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True
            self.progress.note(
                f"finishing {len(self.running)} running trials; Ctrl-C again stops them at once"
            )

        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @property
    def _is_late(self) -> bool:
        limit = self.settings.max_minutes
        return limit is not None and time.monotonic() - self.start > 60 * limit

    def _is_done(self) -> bool:
        waiting = any(trial.state == TrialState.WAITING for trial in self.ledger.trials())
        if self.stopping or self._is_late:
            return True
        return self.ledger.is_over(self.n_trials) or (self._is_exhausted and not waiting)

    @property
    def _is_exhausted(self) -> bool:
        return self.ledger.sampler_is_done or (self.rejected_in_a_row >= self.settings.max_rejected)

    def _fill(self) -> None:
        """Gives every free worker a trial, as far as there are trials to begin."""
        self.ledger.queue_retries()
        while self.workers.has_room and not self.stopping and not self._is_late:
            if not self._begin():
                return

    def _begin(self) -> bool:
        """Makes one proposal, and has it trained if it is to be; False if there is no place."""
        if self._is_exhausted and not any(
            trial.state == TrialState.WAITING for trial in self.ledger.trials()
        ):
            return False
        trial = self.ledger.claim(self.n_trials)
        if trial is None:
            return False
        params = self._sample(trial)
        candidate = self.candidates.make(params)
        if candidate.reason is not None:
            self._reject(trial, candidate)
            return True
        same = self.ledger.known().get(candidate.key) if self.settings.skip_repeats else None
        if same is not None:
            self.ledger.fail(trial, "duplicate", f"trial {same} is the same configuration")
            self.repeats_in_a_row += 1
            self.rejected_in_a_row += 1
            return True
        self.rejected_in_a_row = self.repeats_in_a_row = 0
        self._write_rejected()
        trial.set_user_attr(CONFIG, candidate.key)
        trial.set_user_attr(NUM_PARAMS, candidate.num_params)
        trial.set_constraint("budget", candidate.excess)
        # A directory of that name is of a trial that the study has lost (a cut journal).
        lost = any(self._run_dir(trial.number, seed).exists() for seed in self.seeds)
        epochs = candidate.config["trainer"]["epochs"]
        self.running[trial.number] = _Running(trial, candidate.overrides, epochs, lost)
        self._submit(trial.number)
        return True

    def _sample(self, trial: Trial) -> dict[str, Any]:
        sampler = self.study.sampler
        if self._is_stuck:
            self.study.sampler = RandomSampler(seed=trial.number)
        try:
            params = self.space.suggest(trial, self.base)
        finally:
            self.study.sampler = sampler
        overlap = params.keys() & {override.partition("=")[0] for override in self.space.fixed}
        if overlap:
            raise UserError(
                f"hydra.sweeper.custom_search_space searches {', '.join(sorted(overlap))}, which "
                "is fixed as well: leave one of the two out"
            )
        return params

    @property
    def _is_stuck(self) -> bool:
        if isinstance(self.study.sampler, ENUMERATE) or self.space.extender is not None:
            return False
        refused = self.rejected_in_a_row
        is_refused = refused >= REJECTS_BEFORE_RANDOM and refused % 3 > 0
        return is_refused or self.repeats_in_a_row >= REPEATS_BEFORE_RANDOM

    def _reject(self, trial: Trial, candidate: Candidate) -> None:
        self.ledger.reject(trial, str(candidate.reason), candidate.excess)
        self.unwritten.append(self._rejected_record(trial.number, candidate, str(candidate.reason)))
        self.rejected_in_a_row += 1
        if candidate.num_params is not None:
            self.smallest = min(self.smallest or candidate.num_params, candidate.num_params)
        if len(self.unwritten) >= 100:
            self._write_rejected()
            self.progress.update(self.ledger.trials())
        is_hopeless = self._is_exhausted and not self.running
        if is_hopeless and not any(map(is_finished, self.ledger.trials())):
            least = f"; the smallest net had {self.smallest:,} parameters" if self.smallest else ""
            raise UserError(
                f"budget.max_params={self.base['budget']['max_params']}: no point among "
                f"{self.rejected_in_a_row} proposals can be trained{least}. Raise the budget or "
                f"widen the space; the last was refused for: {candidate.reason}"
            )

    def _submit(self, number: int) -> None:
        """Has the trial's next run trained."""
        running = self.running[number]
        seed = self.seeds[len(running.values)]
        overrides = list(running.overrides)
        rung = None
        if self.settings.rungs is not None:
            rung = self.settings.rungs[running.rung]
            overrides.append(f"trainer.epochs={rung}")
        if len(self.seeds) > 1:
            overrides.append(f"seed={seed}")
        if self.n_jobs > 1 and self.base["trainer"]["threads"] == "auto":
            overrides.append("trainer.threads=1")
        if seed == self.seeds[0]:
            running.trial.set_user_attr(OVERRIDES, overrides)
        retry_of = running.trial.user_attrs.get(RETRY_OF)
        earlier = None if retry_of is None else self._run_dir(retry_of, seed).absolute()
        info = TrialInfo(self.study.study_name, number, rung, earlier)
        self.workers.submit(Job(info, tuple(overrides), self._subdir(number, seed)))

    def _run_dir(self, number: int, seed: int) -> Path:
        return self.sweep_dir / self._subdir(number, seed)

    def _subdir(self, number: int, seed: int) -> str:
        return str(number) if len(self.seeds) == 1 else f"{number}/seed_{seed}"

    def _on_epoch(self, job: Job, history: list[EpochMetrics]) -> bool:
        """Whether the pruner would end the run. It goes by the first seed, where there are more."""
        running = self.running[job.info.trial]
        if self.settings.pruner is None or running.values:
            return False
        for metrics in history[running.reported :]:  # several where an attempt is resumed
            value = getattr(metrics, self.settings.objective[0])
            if value is None or not math.isfinite(value):
                return False
            running.trial.report(value, metrics.epoch)
        running.reported = epoch = len(history)
        is_last = epoch == running.epochs  # then there is no time to save
        return not is_last and running.trial.should_prune()

    def _take(self, ended: Ended) -> None:
        """Decides what becomes of a trial after one of its runs."""
        number = ended.job.info.trial
        running = self.running[number]
        record = ended.record or self._blank_record(number, ended.job, "failed", str(ended.error))
        if ended.record is None:
            self._write_result(record)
        running.records[record.run_id] = record
        if record.status == "pruned":
            self._conclude(number, TrialState.PRUNED)
            return
        if record.status != "completed":
            self._fail(number, record)
            return
        running.values.append([float(getattr(record, name)) for name in self.settings.objective])
        if len(running.values) < len(self.seeds):
            self._submit(number)
            return
        means = [statistics.fmean(column) for column in zip(*running.values, strict=True)]
        if self.settings.rungs is not None:
            epochs = self.settings.rungs[running.rung]
            running.trial.report(means[0], epochs)
            if running.rung + 1 < len(self.settings.rungs):
                if self._is_promoted(number, running.rung):
                    running.rung += 1
                    running.values = []
                    running.records = {}  # the next rung's take their place
                    self._submit(number)
                    return
                for record in running.records.values():
                    record.status = "pruned"
                    self._write_result(record)
                self._conclude(number, TrialState.PRUNED)
                return
        self._conclude(number, TrialState.COMPLETE, means)

    def _is_promoted(self, number: int, rung: int) -> bool:
        """Whether the trial is among the best of its rung, as many as the next has time for.

        A rung is to take about as much time as the next one, so of the trials at a rung the share
        of the two schedules' lengths goes on (asynchronous successive halving, Li et al. 2020).
        """
        assert self.settings.rungs is not None
        epochs, more_epochs = self.settings.rungs[rung : rung + 2]
        sign = 1 if self.settings.direction[0] == "maximize" else -1
        values = {
            trial.number: sign * trial.intermediate_values[epochs]
            for trial in self.ledger.trials()
            if epochs in trial.intermediate_values and trial.state != TrialState.FAIL
        }
        better = sum(value > values[number] for value in values.values())
        return better < max(1, len(values) * epochs // more_epochs)

    def _conclude(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        """Row first: a trial that the study knows to have ended has its row."""
        running = self.running.pop(number)
        self._append(list(running.records.values()), replace=running.replaces)
        if not self.ledger.tell(running.trial, state, values):
            for record in running.records.values():
                record.status, record.error = "interrupted", "another controller took it for dead"
            self._append(list(running.records.values()), replace=True)
        self.ended += 1
        self.progress.ended(self.ledger.trials(), number)

    def _fail(self, number: int, record: RunRecord) -> None:
        running = self.running.pop(number)
        self._append(list(running.records.values()), replace=running.replaces)
        attempt = running.trial.user_attrs.get(ATTEMPT, 0)
        retry = record.status == "failed" and attempt < self.settings.max_retries
        self.ledger.fail(
            running.trial, record.status, str(record.error), **{RETRY: retry, ATTEMPT: attempt}
        )
        self.ended += 1
        self.failures.append(f"trial {number}: {record.error}")
        self.progress.ended(self.ledger.trials(), number)

    def _check_failures(self) -> None:
        allowed = self.settings.max_failure_rate * max(self.ended, 10)
        if len(self.failures) > allowed or len(self.failures) >= max(10, self.n_trials):
            raise SearchFailedError(
                f"{len(self.failures)} of {self.ended} trials failed, over hydra.sweeper."
                f"max_failure_rate={self.settings.max_failure_rate}; the first, "
                f"{self.failures[0]} (its output.log in {self.sweep_dir} has more)"
            )

    def _recover(self) -> None:
        """Takes over what controllers that are gone were running."""
        for trial in self.ledger.lost():
            self._abandon(trial, "its controller died")
        self.ledger.queue_retries()

    def _abandon(self, trial: FrozenTrial, why: str) -> None:
        """Ends a trial that nobody runs any more: as it ended, if it did, else to be retried."""
        self.running.pop(trial.number, None)
        found = {
            seed: read_result(self._run_dir(trial.number, seed))
            for seed in self.seeds
            if (self._run_dir(trial.number, seed) / RESULT).exists()
        }
        if CONFIG not in trial.user_attrs:  # it had not begun, as far as the study knows
            for record in found.values():
                record.status, record.error = "interrupted", why
                self._write_result(record)
            if found:
                self._append(list(found.values()), replace=True)
            retry = not trial.system_attrs.keys().isdisjoint({"fixed_params", "grid_id"})
            self.ledger.fail(trial, "interrupted", why, **{RETRY: retry})
            return
        last_rung = None if self.settings.rungs is None else self.settings.rungs[-1]
        if any(record.status == "pruned" for record in found.values()):
            for record in found.values():
                record.status = "pruned"
            self._append(list(found.values()), replace=True)
            self.ledger.tell(trial, TrialState.PRUNED)
            return
        unfinished = [
            seed
            for seed in self.seeds
            if seed not in found
            or found[seed].status != "completed"
            or found[seed].rung != last_rung
        ]
        if not unfinished:
            values = [
                [float(getattr(record, name)) for name in self.settings.objective]
                for record in found.values()
            ]
            means = [statistics.fmean(column) for column in zip(*values, strict=True)]
            self._append(list(found.values()), replace=True)
            self.ledger.tell(trial, TrialState.COMPLETE, means)
            return
        seed = unfinished[0]
        if seed not in found:
            info = TrialInfo(self.study.study_name, trial.number, None)
            overrides = tuple(trial.user_attrs.get(OVERRIDES, ()))
            job = Job(info, overrides, self._subdir(trial.number, seed))
            found[seed] = self._blank_record(trial.number, job, "interrupted", "")
        found[seed].status = "interrupted"
        found[seed].error = f"{why}; it is tried again"
        self._write_result(found[seed])
        self._append(list(found.values()), replace=True)
        attempt = trial.user_attrs.get(ATTEMPT, 0)
        self.ledger.fail(trial, "interrupted", why, **{RETRY: True, ATTEMPT: attempt})

    def _blank_record(self, number: int, job: Job, status: Status, error: str) -> RunRecord:
        """The record of a run that left none."""
        candidate = self.candidates.make(self.ledger.trials()[number].params)
        record = self._record(candidate, job.overrides, self.sweep_dir / job.subdir, job.info)
        record.status, record.error = status, error
        return record

    def _rejected_record(self, number: int, candidate: Candidate, error: str) -> RunRecord:
        info = TrialInfo(self.study.study_name, number, None)
        run_dir = self.sweep_dir / str(number)
        record = self._record(candidate, candidate.overrides, run_dir, info)
        record.status, record.error, record.run_dir = "infeasible", error, ""
        return record

    def _record(
        self, candidate: Candidate, overrides: Sequence[str], run_dir: Path, info: TrialInfo
    ) -> RunRecord:
        record = new_record(
            candidate.config, candidate.choices, shlex.join(overrides), run_dir, info
        )
        record.num_params = candidate.num_params
        if candidate.costs is not None:
            record.macs = candidate.costs.macs
            record.receptive_field = candidate.costs.receptive_field
        return record

    def _write_rejected(self) -> None:
        if self.unwritten:
            self.tables[1].extend(self.unwritten)
            self.unwritten = []

    def _write_rejected_of_dead(self) -> None:
        """Rows of rejected points that a controller of this machine was killed before writing."""
        written = {row["run_id"] for row in self.tables[1].rows()}
        for trial in self.ledger.trials():
            run_id = run_id_of(self.sweep_dir / str(trial.number))
            if is_rejected(trial) and run_id not in written and self.ledger.was_here(trial):
                candidate = self.candidates.make(trial.params)
                error = trial.user_attrs[ERROR]
                self.unwritten.append(self._rejected_record(trial.number, candidate, error))
        self._write_rejected()

    def _write_result(self, record: RunRecord) -> None:
        run_dir = Path(record.run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        write_result(run_dir, record)

    def _append(self, records: list[RunRecord], *, replace: bool) -> None:
        for table in self.tables:
            table.extend(records, replace=replace)


@dataclass
class _Running:
    """A trial under way."""

    trial: Trial
    overrides: tuple[str, ...]
    epochs: int
    """Of its schedule, as a pruner sees it, which goes with no rungs."""
    replaces: bool
    """Whether its rows take the place of older ones."""
    reported: int = 0
    """Epochs that the pruner knows of."""
    rung: int = 0
    """Place in `rungs`."""
    values: list[list[float]] = field(default_factory=list)
    """The objectives' values, for each seed that is done at this rung."""
    records: dict[str, RunRecord] = field(default_factory=dict)
    """Run id -> its record, at this rung."""


def _construct(config: Mapping[str, Any], key: str, allowed: Any) -> Any:
    """
    Raises:
        UserError: the class is not among those allowed, or does not take these values.
    """
    try:
        return instantiate(dict(config), _execution_whitelist_=allowed, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(
            f"{key}._target_={config.get('_target_')}: {' '.join(str(cause).split())}; use one of "
            "the group's choices, with the keys that --cfg hydra shows"
        ) from error


def _num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
