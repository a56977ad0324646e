"""The section of failures."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mnist_sweep.report.analysis.failures import Failure, failures

MOST_REASONS = 40


@dataclass(frozen=True)
class FailuresSection:
    shown: Sequence[Failure]
    more: int
    """Reasons that are left out."""
    has_pruned: bool
    """Whether some of the runs were pruned, which is no failure."""


def failures_section(runs: pd.DataFrame) -> FailuresSection:
    found = failures(runs)
    return FailuresSection(
        shown=found[:MOST_REASONS],
        more=max(0, len(found) - MOST_REASONS),
        has_pruned=bool((runs.status == "pruned").any()),
    )
