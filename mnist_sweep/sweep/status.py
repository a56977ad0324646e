"""Shows how far a search is, who works on it, and what runs."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from mnist_sweep.paths import HISTORY, JOB_OUTPUT
from mnist_sweep.report.read.reaching import Search
from mnist_sweep.runs.console import duration, make_console
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.so_far import SoFar
from mnist_sweep.search.display.notation import over_seeds, short_params
from mnist_sweep.search.objectives import format_value
from mnist_sweep.search.points.taken_over import taken_over
from mnist_sweep.search.study.attributes import (
    CHANGES,
    CONTROLLER,
    STATUS,
    is_finished,
    is_rejected,
)
from mnist_sweep.search.study.ended import last_end


def show_status(search: Search) -> None:
    console = make_console()
    trials = search.study.get_trials(deepcopy=False)
    lines = [
        ("study", f"{search.study.study_name} in {search.folder}"),
        ("trials", _counts(search, trials)),
        ("best", _best(search, trials)),
    ]
    if left := _time_left(search, trials):
        lines.append(("left", left))
    lines += [("grown", text) for text in _changes(search)]
    lines += [("warm", f"{one.source}: {one.text}") for one in taken_over(search.study)]
    for name, text in lines:
        console.print(Text(f"{name:<8}{text}"), soft_wrap=True)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    num_running = Counter(str(trial.user_attrs.get(CONTROLLER)) for trial in running)
    at_work = search.leases.at_work()
    for name, lease in at_work.items():
        line = f"{lease.host.split()[0]}, process {lease.pid}: {num_running[name]} running"
        console.print(Text(f"{'works':<8}{line}"), soft_wrap=True)
    if not at_work:
        if (end := last_end(search.study)) is not None:
            console.print(Text(f"{'ended':<8}{end.at}: {end.why}"), soft_wrap=True)
        console.print("works   nobody; the same command goes on with the study")
    if running:
        table = Table(box=None, pad_edge=False)
        for heading in ("trial", "epoch", "val_acc", "on", "params"):
            is_text = heading in ("on", "params")
            table.add_column(heading, justify="left" if is_text else "right")
        for trial in running:
            table.add_row(*_progress(search.folder / str(trial.number), trial))
        console.print(table)


def _changes(search: Search) -> Iterator[str]:
    """What was searched before, and what is searched since."""
    for change in search.study.user_attrs.get(CHANGES, []):
        yield f"{change['when'][:16]} {change['key']}: {change['from']} -> {change['to']}"


def _counts(search: Search, trials: list[FrozenTrial]) -> str:
    finished = list(filter(is_finished, trials))
    pruned = sum(trial.state == TrialState.PRUNED for trial in finished)
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    failed = sum(trial.user_attrs.get(STATUS) in ("failed", "diverged") for trial in trials)
    of = "" if search.n_trials is None else f" of {search.n_trials}"
    return (
        f"{len(finished)}{of} finished: {len(finished) - pruned} completed, {pruned} pruned; "
        f"{waiting} waiting, {sum(map(is_rejected, trials))} rejected, {failed} failed"
    )


def _time_left(search: Search, trials: list[FrozenTrial]) -> str:
    """By what the finished trials took, as many at once as run now; "" where nothing runs, or none
    is finished."""
    finished = list(filter(is_finished, trials))
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    more = (search.n_trials or 0) - len(finished)
    if not (running and finished and more > 0):
        return ""
    took = [t.duration.total_seconds() for t in finished if t.duration is not None]
    return f"about {duration(fmean(took) * more / running)}, {running} at a time"


def _best(search: Search, trials: list[FrozenTrial]) -> str:
    names = search.objectives.names
    best = search.objectives.front(trials)
    if not best:
        return "none yet"
    if len(names) > 1:
        return f"{len(best)} trials that no other one beats"
    value = f"{names[0]} {format_value(best[0].values[0])}{over_seeds(best[0])}"
    return f"trial {best[0].number}: {value}, {search.folder / str(best[0].number)}"


def _progress(run_dir: Path, trial: FrozenTrial) -> list[str]:
    """Of its run under way, the last one of several seeds."""
    found = sorted(run_dir.rglob(JOB_OUTPUT), key=lambda path: path.stat().st_mtime)
    under_way = found[-1].parent if found else run_dir
    history = read_history(under_way) if (under_way / HISTORY).exists() else []
    last = history[-1] if history else None
    accuracy = "-" if last is None or last.val_acc is None else format_value(last.val_acc)
    place = _place(SoFar.of(under_way))
    return [
        *(str(trial.number), str(last.epoch) if last else "-"),
        *(accuracy, place, short_params(trial)),
    ]


def _place(so_far: SoFar) -> str:
    if so_far.host is None:
        return "-"
    gpu = "" if so_far.gpu is None else f", GPU {so_far.gpu.partition(':')[0]}"
    return so_far.host.partition(".")[0] + gpu
