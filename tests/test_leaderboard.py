"""The leaderboard: which runs are a line, what ranks the lines, what they are called."""

from typing import Any

import pandas as pd
import pytest

from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.tracks import TRACK
from mnist_sweep.report.leaderboard import leaderboard
from tests.results import frame, record


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


def test_a_trial_that_was_run_again_keeps_its_name() -> None:
    lines = leaderboard(
        frame(record(1, "c1", study="s", trial=3), record(2, "c1"), record(3, "c2"))
    )
    by_config = lines.set_index("config_hash")
    assert by_config.label["c1"] == "s #3" and by_config.n["c1"] == 1
    assert by_config.run_ids["c1"] == ["r000000002"], "the latest counts"
