"""What people ask of the controllers of a study, from any machine that sees it.

It is written into the study, for each controller that is at work on it then, so that it does not
hold for a later command.
"""

import time
from typing import Literal

from optuna.study import Study

STOP = "stop:"
"""Prefix of the study's attribute for a controller: how it is to stop."""

STOP_TRIAL = "stop_trial:"
"""Prefix of the study's attribute for a trial that is to end."""

How = Literal["after_running", "now"]

LOOK_S = 1.0
"""How often a controller looks for requests."""


def ask_to_stop(study: Study, controller: str, how: How) -> None:
    study.set_user_attr(f"{STOP}{controller}", how)


def ask_to_stop_trial(study: Study, number: int) -> None:
    study.set_user_attr(f"{STOP_TRIAL}{number}", True)


class Requests:
    """As one controller sees them."""

    def __init__(self, study: Study, controller: str) -> None:
        self.study = study
        self.controller = controller
        self.looked = 0.0
        self.stop: How | None = None
        """How this controller is to stop."""
        self.trials: set[int] = set()
        """Trials that are to end."""

    def look(self) -> None:
        """Not more often than `LOOK_S`."""
        if time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        attrs = self.study.user_attrs
        self.stop = attrs.get(f"{STOP}{self.controller}")
        self.trials = {
            int(name.removeprefix(STOP_TRIAL)) for name in attrs if name.startswith(STOP_TRIAL)
        }
