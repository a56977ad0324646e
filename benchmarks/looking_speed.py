"""How long `sweep status`, `list` and `explain` take on a long study, whole processes.

    python benchmarks/looking_speed.py [--trials 10000] [--storage journal | added | sqlite]
                                       [--repeat 5] [--params 12] [--epochs 8] [--keep FOLDER]

The study is made up, operation by operation as a search writes it (`added`: each trial at once, as
`study.add_trials` does; `sqlite`: a database, its rows put in at once), two of three trials pruned,
one in fifty rejected, four running; with the results table and the multirun.yaml of the search, and
rungs at 1, 3 and 8 epochs. Prints the median of the repeats, and the load of the machine.
"""

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_sweep.paths import JOURNAL, RESULTS_TABLE, SWEEP_CONFIG
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable

NAME = "long"
RUNGS = (1, 3, 8)
RUNNING = 4
WORKER = "ddf139c4-c88c-463e-b438-bf0b1a22ae3a-139764063529856"
TIME = "2026-11-25T09:20:52.544130+00:00"
MOMENT = "2026-11-25 09:20:52.544130"
ONES = ("3", "5")

COMMAND = """
hydra:
  sweeper:
    sampler: {_target_: optuna.samplers.TPESampler}
    pruner: null
    study_name: long
    n_trials: 20000
    rungs: [1, 3, 8]
    lease_s: 60
"""


def made_up(options: argparse.Namespace) -> Iterator[FrozenTrial]:
    draw = random.Random(0)
    lr = FloatDistribution(1e-4, 0.1, log=True)
    kernels = [CategoricalDistribution(ONES) for _ in range(options.params - 1)]
    kinds: dict[str, BaseDistribution] = {"optimizer.lr": lr}
    kinds |= {f"model.stage1.k{n}": k for n, k in enumerate(kernels)}
    for number in range(options.trials):
        params = {name: draw.choice(ONES) for name in kinds} | {
            "optimizer.lr": draw.uniform(1e-4, 0.1)
        }
        overrides = [f"{name}={value}" for name, value in params.items()]
        attrs: dict[str, Any] = {
            "controller": "bb7324142cd6",
            "config": f"c{number:011x}",
            "num_params": draw.randrange(4000, 20_000),
            "overrides": ["data=mnist", "model=cnn_space", *overrides],
        }
        is_rejected, is_pruned = number % 50 == 49, number % 3 > 0
        state = TrialState.PRUNED if is_rejected or is_pruned else TrialState.COMPLETE
        if number >= options.trials - RUNNING:
            state = TrialState.RUNNING
        elif is_rejected:
            attrs |= {"status": "infeasible", "error": "21,034 parameters, 20,000 allowed"}
        elif is_pruned:
            attrs |= {"status": "pruned", "error": "epoch 1: 0.1, below the cut of 0.9 of rung 1"}
        reached = 0 if is_rejected else RUNGS[0] if is_pruned else options.epochs
        values = {epoch: round(draw.uniform(0.9, 0.99), 5) for epoch in range(1, reached + 1)}
        yield create_trial(
            state=state,
            value=draw.random() if state == TrialState.COMPLETE else None,
            params=params,
            distributions=kinds,
            user_attrs=attrs,
            system_attrs={"constraints:budget": -0.1},
            intermediate_values=values,
        )


def operations(trials: Iterator[FrozenTrial], at_once: bool) -> Iterator[dict[str, Any]]:
    """Of a journal."""
    yield {"op_code": 0, "study_name": NAME, "directions": [2]}
    yield {"op_code": 3, "study_id": 0, "system_attr": {"study:metric_names": ["val_acc"]}}
    for number, trial in enumerate(trials):
        values = trial.intermediate_values
        kinds = {k: distribution_to_json(kind) for k, kind in trial.distributions.items()}
        points = {k: trial.distributions[k].to_internal_repr(v) for k, v in trial.params.items()}
        born: dict[str, Any] = {"op_code": 4, "study_id": 0, "datetime_start": TIME}
        end = {"datetime_complete": TIME} if trial.state.is_finished() else {}
        if at_once:
            made = {"state": trial.state, "value": trial.value, "values": None, **end}
            attrs = {"user_attrs": trial.user_attrs, "system_attrs": trial.system_attrs}
            yield {**born, **made, "distributions": kinds, "params": points, **attrs} | {
                "intermediate_values": values
            }
            continue
        yield born
        own = {"trial_id": number}
        for name, point in points.items():
            told = {"param_name": name, "param_value_internal": point, "distribution": kinds[name]}
            yield {"op_code": 5, **own, **told}
        for key, value in trial.user_attrs.items():
            yield {"op_code": 8, **own, "user_attr": {key: value}}
        for key, value in trial.system_attrs.items():
            yield {"op_code": 9, **own, "system_attr": {key: value}}
        for step, reported in values.items():
            yield {"op_code": 7, **own, "step": step, "intermediate_value": reported}
        if end:
            told = {"state": trial.state, "values": trial.values, **end}
            yield {"op_code": 6, **own, **told}


def write_journal(path: Path, options: argparse.Namespace) -> None:
    with path.open("w") as file:
        for log in operations(made_up(options), options.storage == "added"):
            line = {"op_code": log.pop("op_code"), "worker_id": WORKER, **log}
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def write_database(path: Path, options: argparse.Namespace) -> None:
    """Into the tables that Optuna makes; trial by trial it would take minutes."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.create_study(study_name=NAME, storage=storage, direction="maximize")
    study.set_metric_names(["val_acc"])
    storage.engine.dispose()
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for number, trial in enumerate(made_up(options)):
        own = number + 1
        end = MOMENT if trial.state.is_finished() else None
        rows.setdefault("trials", []).append((own, number, 1, trial.state.name, MOMENT, end))
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            point = kind.to_internal_repr(value), distribution_to_json(kind)
            rows.setdefault("trial_params", []).append((None, own, name, *point))
        for table, attrs in (
            ("trial_user_attributes", trial.user_attrs),
            ("trial_system_attributes", trial.system_attrs),
        ):
            rows.setdefault(table, []).extend(
                (None, own, k, json.dumps(v)) for k, v in attrs.items()
            )
        told = trial.intermediate_values.items()
        rows.setdefault("trial_intermediate_values", []).extend(
            (None, own, step, value, "FINITE") for step, value in told
        )
        if trial.state == TrialState.COMPLETE:
            rows.setdefault("trial_values", []).append((None, own, 0, trial.value, "FINITE"))
    with sqlite3.connect(path) as connection:
        for table, lines in rows.items():
            places = ",".join("?" * len(lines[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", lines)


def write_table(path: Path, options: argparse.Namespace) -> None:
    records = []
    for n in range(options.trials - RUNNING):
        groups: dict[str, str | None] = {"data": "mnist", "model": "cnn_space"}
        record = RunRecord(f"r{n:09}", "completed", groups, 0, val_acc=0.9, study=NAME, trial=n)
        record.run_dir = f"multirun/{NAME}/{n}"
        record.overrides = " ".join(f"model.stage1.k{k}=3" for k in range(options.params))
        records.append(record)
    ResultsTable(path).extend(records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--storage", choices=("journal", "added", "sqlite"), default="journal")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--params", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=RUNGS[-1])
    parser.add_argument("--keep", type=Path, help="make the study here, or use the one that is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        search = folder / "multirun" / NAME
        if not search.is_dir():
            search.mkdir(parents=True)
            (search / SWEEP_CONFIG).write_text(COMMAND)
            write_table(search / RESULTS_TABLE, options)
            if options.storage == "sqlite":
                write_database(folder / "study.db", options)
            else:
                write_journal(search / JOURNAL, options)
        kept = ["--storage", "sqlite:///study.db"] if options.storage == "sqlite" else []
        files = *folder.glob("*.db"), *search.glob("*.journal")
        size = sum(path.stat().st_size for path in files)
        print(f"{options.trials:,} trials, {options.storage}, {size / 1e6:.0f} MB")
        for command in (["status", NAME], ["list", NAME], ["explain", f"{NAME}/7"]):
            found = [timed([*command, *kept], folder) for _ in range(options.repeat)]
            wall, cpu = map(statistics.median, zip(*found, strict=True))
            load = os.getloadavg()[0]
            print(f"{command[0]:<8} {wall:5.2f} s, {cpu:5.2f} s of a processor (load {load:.1f})")


def timed(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of the whole command, and of processors."""
    begin, before = time.monotonic(), os.times()
    subprocess.run(
        [sys.executable, "-m", "mnist_sweep.sweep", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = os.times()
    used = after.children_user + after.children_system
    return time.monotonic() - begin, used - before.children_user - before.children_system


if __name__ == "__main__":
    main()
