"""Why runs came to nothing: reasons, those that differ in numbers only taken together."""

from dataclasses import dataclass

import pandas as pd

NOT_SCORED = ("failed", "diverged", "interrupted", "infeasible")
"""Statuses that have a reason to tell, the worst first."""


@dataclass(frozen=True)
class Failure:
    """Runs that have a status and a reason in common."""

    status: str
    message: str
    """The first run's."""
    run_ids: tuple[str, ...]


def failures(runs: pd.DataFrame) -> list[Failure]:
    """The worst status first, of each the most frequent reason."""
    failed = runs[runs.status.isin(NOT_SCORED)]
    message = failed.error.fillna("(no reason recorded)")
    kind = message.str.replace(r"\d[\d.,:e+-]*", "#", regex=True)
    found = [
        Failure(str(status), group.message.iloc[0], tuple(group.run_id))
        for (status, _), group in failed.assign(message=message).groupby([failed.status, kind])
    ]
    return sorted(found, key=lambda f: (NOT_SCORED.index(f.status), -len(f.run_ids)))
