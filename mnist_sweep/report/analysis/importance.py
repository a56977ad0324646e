"""How much each parameter of a search has to do with a trial's being among the best."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_sweep.errors import UserError
from mnist_sweep.report.read.study import SearchStudy
from mnist_sweep.report.wording import counted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FEWEST_COMPLETED = 4
BEST_TO_EXPLAIN = 5
"""Trials, where there are twice as many; of 50 and more the best tenth, as Optuna has it."""
SHUFFLES = 100
CHANCE = 0.95


@dataclass(frozen=True)
class Importances:
    """shares: parameter -> its share of 1, the largest first. chance: what it would exceed in one
    of twenty cases if the parameter had no effect. note: how both were reckoned."""

    objective: str
    shares: Mapping[str, float]
    chance: Mapping[str, float]
    note: str

    def is_above_chance(self, name: str) -> bool:
        return self.shares[name] > self.chance[name]


def importances(study: SearchStudy, objective: str) -> Importances:
    """PED-ANOVA (Watanabe et al. 2023) through Optuna, which takes conditional parameters too.

    chance: the 95 % quantile over shuffles of the trials' values among the trials.

    Raises:
        UserError: too few trials are completed, or no parameter was searched.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    values = {
        trial.number: value
        for trial in study.trials
        if (value := study.value(trial, objective)) is not None
    }
    if len(values) < FEWEST_COMPLETED:
        raise UserError(
            f"{study.folder}: {counted(len(values), 'completed trial')} of {len(study.trials)}, "
            f"and importance needs {FEWEST_COMPLETED}; give the search more trials"
        )
    sign = -1 if study.directions[objective] == "maximize" else 1
    completed = [trial for trial in study.trials if trial.number in values]
    taken: dict[str, set[Any]] = {}
    for trial in completed:
        for name, value in trial.params.items():
            taken.setdefault(name, set()).add(value)
    names = sorted(name for name, choices in taken.items() if len(choices) > 1)
    if not names:
        raise UserError(f"{study.folder}: no parameter varies among its completed trials")
    memory = optuna.create_study()
    memory.add_trials([_with_value(trial) for trial in completed])
    numbers = list(values)
    best = max(BEST_TO_EXPLAIN, len(numbers) / 10)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, best / len(numbers)))

    def shares(order: Sequence[int]) -> dict[str, float]:
        cost = {position: sign * values[number] for position, number in enumerate(order)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of what is done here on purpose
            return get_param_importances(
                memory, evaluator=evaluator, params=names, target=lambda t: cost[t.number]
            )

    found = shares(numbers)
    generator = np.random.default_rng(0)
    shuffled = [shares(generator.permutation(numbers).tolist()) for _ in range(SHUFFLES)]
    chance = {name: float(np.quantile([s[name] for s in shuffled], CHANCE)) for name in names}
    ordered = sorted(names, key=lambda name: (-found[name], name))
    chosen = math.ceil(len(numbers) * min(0.5, best / len(numbers)))
    note = (
        f"PED-ANOVA (Optuna {optuna.__version__}) of {len(numbers)} completed trials, without the "
        f"pruned: what sets the best {chosen} apart. Chance: of {SHUFFLES} shuffles of the "
        f"results among the trials, {CHANCE:.0%} stay below the mark."
    )
    left_out = sorted(set(study.parameters) - set(names))
    if left_out:
        note += f" Left out, for they do not vary among these: {', '.join(left_out)}."
    return Importances(objective, {name: found[name] for name in ordered}, chance, note)


def _with_value(trial: "FrozenTrial") -> "FrozenTrial":
    """A completed trial for a study of a single objective."""
    from optuna.trial import create_trial

    return create_trial(value=0.0, params=trial.params, distributions=trial.distributions)
