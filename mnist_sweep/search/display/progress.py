"""What a search shows while it runs: a line for each trial that ended, and a bar below."""

import sys
import time
from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from mnist_sweep.runs.console import duration, make_console
from mnist_sweep.search.display.notation import short_params
from mnist_sweep.search.objectives import Objectives, format_value
from mnist_sweep.search.study.attributes import ERROR, NUM_PARAMS, SEED_VALUES, STATUS
from mnist_sweep.search.study.ledger import Ledger

STYLES = {"completed": "green", "pruned": "yellow", "failed": "red", "diverged": "red"}


class Progress:
    """`with` it: the bar is shown. It writes to the standard output of when it was made."""

    def __init__(self, ledger: Ledger, objectives: Objectives, n_trials: int) -> None:
        self.ledger = ledger
        self.objectives = objectives
        self.n_trials = n_trials
        # The stream by name: in a search without a pool, sys.stdout is a run's file at times.
        self.console = make_console(sys.stdout)
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
        self.best: FrozenTrial | None = None
        self.ranked = 0
        """Completed trials of which `best` is the best."""

    def __enter__(self) -> "Progress":
        self.finished_before = self.ledger.count().taken()
        name = self.ledger.study.study_name
        before = f", {self.finished_before} of them before" if self.finished_before else ""
        self.note(f"study   {name}: {self.n_trials} trials in all{before}")
        self.bar.start()
        self.update()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def note(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def update(self) -> None:
        tally = self.ledger.count()
        finished, running = tally.taken(), len(tally.of_state(TrialState.RUNNING))
        rest = f", {running} running, {tally.pruned} pruned, {tally.rejected} rejected"
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
        cells = [f"{number:>5}", f"{state:<9}"]
        reason = trial.user_attrs.get(ERROR)
        if state == "pruned" and reason:  # which has the value
            cells.append(reason)
        else:
            cells += self._measured(trial)
        text = Text("  ".join(cells), style=STYLES.get(state, ""))
        rest = reason if reason and state != "pruned" else short_params(trial)
        text.append(f"  {rest}", style="dim")
        if self.console.is_terminal:
            self.console.print(text, no_wrap=True, overflow="ellipsis")
        else:
            self.console.print(text, soft_wrap=True)
        self.update()

    def _best(self) -> FrozenTrial | None:
        """Of all so far; those of before are not ranked again."""
        completed = self.ledger.count().completed
        new, self.ranked = completed[self.ranked :], len(completed)
        self.best = self.objectives.best([*new, *([self.best] if self.best else [])])
        return self.best

    def _measured(self, trial: FrozenTrial) -> Iterator[str]:
        yield self._values(trial)
        num_params = trial.user_attrs.get(NUM_PARAMS)
        if num_params is not None and "num_params" not in self.objectives.names:
            yield f"{num_params:>7,} params"
        if len(self.objectives.names) == 1 and (best := self._best()) is not None:
            yield f"best {format_value(best.values[0])} (#{best.number})"

    def _values(self, trial: FrozenTrial) -> str:
        names = self.objectives.names
        values: Sequence[float | None] = trial.values or [None] * len(names)
        if trial.state == TrialState.FAIL:
            values = [None] * len(names)
        seeds = trial.user_attrs.get(SEED_VALUES)
        return "  ".join(
            f"{name} {'-' * 6 if value is None else format_value(value)}"
            for name, value in zip(names, values, strict=False)
        ) + (f" (n={len(seeds)})" if seeds else "")
