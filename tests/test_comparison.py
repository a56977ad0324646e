"""Two configurations against each other: statistics, their sentences, the command."""

import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_sweep.errors import UserError
from mnist_sweep.intervals import half_width
from mnist_sweep.report import load_results
from mnist_sweep.report.analysis.comparison import mcnemar_sentence, over_seeds, sentence
from mnist_sweep.report.analysis.statistics import mcnemar, paired, unpaired
from mnist_sweep.report.commands.compare import configuration
from mnist_sweep.report.leaderboard import leaderboard
from tests.conftest import TINY, Cli
from tests.results import frame, record


@pytest.mark.parametrize("seed", range(50))
def test_means_and_intervals_agree_with_scipy_on_random_tables(seed: int) -> None:
    draw = np.random.default_rng(seed)
    num_configs, num_seeds = draw.integers(2, 6), draw.integers(2, 9)
    accuracies = np.round(draw.normal(0.99, 0.002, (num_configs, num_seeds)), 4)
    runs = frame(
        *(
            record(int(n * num_seeds + s), f"c{n}", int(s), val_acc=float(accuracies[n, s]))
            for n in range(num_configs)
            for s in range(num_seeds)
        )
    )
    lines = leaderboard(runs).set_index("config_hash")
    for n, values in enumerate(accuracies):
        line = lines.loc[f"c{n}"]
        assert line.n == num_seeds
        assert line.val_acc_mean == pytest.approx(values.mean(), rel=1e-12)
        assert line.val_acc_sd == pytest.approx(scipy.stats.tstd(values), rel=1e-9)
        low, high = scipy.stats.t.interval(
            0.95, num_seeds - 1, loc=values.mean(), scale=scipy.stats.sem(values)
        )
        assert (line.val_acc_low, line.val_acc_high) == pytest.approx((low, min(high, 1)), rel=1e-9)
        assert (line.val_acc_min, line.val_acc_max) == (values.min(), values.max())


def by_the_book(mean: float, error: float, freedom: float) -> tuple[float, float]:
    """p and half of the interval of a mean with this standard error."""
    t = scipy.stats.t(freedom)
    return 2 * t.sf(abs(mean / error)), t.ppf(0.975) * error


@pytest.mark.filterwarnings("error")
@settings(deadline=None)
@given(
    st.lists(st.integers(9800, 9999), min_size=2, max_size=9),
    st.lists(st.integers(9800, 9999), min_size=2, max_size=9),
)
def test_t_tests_are_those_of_the_books(first: list[int], second: list[int]) -> None:
    a, b = np.array(first) / 1e4, np.array(second) / 1e4
    (n, var), (m, other) = ((len(accs), accs.var(ddof=1) / len(accs)) for accs in (a, b))
    if len(set(first)) > 1 or len(set(second)) > 1:
        freedom = (var + other) ** 2 / (var**2 / (n - 1) + other**2 / (m - 1))  # Welch, 1947
        got = unpaired(a.tolist(), b.tolist())
        expected = by_the_book(a.mean() - b.mean(), math.sqrt(var + other), freedom)
        assert (got.p, got.half_width) == pytest.approx(expected, rel=1e-6)
        assert got.mean == pytest.approx(a.mean() - b.mean(), abs=1e-15) and got.n == n + m
    common = min(n, m)
    difference = a[:common] - b[:common]
    got = paired(a[:common].tolist(), b[:common].tolist())
    assert got.mean == pytest.approx(difference.mean(), abs=1e-15) and got.n == common
    if difference.std() > 1e-9:
        error = difference.std(ddof=1) / math.sqrt(common)
        expected = by_the_book(difference.mean(), error, common - 1)
        assert (got.p, got.half_width) == pytest.approx(expected, rel=1e-6)
    else:
        assert math.isnan(got.p) and math.isnan(got.half_width)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_95_percent_of_the_intervals_cover_the_mean(n: int) -> None:
    draw = np.random.default_rng(n)
    true_mean, times = 0.9950, 20_000
    accuracies = draw.normal(true_mean, 0.0005, (times, n))
    half = half_width(accuracies.std(axis=1, ddof=1), np.full(times, n))
    covered = np.abs(accuracies.mean(axis=1) - true_mean) <= half
    assert covered.mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("n", "sd"), [(3, 0.0005), (5, 0.0005)])
def test_so_they_do_for_accuracies_on_ten_thousand_images(n: int, sd: float) -> None:
    draw = np.random.default_rng(n)
    covered, times = 0, 4_000
    for _ in range(times):
        skill = np.clip(draw.normal(0.995, sd, n), 0, 1)
        accuracies = draw.binomial(10_000, skill) / 10_000
        covered += abs(accuracies.mean() - 0.995) <= half_width(accuracies.std(ddof=1), n)
    assert covered / times == pytest.approx(0.95, abs=0.015)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail))


def test_without_a_spread_there_is_no_interval() -> None:
    assert np.isnan(half_width([math.nan, 1e-17, 0.0], [1, 3, 3])).all()
    for first, second in (([0.99], [0.98, 0.97]), ([0.98, 0.97], [0.99]), ([0.5] * 3, [0.4] * 2)):
        assert math.isnan(unpaired(first, second).p)


BETTER = "{} is better by 0.40 ± 0.25 points (5 seeds, p = 0.020)"
AHEAD = "A is ahead by 0.01 points on each of 5 seeds; without any spread no test applies"


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (
            [0.9950, 0.9953, 0.9949, 0.9951, 0.9952],
            [0.9949, 0.9950, 0.9951, 0.9950, 0.9946],
            "no difference shown: 0.02 ± 0.04 points (5 seeds, p = 0.24)",
        ),
        ([0.995, 0.996, 0.997], [0.991, 0.993, 0.992], BETTER.format("A")),
        ([0.991, 0.993, 0.992], [0.995, 0.996, 0.997], BETTER.format("B")),
        ([0.995, 0.996], [0.995, 0.996], "no difference shown: exactly equal on 5 seeds"),
        ([0.9954, 0.9952], [0.9953, 0.9951], AHEAD),
        ([0.9], [0.8], "nothing can be said from 5 seeds: at least two runs of each are needed"),
    ],
)
def test_a_difference_in_words(a: list[float], b: list[float], said: str) -> None:
    assert sentence(paired(a, b), ("A", "B"), "5 seeds") == said


def test_mcnemar_in_words() -> None:
    assert mcnemar_sentence(10, 12, ("A", "B")) == (
        "no difference shown: A alone is right on 10 images, B alone on 12 (p = 0.83)"
    )
    assert mcnemar_sentence(0, 30, ("A", "B")).startswith("B is better: ")
    assert mcnemar_sentence(0, 0, ("A", "B")).startswith("no difference shown: ")


def ids(runs: pd.DataFrame, model: str) -> list[str]:
    return runs[runs.model == model].sort_values("seed").run_id.tolist()


def test_two_configurations_are_compared_on_seeds_and_on_predictions(
    cli: Cli, tmp_path: Path
) -> None:
    sweep = ["-m", *TINY, "model=ds_cnn_v3_code,ds_cnn_v2_code", "seed=0,1"]
    done = cli(*sweep, "hydra.sweep.dir=multirun/sweep")
    assert done.returncode == 0, done.stderr
    runs = load_results(tmp_path / "outputs")
    ours, others = ids(runs, "ds_cnn_v3_code"), ids(runs, "ds_cnn_v2_code")
    os.unlink(tmp_path / "multirun" / "sweep" / "1" / "model.pt")
    done = cli("compare", ours[0], others[1], module="mnist_sweep.report")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert text.startswith("digits, select, 100 val and ")
    names = ("ds_cnn_v3_code", "ds_cnn_v2_code")
    for metric in ("val_acc", "test_acc"):
        values = runs.set_index("run_id")[metric]
        a, b = values[ours].tolist(), values[others].tolist()
        assert f"{metric} {sentence(paired(a, b), names, '2 common seeds')}" in text
    assert f"seed 1: not tested: run {ours[1]} " in text and "model.pt" in text
    right = []
    for run_id in (ours[0], others[0]):
        row = runs.set_index("run_id").loc[run_id]
        made = pd.read_csv(tmp_path / row.run_dir / "predictions.csv", comment="#")
        right.append((made.label == made.prediction).to_numpy())
        assert right[-1].mean() == pytest.approx(row.test_acc, abs=1e-6)
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert f"seed 0: {mcnemar_sentence(*only, names)}" in text


def test_a_run_is_named_in_many_ways(tmp_path: Path) -> None:
    runs = frame(
        record(1, "c123456", study="s", trial=7), record(2, "c129999"), record(3, "c129999", 1)
    )
    for name in ("c123456", "c123", "r000000001", "s/7", "multirun/1", "./multirun/1/"):
        assert configuration(name, runs) == "c123456"
    assert configuration("r000000003", runs) == "c129999"
    for name, problem in {
        "c12": "could be any of c123456, c129999",
        "c1": "give at least 3 char",
    }.items():
        with pytest.raises(UserError, match=f"compare {name}: {problem}"):
            configuration(name, runs)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({0: 0.99}, {0: 0.98}, "nothing can be said from 1 common seed: train both with the same"),
        ({0: 0.99, 1: 0.98}, {2: 0.98}, "nothing can be said from 0 common seeds"),
        ({0: 0.99, 1: 0.992}, {2: 0.98, 3: 0.981}, "with 0 common seeds, so not paired, p = "),
        ({0: 0.99, 1: 0.98}, {0: 0.98, 1: 0.981}, "(2 common seeds, p = "),
        ({0: 0.99, 1: 0.98}, {0: 0.99, 1: 0.98, 2: 0.5}, "exactly equal on 2 common seeds"),
    ],
)
def test_what_can_be_said_depends_on_the_seeds(
    first: dict[int, float], second: dict[int, float], expected: str
) -> None:
    both = [
        pd.DataFrame({"val_acc": one, "test_acc": math.nan}, index=pd.Index(one, name="seed"))
        for one in (first, second)
    ]
    [said] = over_seeds(both[0], both[1], ("A", "B"))
    assert said.startswith("val_acc   ") and expected in said
