"""Searches that are killed or told to stop, and trials that fail, through the real command line.

Whatever happens to a search, `check_books` holds after its last command: the study has exactly the
trials that were asked for, each of them trained once, with one row in each table.
"""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState

from tests.books import check_books, trained
from tests.conftest import environment, read_table
from tests.searches import (
    BY_MOODY,
    LR,
    Search,
    is_fork_server,
    is_gone,
    search,
    start_at_gate,
    wait_until,
)

__all__ = ["search"]

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(
    ("n_jobs", "is_cut"),
    [
        pytest.param(1, False, id="whole"),
        pytest.param(1, True, id="checkpoint-cut", marks=pytest.mark.slow),
        pytest.param(2, False, id="of-two", marks=pytest.mark.slow),
    ],
)
def test_what_was_cut_short_is_resumed_to_the_same_result(
    search: Search, n_jobs: int, is_cut: bool
) -> None:
    search.arguments = [
        *(LR, "trainer.epochs=60", "hydra/sweeper/pruner=median", f"hydra.sweeper.n_jobs={n_jobs}"),
        f"hydra.sweeper.n_trials={n_jobs}",
    ]
    command = search.start()
    histories = [search.sweep_dir / str(n) / "history.csv" for n in range(n_jobs)]
    wait_until(lambda: all(h.exists() and len(h.read_text().splitlines()) > 20 for h in histories))
    tree = command.tree()
    command.process.kill()
    assert command.wait() == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, tree)))
    explain = [sys.executable, "-m", "mnist_sweep.sweep", "explain", str(search.sweep_dir / "0")]
    explained = subprocess.check_output(explain, cwd=search.folder, env=environment(), text=True)
    assert "s/0: running, but its search is gone: the same command takes it up" in explained
    if is_cut:
        checkpoint = search.sweep_dir / "0" / "checkpoint.pt"
        checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])

    search.run()
    check_books(search, n_jobs)
    for trial in search.finished():
        run_dir = search.sweep_dir / str(trial.number)
        trained_here = re.findall(r"^ +(\d+)/60 ", (run_dir / "output.log").read_text(), re.M)
        assert trained_here[-1] == "60" and (int(trained_here[0]) > 19) == (not is_cut)
        assert set(trial.intermediate_values) == set(range(1, 61)), "the pruner knows of all"
        check = [sys.executable, "-m", "mnist_sweep.rerun", str(run_dir), "--check"]
        done = subprocess.run(check, cwd=search.folder, env=environment(), check=False)
        assert done.returncode == 0, "not what an unbroken run gives"


@pytest.mark.parametrize("victim", ["controller", pytest.param("worker", marks=pytest.mark.slow)])
def test_the_row_of_a_run_that_was_killed_is_of_its_own_seed_and_rung(
    search: Search, victim: str
) -> None:
    search.arguments = [
        *(LR, "hydra.sweeper.rungs=[1,40]", "hydra.sweeper.replicates=2", "hydra.sweeper.n_jobs=2"),
        *("hydra.sweeper.n_trials=2", "hydra.sweeper.max_failure_rate=1"),
    ]
    command = search.start()

    def second_seed_at_last_rung() -> Path | None:
        histories = search.sweep_dir.glob("*/seed_1/history.csv")
        return next((h.parent for h in histories if h.read_text().count("\n") > 3), None)

    run_dir = wait_until(second_seed_at_last_rung, command)
    assert run_dir is not None
    tree = command.tree() if victim == "controller" else command.workers()
    if victim == "controller":
        command.process.kill()
        command.wait()
    else:
        for worker in tree:
            worker.kill()
    wait_until(lambda: all(map(is_gone, tree)))
    if victim == "worker":
        assert command.wait() == 0, command
    search.run()
    check_books(search, 2, replicates=2)
    table = search.table()
    [row] = table[table.run_dir == str(run_dir.relative_to(search.folder))].to_dict("records")
    assert row["status"] == ("interrupted" if victim == "controller" else "failed")
    assert (row["seed"], row["epochs"], row["rung"]) == (1, 40, 40)
    assert row["epochs_done"] == len(pd.read_csv(run_dir / "history.csv")) < 40
    first = table[(table.trial == row["trial"]) & (table.seed == 0)]
    assert list(first.status) == ["completed"] and list(first.epochs_done) == [40]


# Told to stop


@pytest.mark.parametrize("n_jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_lets_running_trials_finish(search: Search, n_jobs: int) -> None:
    command = start_at_gate(search, n_jobs, n_trials=4)
    command.send(signal.SIGINT)
    command.wait_for_output(f"finishing {n_jobs} running trials")
    search.open_gate()
    assert command.wait() == 130, command
    assert command.err.read_text() == "stopped; the same command goes on with the study\n"
    check_books(search, n_jobs)
    assert len(search.trials()) == n_jobs, "no trial was begun after it"
    before = trained(search)
    search.run()
    check_books(search, 4)
    assert before.items() <= trained(search).items()


@pytest.mark.parametrize(
    ("how", "n_jobs"),
    [
        pytest.param("Ctrl-C twice", 1, id="twice-1", marks=pytest.mark.slow),
        pytest.param("Ctrl-C twice", 2, id="twice-2", marks=pytest.mark.slow),
        pytest.param("SIGTERM", 1, id="term-1", marks=pytest.mark.slow),
        pytest.param("SIGTERM", 2, id="term-2"),
        pytest.param("SIGTERM to all", 2, id="term-all-2", marks=pytest.mark.slow),
    ],
)
def test_stopped_at_once_trials_are_interrupted_and_tried_again(
    search: Search, how: str, n_jobs: int
) -> None:
    command = start_at_gate(search, n_jobs, n_trials=4)
    tree = command.tree()
    if how == "Ctrl-C twice":
        command.send(signal.SIGINT)
        command.wait_for_output(f"finishing {n_jobs} running trials")
        command.send(signal.SIGINT)
    elif how == "SIGTERM":
        command.process.terminate()
    else:  # as a batch system does
        command.send(signal.SIGTERM)
    assert command.wait() == 130, command  # the gate is still shut
    assert command.err.read_text().count("\n") == 1, command
    assert "Traceback" not in command.out.read_text()
    wait_until(lambda: all(map(is_gone, tree)))
    stopped = search.trials()
    assert [trial.state for trial in stopped] == [TrialState.FAIL] * n_jobs
    for table in (read_table(search.folder), search.table()):
        assert list(table.status) == ["interrupted"] * n_jobs
        assert table.error.str.contains("tried again").all()

    search.open_gate()
    search.run()
    check_books(search, 4)
    configs = {trial.user_attrs["config"] for trial in search.finished()}
    assert {trial.user_attrs["config"] for trial in stopped} <= configs


@pytest.mark.slow
def test_ctrl_c_while_workers_start_is_no_failure(search: Search) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"]
    command = search.start()
    wait_until(lambda: any(map(is_fork_server, command.tree())), command)
    command.send(signal.SIGINT)
    assert command.wait() == 130, command
    assert command.err.read_text() == "stopped; the same command goes on with the study\n"
    search.run()
    check_books(search, 3)


# Trials that fail


def set_moods(search: Search, moods: dict[str, str]) -> None:
    (search.folder / "moods.json").write_text(json.dumps(moods))


def test_a_bad_trial_costs_itself_alone(search: Search) -> None:
    set_moods(search, {"0.02": "raise", "0.03": "die"})
    search.arguments = [
        *(*BY_MOODY, "optimizer.lr=choice(0.005,0.01,0.015,0.02,0.03,1e30)", "trainer.epochs=3"),
        *("hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=2", "hydra.sweeper.max_retries=2"),
        "hydra.sweeper.max_failure_rate=1",
    ]
    search.run()
    check_books(search, 3)
    table = search.table()
    assert Counter(zip(table.lr, table.status, strict=True)) == {
        (0.005, "completed"): 1,
        (0.01, "completed"): 1,
        (0.015, "completed"): 1,
        (0.02, "failed"): 3,
        (0.03, "failed"): 3,
        (1e30, "diverged"): 1,
    }
    errors = dict(table.groupby("lr").error.first())
    assert errors[0.02] == "RuntimeError: in no mood for 0.02"
    assert "killed by SIGKILL" in errors[0.03]
    assert "the loss is no finite number" in errors[1e30]
    reasons = {trial.user_attrs.get("error") for trial in search.trials()}
    assert {errors[0.02], errors[0.03], errors[1e30]} <= reasons


@pytest.mark.slow
def test_what_fails_once_is_tried_again(search: Search) -> None:
    set_moods(search, {"0.02": "once raise", "0.03": "once die"})
    search.arguments = [
        *(*BY_MOODY, "optimizer.lr=choice(0.01,0.02,0.03)", "hydra.sweeper.n_trials=3"),
        *("hydra.sweeper.n_jobs=2", "hydra.sweeper.max_failure_rate=1"),
    ]
    search.run()
    check_books(search, 3)
    table = search.table()
    assert {lr: list(statuses) for lr, statuses in table.groupby("lr").status} == {
        0.01: ["completed"],
        0.02: ["failed", "completed"],
        0.03: ["failed", "completed"],
    }


def test_without_a_pool_an_exception_costs_its_trial_alone(search: Search) -> None:
    set_moods(search, {"0.02": "raise"})
    search.arguments = [
        *(*BY_MOODY, "optimizer.lr=choice(0.01,0.02,0.03,1e30)", "trainer.epochs=3"),
        *("hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1", "hydra.sweeper.max_retries=0"),
    ]
    search.run()
    check_books(search, 2)
    table = search.table()
    assert dict(zip(table.lr, table.status, strict=True)) == {
        0.01: "completed",
        0.02: "failed",
        0.03: "completed",
        1e30: "diverged",
    }
    assert len(table) == 4


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_too_many_failures_end_the_search_which_can_be_mended(search: Search, n_jobs: int) -> None:
    search.arguments = [
        *("optimizer.lr=choice(0.01,0.02,0.03,0.04,0.05)", *BY_MOODY),
        *("hydra.sweeper.n_trials=5", f"hydra.sweeper.n_jobs={n_jobs}"),
    ]
    set_moods(search, dict.fromkeys(["0.01", "0.02", "0.03", "0.04", "0.05"], "raise"))
    command = search.run(code=1)
    text = command.err.read_text()
    assert text.count("\n") == 1
    assert "4 of 4 trials failed, over hydra.sweeper.max_failure_rate=0.3" in text
    assert "RuntimeError: in no mood for 0.0" in text
    table = search.table()
    assert list(table.status).count("failed") == 4
    assert set(table.status) <= {"failed", "interrupted"}
    set_moods(search, {})
    search.run()
    check_books(search, 5)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["__init__", "forward"])
def test_a_net_that_cannot_be_made_costs_its_trial_alone(search: Search, where: str) -> None:
    """The controller makes each net too, to count its parameters."""
    fails = "if self.mood == 2: raise RuntimeError('no net')"
    (search.folder / "moody.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, mood):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        self.mood = mood\n"
        f"        {fails if where == '__init__' else ''}\n"
        "    def forward(self, images):\n"
        f"        {fails if where == 'forward' else ''}\n"
        "        return super().forward(images)\n"
    )
    (search.folder / "mine" / "model").mkdir(parents=True)
    (search.folder / "mine" / "model" / "moody.yaml").write_text("_target_: moody.Net\nmood: 0\n")
    search.arguments = [
        *("--config-dir", "mine", "model=moody", "model.mood=range(0,4)"),
        *("hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=2", "hydra.sweeper.max_retries=0"),
    ]
    command = search.run()
    assert len([t for t in search.trials() if t.state == TrialState.COMPLETE]) == 3, command
    table = search.table()
    [bad] = table[table.status != "completed"].to_dict("records")
    assert "no net" in bad["error"]
    assert len(table) == 4
