"""The best trials of a search: of one objective the best, of several those on the front."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mnist_sweep.dominance import non_dominated
from mnist_sweep.report.wording import or_empty
from mnist_sweep.runs.surroundings import Surroundings

RUN_COMMAND = Surroundings().command


@dataclass(frozen=True)
class BestTrial:
    trial: int
    run_id: str
    """Of its first run."""
    num_params: int | None
    values: Mapping[str, float]
    """Objective -> the mean over the trial's replicates."""


@dataclass(frozen=True)
class BestTrials:
    objectives: Mapping[str, str]
    """Objective -> maximize or minimize."""
    completed: int
    """Trials from which they are chosen."""
    trials: tuple[BestTrial, ...]
    """By the first objective, the best first."""
    command: str | None
    """Trains the one that is best again; None where there are several objectives."""


def best_trials(
    runs: pd.DataFrame, objectives: Mapping[str, str], run_command: str = RUN_COMMAND
) -> BestTrials | None:
    """runs: of one search, each made by `run_command` and its overrides. None if no trial of it is
    completed with these objectives."""
    names = [name for name in objectives if name in runs]
    completed = runs[(runs.status == "completed") & runs.trial.notna()]
    completed = completed[completed[names].notna().all(axis=1)]
    if completed.empty or not names:
        return None
    # In a race some have fewer seeds than others: they can no longer be the best.
    seeds = completed.groupby("trial").size()
    values = completed.groupby("trial")[names].mean().astype("float64")
    values = values[seeds == seeds.max()]
    first = completed.drop_duplicates("trial").set_index("trial")
    signs = [1 if objectives[name] == "maximize" else -1 for name in names]
    best = values[non_dominated(values.to_numpy() * signs)]
    best = best.sort_values(names, ascending=[sign < 0 for sign in signs])
    if len(names) == 1:
        best = best.head(1)
    sizes = first.num_params[best.index]
    found = tuple(
        BestTrial(
            trial=int(trial),
            run_id=first.run_id[trial],
            num_params=None if pd.isna(size) else int(size),
            values=dict(zip(names, row, strict=True)),
        )
        for trial, size, row in zip(best.index, sizes, best.to_numpy().tolist(), strict=True)
    )
    command = None
    if len(names) == 1:
        overrides = or_empty(first.overrides[found[0].trial])
        command = f"{run_command} {overrides}".strip()
    kept = {name: objectives[name] for name in names}
    return BestTrials(kept, len(seeds), found, command)
