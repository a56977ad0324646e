"""All that is known of one trial: its point, its net, its epochs, why it ended, what it led to."""

import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from mnist_sweep.errors import UserError
from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import CHECKPOINT, HISTORY, RESULT
from mnist_sweep.report.read.study import of_last_command
from mnist_sweep.runs.console import duration, make_console
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.record import RunRecord, read_result
from mnist_sweep.runs.surroundings import Surroundings
from mnist_sweep.search.classes import OPTUNA_CLASSES, construct
from mnist_sweep.search.display.notation import again
from mnist_sweep.search.objectives import format_value
from mnist_sweep.search.optuna_private import Cut, is_given
from mnist_sweep.search.study.attributes import (
    ATTEMPT,
    ERROR,
    NUM_PARAMS,
    OVERRIDES,
    RETRY,
    RETRY_OF,
    STATUS,
    real_widths,
)
from mnist_sweep.search.study.zipped import keys_of, unzipped
from mnist_sweep.search.trials.standing import cuts_of_pruner, cuts_of_rungs
from mnist_sweep.sweep.reaching import Search

STATES = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def explain(search: Search, number: int) -> None:
    """
    Raises:
        UserError: there is no such trial.
    """
    trials = search.study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        there = f"it has trials 0 to {len(trials) - 1}" if trials else "it has none yet"
        raise UserError(f"{search.folder}/{number}: no such trial of the study; {there}")
    trial, console = trials[number], make_console()
    run_dirs = _run_dirs(search.folder / str(number))
    parts = (
        _what_it_is(search, trial),
        _net(trial, [record for record in map(_record, run_dirs) if record is not None]),
    )
    for name, text in (line for part in parts for line in part):
        console.print(Text(f"{name:<8}{text}"), soft_wrap=True)
    for table in (_point(trial), _epochs(search, trial, run_dirs)):
        if table.row_count:
            console.print(table)
    for name, text in (*_end(trial, trials), *_commands(search, trial, run_dirs)):
        console.print(Text(f"{name:<8}{text}"), soft_wrap=True)


def state_of(trial: FrozenTrial) -> str:
    """As its row's status, where it has one."""
    return str(trial.user_attrs.get(STATUS) or STATES.get(trial.state, "failed"))


def _run_dirs(folder: Path) -> list[Path]:
    """Of the trial's seeds."""
    return sorted({path.parent for path in [*folder.rglob(HISTORY), *folder.rglob(RESULT)]})


def _record(run_dir: Path) -> RunRecord | None:
    try:
        return read_result(run_dir)
    except UserError:  # it has not ended
        return None


def _what_it_is(search: Search, trial: FrozenTrial) -> Iterator[tuple[str, str]]:
    value = ""
    if trial.state == TrialState.COMPLETE:
        names = search.study.metric_names or ["value"] * len(trial.values)
        pairs = zip(names, trial.values, strict=True)
        value = ", " + ", ".join(f"{name} {format_value(number)}" for name, number in pairs)
    is_left = trial.state == TrialState.RUNNING and bool(search.leases.unheld([trial]))
    left = ", but its search is gone: the same command takes it up" if is_left else ""
    yield "trial", f"{search.study.study_name}/{trial.number}: {state_of(trial)}{value}{left}"
    if trial.datetime_start is not None:
        end = trial.datetime_complete
        took = (end or datetime.now()) - trial.datetime_start
        since = f"{trial.datetime_start:%Y-%m-%d %H:%M:%S}"
        yield "time", f"begun {since}, {'took' if end else 'for'} {duration(took.total_seconds())}"
    yield "asked", _asked(search, trial)


def _asked(search: Search, trial: FrozenTrial) -> str:
    """Who proposed the point."""
    if (earlier := trial.user_attrs.get(RETRY_OF)) is not None:
        return f"the point of trial {earlier}, which is tried again"
    target = of_last_command(search.folder, "sampler._target_")
    sampler = "a sampler that is not known here" if target is None else target.rpartition(".")[2]
    return f"{sampler}, which goes through given points" if is_given(trial) else sampler


def _net(trial: FrozenTrial, records: list[RunRecord]) -> Iterator[tuple[str, str]]:
    num_params = trial.user_attrs.get(NUM_PARAMS)
    if num_params is None:
        return
    text = f"{num_params:,} params"
    if records and records[0].macs is not None:
        text += f", {records[0].macs:,} MACs"
    if records and records[0].receptive_field is not None:
        text += f", receptive field {records[0].receptive_field} pixels"
    yield "net", text


def _point(trial: FrozenTrial) -> Table:
    table = _table("parameter", "value", "of")
    widths = real_widths(trial)
    for name, values in trial.distributions.items():
        for key, value in unzipped({name: trial.params[name]}).items():
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            width = f", {widths[key]} in the net" if key in widths else ""
            others = [other for other in keys_of(name) if other != key]
            moves = f", together with {', '.join(others)}" if others else ""
            table.add_row(key, shown + width, _values(key, name, values) + moves)
    return table


def _values(key: str, name: str, distribution: BaseDistribution) -> str:
    """That the key may have. name: of the parameter."""
    if isinstance(distribution, CategoricalDistribution):
        choices = (unzipped({name: choice})[key] for choice in distribution.choices)
        return ", ".join(map(str, choices))
    low, high = (getattr(distribution, end) for end in ("low", "high"))
    step = getattr(distribution, "step", None)
    steps = "" if step in (None, 1) else f", step {step:g}"
    return f"{low:g} to {high:g}{steps}{', log' if getattr(distribution, 'log', False) else ''}"


def _epochs(search: Search, trial: FrozenTrial, run_dirs: list[Path]) -> Table:
    """What each epoch measured, and the cut that it would be held against now."""
    cuts = _cuts(search, trial)
    seeds = ["seed"] if len(run_dirs) > 1 else []
    last = ["cut now"] if cuts else []
    table = _table(*seeds, "epoch", "train_acc", "val_loss", "val_acc", *last, numbers=True)
    for place, run_dir in enumerate(run_dirs):
        for metrics in _history(run_dir):
            cells = [str(metrics.epoch)]
            cells += map(_cell, (metrics.train_acc, metrics.val_loss, metrics.val_acc))
            if cuts:
                cut = cuts.get(metrics.epoch) if place == 0 else None
                cells.append("" if cut is None else f"{format_value(cut.cut)}, {cut.of}")
            own = [run_dir.name.removeprefix("seed_")] if seeds else []
            table.add_row(*own, *cells)
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _history(run_dir: Path) -> list[EpochMetrics]:
    try:
        return read_history(run_dir)
    except Exception:  # it has none yet, or is being written
        return []


def _end(trial: FrozenTrial, trials: list[FrozenTrial]) -> Iterator[tuple[str, str]]:
    attrs = trial.user_attrs
    if trial.state.is_finished() and attrs.get(ERROR):
        yield "ended", str(attrs[ERROR])
    if attrs.get(ATTEMPT):
        yield "attempt", f"{attrs[ATTEMPT] + 1}"
    retries = [t.number for t in trials if t.user_attrs.get(RETRY_OF) == trial.number]
    if retries:
        yield "retry", f"trial {retries[0]} tries its point again"
    elif attrs.get(RETRY):
        yield "retry", "the same command on the study tries its point again"


def _commands(
    search: Search, trial: FrozenTrial, run_dirs: list[Path]
) -> Iterator[tuple[str, str]]:
    if OVERRIDES not in trial.user_attrs:
        return
    command = Surroundings.recorded(run_dirs[0]).command if run_dirs else Surroundings().command
    yield "again", again(trial, command)
    if trial.state != TrialState.PRUNED:
        return  # else its training to the end
    if rungs := _rungs_of(search):
        whole = [*trial.user_attrs[OVERRIDES], f"trainer.epochs={rungs[-1]}"]
        yield "whole", f"{command} {shlex.join(whole)}"
    elif len(run_dirs) == 1 and (run_dirs[0] / CHECKPOINT).is_file():
        resume = shlex.quote(f"resume={run_dirs[0]}")
        yield "whole", f"{Surroundings().command} {resume}"


def _rungs_of(search: Search) -> list[int]:
    return list(of_last_command(search.folder, "rungs") or ())


def _cuts(search: Search, trial: FrozenTrial) -> dict[int, Cut]:
    if rungs := _rungs_of(search):
        return cuts_of_rungs(search.study, trial, rungs, search.objectives)
    config = of_last_command(search.folder, "pruner")
    if config is None or len(search.study.directions) > 1:
        return {}
    return cuts_of_pruner(
        search.study, trial, construct(config, "hydra.sweeper.pruner", OPTUNA_CLASSES)
    )


def _table(*headings: str, numbers: bool = False) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if numbers and heading != "cut now" else "left")
    return table
