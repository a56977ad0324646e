"""What a search asks of whatever trains its runs, and which engine it gets."""

from collections.abc import Callable
from typing import Protocol

from omegaconf import OmegaConf

from mnist_sweep.gpus import ANY, in_sight
from mnist_sweep.search.engines.crew import Crew
from mnist_sweep.search.engines.inline import Inline
from mnist_sweep.search.engines.job import Ended, Job, OnEpoch, SweepContext
from mnist_sweep.search.engines.pool import Pool
from mnist_sweep.search.launching.staff import Nobody
from mnist_sweep.search.launching.staffing import STAFFED, make_staff


class Engine(Protocol):
    """Workers, on this machine or elsewhere, each of which trains one run after another.

    They may join and leave at any time: an engine has room when a run that is submitted now would
    be begun now. Each submitted job ends once, in `next`, whatever became of its worker; only
    `stop` ends jobs without a word. A run's directory is one that the controller can read.
    """

    @property
    def threads(self) -> int | None:
        """CPU threads that a run shall take where its config leaves that open; None: all."""

    def open(self) -> None:
        """Has its workers come, where it does not start one when there is a job for it.

        Raises:
            UserError: they cannot.
        """

    @property
    def has_room(self) -> bool: ...

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was submitted is still to end."""

    def submit(self, job: Job) -> None:
        """Only where it has room."""

    def next(self, timeout: float, on_epoch: OnEpoch) -> Ended | None:
        """The next job to end; None if none does in about so many seconds, or sooner where a worker
        has come. Meanwhile the runs' epochs are passed to `on_epoch`, and its answers to them.

        Raises:
            FailureError: there is no worker, and none will come.
        """

    def stop(self) -> None:
        """Ends all jobs now; each leaves its record in its run directory, if it does so in time."""

    def close(self) -> None:
        """Lets all workers go."""


def make_engine(
    n_jobs: int,
    context: SweepContext,
    launcher: str = "basic",
    lease_s: float = 60.0,
    device: str | None = None,
    note: Callable[[str], None] = print,
) -> Engine:
    """The engine for so many runs at once, with its workers where Hydra's launcher of this name has
    them; with 0, for as many as join it. lease_s: a worker elsewhere that is silent for this long
    is dead. device: trainer.device, which workers of a machine with several GPUs are spread by;
    None where it is not the same for all runs. note: shows a line on workers that do not come."""
    if n_jobs == 0:
        return Crew(0, context, Nobody(), lease_s=lease_s, device=device, note=note)
    if launcher in STAFFED:
        settings = OmegaConf.to_container(context.config.hydra.launcher, resolve=True)
        assert isinstance(settings, dict)
        own = {str(key): value for key, value in settings.items() if key != "_target_"}
        staff = make_staff(launcher, own)
        return Crew(n_jobs, context, staff, lease_s=lease_s, device=device, note=note)
    if n_jobs == 1 and launcher == "basic":
        return Inline(context)
    return Pool(n_jobs, context, in_sight() if device in ANY else ())
