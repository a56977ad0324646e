"""The end of a search: how its trials ended, and which are best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.text import Text

from mnist_sweep.hydra_private import as_yaml
from mnist_sweep.intervals import interval
from mnist_sweep.paths import BEST_TRIALS, RESULTS_TABLE
from mnist_sweep.runs.console import duration, show_rule
from mnist_sweep.runs.sweep_end import show_sweep
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.display.front import front_lines
from mnist_sweep.search.display.notation import again, over_seeds, short_params
from mnist_sweep.search.objectives import Objectives, format_value
from mnist_sweep.search.points.taken_over import WarmStart
from mnist_sweep.search.study.attributes import (
    OUT,
    SEED_VALUES,
    STATUS,
    is_finished,
    is_rejected,
    real_widths,
)
from mnist_sweep.search.study.zipped import unzipped
from mnist_sweep.writing import write_whole

SHOWN = ("completed", "pruned", "failed", "diverged", "infeasible")
"""Statuses of the rows of a grid's table; one that was interrupted was tried again."""


class Summary:
    def __init__(
        self,
        console: Console,
        objectives: Objectives,
        sweep_dir: Path,
        command: str,
        swept: Sequence[str] = (),
        warm_starts: Sequence[WarmStart] = (),
    ) -> None:
        """command: of a run in the search's surroundings, its overrides left out. swept: keys of a
        grid, whose runs are shown. warm_starts: what the study has taken over."""
        self.console = console
        self.objectives = objectives
        self.sweep_dir = sweep_dir
        self.command = command
        self.swept = swept
        self.warm_starts = warm_starts

    def show(self, trials: Sequence[FrozenTrial], seconds: float) -> None:
        """The best trial, or the front, and where everything lies; writes the former to a file."""
        completed = sum(t.state == TrialState.COMPLETE for t in trials)
        pruned = sum(is_finished(t) and t.state == TrialState.PRUNED for t in trials)
        rejected = sum(map(is_rejected, trials))
        failed = sum(t.user_attrs.get(STATUS) in ("failed", "diverged") for t in trials)
        self.console.print()
        show_rule(
            self.console,
            f"{completed} completed, {pruned} pruned, {rejected} rejected, "
            f"{failed} failed in {duration(seconds)}",
        )
        if self.swept:
            rows = ResultsTable(self.sweep_dir / RESULTS_TABLE).rows()
            show_sweep(self.console, [r for r in rows if r["status"] in SHOWN], self.swept)
        best = self.objectives.front(trials)
        if not best:
            self._note("no trial was completed, so there is no best one")
        elif len(self.objectives.names) == 1:
            self._show_best(best[0], completed)
            self._write(self._best(best[0]))
        else:
            self._note(f"front   {len(best)} of {completed} completed trials")
            for line in front_lines(best, self.objectives, self.sweep_dir, self.command):
                self._note(line)
            self._write({"solutions": list(map(self._solution, best))})
        if out := [trial for trial in trials if OUT in trial.user_attrs]:
            self._note(_race_in_words(trials, len(out)))
        for one in self.warm_starts:
            counts = f"{len(one.told)} points told to the sampler, {len(one.first)} tried first"
            self._note(f"warm    {one.source}: {counts}; none of its runs is counted here")
        self._note(f"table   {self.sweep_dir / RESULTS_TABLE}")

    def _show_best(self, trial: FrozenTrial, completed: int) -> None:
        value = f"{self.objectives.names[0]} {format_value(trial.value or 0.0)}"
        seeds = over_seeds(trial)
        self._note(f"best    trial {trial.number}: {value}{seeds}, of {completed} completed")
        self._note(f"params  {short_params(trial)}")
        self._note(f"run     {self.sweep_dir / str(trial.number)}")
        self._note(f"again   {again(trial, self.command)}")

    def _best(self, trial: FrozenTrial) -> dict[str, Any]:
        return {
            "best_params": unzipped(trial.params),
            "best_value": trial.value,
            "best_trial": trial.number,
            "best_run_dir": str(self.sweep_dir / str(trial.number)),
            "best_command": again(trial, self.command),
            **_widths(trial, "best_widths"),
            **_seeds(trial),
        }

    def _solution(self, trial: FrozenTrial) -> dict[str, Any]:
        return {
            "params": unzipped(trial.params),
            "values": trial.values,
            "trial": trial.number,
            "run_dir": str(self.sweep_dir / str(trial.number)),
            "command": again(trial, self.command),
            **_widths(trial, "widths"),
        }

    def _write(self, best: dict[str, Any]) -> None:
        """In the stock sweeper's format."""
        write_whole(self.sweep_dir / BEST_TRIALS, as_yaml({"name": "optuna", **best}))

    def _note(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def _race_in_words(trials: Sequence[FrozenTrial], num_out: int) -> str:
    raced = [trial for trial in trials if SEED_VALUES in trial.user_attrs]
    runs = [len(trial.user_attrs[SEED_VALUES]) for trial in raced]
    return (
        f"race    {sum(runs)} runs for {len(runs)} completed trials, where all seeds for each "
        f"would be {len(runs) * max(runs)}; {num_out} could no longer win"
    )


def _seeds(trial: FrozenTrial) -> dict[str, Any]:
    """What is said of a mean over several."""
    values = trial.user_attrs.get(SEED_VALUES)
    if values is None:
        return {}
    found = interval(values)
    return {"best_seed_values": values, "best_interval": None if found is None else list(found)}


def _widths(trial: FrozenTrial, key: str) -> dict[str, dict[str, int]]:
    """What the net has, under this key, where the trial's parameters are proportions of that."""
    widths = real_widths(trial)
    return {key: widths} if widths else {}
