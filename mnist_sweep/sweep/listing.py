"""The trials of a search, a line each."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from rich.table import Table
from rich.text import Text

from mnist_sweep.report.read.reaching import Search
from mnist_sweep.runs.console import duration, make_console
from mnist_sweep.search.display.notation import short_params
from mnist_sweep.search.objectives import format_value
from mnist_sweep.search.study.attributes import ERROR, NUM_PARAMS, state_of


def show_trials(search: Search, *, best: bool, state: str | None, top: int) -> None:
    """best: those on the front first, then the others by value, in the place of the newest first.
    state: only those in it. top: at most so many; 0: all."""
    console = make_console()
    trials = search.study.get_trials(deepcopy=False)
    chosen = [trial for trial in trials if state in (None, state_of(trial))]
    ordered = _by_value(search, chosen) if best else chosen[::-1]
    shown = ordered[:top] if top else ordered
    names = search.objectives.names
    table = Table(box=None, pad_edge=False)
    for heading in ("trial", "state", *names, "params", "took"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    table.add_column("point, or why it ended", no_wrap=True, overflow="ellipsis")
    for trial in shown:
        table.add_row(*_cells(trial, len(names)))
    console.print(table)
    if len(shown) < len(ordered):
        console.print(Text(f"{len(ordered) - len(shown):,} more: --top 0 shows all"))


def _by_value(search: Search, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    completed = [trial for trial in trials if trial.values and trial.state.name == "COMPLETE"]
    front = search.objectives.front(completed)
    on_it = {trial.number for trial in front}
    rest = [trial for trial in completed if trial.number not in on_it]
    rest.sort(key=lambda trial: search.objectives.scores(trial.values), reverse=True)
    return [*front, *rest]


def _cells(trial: FrozenTrial, objectives: int) -> list[str]:
    values = trial.values if trial.state.name == "COMPLETE" else None
    num_params = trial.user_attrs.get(NUM_PARAMS)
    took = trial.duration
    reason = str(trial.user_attrs.get(ERROR) or "") if trial.state.is_finished() else ""
    return [
        str(trial.number),
        state_of(trial),
        *(map(format_value, values) if values else ["-"] * objectives),
        "-" if num_params is None else f"{num_params:,}",
        "-" if took is None else duration(took.total_seconds()),
        reason or short_params(trial),
    ]
