"""How many trials may fail before a search gives up."""

from pathlib import Path

from mnist_sweep.errors import FailureError
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.trials.lifecycle import Verdict


class SearchFailedError(FailureError):
    """More trials failed than allowed."""


class Failures:
    """Those of this command alone."""

    def __init__(self, settings: SearchSettings, n_trials: int, sweep_dir: Path) -> None:
        self.settings = settings
        self.n_trials = n_trials
        self.sweep_dir = sweep_dir
        self.ended = 0
        """Trials, failed or not."""
        self.found: list[str] = []

    def count(self, verdict: Verdict) -> None:
        self.ended += 1
        if verdict.error is not None:
            self.found.append(f"trial {verdict.trial}: {verdict.error}")

    def check(self) -> None:
        """
        Raises:
            SearchFailedError: there are too many.
        """
        allowed = self.settings.max_failure_rate * max(self.ended, 10)
        if len(self.found) > allowed or len(self.found) >= max(10, self.n_trials):
            raise SearchFailedError(
                f"{len(self.found)} of {self.ended} trials failed, over hydra.sweeper."
                f"max_failure_rate={self.settings.max_failure_rate}; the first, "
                f"{self.found[0]} (its output.log in {self.sweep_dir} has more)"
            )
