"""The end of a `-m` sweep: its runs as a table, seeds taken together, and what never ran."""

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = dict[str, str]
"""Of a results table, as text."""

SEED = "seed"
METRICS = ("val_acc", "test_acc")
SELECT = "select"
"""The protocol with a validation set."""

MOST_MISSING = 10
"""Jobs that never ran whose commands are shown."""

MULTIRUN_FLAGS = ("-m", "--multirun")


def show_sweep(console: Console, rows: Sequence[Row], swept: Sequence[str]) -> None:
    """A line for each run in their order or, where seeds were swept, for each configuration: what
    was varied, the size, how they ended.

    rows: of the sweep's results table. swept: the varied keys; those that are no column are read
    from the overrides.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    shown = [key for key in swept if key != SEED]
    for key in shown:
        table.add_column(Text(key.rpartition(".")[2]), overflow="fold")
    with_seeds = SEED in swept
    for name in (*(["n"] if with_seeds else []), "params", *METRICS, "status"):
        table.add_column(name, justify="right")
    for values, runs in _configurations(rows, shown, apart=not with_seeds):
        completed = [run for run in runs if run["status"] == "completed"]
        counts = Counter(run["status"] for run in runs)
        table.add_row(
            *map(Text, values),
            *([str(len(completed))] if with_seeds else []),
            runs[0]["num_params"],
            *(_mean(completed if with_seeds else runs, name) for name in METRICS),
            next(iter(counts))
            if len(counts) == 1
            else ", ".join(f"{number} {status}" for status, number in counts.items()),
        )
    console.print(table)


def _configurations(
    rows: Sequence[Row], keys: Sequence[str], *, apart: bool
) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """The values of the keys, and the runs that have them; apart: each run alone."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        given = _given(row)
        values = tuple(given.get(key, "") for key in keys)
        if apart:
            yield values, [row]
        else:
            found.setdefault(values, []).append(row)
    yield from found.items()


def _given(row: Row) -> dict[str, str]:
    """Key -> value, of the run's overrides."""
    return dict(item.split("=", 1) for item in shlex.split(row["overrides"]) if "=" in item)


def _mean(runs: Sequence[Row], name: str) -> str:
    """With the standard deviation where there are several."""
    values = [float(run[name]) for run in runs if run[name]]
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


# What never ran


def show_missing(
    console: Console,
    rows: Sequence[Row],
    swept: Mapping[str, Sequence[str]],
    arguments: Sequence[str],
    study: str,
) -> None:
    """Says which jobs of a grid left no row, and how to run them. swept: key -> its values;
    arguments: of the command line; study: a name for one that goes on with them."""
    done = [_given(row) for row in rows]
    points = [dict(zip(swept, values, strict=True)) for values in product(*swept.values())]
    missing = [point for point in points if not any(_is_of(point, given) for given in done)]
    if not missing:
        return
    lines = [f"never ran (no row): {len(missing)} of {len(points)} jobs; each by itself:"]
    lines += [_command(point, arguments) for point in missing[:MOST_MISSING]]
    if len(missing) > MOST_MISSING:
        lines.append(f"and {len(missing) - MOST_MISSING} more")
    lines += [_as_study(rows, missing, arguments, study)]
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _is_of(point: Mapping[str, str], given: Mapping[str, str]) -> bool:
    return all(given.get(key) == value for key, value in point.items())


def _command(point: Mapping[str, str], arguments: Sequence[str]) -> str:
    """What runs it alone: the same command line with one value in the place of each sweep."""
    own = [f"{key}={value}" for key, value in point.items()]
    return f"python -m mnist_sweep {shlex.join([*_kept(point, arguments), *own])}"


def _kept(keys: Collection[str], arguments: Sequence[str]) -> list[str]:
    """Of the command line, what holds for each job."""
    return [
        argument
        for argument in arguments
        if argument not in MULTIRUN_FLAGS
        and argument.partition("=")[0] not in keys
        and not argument.startswith("hydra.sweep")
    ]


def _as_study(
    rows: Sequence[Row],
    missing: Sequence[Mapping[str, str]],
    arguments: Sequence[str],
    study: str,
) -> str:
    """The smallest grid that has all of the missing ones, as a study, which can be stopped."""
    values = {key: list(dict.fromkeys(point[key] for point in missing)) for key in missing[0]}
    kept = [a for a in _kept(values, arguments) if not a.startswith("sweep=")]
    objective = []
    if any(row.get("protocol", SELECT) != SELECT for row in rows):  # no validation set
        objective = ["hydra.sweeper.objective=num_params", "hydra.sweeper.direction=minimize"]
    own = [f"{key}={','.join(found)}" for key, found in values.items()]
    words = ["sweep=grid", f"hydra.sweeper.study_name={study}", *objective, *kept, *own]
    again = math.prod(map(len, values.values())) - len(missing)
    which = f", {again} that ran among them" if again else ""
    what = f"all {len(missing)} of them{which}, as a study, which goes on after Ctrl-C:"
    return f"{what}\npython -m mnist_sweep -m {shlex.join(words)}"
