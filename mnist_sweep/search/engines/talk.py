"""What a controller and a worker say to each other, whatever lies between them.

The controller sends a `Job`, and nothing more before its `Ended`, but for an answer to each list of
epochs: why the run is pruned, or None. With a worker that does not see the sweep's directory files
go to and fro: what a run needs at its start, what it has left at each of its epochs and ends.
"""

from dataclasses import dataclass, replace

from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, setup_globals

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.search.engines.job import Job, SweepContext, execute
from mnist_sweep.search.engines.own_data import with_own_data
from mnist_sweep.search.engines.workplace import Line, Workplace
from mnist_sweep.settled import settle


@dataclass(frozen=True)
class Hello:
    """What a worker that joins says of itself."""

    host: str
    pid: int
    code: str
    """A short name of its source code."""
    gpus: tuple[str, ...] = ()
    """That it may use."""


@dataclass(frozen=True)
class Welcome:
    context: SweepContext
    folder: str
    """In which the controller was started; a worker that sees it trains there."""
    sweep_dir: str
    """The absolute path of the sweep's directory."""
    beat_s: float
    """How often it is to say that it lives."""
    gpu: str | None
    """The one that it is to see; None: all."""


@dataclass(frozen=True)
class Refusal:
    why: str
    code: str | None = None
    """The search's, where that is why."""


@dataclass(frozen=True)
class Goodbye:
    """That the search is over: a worker ends what it trains at once, and itself."""


@dataclass(frozen=True)
class Beat:
    """That a worker lives."""


@dataclass(frozen=True)
class Leaving:
    """That a worker goes, in the midst of its job or without one."""

    why: str


def serve(line: Line, context: SweepContext, workplace: Workplace) -> None:
    """Trains what it is sent, one run after another.

    Raises:
        EOFError, OSError: the controller has hung up.
        UserError: this machine has not got the data.
    """
    settle(context.own)
    setup_globals()
    Plugins.instance()  # brings the configurations that plugins have
    JobRuntime.instance().set("name", context.config.hydra.job.name)
    composer = context.composer()
    context = with_own_data(context, composer)

    def on_epoch(job: Job, history: list[EpochMetrics]) -> str | None:
        workplace.carry()
        line.send(history)
        reason: str | None = line.recv()
        return reason

    while True:
        job: Job = line.recv()
        ended = execute(workplace.begin(job), context, composer, on_epoch)
        workplace.carry()
        line.send(replace(ended, job=job))
        workplace.end()
