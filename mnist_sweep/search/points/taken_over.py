"""What a study has taken over from finished runs of elsewhere, as it keeps it.

Told runs are no trials of the study: they have no numbers and no rows, and count for nothing but
the sampler. They are kept in the study, so that all its commands go by the same, also where their
source is out of reach.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_sweep.search.points.membership import value_in
from mnist_sweep.search.points.space import Space

NOTED = "warm_start:"
"""Attributes of the study that begin so, one for each source."""


@dataclass(frozen=True)
class Told:
    """A run as a finished trial."""

    params: dict[str, Any]
    values: list[float] | None
    """Of the objectives; None of one that was pruned."""
    at: tuple[int, float] | None = None
    """Epoch, and the objective there, of one that was pruned."""
    excess: float = 0.0
    """As of a candidate."""


@dataclass(frozen=True)
class WarmStart:
    source: str
    told: list[Told]
    """Best first."""
    first: list[dict[str, Any]]
    """Points to try first, best first."""
    text: str
    """How many of each, and why."""

    def trials(self, space: Space) -> Iterator[FrozenTrial]:
        """Told runs, those that are points of this space."""
        for number, run in enumerate(self.told, start=1):
            try:
                params = space.choose(partial(_value, run))
            except (KeyError, ValueError):
                continue
            trial = create_trial(
                state=TrialState.COMPLETE if run.at is None else TrialState.PRUNED,
                values=run.values,
                params=params,
                distributions={name: space.distributions[name] for name in params},
                intermediate_values=dict([run.at] if run.at else ()),
                constraints={"budget": run.excess},
            )
            trial.number = -number  # no trial of the study's has it
            yield trial


def _value(run: Told, name: str, distribution: BaseDistribution) -> Any:
    return value_in(distribution, run.params[name])


def has_taken_over(attrs: Mapping[str, Any], source: str) -> bool:
    """attrs: of the study."""
    return NOTED + source in attrs


def note_taken_over(study: Study, found: WarmStart) -> None:
    study.set_user_attr(NOTED + found.source, asdict(found))


def taken_over(study: Study) -> list[WarmStart]:
    """From each source."""
    return [
        WarmStart(**{**noted, "told": [Told(**run) for run in noted["told"]]})
        for key, noted in study.user_attrs.items()
        if key.startswith(NOTED)
    ]
