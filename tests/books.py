"""The books of a search, compared row by row: study, both tables, the files of its runs, and what
a rebuild makes of these."""

import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.runs.rebuild import rebuild
from mnist_sweep.runs.table import ResultsTable

if TYPE_CHECKING:
    from tests.searches import Search

HALF_WRITTEN = re.compile(r"\.[\w.]+\.(csv|json|pt|yaml)\.\w{8}")
"""Files that `write_whole` had not yet put in their places."""


def is_finished(trial: FrozenTrial) -> bool:
    """Completed or pruned; a rejected point is neither."""
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended and trial.user_attrs.get("status") != "infeasible"


def check_books(
    search: "Search", n_trials: int, replicates: int = 1, most_half_written: int = 2
) -> None:
    """Study, tables and directories agree on `n_trials` trials, and nothing is there twice.

    most_half_written: files that were not yet in their places, as each kill -9 may leave one.
    """
    trials = search.trials()
    _check_study(trials, n_trials)
    objectives = search.objectives()
    own = _text(search.sweep_dir / "results.csv")
    _check_tables(search, own, most_half_written)
    for trial in trials:
        rows = own[own.trial == str(trial.number)]
        _check_rows(trial, rows, replicates, objectives)
        for row in rows[rows.status.isin(["completed", "pruned"])].to_dict("records"):
            _check_history(search.folder / row["run_dir"], row)
        if is_finished(trial) and trial.intermediate_values and replicates == 1:
            [row] = rows.to_dict("records")
            history = pd.read_csv(search.folder / row["run_dir"] / "history.csv")
            step, value = max(trial.intermediate_values.items())
            assert history.set_index("epoch").val_acc[step] == pytest.approx(value)


def _check_study(trials: list[FrozenTrial], n_trials: int) -> None:
    states = Counter(trial.state.name for trial in trials)
    finished = [trial for trial in trials if is_finished(trial)]
    assert len(finished) == n_trials, states
    assert not states["RUNNING"], states
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    for trial in waiting:  # for when the study is to have more
        assert {"retry_of", "first"} & trial.user_attrs.keys()
    configs = [trial.user_attrs["config"] for trial in finished]
    assert len(set(configs)) == n_trials, "a configuration was trained twice"
    retries = [
        trial.user_attrs["retry_of"]
        for trial in trials
        if "retry_of" in trial.user_attrs and trial.user_attrs.get("status") != "duplicate"
    ]
    assert len(set(retries)) == len(retries), "a trial was tried again twice over"


def _check_tables(search: "Search", own: pd.DataFrame, most_half_written: int) -> None:
    """The search's own table has all rows, the common one those of runs, and so has a rebuilt one:
    what the directories hold."""
    assert not list(search.folder.rglob("*.torn"))
    half = [path for path in search.folder.rglob(".*") if HALF_WRITTEN.fullmatch(path.name)]
    assert len(half) <= most_half_written, "more than a kill can leave"
    assert own.run_id.is_unique and set(own.study) == {"s"}
    assert set(own.trial) <= {str(trial.number) for trial in search.trials()}
    runs = own[own.run_dir != ""]
    begun = {str(path.relative_to(search.folder)) for path in search.run_dirs()}
    assert begun - set(runs.run_dir) == set(), "a run has no row"
    again = search.folder / "again" / "results.csv"
    rebuild(ResultsTable(again), [search.sweep_dir])
    for table in (search.folder / "outputs" / "results.csv", again):
        pd.testing.assert_frame_equal(_by_run(_text(table)), _by_run(runs), check_like=True)


def _text(path: Path) -> pd.DataFrame:
    """A table with its cells as they stand there."""
    assert path.read_text().endswith("\n")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _by_run(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("run_id", ignore_index=True)


def _check_rows(
    trial: FrozenTrial, rows: pd.DataFrame, replicates: int, objectives: list[str]
) -> None:
    """rows: of this trial."""
    seeds = [trial.params["seed"]] if "seed" in trial.params else range(replicates)
    assert rows.seed.is_unique and set(rows.seed) <= {str(seed) for seed in seeds}
    statuses, attrs = set(rows.status), trial.user_attrs
    if attrs.get("status") == "infeasible":
        assert list(rows.status) == ["infeasible"] and set(rows.run_dir) == {""}
    elif trial.state == TrialState.COMPLETE:
        raced = len(attrs["seed_values"]) if "out_of_race" in attrs else replicates
        assert list(rows.status) == ["completed"] * raced
        for name, value in zip(objectives, trial.values, strict=True):
            assert rows[name].astype(float).mean() == pytest.approx(value)
    elif trial.state == TrialState.PRUNED:
        assert statuses == {"pruned"} and set(rows.error) == {attrs["error"]}
    elif "config" in attrs:
        failed = rows[rows.status != "completed"]  # earlier seeds may be
        assert attrs["status"] in set(failed.status) <= {"interrupted", "failed", "diverged"}
        assert (failed.error != "").all()
    else:
        assert statuses <= {"interrupted"}, "of a trial that had not begun"


def _check_history(run_dir: Path, row: dict[Hashable, str]) -> None:
    history = pd.read_csv(run_dir / "history.csv")
    assert list(history.epoch) == list(range(1, int(row["epochs_done"]) + 1))
    assert history.val_acc.iloc[-1] == pytest.approx(float(row["val_acc"]))


def trained(search: "Search") -> dict[Path, int]:
    """When each epoch's history of the finished trials was last written."""
    return {
        path: path.stat().st_mtime_ns
        for trial in search.finished()
        for path in (search.sweep_dir / str(trial.number)).rglob("history.csv")
    }
