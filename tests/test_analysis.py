"""What is said of runs before it is shown: the info objects of the pictures and of the page."""

import itertools
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from mnist_sweep.dominance import non_dominated
from mnist_sweep.metrics import EpochMetrics, is_accuracy
from mnist_sweep.report import load_results
from mnist_sweep.report.analysis.best_trials import best_trials
from mnist_sweep.report.analysis.curves import all_curves, run_curve
from mnist_sweep.report.analysis.failures import failures
from mnist_sweep.report.analysis.front import (
    FrontInfo,
    front_info,
    known_records,
    on_front,
    thinned,
)
from mnist_sweep.report.analysis.importance import importances
from mnist_sweep.report.analysis.leaderboard import leaderboard
from mnist_sweep.report.analysis.pruned import PrunedInfo, TrialCurve
from mnist_sweep.report.analysis.search_history import search_history
from mnist_sweep.report.analysis.timeline import timeline
from mnist_sweep.report.analysis.tracks import TRACK
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.report.read.load import DTYPES
from mnist_sweep.report.read.study import SearchStudy
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.results import alone


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """`table(alone(1), ...)`: the runs as `load_results` reads them, near their directories."""

    def read(*records: RunRecord) -> pd.DataFrame:
        path = tmp_path / "results.csv"
        path.unlink(missing_ok=True)
        ResultsTable(path).extend(list(records))
        return load_results(path)

    return read


def info_of(runs: pd.DataFrame, cost: str = "num_params") -> FrontInfo:
    return front_info(leaderboard(runs), cost)


def test_accuracies_are_named_in_one_way() -> None:
    found = {name for name, dtype in DTYPES.items() if dtype == "float64" and is_accuracy(name)}
    assert found == {
        *("train_acc", "val_acc", "test_acc", "val_acc_raw", "test_acc_raw", "test_acc_peak")
    }
    assert not any(map(is_accuracy, ("val_loss", "num_params", "accuracy_of_text", "acc")))


# The front


def test_a_point_is_a_configuration_the_mean_of_its_runs(table: Any) -> None:
    both = {"num_params": 2000, "config_hash": "c", "model": "twice"}
    runs = table(
        alone(1, val_acc=0.97, num_params=1000, model="small"),
        alone(2, val_acc=0.98, test_acc=None, **both),
        alone(3, val_acc=0.99, test_acc=0.97, seed=1, **both),
        alone(4, val_acc=0.984, test_acc=0.975, num_params=3000, model="beaten"),
        alone(5, num_params=None, model="unknown"),
        alone(6, num_params=10, status="pruned"),
    )
    info = info_of(runs)
    assert (info.cost, info.score, info.scores) == (
        "num_params",
        "val_acc",
        ["val_acc", "test_acc"],
    )
    assert info.title == "mnist, select, 10,000 val and 10,000 test images"
    points = {point.label: point for point in info.points}
    assert list(points) == ["twice", "beaten", "small"] and info.num_configs == 3
    twice = points["twice"]
    assert (twice.run_id, twice.cost, twice.n) == ("r000000002", 2000, 2)
    assert twice.scores["val_acc"].mean == pytest.approx(0.985)
    assert twice.scores["val_acc"].sd == pytest.approx(0.01 / math.sqrt(2))
    assert points["small"].scores["val_acc"].sd is None
    assert [point.cost for point in info.front("val_acc")] == [1000, 2000]
    assert [point.cost for point in info.front("test_acc")] == [1000]
    assert [point.cost for point in info.drawn("val_acc")] == [1000, 2000, 3000]
    assert [point.cost for point in info_of(runs, "macs").drawn("val_acc")] == [10**6] * 4


@pytest.mark.parametrize(
    ("changes", "cost", "comparable"),
    [
        ({}, "num_params", True),
        ({"protocol": "published"}, "num_params", True),
        ({}, "macs", False),
        ({"data": "digits"}, "num_params", False),
        ({"data": "fashion_mnist"}, "num_params", False),
        ({"debug": "fast"}, "num_params", False),
        ({"test_images": 300}, "num_params", False),
        ({"test_images": None}, "num_params", False),
    ],
)
def test_known_records_stand_beside_their_like_only(
    changes: dict[str, Any], cost: str, comparable: bool, table: Any
) -> None:
    info = info_of(table(alone(1, **changes)), cost)
    assert info.records_beside("test_acc") == (known_records() if comparable else ())
    assert info.records_beside("val_acc") == ()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_fewer_dots_stand_for_all_and_keep_the_front(seed: int, most: int) -> None:
    draw = np.random.default_rng(seed)
    num = 300
    costs = draw.integers(500, 2000, num)
    lines = pd.DataFrame(
        {
            "label": [f"n{n}" for n in range(num)],
            "num_params": costs,
            "n": 1,
            "run_ids": [[f"r{n}"] for n in range(num)],
            "ranked_by": "val_acc_mean",
            "val_acc_mean": draw.integers(9700, 9990, num) / 1e4,
            "val_acc_sd": math.nan,
            "test_acc_mean": np.where(draw.random(num) < 0.1, np.nan, 0.98),
            "test_acc_sd": math.nan,
            **{name: None for name in TRACK},
        }
    )
    whole = front_info(lines)
    few = thinned(whole, most)
    assert len(few.points) + sum(point.hidden for point in few.points) == num == few.num_configs
    for score in ("val_acc", "test_acc"):
        shown = [(point.label, point.cost) for point in few.front(score)]
        assert shown == [(point.label, point.cost) for point in whole.front(score)]
    order = [point.run_id for point in whole.points]
    assert sorted(few.points, key=lambda p: order.index(p.run_id)) == list(few.points)
    assert thinned(whole, num) == whole


def dominated(points: list[tuple[float, float]], index: int) -> bool:
    cost, score = points[index]
    return any(
        (c <= cost and s >= score and (c < cost or s > score))
        for c, s in points
        if not math.isnan(c) and not math.isnan(s)
    )


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 5).map(float), st.just(math.nan)),
            st.one_of(st.integers(1, 5).map(float), st.just(math.nan)),
        ),
        max_size=12,
    )
)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    frame = pd.DataFrame(points, columns=["num_params", "val_acc_mean"]).astype("float64")
    expected = [
        not math.isnan(sum(point)) and not dominated(points, index)
        for index, point in enumerate(points)
    ]
    names = "num_params", "val_acc_mean"
    assert on_front(frame, *names).tolist() == expected
    nullable = frame.astype({"num_params": "Int64"})
    assert on_front(nullable, *names).tolist() == expected
    negative = pd.DataFrame({"cost": -frame.val_acc_mean, "score": -frame.num_params})
    assert on_front(negative, "cost", "score").tolist() == expected


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(-1, 2).map(float)] * 3), max_size=12))
def test_of_three_objectives_too(rows: list[tuple[float, ...]]) -> None:
    values = np.array(rows).reshape(-1, 3)
    assert non_dominated(values).tolist() == by_definition(values)


def by_definition(values: np.ndarray) -> list[bool]:
    return [
        not any((other >= row).all() and (other > row).any() for other in values) for row in values
    ]


@pytest.mark.parametrize("levels", [3, 20, 1000])
@pytest.mark.parametrize("objectives", range(1, 6))
def test_many_points_are_compared_in_parts(objectives: int, levels: int) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, levels, (700, objectives)).astype(float)
    values[0, 0], values[1, -1], values[2] = -np.inf, np.inf, np.inf if levels == 3 else 0
    assert non_dominated(values).tolist() == by_definition(values)


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("kind", ["all on it", "all the same", "in each other's way"])
def test_a_front_may_have_a_hundred_thousand_points(kind: str, objectives: int) -> None:
    """Each point against each would be ten thousand million comparisons."""
    rising = np.arange(100_000.0)
    one, other = {
        "all on it": (rising, -rising),
        "all the same": (0 * rising, 0 * rising),
        "in each other's way": (rising, np.sort(rising % 1000)),
    }[kind]
    values = np.column_stack([*[one] * (objectives - 1), other])
    found = non_dominated(np.random.default_rng(0).permutation(values))
    assert found.sum() == (1 if kind == "in each other's way" else len(values))


def test_known_records_are_of_their_class() -> None:
    records = pd.DataFrame(map(asdict, known_records()))
    assert records.groupby("max_params").size().to_dict() == dict.fromkeys(
        (1000, 2000, 5000, 10_000, 20_000), 2
    )
    assert (records.num_params.dropna() <= records.max_params[records.num_params.notna()]).all()
    assert records.test_acc.between(0.98, 1).all()
    by_kind = records.set_index(["max_params", "kind"]).test_acc.unstack()
    assert set(by_kind) == {"credible", "claim"} and (by_kind.claim >= by_kind.credible).all()
    assert (records.sort_values("max_params").groupby("kind").test_acc.diff().dropna() > 0).all()


# Curves


def history(*val_accs: float | None, raw: bool = False) -> list[EpochMetrics]:
    return [
        EpochMetrics(
            *(n, 0.01, 1 / n, 0.9, None if acc is None else 0.1, acc, None, acc if raw else None),
            *(None, None, 1.0, 100.0),
        )
        for n, acc in enumerate(val_accs, start=1)
    ]


def test_a_curve_has_what_was_measured() -> None:
    curve = run_curve("r1", "name", history(0.9, math.nan, 0.95))
    assert curve.epoch == (1, 2, 3)
    assert set(curve.metrics) == {"train_acc", "train_loss", "val_acc", "val_loss"}
    assert curve.metrics["train_loss"] == (1, 1 / 2, 1 / 3)
    np.testing.assert_array_equal(curve.metrics["val_acc"], (0.9, math.nan, 0.95))
    assert "val_acc_raw" in run_curve("r1", "name", history(0.9, raw=True)).metrics


def test_curves_are_of_the_best_and_of_the_pruned(table: Any, tmp_path: Path) -> None:
    runs = [
        alone(1, val_acc=0.97, model="a"),
        alone(2, val_acc=0.99, model="b", config_hash="c2"),
        alone(3, val_acc=0.98, model="b", config_hash="c2", seed=1),
        alone(4, status="pruned", study="s", trial=7),
        alone(5, status="pruned"),
        alone(6, status="failed"),
        alone(7, status="pruned", data="digits"),
    ]
    frame = table(*runs)
    for run in runs:
        if run.run_id != "r000000005":
            folder = tmp_path / str(run.run_dir)
            folder.mkdir(parents=True)
            write_result(folder, run)
            write_history(folder, history(0.5, run.val_acc))
    tracks = [lines for _, lines in leaderboard(frame).groupby(TRACK, dropna=False, sort=False)]
    found = all_curves(frame, tracks, RunFolders(frame))
    mnist, digits = found.rankings
    assert [(curve.run_id, curve.name) for curve in mnist.best] == [
        ("r000000002", "b, seed 0"),
        ("r000000001", "a"),
    ]
    assert [curve.name for curve in mnist.pruned] == ["s #7"] and mnist.num_pruned == 2
    assert (digits.best, [curve.run_id for curve in digits.pruned]) == ((), ["r000000007"])
    assert mnist.metrics == ["val_acc", "train_acc", "val_loss", "train_loss"]
    assert set(found.of) == {run.run_id for run in runs} - {"r000000005"}


def test_the_best_of_a_search_is_a_completed_trial_that_ended_with_a_number() -> None:
    trials = (
        TrialCurve("a", "completed", (0.9, 0.95)),
        TrialCurve("b", "completed", (0.99, math.nan)),
        TrialCurve("c", "pruned", (0.99,)),
        TrialCurve("d", "completed", (0.96,)),
    )
    assert PrunedInfo(trials).best == trials[3]
    assert PrunedInfo(trials[1:3]).best is None


# Failures


def test_reasons_that_differ_in_numbers_only_are_one(table: Any) -> None:
    runs = table(
        *(alone(n, status="failed", error=f"out of memory: {n}.5e-3 GB") for n in range(3)),
        alone(3, status="failed", error="no such file"),
        alone(4, status="diverged", error="loss is nan in epoch 3"),
        alone(5, status="diverged"),
        alone(6),
    )
    found = [(f.status, f.message, len(f.run_ids)) for f in failures(runs)]
    assert found[0] == ("failed", "out of memory: 0.5e-3 GB", 3)
    assert found[1] == ("failed", "no such file", 1)
    assert sorted(found[2:]) == [
        ("diverged", "(no reason recorded)", 1),
        ("diverged", "loss is nan in epoch 3", 1),
    ]


# Searches


def searched(table: Any) -> pd.DataFrame:
    """Trials 0 to 3; the first has two replicates, the last is pruned."""
    trial = {"study": "s"}
    frame: pd.DataFrame = table(
        alone(0, **trial, trial=0, val_acc=0.96, num_params=100),
        alone(1, **trial, trial=0, val_acc=0.98, num_params=100, seed=1),
        alone(2, **trial, trial=1, val_acc=0.975, num_params=90),
        alone(3, **trial, trial=2, val_acc=0.96, num_params=95),
        alone(4, **trial, trial=3, val_acc=0.999, num_params=1, status="pruned"),
    )
    return frame


def test_the_best_trial_is_the_best_mean_of_those_with_all_replicates(table: Any) -> None:
    """Not one lucky run of a trial that a race gave no more."""
    best = best_trials(searched(table), {"val_acc": "maximize"})
    assert best is not None and best.completed == 3
    [trial] = best.trials
    assert asdict(trial) == {
        **{"trial": 0, "run_id": "r000000000", "num_params": 100},
        "values": {"val_acc": 0.97},
    }
    assert best.command == "python -m mnist_sweep model=net0"


def test_a_trial_that_a_race_gave_fewer_seeds_breaks_no_record(table: Any) -> None:
    found = search_history(searched(table), "val_acc", "maximize")
    assert found is not None and len(found.points) == 4
    [(trial, value)] = found.best
    assert trial == 0 and value == pytest.approx(0.97)


def test_of_two_objectives_the_front_is_best(table: Any) -> None:
    goals = {"val_acc": "maximize", "num_params": "minimize"}
    best = best_trials(searched(table), goals)
    assert best is not None and best.command is None and best.objectives == goals
    assert [trial.trial for trial in best.trials] == [0]
    assert best_trials(searched(table), {"test_acc": "minimize", "lr": "minimize"}) is None


def synthetic(trials: int, seed: int = 0) -> SearchStudy:
    """`good` decides the value, `noise` has no part in it, `same` does not vary."""
    generator = np.random.default_rng(seed)
    uniform, choices = FloatDistribution(0, 1), CategoricalDistribution([1, 2, 3])
    made = []
    for number in range(trials):
        good, noise = generator.random(2)
        trial = create_trial(
            params={"good": good, "noise": noise, "same": 2, "pick": int(generator.integers(1, 4))},
            distributions={"good": uniform, "noise": uniform, "same": choices, "pick": choices},
            value=good,
        )
        trial.number = number
        made.append(trial)
    return SearchStudy(Path("search"), {"val_acc": "maximize"}, made)


@pytest.mark.parametrize("trials", [20, 100])
def test_importance_finds_what_decides_and_nothing_else(trials: int) -> None:
    found = importances(synthetic(trials), "val_acc")
    assert next(iter(found.shares)) == "good" and sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["good"] > found.chance["good"]
    assert found.shares["noise"] <= found.chance["noise"]
    assert "same" not in found.shares and "same" in found.note
    assert importances(synthetic(trials), "val_acc") == found, "shuffled alike each time"


def test_importance_goes_by_the_direction() -> None:
    study = synthetic(60)
    for trial in study.trials:  # the best are those with a small value of good
        trial.params["noise"] = trial.params["good"] if trial.value and trial.value < 0.5 else 0.9
    best_low = importances(replace(study, directions={"val_acc": "minimize"}), "val_acc")
    best_high = importances(study, "val_acc")
    assert best_low.shares["noise"] != best_high.shares["noise"]
    assert best_high.shares["noise"] > best_low.shares["noise"]


def test_importance_without_an_effect_is_seldom_above_chance() -> None:
    above = 0
    for seed in range(5):
        study = synthetic(12, seed)
        values = np.random.default_rng(seed).permutation([t.value or 0.0 for t in study.trials])
        for trial, value in zip(study.trials, values, strict=True):
            trial.value = float(value)
        found = importances(study, "val_acc")
        above += sum(found.shares[name] > found.chance[name] for name in found.shares)
    assert above <= 4, "of 15, one in twenty is expected"


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.01, 20)), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_worker_does_two_things_at_once(runs: list[tuple[int, float]]) -> None:
    trials = pd.DataFrame(
        {
            "run_id": [f"r{n}" for n in range(len(runs))],
            "trial": pd.array(range(len(runs)), dtype="Int64"),
            "status": "completed",
            "started": pd.to_datetime([start for start, _ in runs], unit="s", utc=True).astype(
                "datetime64[us, UTC]"
            ),
            "seconds": [seconds for _, seconds in runs],
        }
    )
    found = timeline(trials)
    assert found is not None and len(found.bars) == found.num_runs == len(runs)
    starts = dict(zip(trials.run_id, (start for start, _ in runs), strict=True))
    for bar in found.bars:
        assert starts[bar.run_id] <= bar.start < starts[bar.run_id] + 1
    for lane in range(found.workers):
        own = [bar for bar in found.bars if bar.lane == lane]
        assert own
        for before, after in itertools.pairwise(own):
            assert after.start >= before.start + before.seconds - 1e-9


def test_a_pause_is_no_time_of_the_workers(table: Any) -> None:
    trial = {"study": "s", "seconds": 60.0}
    runs = table(
        alone(1, **trial, started="2026-01-02T03:00:00+00:00"),
        alone(2, **trial, started="2026-01-02T03:00:00+00:00", status="pruned"),
        alone(3, **trial, started="2026-01-03T03:00:00+00:00"),
        alone(4, study="s", seconds=None),
    )
    found = timeline(runs)
    assert found is not None
    assert (found.workers, found.pauses, found.num_runs) == (2, 1, 3)
    assert found.span_s == pytest.approx(120) and found.busy == pytest.approx(180 / 240)
    assert timeline(runs.head(1)) is None
