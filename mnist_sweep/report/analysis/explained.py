"""All that is known of a search's trials: what was proposed and by whom, the net, each epoch and
what it is held against, why it ended, what it led to."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import CHECKPOINT, HISTORY, RESULT
from mnist_sweep.report.read.reaching import Search
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.record import RunRecord, read_result
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.search.classes import OPTUNA_CLASSES, construct
from mnist_sweep.search.display.notation import again, over_seeds
from mnist_sweep.search.optuna_private import is_given
from mnist_sweep.search.study.attributes import (
    ATTEMPT,
    ERROR,
    FIRST_OF,
    NUM_PARAMS,
    OUT,
    OVERRIDES,
    PRIOR,
    RETRY,
    RETRY_OF,
    real_widths,
    state_of,
)
from mnist_sweep.search.study.zipped import keys_of, unzipped
from mnist_sweep.search.trials.standing import (
    Against,
    StandingNow,
    cuts_of_pruner,
    standing_at_rungs,
)

MEASURES = ("train_acc", "val_loss", "val_acc")
"""Of an epoch, that are shown."""


@dataclass(frozen=True)
class Choice:
    """What was proposed for a parameter."""

    name: str
    value: str
    of: str
    """Of what it was chosen: `0.001 to 0.1, log`, `relu, silu`."""
    width: int | None = None
    """That the net has, where the value is a proportion (budget=fit)."""

    @property
    def shown(self) -> str:
        return self.value if self.width is None else f"{self.value}, {self.width} in the net"


@dataclass(frozen=True)
class Epoch:
    """MEASURES of it; accuracies are fractions of 1, the loss in nats."""

    seed: str
    """Of the trial's run, "" where it has but one."""
    epoch: int
    against: Against | None
    train_acc: float | None = None
    val_loss: float | None = None
    val_acc: float | None = None


@dataclass(frozen=True)
class Explained:
    study: str
    number: int
    state: str
    values: Mapping[str, float]
    """By objective; of a completed trial alone."""
    over_seeds: str
    """Of how many seeds, and their spread; "" where each trial has but one."""
    is_left: bool
    """Whether it runs, and its search is gone."""
    begun: datetime | None
    seconds: float | None
    """Up to its end, or to now."""
    has_ended: bool
    asked: str
    """Who proposed the point."""
    num_params: int | None
    macs: int | None
    receptive_field: int | None
    point: tuple[Choice, ...]
    epochs: tuple[Epoch, ...]
    ended: str
    """Why it ended; "" where there is nothing to say."""
    race: str
    """Why it can no longer win a race over seeds; "" of all others."""
    attempt: int
    """1 for the first one."""
    retried_by: int | None
    """The trial that tries its point again."""
    is_to_retry: bool
    """By the next command on the study, as no trial does yet."""
    command: str
    """That those below begin with."""
    again: str | None
    """The command that trains it again; of a trial that was trained."""
    whole: str | None
    """The one that trains a pruned trial to the end."""

    @property
    def retry(self) -> str:
        if self.retried_by is not None:
            return f"trial {self.retried_by} tries its point again"
        return "the same command on the study tries its point again" if self.is_to_retry else ""


@dataclass(frozen=True)
class Run:
    """Of a trial, one for each seed, as it lies in its directory."""

    folder: Path
    record: RunRecord | None
    """None: it has not ended."""
    history: Sequence[EpochMetrics]
    command: str = Surroundings().command
    """That ran it, without its overrides."""


def runs_below(folder: Path) -> list[Run]:
    """folder: of the trial."""
    found = {path.parent for path in [*folder.rglob(HISTORY), *folder.rglob(RESULT)]}
    return [
        Run(run_dir, _record(run_dir), _history(run_dir), Surroundings.recorded(run_dir).command)
        for run_dir in sorted(found)
    ]


def _record(run_dir: Path) -> RunRecord | None:
    try:
        return read_result(run_dir)
    except UserError:
        return None


def _history(run_dir: Path) -> list[EpochMetrics]:
    try:
        return read_history(run_dir)
    except Exception:  # it has none yet, or is being written
        return []


class Explainer:
    """What is known of the trials of one search, as it is now."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.trials = search.study.get_trials(deepcopy=False)

    def explain(self, number: int, runs: Sequence[Run] | None = None) -> Explained:
        """runs: of the trial, to be looked for in its directory where they are not given. Where
        they have no epochs, those that the study knows of are shown.

        Raises:
            UserError: there is no such trial.
        """
        search = self.search
        if not 0 <= number < len(self.trials):
            there = f"it has trials 0 to {len(self.trials) - 1}" if self.trials else "it has none"
            raise UserError(f"{search.folder}/{number}: no such trial of the study; {there}")
        trial = self.trials[number]
        if runs is None:
            runs = runs_below(search.folder / str(number))
        record = next((run.record for run in runs if run.record is not None), None)
        is_running = trial.state == TrialState.RUNNING
        return Explained(
            study=search.study.study_name,
            number=number,
            state=state_of(trial),
            values=self._values(trial),
            over_seeds=over_seeds(trial),
            is_left=is_running and bool(search.leases.unheld([trial])),
            begun=trial.datetime_start,
            seconds=_seconds(trial),
            has_ended=trial.state.is_finished(),
            asked=self._asked(trial),
            num_params=trial.user_attrs.get(NUM_PARAMS),
            macs=None if record is None else record.macs,
            receptive_field=None if record is None else record.receptive_field,
            point=tuple(_choices(trial)),
            epochs=tuple(self._epochs(trial, runs)),
            ended=str(trial.user_attrs.get(ERROR) or "") if trial.state.is_finished() else "",
            race=f"can no longer win {out}" if (out := trial.user_attrs.get(OUT)) else "",
            attempt=trial.user_attrs.get(ATTEMPT, 0) + 1,
            retried_by=self.retries.get(number),
            is_to_retry=bool(trial.user_attrs.get(RETRY)),
            command=_command(runs),
            again=again(trial, _command(runs)) if OVERRIDES in trial.user_attrs else None,
            whole=self._whole(trial, runs),
        )

    @cached_property
    def retries(self) -> dict[int, int]:
        """Trial -> the first one that tries its point again."""
        found: dict[int, int] = {}
        for trial in self.trials:
            if (earlier := trial.user_attrs.get(RETRY_OF)) is not None:
                found.setdefault(earlier, trial.number)
        return found

    @cached_property
    def sampler(self) -> str:
        target = self.search.of_last_command("sampler._target_")
        return "a sampler that is not known here" if target is None else target.rpartition(".")[2]

    @cached_property
    def rungs(self) -> list[int]:
        return list(self.search.of_last_command("rungs") or ())

    @cached_property
    def standing(self) -> StandingNow:
        study, objectives = self.search.study, self.search.objectives
        if self.rungs:
            return standing_at_rungs(study, self.rungs, objectives)
        config = self.search.of_last_command("pruner")
        if config is None or len(study.directions) > 1:
            return lambda trial: {}
        return cuts_of_pruner(study, construct(config, "hydra.sweeper.pruner", OPTUNA_CLASSES))

    def _values(self, trial: FrozenTrial) -> dict[str, float]:
        if trial.state != TrialState.COMPLETE:
            return {}
        return dict(zip(self.search.objectives.names, trial.values, strict=True))

    def _asked(self, trial: FrozenTrial) -> str:
        if (earlier := trial.user_attrs.get(RETRY_OF)) is not None:
            return f"the point of trial {earlier}, which is tried again"
        if (giver := trial.user_attrs.get(FIRST_OF)) is not None:
            return f"a point to be tried first, of {giver}"
        if prior := trial.user_attrs.get(PRIOR):
            return f"{self.sampler}; {', '.join(prior)} near hydra.sweeper.priors"
        if is_given(trial):
            return f"{self.sampler}, which goes through given points"
        return self.sampler

    def _epochs(self, trial: FrozenTrial, runs: Sequence[Run]) -> Iterator[Epoch]:
        against = self.standing(trial)
        if not any(run.history for run in runs):
            name = self.search.objectives.names[0]
            for epoch, value in sorted(trial.intermediate_values.items()):
                told = {name: value} if name in MEASURES else {}
                yield Epoch("", epoch, against.get(epoch), **told)
        for place, run in enumerate(runs):
            seed = run.folder.name.removeprefix("seed_") if len(runs) > 1 else ""
            for measured in run.history:
                first = against.get(measured.epoch) if place == 0 else None
                values = {name: getattr(measured, name) for name in MEASURES}
                yield Epoch(seed, measured.epoch, first, **values)

    def _whole(self, trial: FrozenTrial, runs: Sequence[Run]) -> str | None:
        if trial.state != TrialState.PRUNED or OVERRIDES not in trial.user_attrs:
            return None
        if self.rungs:
            return f"{again(trial, _command(runs))} trainer.epochs={self.rungs[-1]}"
        if len(runs) == 1 and (runs[0].folder / CHECKPOINT).is_file():
            return f"{Surroundings().command} {shlex.quote(f'resume={runs[0].folder}')}"
        return None


def _command(runs: Sequence[Run]) -> str:
    return runs[0].command if runs else Surroundings().command


def _seconds(trial: FrozenTrial) -> float | None:
    """Up to its end, or to now; None of one that has not begun."""
    if trial.datetime_start is None:
        return None
    return ((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds()


def _choices(trial: FrozenTrial) -> Iterator[Choice]:
    widths = real_widths(trial)
    for name, distribution in trial.distributions.items():
        for key, value in unzipped({name: trial.params[name]}).items():
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            others = [other for other in keys_of(name) if other != key]
            moves = f", together with {', '.join(others)}" if others else ""
            yield Choice(key, shown, _values_of(key, name, distribution) + moves, widths.get(key))


def _values_of(key: str, name: str, distribution: BaseDistribution) -> str:
    """That the key may have. name: of the parameter."""
    if isinstance(distribution, CategoricalDistribution):
        choices = (unzipped({name: choice})[key] for choice in distribution.choices)
        return ", ".join(map(str, choices))
    low, high = (getattr(distribution, end) for end in ("low", "high"))
    step = getattr(distribution, "step", None)
    steps = "" if step in (None, 1) else f", step {step:g}"
    return f"{low:g} to {high:g}{steps}{', log' if getattr(distribution, 'log', False) else ''}"
