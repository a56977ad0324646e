"""How many workers one controller keeps busy, with trainings that only sleep.

    python benchmarks/search_scale.py [--workers 10,100,1000] [--trials-each 10]
                                      [--storage journal | postgres | proxy | URL]

For each number of workers a real search (random sampler) runs in a temporary folder; the workers
are threads of one other process that join it as any worker does, sleep for 10 to 60 s a trial with
an epoch's news in the middle, and leave a result.json. `postgres` starts a server of its own for
it, `proxy` Optuna's gRPC proxy in front of such a one. Prints, for each number: the workers' idle
share between the first and the last moment at which all of them are busy, trials a second,
processor time of the controller and operations of its storage a trial, and its peak memory. It
takes about 40 s times `--trials-each` for each number.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import INVITATION, JOURNAL
from mnist_sweep.runs.record import RunRecord, run_id_of, write_result
from mnist_sweep.search.engines.door import Invitation
from mnist_sweep.search.engines.job import Ended, Job
from mnist_sweep.search.engines.talk import Beat, Goodbye, Hello
from mnist_sweep.sources import package_name

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.postgres import connect, free_port, new_database, running_server

SHORTEST_S, LONGEST_S = 10.0, 60.0

SEARCH = [
    *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=study", "hydra.sweeper.n_jobs=0"),
    *("hydra/sweeper/sampler=random", "data=digits", "model=ds_cnn_v3_code"),
    *("optimizer.lr=tag(log,interval(0.001,0.1))", "trainer.epochs=2"),
]


@dataclass(frozen=True)
class Span:
    begin: float
    end: float


class Sleeper(threading.Thread):
    """One worker."""

    def __init__(self, sweep_dir: Path, number: int) -> None:
        super().__init__(daemon=True)
        self.sweep_dir = sweep_dir
        self.random = random.Random(number)
        self.slept: list[Span] = []

    def run(self) -> None:
        pipe = Invitation.read(self.sweep_dir / INVITATION).dial()
        pipe.send(Hello("here", 0, package_name()))
        beat_s = pipe.recv().beat_s
        try:
            while True:
                while not pipe.poll(beat_s):
                    pipe.send(Beat())
                job = pipe.recv()
                if isinstance(job, Goodbye):
                    return
                begin = time.monotonic()
                seconds = self.random.uniform(SHORTEST_S, LONGEST_S)
                for _ in range(2):
                    deadline = time.monotonic() + seconds / 2
                    while (left := deadline - time.monotonic()) > 0:
                        time.sleep(min(beat_s, left))
                        pipe.send(Beat())
                    pipe.send([EPOCH])
                    if isinstance(pipe.recv(), Goodbye):
                        return
                record = self.record(job)
                self.slept.append(Span(begin, time.monotonic()))
                pipe.send(Ended(job, record, None))
        except (EOFError, OSError):
            return

    def record(self, job: Job) -> RunRecord:
        run_dir = self.sweep_dir / job.subdir
        run_dir.mkdir()
        record = RunRecord(
            run_id=run_id_of(run_dir),
            status="completed",
            groups={},
            seed=0,
            val_acc=self.random.random(),
            overrides=" ".join(job.overrides),
            run_dir=str(run_dir),
            study=job.info.study,
            trial=job.info.trial,
        )
        write_result(run_dir, record)
        return record


EPOCH = EpochMetrics(1, 0.1, 1.0, 0.5, 1.0, 0.5, 1.0, 0.5, None, None, 1.0, 1.0)


@dataclass(frozen=True)
class Storage:
    url: str | None
    """None: the search's own journal."""
    operations: Callable[[Path], int | None]
    """So many there have been, of a search in this directory; None where that is not known."""


@contextmanager
def storage_of(kind: str) -> Iterator[Storage]:
    if kind == "journal":
        yield Storage(None, lambda sweep_dir: (sweep_dir / JOURNAL).read_bytes().count(b"\n"))
    elif kind in ("postgres", "proxy"):
        with running_server() as server:
            url = new_database(server.port)

            def transactions(_: Path) -> int:
                time.sleep(2)  # the server counts what is a moment old
                with connect(server.port) as connection:
                    counted = connection.execute(
                        "SELECT xact_commit + xact_rollback FROM pg_stat_database "
                        "WHERE datname = %s",
                        (url.rpartition("/")[2],),
                    ).fetchone()
                return int(counted[0])

            if kind == "postgres":
                yield Storage(url, transactions)
            else:
                with proxy(url) as proxy_url:
                    yield Storage(proxy_url, transactions)
    else:
        yield Storage(kind, lambda sweep_dir: None)


@contextmanager
def proxy(url: str) -> Iterator[str]:
    """Optuna's, in front of a database."""
    port = free_port()
    code = (
        "import sys; from optuna.storages import get_storage, run_grpc_proxy_server; "
        "run_grpc_proxy_server(get_storage(sys.argv[1]), host='localhost', port=int(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url, str(port)])
    try:
        time.sleep(5)
        yield f"grpc://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def measure(workers: int, trials: int, kind: str) -> None:
    with tempfile.TemporaryDirectory() as name, storage_of(kind) as storage:
        sweep_dir = Path(name) / "multirun" / "study"
        more = [f"hydra.sweeper.n_trials={trials}"]
        if storage.url is not None:
            more.append(f"hydra.sweeper.storage='{storage.url}'")
        log = (Path(name) / "log").open("w+")
        controller = subprocess.Popen(
            [sys.executable, "-m", "mnist_sweep", *SEARCH, *more], cwd=name, stdout=log, stderr=log
        )
        while not (sweep_dir / INVITATION).exists():
            if controller.poll() is not None:
                raise RuntimeError(Path(log.name).read_text())
            time.sleep(0.1)
        life = psutil.Process(controller.pid)
        started, peak = cpu_s(life), 0.0
        cpu = started
        sleepers = [Sleeper(sweep_dir, number) for number in range(workers)]
        for sleeper in sleepers:
            sleeper.start()
        while controller.poll() is None:
            try:
                peak = max(peak, life.memory_info().rss / 1e6)
                cpu = cpu_s(life)
            except psutil.Error:
                break
            time.sleep(0.5)
        if controller.wait() != 0:
            raise RuntimeError(Path(log.name).read_text())
        operations = storage.operations(sweep_dir)
        show([sleeper.slept for sleeper in sleepers], cpu - started, operations, peak)


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def show(slept: list[list[Span]], cpu: float, operations: int | None, peak: float) -> None:
    """cpu: without the controller's start."""
    num_trials = sum(map(len, slept))
    begin = max(spans[0].begin for spans in slept if spans)
    end = min(spans[-1].end for spans in slept if spans)
    whole = [s for spans in slept for s in spans if s.begin < end and s.end > begin]
    busy = sum(min(s.end, end) - max(s.begin, begin) for s in whole)
    idle = 1 - busy / (len(slept) * (end - begin))
    each = "" if operations is None else f", {operations / num_trials:.1f} storage operations"
    print(
        f"{len(slept):>5} workers, {num_trials:>6} trials: idle {100 * idle:.1f} % over "
        f"{end - begin:.0f} s, {len(whole) / (end - begin):.1f} trials/s; a trial "
        f"{1000 * cpu / num_trials:.1f} ms of the controller's processor time{each}; peak "
        f"{peak:.0f} MB; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="10,100,1000")
    parser.add_argument("--trials-each", type=int, default=10)
    parser.add_argument("--storage", default="journal", help="journal, postgres, proxy or a URL")
    options = parser.parse_args()
    for workers in map(int, options.workers.split(",")):
        measure(workers, workers * options.trials_each, options.storage)


if __name__ == "__main__":
    main()
