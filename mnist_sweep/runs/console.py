"""What a run shows while it works: plain lines everywhere, a progress bar on a terminal."""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.runs.record import RunRecord

if TYPE_CHECKING:  # they import torch, and what only looks at runs shows lines, too
    from mnist_sweep.config import BudgetConfig
    from mnist_sweep.profile import Profile
    from mnist_sweep.sets.dataset import Dataset

NO_LIMIT = 100_000
"""Columns of what is no terminal: nothing is cut or wrapped there."""

RULE = 100
"""Length of a rule where nothing limits it."""


def make_console(file: IO[str] | None = None) -> Console:
    """file: standard output, whatever it is by then, if it is not given."""
    console = Console(highlight=False, file=file)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = NO_LIMIT
    return console


def show_rule(console: Console, title: str) -> None:
    rule = Rule(Text(title), align="left", style="dim")
    console.print(rule, width=min(console.width, max(RULE, len(title) + 4)))


def warn(console: Console, title: str, text: str) -> None:
    console.print(Panel(Text(text), title=Text(title), border_style="bold red", width=78))


def show_data(console: Console, data: "Dataset") -> None:
    val = "no val" if data.val is None else f"{len(data.val):,} val"
    sizes = f"{len(data.train):,} train, {val}, {len(data.test):,} test images"
    console.print(Text(f"data    {data.name}: {sizes}"))


def show_profile(console: Console, costs: "Profile", budget: "BudgetConfig") -> None:
    """The layer table, its totals, and what the budget leaves."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("layer", no_wrap=True, overflow="ellipsis")
    for name in ("output", "receptive field", "params", "MACs"):
        table.add_column(name, justify="right")
    for layer in costs.layers:
        table.add_row(
            Text(layer.label),
            "x".join(map(str, layer.shape)),
            str(layer.receptive_field),
            f"{layer.num_params:,}",
            f"{layer.macs:,}",
        )
    table.add_section()
    table.add_row(
        "total", "", str(costs.receptive_field), f"{costs.num_params:,}", f"{costs.macs:,}"
    )
    console.print(table)
    console.print(Text(f"budget  {budget_line(costs, budget)}"))


def budget_line(costs: "Profile", budget: "BudgetConfig") -> str:
    parts = []
    for what, cost, limit in (
        ("parameters", costs.num_params, budget.max_params),
        ("MACs", costs.macs, budget.max_macs),
    ):
        if limit is not None:
            parts.append(f"{cost:,} of {limit:,} {what}, {limit - cost:,} left")
    return "; ".join(parts) or "none set"


class EpochLines:
    """One line an epoch under a header, and a bar below them on a terminal.

    epoch_images: how many images an epoch trains on; the bar does not count evaluation.
    """

    def __init__(self, console: Console, epochs: int, epoch_images: int) -> None:
        self.console = console
        self.epochs = epochs
        self.epoch_images = epoch_images
        self.header_shown = False
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self.task: TaskID = self.progress.add_task("training", total=epochs * epoch_images)

    def __enter__(self) -> "EpochLines":
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def step(self, images: int) -> None:
        self.progress.advance(self.task, images)

    def epoch(self, history: Sequence[EpochMetrics]) -> None:
        metrics = history[-1]
        self.progress.update(self.task, completed=metrics.epoch * self.epoch_images)
        columns = [
            ("epoch", f"{metrics.epoch}/{self.epochs}", 6),
            ("train_loss", f"{metrics.train_loss:.4f}", 11),
            ("train_acc", f"{metrics.train_acc:.4f}", 10),
            ("val_loss", _four_digits(metrics.val_loss), 9),
            ("val_acc", _four_digits(metrics.val_acc), 8),
            ("test_loss", _four_digits(metrics.test_loss), 10),
            ("test_acc", _four_digits(metrics.test_acc), 9),
            ("lr", f"{metrics.lr:.2g}", 9),
            ("s", f"{metrics.seconds:.1f}", 7),
            ("images/s", f"{metrics.images_per_s:,.0f}", 10),
        ]
        shown = [column for column in columns if column[1]]
        if not self.header_shown:
            header = "".join(f"{name:>{width}}" for name, _, width in shown)
            self.console.print(Text(header, style="bold"))
            self.header_shown = True
        self.console.print(Text("".join(f"{value:>{width}}" for _, value, width in shown)))


def _four_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def show_result(console: Console, record: RunRecord, table: str) -> None:
    """The run's end: its accuracy, what that accuracy is, and where everything lies."""
    lines = []
    if record.test_acc is not None:
        what = f"test, epoch {record.weights_epoch}, evaluated once"
        if record.test_acc_peak is not None:
            what = (
                f"test, last epoch; peak {record.test_acc_peak:.4f} in epoch "
                f"{record.test_peak_epoch}, picked on test"
            )
        lines.append(f"test_acc {record.test_acc:.4f}  ({what})")
    if record.val_acc is not None:
        which = f"epoch {record.weights_epoch or record.epochs_done}"
        if record.best_epoch is not None and f"epoch {record.best_epoch}" != which:
            which += f"; epoch {record.best_epoch} was better"
        lines.append(f"val_acc  {record.val_acc:.4f}  ({which})")
    lines.append(f"run      {record.run_dir}")
    lines.append(f"row      {record.run_id} in {table} ({record.status})")
    console.print(Text("\n".join(lines)), soft_wrap=True)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `1 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
