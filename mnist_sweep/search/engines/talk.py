"""What a controller and a worker say to each other, whatever lies between them.

The controller sends a `Job`, and nothing more before its `Ended`, but for an answer to each list of
epochs: why the run is pruned, or None.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, setup_globals

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.search.engines.job import Job, SweepContext, execute
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
    """In which the controller was started, and in which the worker is to train."""
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


class Line(Protocol):
    """A worker's end; as `multiprocessing.connection.Connection`, which is one."""

    def send(self, message: Any, /) -> None: ...

    def recv(self) -> Any:
        """
        Raises:
            EOFError: the controller has hung up.
        """


def serve(line: Line, context: SweepContext) -> None:
    """Trains what it is sent, one run after another.

    Raises:
        EOFError, OSError: the controller has hung up.
    """
    settle(context.own)
    setup_globals()
    Plugins.instance()  # brings the configurations that plugins have
    JobRuntime.instance().set("name", context.config.hydra.job.name)
    composer = context.composer()

    def on_epoch(job: Job, history: list[EpochMetrics]) -> str | None:
        line.send(history)
        reason: str | None = line.recv()
        return reason

    while True:
        line.send(execute(line.recv(), context, composer, on_epoch))
