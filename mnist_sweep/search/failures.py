"""How many trials may fail before a search gives up."""

from pathlib import Path
from typing import NoReturn

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
        failed, rate = len(self.found), self.settings.max_failure_rate
        if failed > rate * max(self.ended, 10):
            over = f"over hydra.sweeper.max_failure_rate={rate}"
            self._give_up(f"{failed} of {self.ended} trials failed, {over}")
        if failed >= max(10, self.n_trials):
            if failed == self.ended:
                self._give_up(f"all {failed} trials so far failed, so there is no point in more")
            self._give_up(
                f"{failed} of {self.ended} trials failed, as many as the {self.n_trials} that are "
                "wanted: hydra.sweeper.n_trials cannot be reached like this"
            )

    def check_end(self, *, any_finished: bool) -> None:
        """
        Raises:
            SearchFailedError: the search has ended, and all that it tried failed.
        """
        if self.found and not any_finished:
            self._give_up(f"all {self.ended} trials of this command failed")

    def _give_up(self, why: str) -> NoReturn:
        raise SearchFailedError(
            f"{why}; the first, {self.found[0]} (its output.log in {self.sweep_dir} has more)"
        )
