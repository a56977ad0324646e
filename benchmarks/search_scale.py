"""How many workers one controller keeps busy, with trainings that only sleep.

    python benchmarks/search_scale.py [--workers 10,100,1000] [--trials-each 10] [--storage URL]

For each number of workers a real search (random sampler) runs in a temporary folder; the workers
are threads of one other process that join it as any worker does, sleep for 10 to 60 s a trial with
an epoch's news in the middle, and leave a result.json. Prints, for each: the workers' idle share
between the first and the last moment at which all of them are busy, trials a second, seconds and
storage calls of the controller a trial, and its peak memory. It takes about 40 s times
`--trials-each` for each number.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.paths import INVITATION
from mnist_sweep.runs.record import RunRecord, run_id_of, write_result
from mnist_sweep.search.engines.door import Invitation
from mnist_sweep.search.engines.job import Ended, Job
from mnist_sweep.search.engines.talk import Beat, Goodbye, Hello
from mnist_sweep.sources import package_name

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


def measure(workers: int, trials: int, storage: str | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        sweep_dir = Path(name) / "multirun" / "study"
        more = [f"hydra.sweeper.n_trials={trials}"]
        if storage is not None:
            more.append(f"hydra.sweeper.storage='{storage}'")
        log = (Path(name) / "log").open("w+")
        controller = subprocess.Popen(
            [sys.executable, "-m", "mnist_sweep", *SEARCH, *more], cwd=name, stdout=log, stderr=log
        )
        while not (sweep_dir / INVITATION).exists():
            if controller.poll() is not None:
                raise RuntimeError(Path(log.name).read_text())
            time.sleep(0.1)
        sleepers = [Sleeper(sweep_dir, number) for number in range(workers)]
        for sleeper in sleepers:
            sleeper.start()
        life, peak = psutil.Process(controller.pid), 0.0
        cpu = 0.0
        while controller.poll() is None:
            try:
                peak = max(peak, life.memory_info().rss / 1e6)
                times = life.cpu_times()
                cpu = times.user + times.system
            except psutil.Error:
                break
            time.sleep(0.5)
        if controller.wait() != 0:
            raise RuntimeError(Path(log.name).read_text())
        show(workers, [sleeper.slept for sleeper in sleepers], cpu, peak)


def show(workers: int, slept: list[list[Span]], cpu: float, peak: float) -> None:
    num_trials = sum(map(len, slept))
    begin = max(spans[0].begin for spans in slept if spans)
    end = min(spans[-1].end for spans in slept if spans)
    whole = [s for spans in slept for s in spans if s.begin < end and s.end > begin]
    busy = sum(min(s.end, end) - max(s.begin, begin) for s in whole)
    idle = 1 - busy / (workers * (end - begin))
    print(
        f"{workers:>5} workers, {num_trials:>6} trials: idle {100 * idle:.1f} % over "
        f"{end - begin:.0f} s, {len(whole) / (end - begin):.1f} trials/s, controller "
        f"{1000 * cpu / num_trials:.0f} ms of processor time a trial, peak {peak:.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="10,100,1000")
    parser.add_argument("--trials-each", type=int, default=10)
    parser.add_argument("--storage", help="the search's; default: its journal")
    options = parser.parse_args()
    for workers in map(int, options.workers.split(",")):
        measure(workers, workers * options.trials_each, options.storage)


if __name__ == "__main__":
    main()
