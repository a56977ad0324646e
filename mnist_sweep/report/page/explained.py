"""What is known of a search's trials, in few bytes, for trial.js: what most trials have in common
stands once, and what a row of the table says is left to that."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.wording import number_or_none

if TYPE_CHECKING:  # it imports optuna
    from mnist_sweep.report.analysis.explained import Epoch, Explained

MOST_POINTS, ALL_POINTS = 24, 60_000
"""Epochs of a trial that are on the page, and of all trials of a search."""

UNDER_WAY = ("running", "waiting")
MOST_UNDER_WAY = 50


@dataclass(frozen=True)
class TrialUnderWay:
    number: int
    state: str
    epoch: int | None
    value: float | None
    """Of the last epoch."""
    point: str


def under_way(trials: Iterable["Explained"], measure: str) -> list[TrialUnderWay]:
    """Those that run or wait. measure: of an epoch."""
    chosen = sorted((t for t in trials if t.state in UNDER_WAY), key=lambda t: t.state)
    return [
        TrialUnderWay(
            trial.number,
            "given up" if trial.is_left else trial.state,
            trial.epochs[-1].epoch if trial.epochs else None,
            getattr(trial.epochs[-1], measure, None) if trial.epochs else None,
            " ".join(f"{c.name.removeprefix('model.')}={c.shown}" for c in trial.point),
        )
        for trial in chosen[:MOST_UNDER_WAY]
    ]


def trials_data(
    trials: Sequence["Explained"], measure: str, overrides: Mapping[int, str]
) -> dict[str, Any]:
    """As trial.js takes them.

    measure: that its epochs are held against the cuts by. overrides: of each trial's first run, as
    its row has them.
    """
    asked = [text for text, _ in Counter(trial.asked for trial in trials).most_common()]
    ranges = {choice.name: choice.of for trial in trials for choice in trial.point}
    cuts = _common_cuts(trials)
    most = max(2, min(MOST_POINTS, ALL_POINTS // max(len(trials), 1)))
    found = {
        str(trial.number): {
            **_proposal(trial, asked, ranges),
            **_measured(_thinned(trial.epochs, most), measure, cuts),
            **_fate(trial, overrides.get(trial.number)),
            **({} if trial.number in overrides else _without_a_row(trial)),
        }
        for trial in trials
        if trial.number in overrides or trial.state in UNDER_WAY
    }
    return {
        "measure": measure,
        "percent": is_accuracy(measure),
        "asked": asked,
        "ranges": ranges,
        "cuts": {str(epoch): cut for epoch, cut in cuts.items()},
        "trials": found,
    }


def _common_cuts(trials: Iterable["Explained"]) -> dict[int, list[Any]]:
    """Epoch -> what most trials are held against there."""
    found: dict[int, Counter[tuple[Any, ...]]] = {}
    for trial in trials:
        for epoch in trial.epochs:
            if (cut := _cut(epoch)) is not None:
                found.setdefault(epoch.epoch, Counter())[tuple(cut)] += 1
    return {epoch: list(counts.most_common(1)[0][0]) for epoch, counts in sorted(found.items())}


def _cut(epoch: "Epoch") -> list[Any] | None:
    """The number, or None, and what has it."""
    if epoch.against is None:
        return None
    cut = epoch.against.cut
    return [None if cut is None else float(f"{cut:.5g}"), epoch.against.of]


def _proposal(
    trial: "Explained", asked: Sequence[str], ranges: Mapping[str, str]
) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if trial.asked != asked[0]:
        said["asked"] = asked.index(trial.asked)
    if proportions := {c.name: c.shown for c in trial.point if c.width is not None}:
        said["point"] = proportions
    if other := {c.name: c.of for c in trial.point if c.of != ranges[c.name]}:
        said["ranges"] = other
    return said


def _thinned(epochs: Sequence["Epoch"], most: int) -> list["Epoch"]:
    """At most so many of them, evenly, the last one among them; and those that have a cut."""
    step = -(-len(epochs) // most) if epochs else 1
    return [
        epoch
        for place, epoch in enumerate(epochs, start=1)
        if (len(epochs) - place) % step == 0
        or (epoch.against is not None and len(epochs) <= 2 * most)
    ]


def _measured(
    epochs: Sequence["Epoch"], measure: str, cuts: Mapping[int, list[Any]]
) -> dict[str, Any]:
    values = [number_or_none(getattr(epoch, measure, None), 4) for epoch in epochs]
    said: dict[str, Any] = {}
    if any(value is not None for value in values):
        said["values"] = values
        if [epoch.epoch for epoch in epochs] != list(range(1, len(epochs) + 1)):
            said["epochs"] = [epoch.epoch for epoch in epochs]
    own = {str(e.epoch): cut for e in epochs if (cut := _cut(e)) != cuts.get(e.epoch)}
    return {**said, "cuts": own} if own else said


def _fate(trial: "Explained", overrides: str | None) -> dict[str, Any]:
    """rest: of the command that trains it to the end, where it begins as the row's own."""
    said: dict[str, Any] = {}
    if trial.attempt > 1:
        said["attempt"] = trial.attempt
    if trial.race:
        said["race"] = trial.race
    if trial.retry:
        said["retry"] = trial.retry
    if trial.whole is not None:
        own = f"{trial.command} {overrides}"
        is_longer = overrides is not None and trial.whole.startswith(own)
        said["rest" if is_longer else "whole"] = trial.whole[len(own) * is_longer :]
    return said


def _without_a_row(trial: "Explained") -> dict[str, Any]:
    return {
        "state": trial.state,
        "point": {choice.name: choice.shown for choice in trial.point},
        **({"begun": f"{trial.begun:%Y-%m-%d %H:%M:%S}"} if trial.begun else {}),
        **({"size": trial.num_params} if trial.num_params is not None else {}),
        **({"again": trial.again} if trial.again else {}),
    }
