"""A trial under way: what it is, and how far it has come."""

from dataclasses import dataclass, field

from optuna.trial import Trial

from mnist_sweep.runs.record import RunRecord


@dataclass
class RunningTrial:
    trial: Trial
    overrides: tuple[str, ...]
    """Of its point; each run adds its seed, and the epochs of its rung."""
    epochs: int
    """Of its schedule, as a pruner sees it, which goes with no rungs."""
    replaces: bool
    """Whether its rows take the place of older ones."""
    told: int = 0
    """Epochs that the pruner knows of."""
    rung: int = 0
    """Place in `rungs`."""
    records: dict[str, RunRecord] = field(default_factory=dict)
    """Run id -> its record, for each seed that is done at this rung."""

    @property
    def number(self) -> int:
        return self.trial.number
