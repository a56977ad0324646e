"""The one worker of `n_jobs=1`: the controller's own process."""

import time

from mnist_sweep.search.engines.job import Ended, Job, OnEpoch, SweepContext, execute


class Inline:
    threads = None

    def __init__(self, context: SweepContext) -> None:
        self.context = context
        self.composer = context.composer()
        self.job: Job | None = None

    def open(self) -> None:
        pass

    @property
    def has_room(self) -> bool:
        return self.job is None

    @property
    def is_idle(self) -> bool:
        return self.job is None

    def submit(self, job: Job) -> None:
        self.job = job

    def next(self, timeout: float, on_epoch: OnEpoch) -> Ended | None:
        """Runs the job that was submitted, however long it takes."""
        if self.job is None:
            time.sleep(timeout)
            return None
        job, self.job = self.job, None
        return execute(job, self.context, self.composer, on_epoch)

    def stop(self) -> None:
        """A job that runs is ended by what interrupts it; one that does not has not begun."""
        self.job = None

    def close(self) -> None:
        pass
