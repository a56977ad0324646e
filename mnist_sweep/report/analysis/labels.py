"""What a line of the leaderboard is called: the least that tells it from the others."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnist_sweep.report.analysis.tracks import TRACK
from mnist_sweep.report.read.load import DTYPES
from mnist_sweep.report.read.overridden import is_key, split

NOT_TELLING = ("logger", "_config")
"""Runs that differ in these are the same configuration."""


def labels_by(first: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """The values of the columns; with the column's name where a value alone says little."""
    columns = [
        [
            str(value)
            if _says_enough(name) and not pd.isna(value)
            else f"{name}={'none' if pd.isna(value) else _short(value)}"
            for value in first[name]
        ]
        for name in by
    ]
    return [" ".join(parts) for parts in zip(*columns, strict=True)]


def _says_enough(column: str) -> bool:
    """Whether its values can do without its name."""
    return not is_key(column) and DTYPES.get(column, "string") == "string"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def labels(first: pd.DataFrame, groups: Any) -> "pd.Series[str]":
    """What tells the configurations of a track apart, in few words.

    The choices of groups that differ among them; where those are equal the overrides that differ;
    `study #trial` for a search's trials.
    """
    first = first.assign(study=groups.study.first(), trial=groups.trial.first())
    labels = pd.Series("", index=first.index, dtype=object)
    searched = first.study.notna() & first.trial.notna()
    trials = first[searched]
    labels[searched] = trials.study + " #" + trials.trial.astype("string")
    for _, track in first[~searched].groupby(TRACK, dropna=False):
        labels[track.index] = pd.Series(_of_choices(track), index=track.index)
    for _, track in first.groupby(TRACK, dropna=False):
        own = labels[track.index]
        twice = own.duplicated(keep=False)  # of config files that were changed in between
        labels[track.index] = own.where(~twice, own + " (" + track["_config"].str[:7] + ")")
    return labels


def _of_choices(track: pd.DataFrame) -> list[str]:
    """The choices that differ, but for those that tell no more than the ones before them."""
    names = [str(name) for name in track if not is_key(str(name))]
    choices = [name for name in names if name not in (*DTYPES, *TRACK, *NOT_TELLING)]
    telling: list[str] = []
    code, kinds = np.zeros(len(track), dtype=np.int64), 1
    for name in sorted(choices, key=lambda name: name != "model"):
        finer = code * (len(track) + 1) + pd.factorize(track[name], use_na_sentinel=False)[0]
        finer, distinct = pd.factorize(finer)
        if len(distinct) > kinds:
            telling, code, kinds = [*telling, name], finer, len(distinct)
    shown = track[telling or ["model"]].fillna("none")
    labels = [" ".join(row) for row in zip(*(shown[name] for name in shown), strict=True)]
    alike: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        alike.setdefault(label, []).append(place)
    overrides = track.overrides.fillna("").tolist()
    groups = {*choices, *TRACK, *NOT_TELLING, "seed"}
    for label, places in alike.items():
        if len(places) > 1:
            given = [split(overrides[place]) for place in places]
            common = set(given[0]).intersection(*given[1:])
            for place, own in zip(places, given, strict=True):
                differing = (override for override in own if override not in common)
                labels[place] = " ".join([label, *_settings(differing, groups)])
    return labels


def _settings(overrides: Iterable[str], groups: Collection[str]) -> Iterator[str]:
    """`model=x`, `optimizer.lr=0.1`, `seed=1` -> `lr=0.1`: what is neither a choice nor a seed."""
    for override in overrides:
        key, _, value = override.replace("'", "").partition("=")
        group, _, rest = key.partition(".")
        if key not in groups and group != "hydra":
            yield f"{rest if group in groups else key}={value}"
