"""The life of a pool's process: it trains what it is sent, one run after another.

It ends when its controller does, however that ended.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from multiprocessing.connection import Connection, wait

from mnist_sweep.gpus import see_only
from mnist_sweep.search.engines.job import SweepContext
from mnist_sweep.search.engines.talk import serve
from mnist_sweep.search.engines.workplace import SweepDirectory


def live(pipe: Connection, gpu: str | None) -> None:
    """pipe: on which its `SweepContext` comes first. gpu: the one that it is to see; None: all."""
    if gpu is not None:
        see_only(gpu)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to interpret
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        context: SweepContext = pipe.recv()
        serve(pipe, context, SweepDirectory())
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is about to end
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
