"""The curves of a search's trials, each to where it ended."""

import math
from dataclasses import dataclass
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULT
from mnist_sweep.runs.lookup import find_run


@dataclass(frozen=True)
class TrialCurve:
    """A trial's run. label: short; val_acc: of epochs 1, 2, ..., fractions of 1, NaN where it is
    no number."""

    label: str
    status: str
    val_acc: tuple[float, ...]


@dataclass(frozen=True)
class PrunedInfo:
    trials: tuple[TrialCurve, ...]
    left_out: int = 0
    """Runs that finished no epoch, or whose files are gone."""

    @property
    def best(self) -> TrialCurve | None:
        """The completed one with the highest last value."""
        # NaN is no accuracy, and its trial none to be the best.
        completed = [
            trial
            for trial in self.trials
            if trial.status == "completed" and math.isfinite(trial.val_acc[-1])
        ]
        return max(completed, key=lambda trial: trial.val_acc[-1], default=None)


def pruned_info(folder: Path) -> PrunedInfo:
    """folder: of a search.

    Raises:
        UserError: no run in it finished an epoch with a validation accuracy.
    """
    trials, left_out = [], 0
    for path in sorted(folder.rglob(RESULT)):
        try:
            run = find_run(str(path.parent))
            history = run.history() if run.record.study is not None else []
        except UserError:  # it ended before its first epoch did, or a file is damaged
            left_out += 1
            continue
        accs = tuple(math.nan if m.val_acc is None else m.val_acc for m in history)
        if any(map(math.isfinite, accs)):
            trials.append(TrialCurve(f"trial {run.record.trial}", run.record.status, accs))
    if not trials:
        raise UserError(
            f"{folder}: no run of the search in it finished an epoch with a validation accuracy, "
            "so there is no curve to draw"
        )
    return PrunedInfo(tuple(trials), left_out)
