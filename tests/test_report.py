"""The leaderboard and its command: reading tables, statistics, formats, comparisons."""

import io
import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mnist_sweep.errors import UserError, exit_code
from mnist_sweep.paths import CONF
from mnist_sweep.report import load_results
from mnist_sweep.report.__main__ import COMMANDS, main
from mnist_sweep.report.analysis.comparison import mcnemar_sentence, over_seeds, sentence
from mnist_sweep.report.analysis.statistics import (
    half_width,
    mcnemar,
    paired,
    unpaired,
)
from mnist_sweep.report.analysis.timeline import timeline
from mnist_sweep.report.analysis.tracks import TRACK
from mnist_sweep.report.commands.compare import configuration
from mnist_sweep.report.leaderboard import leaderboard
from mnist_sweep.report.read.load import GROUPS
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, Cli, environment

NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]  # takes minutes here

STATUSES = ["completed", "diverged", "interrupted", "failed", "pruned", "infeasible"]


def record(number: int, config: str | None = "c1", seed: int = 0, **changes: Any) -> RunRecord:
    """A completed run on MNIST. Groups are given by their names, like columns."""
    groups = {
        **dict.fromkeys(GROUPS),
        **{"data": "mnist", "model": "ds_cnn", "optimizer": "adamw", "protocol": "select"},
        **{name: changes.pop(name) for name in list(changes) if name in GROUPS},
    }
    values: dict[str, Any] = {
        "status": "completed",
        "num_params": 17_418,
        "macs": 1_417_568,
        "val_images": 10_000 if groups["protocol"] == "select" else None,
        "test_images": 10_000,
        "val_acc": 0.99 + number / 1e4 if groups["protocol"] == "select" else None,
        "test_acc": 0.991 + number / 1e4,
        "seconds": 60.5,
        "started": f"2026-11-21T10:{number // 60:02d}:{number % 60:02d}+00:00",
        "overrides": f"seed={seed}",
        "run_dir": f"multirun/{number}",
    }
    values |= {"config_hash": config, **changes}
    return RunRecord(f"r{number:09d}", groups=groups, seed=seed, **values)


def write(path: Path, *records: RunRecord) -> Path:
    ResultsTable(path).extend(records)
    return path


def frame(*records: RunRecord) -> pd.DataFrame:
    """As `load_results` would have read it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load_results(write(Path(folder, "results.csv"), *records))


Report = Callable[..., tuple[int, str, str]]


@pytest.fixture
def report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Report:
    """`report("--by", "model")` in an empty folder -> exit code, output, errors."""

    def call(*arguments: str, columns: int | None = None) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        code = exit_code(main)
        out, err = capsys.readouterr()
        return code, out, err

    return call


# Reading tables


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    runs = [
        record(1, error="größer, \"数字\" 'x'", val_acc=0.98, git_dirty=True, rung=3),
        record(2, seed=2**32 - 1, lr=1e-05, sweep="arch_20k", study="s", trial=4),
        record(3, None, status="failed", val_acc=None, test_acc=None, started=""),
    ]
    read = load_results(write(tmp_path / "results.csv", *runs))
    for (_, row), run in zip(read.iterrows(), runs, strict=True):
        for name, value in run.row().items():
            if name == "started":
                assert pd.isna(row[name]) if value == "" else row[name] == pd.Timestamp(value)
            elif value in (None, ""):
                assert pd.isna(row[name]), name
            else:
                assert row[name] == value, name
    assert list(read)[:2] == ["run_id", "status"]
    own = [name for name in asdict(runs[0]) if name != "groups"]
    assert [name for name in read if name in own] == own
    assert read.seed.dtype == read.trial.dtype == "Int64" and read.val_acc.dtype == "float64"
    assert read.git_dirty.dtype == "boolean" and read.model.dtype == "string"
    assert str(read.started.dtype) == "datetime64[us, UTC]"
    assert read.attrs == {"sources": [str(tmp_path / "results.csv")], "skipped": ""}


def test_accuracies_are_read_to_the_last_bit(tmp_path: Path) -> None:
    accuracies = [n / 10_000 for n in range(10_001)]
    rows = "".join(f"r{n},completed,{value!r}\n" for n, value in enumerate(accuracies))
    (tmp_path / "results.csv").write_text("run_id,status,val_acc\n" + rows)
    assert load_results(tmp_path).val_acc.tolist() == accuracies


def test_the_known_groups_are_those_of_the_main_config() -> None:
    known = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", "logger"}
    assert set(GROUPS) == known


def test_a_damaged_table_is_read_but_for_its_damage(tmp_path: Path) -> None:
    table = write(tmp_path / "results.csv", *(record(number) for number in range(1, 7)))
    header, *lines = table.read_bytes().splitlines()
    run = dict(enumerate(lines, 1))
    table.write_bytes(
        b"\n".join(
            [
                b"\xef\xbb\xbf" + header,
                run[1],
                b"",
                run[2][:40],  # torn
                run[2].replace(b",17418,", b",many,").replace(b"ds_cnn", b"ds\0_cnn"),
                b'"broken',
                b"1,2,3",
                run[3].replace(b"0.9903", b"nan").replace(b"adamw", b"\xff\xfe"),
                run[4].replace(b"completed", b"unheard of"),
                run[4].replace(b"ds_cnn", b"old"),
                run[4].replace(b"adamw", 'größer "数" [x]'.encode()) + b"\r",
                b"," * header.count(b","),
                run[5].replace(b",10000,10000,", b",1e300,10000.5,"),
                run[6][:-20] + run[1],
            ]
        )
    )
    read = load_results(table)
    assert read.run_id.tolist() == [f"r00000000{number}" for number in (1, 2, 3, 4, 5)]
    assert read.num_params.isna().tolist() == [False, True, False, False, False]
    assert read.model.tolist() == ["ds_cnn"] * 5
    assert read.val_acc.isna().tolist() == [False, False, True, False, False]
    assert read.optimizer.tolist()[2:4] == ["\ufffd\ufffd", 'größer "数" [x]']
    assert read.iloc[4][["val_images", "test_images"]].isna().all()
    assert read.attrs["skipped"] == (
        "1 empty line, 4 torn or foreign lines (too many or too few cells), 3 unfit cells read as "
        "empty, 2 lines without a run_id or a known status, 1 older line of a run with a newer one"
    )


@settings(deadline=None, max_examples=60, phases=NO_SHRINKING)
@given(data=st.data())
def test_any_damage_costs_the_lines_it_hits(data: st.DataObject, tmp_path_factory: Any) -> None:
    # The independent reading is ResultsTable's, line by line. It has no answer to a carriage
    # return within a line.
    text = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=12)
    runs = [
        record(number, overrides=data.draw(text), error=data.draw(text), model=data.draw(text))
        for number in range(data.draw(st.integers(1, 4)))
    ]
    table = ResultsTable(tmp_path_factory.mktemp("table") / "results.csv")
    table.extend(runs)
    content = table.path.read_bytes()
    head = content.index(b"\n") + 1
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(head, len(content)))
        stop = start + data.draw(st.integers(0, 3))
        bit = data.draw(
            st.sampled_from([b"", b'"', b",", b"\n", b'""', b'",', b',"', b"\0", b"\xff"])
        )
        content = content[:start] + bit + content[stop:]
    table.path.write_bytes(content)
    expected: dict[str, dict[str, str]] = {}
    for row in table.rows():
        if row["run_id"] and row["status"] in STATUSES:
            expected.pop(row["run_id"], None)
            expected[row["run_id"]] = row
    try:
        read = load_results(table.path)
    except UserError:
        assert not expected
        return
    assert read.run_id.tolist() == list(expected)
    for name in ("overrides", "error", "model", "run_dir"):
        assert read[name].fillna("").tolist() == [row[name] for row in expected.values()]


def test_old_and_new_columns_go_together(tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv", record(1, rung=3), record(2))
    old = "run_id,status,model,val_acc,head\nr9,completed,rf_cnn,0.98,gap\n"
    joined = tmp_path / "joined.csv"
    joined.write_bytes(new.read_bytes() + old.encode())
    read = load_results(joined)
    assert read.run_id.tolist() == ["r000000001", "r000000002", "r9"]
    assert read.rung.tolist()[0] == 3 and read["head"].isna().tolist() == [True, True, False]
    assert read.val_acc.tolist() == [0.9901, 0.9902, 0.98]
    (tmp_path / "old.csv").write_text(old)
    both = load_results(new, tmp_path / "old.csv")
    pd.testing.assert_frame_equal(both, read, check_like=True)


def test_a_folder_stands_for_its_table_or_for_those_below(tmp_path: Path) -> None:
    write(tmp_path / "a" / "results.csv", record(1), record(2))
    write(tmp_path / "a" / "deep" / "results.csv", record(2), record(3))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.csv").write_text("name,phone\nann,1\n")
    assert len(load_results(tmp_path / "a")) == 2
    read = load_results(tmp_path)
    assert sorted(read.run_id) == ["r000000001", "r000000002", "r000000003"]
    assert read.attrs["skipped"] == (
        "1 foreign file named results.csv, 1 repeat of a run in another table"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "outputs/results.csv: no such table or folder; make runs with"),
        (b"", "outputs/results.csv: an empty file; make runs with"),
        (b"run_id,status,model\n", "outputs/results.csv: no run in it; make runs with"),
        (b"run_id,status\nr1\n", r"no run in it \(1 torn or foreign line "),
        (b"name,phone\nann,1\n", r"outputs/results.csv is no results table \(no columns run_id"),
        (b"run_id,status,run_id\nr1,completed,r1\n", "a column twice in its header"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is no results table"),
    ],
)
def test_a_table_without_runs_is_refused_with_a_remedy(
    content: bytes | None, problem: str, report: Report, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "outputs").mkdir()
        (tmp_path / "outputs" / "results.csv").write_bytes(content)
    code, out, err = report()
    assert code == 2 and out == "" and err.count("\n") == 1
    assert re.search(f"^error: .*{problem}", err), err
    assert "python -m mnist_sweep" in err


# Statistics


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


# The leaderboard


def test_runs_that_differ_in_the_seed_are_one_line() -> None:
    runs = frame(
        record(1, "c1", 0, val_acc=0.990),
        record(2, "c1", 1, val_acc=0.992),
        record(3, "c1", 1, val_acc=0.994),  # again, and later
        record(4, "c2", 0, val_acc=0.999, model="rf_cnn"),
        record(5, "c1", 2, val_acc=0.9, status="pruned"),
        *(record(number, "c3", status="failed", val_acc=None) for number in (6, 7)),
    )
    lines = leaderboard(runs)
    assert lines["rank"].tolist() == [1, 2] and lines.n.tolist() == [1, 2]
    assert lines.label.tolist() == ["rf_cnn", "ds_cnn"]
    assert lines.val_acc_mean.tolist() == [0.999, pytest.approx(0.992)]
    assert lines.run_ids.tolist() == [["r000000004"], ["r000000001", "r000000003"]]
    assert lines.loc[0, ["val_acc_sd", "val_acc_low", "val_acc_high"]].isna().all()
    assert lines.attrs["notes"] == [
        "2 failed, 1 pruned are not ranked",
        "1 repeated run left out: same configuration and seed, the latest counts",
    ]


def test_tracks_are_never_mixed() -> None:
    base = record(1)
    others: list[dict[str, Any]] = [
        {"data": "digits"},
        {"protocol": "published"},
        {"val_images": 5_000},
        {"test_images": 297},
        {"debug": "fast"},
    ]
    # The same hash each time: even then.
    runs = frame(base, *(record(n, "c1", **other) for n, other in enumerate(others, 2)))
    lines = leaderboard(runs)
    assert len(lines) == 6 and set(lines["rank"]) == {1} and lines.n.tolist() == [1] * 6
    assert not lines.duplicated(TRACK).any()
    assert lines.debug.notna().tolist() == [False] * 5 + [True], "debug runs come last"
    assert len(leaderboard(runs, by=["model"])) == 6


def test_validation_ranks_where_there_is_some_and_else_test() -> None:
    select = [record(1, "c1", val_acc=0.99, test_acc=0.5), record(2, "c2", val_acc=0.98)]
    final = [record(n, f"f{n}", protocol="final", test_acc=n / 10) for n in (3, 4)]
    lines = leaderboard(frame(*select, *final))
    assert lines.config_hash.tolist() == ["c1", "c2", "f4", "f3"]
    assert lines.ranked_by.tolist() == ["val_acc_mean"] * 2 + ["test_acc_mean"] * 2
    assert leaderboard(frame(*select), sort="test_acc").config_hash.tolist() == ["c2", "c1"]
    assert leaderboard(frame(*select), sort="val_acc:asc").config_hash.tolist() == ["c2", "c1"]


def test_sort_takes_any_number_but_the_peak_on_test() -> None:
    runs = frame(record(1, "c1", lr=0.1, num_params=9), record(2, "c2", lr=0.2, num_params=8))
    assert leaderboard(runs, sort="lr:asc")["lr_mean"].tolist() == [0.1, 0.2]
    assert leaderboard(runs, sort="params").num_params.tolist() == [9, 8]
    for sort, problem in {
        "test_acc_peak": "picked on test",
        "val_ac": "no such column, did you mean val_acc",
        "optimizer": "no such column",
        "overrides": "no number to rank by",
        "val_acc:down": ":asc, :desc or nothing",
    }.items():
        with pytest.raises(UserError, match=f"--sort {sort}.*{problem}"):
            leaderboard(runs, sort=sort)
    with pytest.raises(UserError, match="--by modle: no such column, did you mean model"):
        leaderboard(runs, by=["modle"])


def test_groups_of_several_configurations_have_no_interval() -> None:
    runs = frame(
        *(record(n, "c1", n, model="a", optimizer="sgd") for n in range(3)),
        *(record(n, f"c{n}", 0, model="b", optimizer=f"o{n}", num_params=n) for n in range(3, 6)),
    )
    lines = leaderboard(runs, by=["model"]).set_index("model")
    assert lines.n.tolist() == [3, 3] and lines.label.tolist() == ["b", "a"]
    assert lines.configs.to_dict() == {"b": 3, "a": 1}
    assert pd.isna(lines.val_acc_low["b"]) and not pd.isna(lines.val_acc_low["a"])
    assert lines.val_acc_max["b"] == pytest.approx(0.9905)
    assert pd.isna(lines.num_params["b"]) and lines.num_params["a"] == 17_418
    two = leaderboard(runs, by=["model", "optimizer"])
    assert len(two) == 4 and set(two.label) == {"a sgd", "b o3", "b o4", "b o5"}


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ([{"model": "a"}, {"model": "b"}], ["a", "b"]),
        ([{"optimizer": "sgd"}, {"optimizer": "adam"}], ["sgd", "adam"]),
        ([{"model": "a", "experiment": "a"}, {"model": "b", "experiment": "b"}], ["a", "b"]),
        ([{"sweep": None}, {"sweep": "recipe"}], ["none", "recipe"]),
        (
            [
                {"overrides": "optimizer.lr=0.1 trainer.epochs=2 seed=4"},
                {"overrides": "optimizer.lr=0.2 trainer.epochs=2 seed=5"},
            ],
            ["ds_cnn lr=0.1", "ds_cnn lr=0.2"],
        ),
        (
            [
                {"overrides": "'model.widths=[8, 16]' model=ds_cnn data=mnist", "model": "a"},
                {"overrides": "'model.widths=[8, 32]' model=ds_cnn data=mnist", "model": "a"},
                {"overrides": "", "model": "b"},
            ],
            ["a widths=[8, 16]", "a widths=[8, 32]", "b"],
        ),
        ([{"study": "s", "trial": 3}, {"study": "s", "trial": 12}], ["s #3", "s #12"]),
        ([{}, {}], ["ds_cnn (c0)", "ds_cnn (c1)"]),
    ],
)
def test_a_label_says_what_tells_configurations_apart(
    changes: list[dict[str, Any]], labels: list[str]
) -> None:
    runs = frame(*(record(n, f"c{n}", **change) for n, change in enumerate(changes)))
    assert leaderboard(runs).set_index("config_hash").label.sort_index().tolist() == labels


def test_a_table_that_lost_its_hashes_has_a_line_for_each_run() -> None:
    assert leaderboard(frame(record(1, None), record(2, None))).n.tolist() == [1, 1]


def test_a_run_of_which_little_is_known_is_shown_all_the_same(
    report: Report, tmp_path: Path
) -> None:
    (tmp_path / "results.csv").write_text(
        "run_id,status,test_acc\nr1,completed,0.5\nr2,completed,\n"
    )
    for form in ("rich", "md", "latex", "csv", "json"):
        code, out, err = report("results.csv", "--format", form)
        assert code == 0 and ("50.00 ± ?" in out or "50.00 $\\pm$ ?" in out or "0.5" in out)


# The command


def a_sweep(folder: Path) -> None:
    """Seven configurations in two tracks, one of them with a long name, some runs that failed."""
    long = "model.stage1.width=13 model.stage2.kernel=5 " * 3
    write(
        folder / "outputs" / "results.csv",
        *(record(n, "c1", n, model="ds_cnn") for n in range(3)),
        *(record(n, "c2", n, model="rf_cnn", val_acc=0.98 + n / 1e4) for n in range(3, 6)),
        record(6, "c3", model="<b>|a_b|`[red]x[/]\x1b[31m&%", val_acc=0.5, num_params=None),
        *(record(n, f"s{n}", model="w", overrides=f"{long} x.y={n}") for n in range(7, 9)),
        *(record(n, "p1", n, protocol="published", test_acc_peak=1.0) for n in range(9, 12)),
        record(12, "c9", status="pruned", val_acc=None),
        record(13, "c9", status="infeasible", val_acc=None),
    )


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200, None])
def test_a_table_fits_the_terminal_and_no_row_is_wrapped(
    width: int | None, report: Report, tmp_path: Path
) -> None:
    a_sweep(tmp_path)
    code, out, err = report(columns=width)
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert max(map(len, lines)) <= (width or 100)
    rows = [line for line in lines if re.match(r" *\d+  ", line)]
    assert [int(row.split()[0]) for row in rows] == [1, 2, 3, 4, 5, 1], out
    assert "\x1b" not in out
    joined = " ".join(out.split())
    for fact in (
        "mnist, select, 10,000 val and 10,000 test images: by val_acc, best first",
        "mnist, published, 10,000 test images: by test_acc, best first; test was watched",
        "#1 is the best of 5 by val_acc",
        "± ? is of one run",
        "1 pruned, 1 infeasible are not ranked",
    ):
        assert fact in joined
    if width is None or width >= 40:
        assert any(re.search(r"99\.01 ± 0\.01", row) for row in rows)
        assert all("±" in row for row in rows)
    if width is None or width >= 80:
        assert "95 % interval" in out and "test_acc" in out and "params" in out
    if width == 200:
        assert "worst to best of n" in out and "98.03 to 98.05" in out and "MACs" in out


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_columns_that_do_not_fit_are_named(width: int, report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    out = report("--where", "protocol == 'select'", columns=width)[1]
    header = next(line for line in out.splitlines() if line.lstrip().startswith("#  "))
    said = re.findall(r"left out: (.*?) \((.*?)\)", " ".join(out.split()))
    if width == 200:
        assert said == []
        return
    [(names, remedy)] = said
    assert remedy == "wider terminal or --format csv"
    left_out = names.split("; ")
    for name in ("val_acc, %", "test_acc, %", "95 % interval", "params", "MACs", "seconds"):
        assert (name in left_out) == (name not in header), name


def test_what_ranks_is_shown_and_groups_are_headed(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    out = report("--by", "model,seed", "--sort", "seconds:asc", columns=60)[1]
    assert "mnist, select, 10,000 val and 10,000 test images: by seconds" in " ".join(out.split())
    head = next(line for line in out.splitlines() if line.lstrip().startswith("#  "))
    assert head.split()[:4] == ["#", "model", "seed", "n"] and head.count("seconds") == 1


def test_top_cuts_and_says_so(report: Report, tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "results.csv", *(record(n, f"c{n}") for n in range(25)))
    assert "20 of 25 lines; --top 0 shows all" in report()[1]
    assert "25 of" not in report("--top", "0")[1]
    assert len(report("--format", "csv")[1].splitlines()) == 26
    assert len(report("--format", "csv", "--top", "3")[1].splitlines()) == 4


@pytest.mark.parametrize("by", [[], ["--by", "model,optimizer"]])
def test_csv_and_json_hold_all_columns_unrounded(
    by: list[str], report: Report, tmp_path: Path
) -> None:
    a_sweep(tmp_path)
    lines = leaderboard(load_results(tmp_path / "outputs"), by=by[1].split(",") if by else ())
    code, out, err = report("--format", "csv", *by)
    assert code == 0 and "1 pruned, 1 infeasible are not ranked" in err
    read = pd.read_csv(io.StringIO(out))
    assert list(read) == list(lines)
    assert read.label.tolist() == list(lines.label)
    np.testing.assert_array_max_ulp(read.val_acc_mean, lines.val_acc_mean)
    assert read.run_ids.str.split().tolist() == lines.run_ids.tolist()
    objects = json.loads(report("--format", "json", *by)[1])
    assert [list(line) for line in objects] == [list(lines)] * len(lines)
    for line, (_, row) in zip(objects, lines.iterrows(), strict=True):
        for name, value in row.items():
            missing = not isinstance(value, list) and pd.isna(value)
            assert line[name] is None if missing else line[name] == value


def test_markdown_is_ready_to_paste(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    code, out, err = report("-o", "table.md")
    assert (code, out, err) == (0, "", "")
    text = (tmp_path / "table.md").read_text()
    assert report("--format", "md")[1] == text
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        rows = [re.split(r"(?<!\\)\|", row) for row in table.splitlines()]
        assert len({len(row) for row in rows}) == 1
    assert r"`` <b>\|a_b\|`[red]x[/]?[31m&% ``" in text
    assert "1 pruned, 1 infeasible are not ranked" in text


def test_latex_is_escaped(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    text = report("--format", "latex")[1]
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"ds\_cnn & 3 & 99.01 $\pm$ 0.01 &" in text
    assert r"\textless{}b\textgreater{}|a\_b|`[red]x[/]?[31m\&\%" in text
    bodies = re.findall(r"\\midrule\n(.*?)\n\\bottomrule", text, flags=re.DOTALL)
    for body, alignment in zip(bodies, re.findall(r"tabular}{(\w+)}", text), strict=True):
        for row in body.splitlines():
            assert row.endswith(r" \\") and len(re.findall(r"(?<!\\)&", row)) + 1 == len(alignment)


def test_where_and_by_and_sort_go_together(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    arguments = ["outputs", "--where", "params > 0 and protocol == 'select'", "--format", "json"]
    lines = json.loads(report("--by", "model", *arguments, "--sort", "test_acc:asc")[1])
    assert [line["model"] for line in lines] == ["ds_cnn", "rf_cnn", "w"]
    assert {line["ranked_by"] for line in lines} == {"test_acc_mean"}


def test_nothing_completed_is_said(report: Report, tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "results.csv", record(1, status="pruned", val_acc=None))
    for form in ("rich", "md", "latex"):
        code, out, _ = report("--format", form)
        assert code == 0 and "no run is completed, so there is nothing to rank" in out
    code, out, err = report("--format", "csv")
    assert code == 0 and out.count("\n") == 1 and "nothing to rank" in err
    assert json.loads(report("--format", "json")[1]) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["fornt"], "fornt: no such command, did you mean front"),
        (["xyzzy"], "xyzzy: no such command (leaderboard, compare, front"),
        (["no/folder"], "no/folder: no such table or folder"),
        (["leaderboard", "no.csv"], "no.csv: no such table or folder"),
        (["--formt", "md"], "--formt: no such option, did you mean --format"),
        (["--format", "xml"], "invalid choice: 'xml' (choose from 'rich', 'md', 'csv'"),
        (["--top", "many"], "invalid int value: 'many'"),
        (["--top", "-1"], "--top -1: give a number of lines"),
        (["--by", "modle"], "--by modle: no such column, did you mean model"),
        (["--by", "rank"], "--by rank: no such column"),
        (["--sort", "val_accc"], "--sort val_accc: no such column, did you mean val_acc"),
        (["--where", "parms < 8"], "--where parms < 8: parms: no such column, did you mean"),
        (["--where", "params < "], "--where params <: not understood"),
        (["--where", "params < 8"], "--where params < 8: holds for none of the 14 runs"),
        (["-o", "no/such/place.md"], "-o no/such/place.md cannot be written (No such file"),
        (["-o", "."], "-o . cannot be written (Is a directory)"),
        (["-o", "report.html"], "-o report.html: the suffix is none of .txt, .md, .csv"),
        (["-o", "outputs/results.csv"], "this is the table that was read"),
        (["compare"], "the following arguments are required: X, Y"),
        (["compare", "r000000001"], "the following arguments are required: Y"),
        (["compare", "c1", "r00000000x"], "compare r00000000x: no such run or configuration, did"),
        (["compare", "r00000000", "c1"], "compare r00000000: could be any of c1, c2, c3"),
        (["compare", "r000000000", "c1"], "both are of configuration c1"),
        (["compare", "c1", "p1"], "they are of different tracks (mnist, select, 10,000 val and"),
        (["compare", "c1", "c9"], "compare c9: no run of c9 is completed"),
        (["rebuild"], "the following arguments are required: FOLDER"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str], problem: str, report: Report, tmp_path: Path
) -> None:
    a_sweep(tmp_path)
    before = (tmp_path / "outputs" / "results.csv").read_bytes()
    code, out, err = report(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and problem in err, err
    assert (tmp_path / "outputs" / "results.csv").read_bytes() == before


@pytest.mark.parametrize("command", ["leaderboard", "compare", "rebuild"])
def test_each_command_has_help_with_examples(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", command, "--help"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m mnist_sweep.report {command}") and "examples:" in text
    assert "%%" not in text and max(map(len, text.splitlines())) <= 100


def loaded(tmp_path: Path, *arguments: str) -> tuple[str, set[str]]:
    """What the real command prints, and the slow libraries that it imported."""
    code = (
        "import sys; from mnist_sweep.report.__main__ import main; main();"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    slow = {"torch", "matplotlib", "pandas", "scipy.stats", "plotly", "omegaconf"}
    return done.stdout, slow & set(done.stderr.split())


def test_help_answers_at_once_and_names_every_command(tmp_path: Path) -> None:
    text, slow = loaded(tmp_path, "--help")
    assert slow == set()
    assert all(f"\n  {command} " in text for command in COMMANDS)


def test_the_leaderboard_imports_pandas_alone(tmp_path: Path) -> None:
    a_sweep(tmp_path)
    text, slow = loaded(tmp_path)
    assert "by val_acc" in text and slow == {"pandas"}


def test_a_terminal_without_these_signs_gets_plain_ones(new_python: Cli, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    done = new_python(module="mnist_sweep.report", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "99.01 +- 0.01" in done.stdout


def test_rebuild_gives_every_run_back(report: Report, tmp_path: Path) -> None:
    a_sweep(tmp_path)
    runs = [record(n, f"c{n}", status=status) for n, status in enumerate(STATUSES)]
    table = tmp_path / "outputs" / "results.csv"
    table.unlink()
    write(table, *runs)
    before = load_results(table)
    for run in runs:
        folder = tmp_path / run.run_dir
        folder.mkdir(parents=True)
        write_result(folder, run)
    table.write_bytes(table.read_bytes()[:300])
    assert report("rebuild", "multirun")[:2] == (0, "outputs/results.csv: 6 runs\n")
    pd.testing.assert_frame_equal(load_results(table), before)


# compare


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


def test_a_trial_that_was_run_again_keeps_its_name() -> None:
    lines = leaderboard(
        frame(record(1, "c1", study="s", trial=3), record(2, "c1"), record(3, "c2"))
    )
    by_config = lines.set_index("config_hash")
    assert by_config.label["c1"] == "s #3" and by_config.n["c1"] == 1
    assert by_config.run_ids["c1"] == ["r000000002"], "the latest counts"


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


# The timeline of a search


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.01, 20)), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_no_worker_does_two_things_at_once(runs: list[tuple[int, float]]) -> None:
    started, seconds = zip(*runs, strict=True)
    trials = pd.DataFrame(
        {
            "run_id": [f"r{number}" for number in range(len(runs))],
            "trial": pd.array(range(len(runs)), dtype="Int64"),
            "status": "completed",
            "started": pd.to_datetime(started, unit="s", utc=True).astype("datetime64[us, UTC]"),
            "seconds": seconds,
        }
    )
    found = timeline(trials)
    assert found is not None
    begun = dict(zip(trials.run_id, started, strict=True))
    for bar in found.bars:  # starts are known to the second
        assert begun[bar.run_id] <= bar.start < begun[bar.run_id] + 1
    for lane in range(found.workers):
        for before, after in itertools.pairwise(bar for bar in found.bars if bar.lane == lane):
            assert after.start >= before.start + before.seconds - 1e-9
