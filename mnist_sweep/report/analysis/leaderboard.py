"""Groups of runs -> a ranking a track."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.intervals import half_width
from mnist_sweep.report.analysis.labels import labels, labels_by
from mnist_sweep.report.analysis.tracks import TRACK
from mnist_sweep.report.read.load import DTYPES
from mnist_sweep.report.read.where import ALIASES

METRICS = ["val_acc", "test_acc"]
STATISTICS = ["mean", "sd", "low", "high", "min", "max"]
"""Of each metric there is a column for each of these, <metric>_<statistic>."""

WATCHED = ("test_acc_peak", "test_peak_epoch")
"""Picked on test, so nothing goes by them."""

RESERVED = {"rank", "label", "n", "configs", "ranked_by", "run_ids"}


def leaderboard(
    runs: pd.DataFrame, by: Sequence[str] = (), sort: str | None = None
) -> pd.DataFrame:
    """A line for each configuration or, with `by`, for each combination of these columns.

    Of each metric m in METRICS, fractions of 1: m_mean, m_sd, m_low, m_high (95 % interval of the
    mean, NaN where several configurations are mixed), m_min, m_max. n counts runs; a repeat of a
    configuration under the same seed is left out but for the latest. num_params and macs are NA
    where they differ within a line. Completed runs only.

    sort: a column of the result, or a number of the table (its mean is ranked), smallest first with
    `:asc`. By default val_acc where there is a validation set, else test_acc. `ranked_by` says
    which, `attrs["ascending"]` how; `attrs["notes"]` are lines of text on what is not ranked.

    Raises:
        UserError: a column of `by` or `sort` is unknown, or is picked on test.
    """
    by = [_column(name, [str(column) for column in runs], "--by") for name in by]
    if taken := RESERVED.intersection(by):
        raise UserError(f"--by {taken.pop()}: a name of the leaderboard's own; rename it")
    kept, notes = latest_completed(runs), [_not_ranked(runs)]
    if repeats := int((runs.status == "completed").sum()) - len(kept):
        notes.append(
            f"{repeats:,} repeated run{'s' * (repeats > 1)} left out: "
            "same configuration and seed, the latest counts"
        )

    keys = list(dict.fromkeys([*TRACK, *(by or ["_config"])]))
    number = kept.groupby(keys, dropna=False, sort=False).ngroup()
    kept = kept.assign(_line=number).sort_values("_line", kind="stable")
    groups = kept.groupby("_line")
    first = kept.drop_duplicates("_line").set_index("_line")
    lines = first[keys].rename(columns={"_config": "config_hash"})
    lines["label"] = labels_by(first, by) if by else labels(first, groups)
    for name in ("model", "num_params", "macs"):
        if name not in lines:
            lines[name] = first[name].where(groups[name].nunique(dropna=False) == 1)
    lines["n"], lines["configs"] = groups.size(), groups["_config"].nunique()
    for metric in METRICS:
        values = groups[metric]
        half = np.where(lines.configs > 1, np.nan, half_width(values.std(), values.count()))
        mean = values.mean()
        lines[f"{metric}_mean"], lines[f"{metric}_sd"] = mean, values.std()
        lines[f"{metric}_low"] = (mean - half).clip(lower=0.0)
        lines[f"{metric}_high"] = (mean + half).clip(upper=1.0)
        lines[f"{metric}_min"], lines[f"{metric}_max"] = values.min(), values.max()
    lines["seconds"] = groups.seconds.mean()
    ends = groups.size().cumsum().tolist()
    ids = kept.run_id.tolist()
    lines["run_ids"] = [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if not by:
        lines = lines.drop(columns="configs")
    ranked = _ranked(lines, sort, groups)
    ranked.attrs |= {"by": list(by), "notes": [note for note in notes if note]}
    return ranked


def latest_completed(runs: pd.DataFrame) -> pd.DataFrame:
    """The completed runs, oldest first; of those with the same configuration and seed the latest.

    Adds `_config`, which is config_hash, or run_id where a table lost it. A trial of a search that
    was run again keeps its name.
    """
    completed = runs[runs.status == "completed"]
    completed = completed.assign(_config=completed.config_hash.fillna(completed.run_id))
    completed = completed.sort_values("started", kind="stable")
    if completed.study.notna().any():
        of_config = completed.groupby("_config")[["study", "trial"]].transform("first")
        completed = completed.assign(study=of_config.study, trial=of_config.trial)
    again = completed.duplicated([*TRACK, "_config", "seed"], keep="last") & completed.seed.notna()
    return completed[~again]


def _not_ranked(runs: pd.DataFrame) -> str:
    counts = Counter(runs.status.tolist())
    del counts["completed"]
    parts = [f"{count:,} {status}" for status, count in counts.most_common()]
    total = sum(counts.values())
    return f"{', '.join(parts)} {'is' if total == 1 else 'are'} not ranked" if parts else ""


def _ranked(lines: pd.DataFrame, sort: str | None, groups: Any) -> pd.DataFrame:
    """Adds `rank` and `ranked_by`; the tracks one after the other, the largest first."""
    ascending = False
    if sort is None:
        lines["ranked_by"] = np.where(lines.val_images.isna(), "test_acc_mean", "val_acc_mean")
        score = lines.val_acc_mean.where(lines.val_images.notna(), lines.test_acc_mean)
    else:
        name, _, direction = sort.partition(":")
        if direction not in ("", "asc", "desc"):
            raise UserError(f"--sort {sort}: after the column comes :asc, :desc or nothing")
        ascending = direction == "asc"
        own = [str(column) for column in lines if column != "run_ids"]
        runs = groups.obj
        numbers = [str(column) for column in runs if runs[column].dtype in ("Int64", "float64")]
        name = _column(name, [*own, *numbers], "--sort")
        if name not in lines:
            if f"{name}_mean" not in lines:
                lines[f"{name}_mean"] = groups[name].mean().astype("float64")
            name = f"{name}_mean"
        lines["ranked_by"], score = name, lines[name]
    track = lines.groupby(TRACK, dropna=False, sort=False)
    lines = lines.assign(
        _debug=lines.debug.notna(),
        _size=-track.n.transform("sum"),
        _track=track.ngroup(),
        _score=score,
    )
    lines = lines.sort_values(
        ["_debug", "_size", "_track", "_score", "num_params", "label"],
        ascending=[True, True, True, ascending, True, True],
        kind="stable",
    )
    lines.insert(len(TRACK), "rank", lines.groupby("_track").cumcount() + 1)
    lines = lines.drop(columns=["_debug", "_size", "_track", "_score"]).reset_index(drop=True)
    lines.attrs = {"ascending": ascending}
    return lines


def _column(name: str, known: Sequence[str], option: str) -> str:
    name = ALIASES.get(name, name)
    if name in WATCHED:
        raise UserError(
            f"{option} {name}: it was picked on test, so nothing is ranked or grouped by it"
        )
    if name not in known:
        text = "no number to rank by" if name in DTYPES else "no such column"
        raise UserError(f"{option} {name}: {text}{did_you_mean(name, known)}")
    return name
