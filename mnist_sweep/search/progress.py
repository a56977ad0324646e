"""What a search shows: a line for each trial that ended, a bar below, the best at the end."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from mnist_sweep.paths import BEST_TRIALS, RESULTS_TABLE
from mnist_sweep.runs.console import WIDTH_WITHOUT_TERMINAL, duration
from mnist_sweep.search.ledger import ERROR, NUM_PARAMS, OVERRIDES, STATUS, is_finished, is_rejected
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.writing import write_whole

STYLES = {"completed": "green", "pruned": "yellow", "failed": "red", "diverged": "red"}


class Progress:
    """`with` it: the bar is shown. It writes to the standard output of when it was made."""

    def __init__(
        self, study: Study, n_trials: int, settings: SearchSettings, sweep_dir: Path
    ) -> None:
        self.study = study
        self.n_trials = n_trials
        self.settings = settings
        self.sweep_dir = sweep_dir
        # The stream by name: in a search without a pool, sys.stdout is a run's file at times.
        self.console = Console(highlight=False, file=sys.stdout)
        if not self.console.is_terminal:
            self.console.width = WIDTH_WITHOUT_TERMINAL
        self.bar = Bar(
            BarColumn(bar_width=20),
            TextColumn("{task.completed} of {task.total}{task.fields[rest]}"),
            console=self.console,
            transient=True,
            refresh_per_second=2,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("trials", total=n_trials, rest="")
        self.start = time.monotonic()
        self.finished_before = 0

    def __enter__(self) -> "Progress":
        trials = self.study.get_trials(deepcopy=False)
        self.finished_before = sum(map(is_finished, trials))
        name = self.study.study_name
        before = f", {self.finished_before} of them before" if self.finished_before else ""
        self.note(f"study   {name}: {self.n_trials} trials in all{before}")
        self.bar.start()
        self.update(trials)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def note(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        finished = sum(map(is_finished, trials))
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        pruned = sum(is_finished(t) and t.state == TrialState.PRUNED for t in trials)
        rejected = sum(map(is_rejected, trials))
        rest = f", {running} running, {pruned} pruned, {rejected} rejected"
        done_here = finished - self.finished_before
        if done_here and finished < self.n_trials:
            seconds = (time.monotonic() - self.start) / done_here * (self.n_trials - finished)
            rest += f", {duration(seconds)} left"
        self.bar.update(self.task, completed=finished, rest=rest)

    def ended(self, trials: Sequence[FrozenTrial], number: int) -> None:
        """The line of a trial that has just ended."""
        trial = trials[number]
        state = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned"}.get(trial.state)
        state = state or str(trial.user_attrs.get(STATUS, "failed"))
        num_params = trial.user_attrs.get(NUM_PARAMS)
        cells = [f"{number:>5}", f"{state:<9}", self._values(trial)]
        if num_params is not None and "num_params" not in self.settings.objective:
            cells.append(f"{num_params:>7,} params")
        completed = [t for t in trials if t.state == TrialState.COMPLETE]
        if completed and len(self.settings.objective) == 1:
            sign = 1 if self.settings.direction[0] == "maximize" else -1
            best = max(completed, key=lambda t: (sign * t.values[0], -t.number))
            cells.append(f"best {format_value(best.values[0])} (#{best.number})")
        text = Text("  ".join(cells), style=STYLES.get(state, ""))
        rest = trial.user_attrs.get(ERROR) or short_params(trial.params)
        text.append(f"  {rest}", style="dim")
        self.console.print(text, no_wrap=True, overflow="ellipsis")
        self.update(trials)

    def _values(self, trial: FrozenTrial) -> str:
        names = self.settings.objective
        values: Sequence[float | None] = trial.values or [None] * len(names)
        if trial.state == TrialState.FAIL:
            values = [None] * len(names)
        return "  ".join(
            f"{name} {'-' * 6 if value is None else format_value(value)}"
            for name, value in zip(names, values, strict=False)
        )

    def summary(self, trials: Sequence[FrozenTrial]) -> None:
        """The best trial and where everything lies; writes optimization_results.yaml."""
        self.update(trials)
        self.bar.stop()
        completed = [t for t in trials if t.state == TrialState.COMPLETE]
        pruned = [t for t in trials if is_finished(t) and t.state == TrialState.PRUNED]
        rejected = sum(map(is_rejected, trials))
        failed = sum(t.user_attrs.get(STATUS) in ("failed", "diverged") for t in trials)
        took = duration(time.monotonic() - self.start)
        self.console.print()
        self.console.rule(
            f"{len(completed)} completed, {len(pruned)} pruned, {rejected} rejected, "
            f"{failed} failed in {took}",
            align="left",
            style="dim",
        )
        results: dict[str, Any] = {"name": "optuna"}
        best = front(self.study, trials)
        if not best:
            self.note("no trial was completed, so there is no best one")
        elif len(self.settings.objective) == 1:
            [one] = best[:1]
            results |= {
                "best_params": one.params,
                "best_value": one.value,
                "best_trial": one.number,
                "best_run_dir": str(self.sweep_dir / str(one.number)),
                "best_command": again(one),
            }
            objective = self.settings.objective[0]
            what = f"{objective} {format_value(one.value or 0.0)}, of {len(completed)} completed"
            self.note(f"best    trial {one.number}: {what}")
            self.note(f"params  {short_params(one.params)}")
            self.note(f"run     {self.sweep_dir / str(one.number)}")
            self.note(f"again   {again(one)}")
        else:
            results["solutions"] = [
                {
                    "params": t.params,
                    "values": t.values,
                    "trial": t.number,
                    "run_dir": str(self.sweep_dir / str(t.number)),
                }
                for t in best
            ]
            self.note(f"front   {len(best)} of {len(completed)} completed trials")
            self._show_front(best)
        if best:
            text = OmegaConf.to_yaml(OmegaConf.create(results))
            write_whole(self.sweep_dir / BEST_TRIALS, text)
        self.note(f"table   {self.sweep_dir / RESULTS_TABLE}")

    def _show_front(self, best: Sequence[FrozenTrial]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("trial", justify="right")
        for name in self.settings.objective:
            table.add_column(name, justify="right")
        table.add_column("parameters", no_wrap=True, overflow="ellipsis")
        for trial in best:
            values = map(format_value, trial.values)
            table.add_row(str(trial.number), *values, Text(short_params(trial.params)))
        self.console.print(table)


def again(trial: FrozenTrial) -> str:
    """The command that runs the trial again, alone."""
    return "python -m mnist_sweep " + shlex.join(trial.user_attrs[OVERRIDES])


def front(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Completed trials that no other one is better than in every objective, best first."""
    signs = [1 if d == StudyDirection.MAXIMIZE else -1 for d in study.directions]

    def scores(trial: FrozenTrial) -> list[float]:
        return [sign * value for sign, value in zip(signs, trial.values, strict=True)]

    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    found = [
        trial
        for trial in completed
        if not any(_dominates(scores(other), scores(trial)) for other in completed)
    ]
    return sorted(found, key=lambda trial: (scores(trial), -trial.number), reverse=True)


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def format_value(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def short_params(params: dict[str, Any]) -> str:
    """`num_stages=2 stage1.width=16`: names without their group, numbers with four digits."""
    return " ".join(
        f"{name.removeprefix('model.')}={f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in params.items()
    )
