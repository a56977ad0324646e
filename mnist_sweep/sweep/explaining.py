"""Shows all that is known of one trial in a terminal."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from mnist_sweep.report.analysis.explained import Explained, Explainer
from mnist_sweep.report.read.reaching import Search
from mnist_sweep.runs.console import duration, make_console
from mnist_sweep.search.objectives import format_value


def explain(search: Search, number: int) -> None:
    """
    Raises:
        UserError: there is no such trial.
    """
    info, console = Explainer(search).explain(number), make_console()
    for name, text in _head(info):
        console.print(Text(f"{name:<8}{text}"), soft_wrap=True)
    for table in (_point(info), _epochs(info)):
        if table.row_count:
            console.print(table)
    for name, text in _end(info):
        console.print(Text(f"{name:<8}{text}"), soft_wrap=True)


def _head(info: Explained) -> Iterator[tuple[str, str]]:
    values = "".join(f", {name} {format_value(value)}" for name, value in info.values.items())
    left = ", but its search is gone: the same command takes it up" if info.is_left else ""
    yield "trial", f"{info.study}/{info.number}: {info.state}{values}{info.over_seeds}{left}"
    if info.begun is not None and info.seconds is not None:
        took = f"{'took' if info.has_ended else 'for'} {duration(info.seconds)}"
        yield "time", f"begun {info.begun:%Y-%m-%d %H:%M:%S}, {took}"
    yield "asked", info.asked
    if info.num_params is not None:
        text = f"{info.num_params:,} params"
        text += "" if info.macs is None else f", {info.macs:,} MACs"
        if info.receptive_field is not None:
            text += f", receptive field {info.receptive_field} pixels"
        yield "net", text


def _point(info: Explained) -> Table:
    table = _table("parameter", "value", "of")
    for choice in info.point:
        table.add_row(choice.name, choice.shown, choice.of)
    return table


def _epochs(info: Explained) -> Table:
    has_seeds = any(epoch.seed for epoch in info.epochs)
    has_cuts = any(epoch.against for epoch in info.epochs)
    seed, cut = ["seed"] if has_seeds else [], ["cut now"] if has_cuts else []
    table = _table(*seed, "epoch", "train_acc", "val_loss", "val_acc", *cut, numbers=True)
    for epoch in info.epochs:
        cells = [epoch.seed] if has_seeds else []
        cells.append(str(epoch.epoch))
        cells += map(_cell, (epoch.train_acc, epoch.val_loss, epoch.val_acc))
        if has_cuts:
            cells.append(epoch.against.shown if epoch.against else "")
        table.add_row(*cells)
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _end(info: Explained) -> Iterator[tuple[str, str]]:
    attempt = str(info.attempt) if info.attempt > 1 else ""
    lines = {"ended": info.ended, "race": info.race, "attempt": attempt, "retry": info.retry}
    commands = {"again": info.again, "whole": info.whole}
    yield from ((name, text) for name, text in {**lines, **commands}.items() if text)


def _table(*headings: str, numbers: bool = False) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if numbers and heading != "cut now" else "left")
    return table
