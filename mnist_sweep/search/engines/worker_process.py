"""The life of a pool's process: it trains what it is sent, one run after another.

It ends when its controller does, however that ended.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from multiprocessing.connection import Connection, wait

from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, setup_globals

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.search.engines.job import Job, SweepContext, execute


def serve(pipe: Connection, context: SweepContext) -> None:
    """Takes jobs from the pipe. Answers each with how it ended and, before that, with the metrics
    of each epoch so far, for which it gets why the run is pruned, or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to interpret
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    setup_globals()
    Plugins.instance()  # brings the configurations that plugins have
    JobRuntime.instance().set("name", context.config.hydra.job.name)

    composer = context.composer()

    def on_epoch(job: Job, history: list[EpochMetrics]) -> str | None:
        pipe.send(history)
        reason: str | None = pipe.recv()
        return reason

    while True:
        try:
            job = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            pipe.send(execute(job, context, composer, on_epoch))
        except (BrokenPipeError, KeyboardInterrupt):
            return
        except BaseException:
            traceback.print_exc()
            raise


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
