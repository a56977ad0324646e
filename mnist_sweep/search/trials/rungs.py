"""The rungs of a search: what a trial has come to at the end of one, and whether it goes on."""

from collections.abc import Mapping, Sequence

from optuna.trial import Trial

from mnist_sweep.search.objectives import Objectives, format_value
from mnist_sweep.search.optuna_private import Cut
from mnist_sweep.search.study.attributes import RUNG
from mnist_sweep.search.trials.cuts import below_the_cut
from mnist_sweep.search.trials.promotion import Place, place
from mnist_sweep.search.trials.pruning import cut_of_rung, num_going_on

MOST_NAMED = 3
"""Trials that one line names."""


def note_rung(trial: Trial, epochs: int, value: Sequence[float]) -> None:
    """value: the trial's objectives at the end of its rung."""
    if len(value) == 1:
        trial.report(value[0], epochs)
    else:  # which Optuna takes no intermediate values of
        trial.set_user_attr(f"{RUNG}{epochs}", list(value))


def why_not_promoted(
    number: int,
    values: Mapping[int, Sequence[float]],
    rungs: Sequence[int],
    rung: int,
    objectives: Objectives,
) -> str | None:
    """None if the trial goes on. values: trial -> its objectives at the end of the rung, its own
    among them. rung: its place among the rungs, not the last."""
    epochs, more_epochs = rungs[rung], rungs[rung + 1]
    if len(objectives.names) > 1:
        standing = place_in_rung(number, values, epochs, more_epochs, objectives)
        return (
            None
            if standing.goes_on
            else _in_words(standing, values[number], rungs, rung, objectives)
        )
    [value] = values[number]
    cut = cut_of_rung([v for [v] in values.values()], objectives, epochs, more_epochs)
    if objectives.scores([value]) >= objectives.scores([cut]):
        return None
    return below_the_cut(epochs, Cut(value, cut, f"rung {rung + 1}"), objectives.directions[0])


def place_in_rung(
    number: int,
    values: Mapping[int, Sequence[float]],
    epochs: int,
    more_epochs: int,
    objectives: Objectives,
) -> Place:
    scores = {trial: objectives.scores(value) for trial, value in values.items()}
    return place(scores, number, num_going_on(len(scores), epochs, more_epochs))


def _in_words(
    standing: Place,
    value: Sequence[float],
    rungs: Sequence[int],
    rung: int,
    objectives: Objectives,
) -> str:
    """`epoch 1: val_acc 0.9312, num_params 5,218: rank 2 of 3 of rung 1, dominated by trial 3`."""
    measured = ", ".join(
        f"{name} {format_value(number)}"
        for name, number in zip(objectives.names, value, strict=True)
    )
    return f"epoch {rungs[rung]}: {measured}: {rank_in_words(standing, rung, objectives)}"


def rank_in_words(standing: Place, rung: int, objectives: Objectives) -> str:
    """rung: its place among the rungs."""
    text = f"rank {standing.rank} of {standing.ranks} of rung {rung + 1}"
    if standing.beaten_by:
        return f"{text}, dominated by {_trials(standing.beaten_by)}"
    if standing.goes_on:
        return text
    few = f"best by {objectives.names[0]} goes" if standing.room == 1 else None
    few = few or f"{standing.room} farthest apart go"
    return f"{text}, of whose {standing.peers} trials only the {few} on"


def _trials(numbers: Sequence[int]) -> str:
    """`trials 3 and 7`, `trials 3, 7, 9 and 4 more`."""
    named = list(map(str, numbers[:MOST_NAMED]))
    if len(numbers) > MOST_NAMED:
        named.append(f"{len(numbers) - MOST_NAMED} more")
    if len(named) == 1:
        return f"trial {named[0]}"
    return f"trials {', '.join(named[:-1])} and {named[-1]}"
