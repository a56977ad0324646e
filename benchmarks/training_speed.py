"""How fast, how small and how safe a default CPU run is: the figures of docs/speed.md.

    MNIST_SWEEP_DATA=<folder that holds MNIST/raw> python benchmarks/training_speed.py

About 4 minutes on two cores. The figures by number (`--only 2,3` takes some of them):
1  our epoch over a bare loop of the same net on batches that lie ready in memory
2  the usual loop (torchvision, one image at a time) over our epoch, both on two threads
3  two of our runs of one thread each, side by side, over the usual loop on two threads
4  peak memory of a whole run, and of torch alone
5  the time until the command line has composed a config, without torch
6  eight processes that append to one results table

A machine is seldom idle, so no time stands alone in 1 to 3: the contestants take turns, in rounds
of a second or two each, and each round gives one ratio. Shown are median, minimum and maximum.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from subprocess import DEVNULL, PIPE

from contestants import (
    ROWS_EACH,
    USUAL_BATCH_SIZE,
    USUAL_THREADS,
    Contestant,
    Job,
    append,
    bare,
    ours,
    play,
    row_of,
    settled,
    usual,
)
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnist_sweep.paths import OUTPUTS, RESULTS_TABLE
from mnist_sweep.runs.table import ResultsTable

# Imports no torch: Linux counts the peak memory of the process that starts another towards the
# other's ru_maxrss, so this one has to stay smaller than figure 4.
# Number, name, (factor, seconds of, over seconds of), target.
RATIOS = [
    (1, "time, ours / bare loop", (1, "ours", "bare loop"), "<= 1.15"),
    (2, "time, usual / ours, same batch", (1, "usual", "ours, usual batch"), ">= 1.8"),
    (2, "time, usual / ours, default", (1, "usual", "ours, default batch"), ""),
    (3, "images/s, two of ours / usual", (2, "usual", "two of ours"), ">= 3"),
]
WRITERS = 8
STARTS = 5

Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Figure:
    """One line of the result: the median of its samples, and their spread or a note instead."""

    number: int
    name: str
    samples: list[float]
    target: str = ""
    note: str = ""

    def cells(self) -> list[str]:
        low, value, high = (
            f"{number:,.0f}" if number >= 100 or number == 0 else f"{number:.2f}"
            for number in (min(self.samples), median(self.samples), max(self.samples))
        )
        spread = f"{low} .. {high}" if len(self.samples) > 1 else ""
        return [str(self.number), self.name, self.target, value, self.note or spread]


Turn = tuple[ProcessPoolExecutor, Contestant, Job]


def make_process(stack: ExitStack) -> ProcessPoolExecutor:
    """A fresh one, since threads and the allocator's settings are a process's own."""
    return stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))


def take_turn(turns: list[Turn]) -> float:
    """One round of each, all at once; returns the seconds until the last is done."""
    start = time.perf_counter()
    rounds = [process.submit(play, contestant, job) for process, contestant, job in turns]
    for running in rounds:
        running.result()
    return time.perf_counter() - start


def take_turns(numbers: set[int], images: int, rounds: int) -> Seconds:
    """Seconds of each contestant in each round, for the figures 1 to 3 among `numbers`."""
    threads = f"trainer.threads={USUAL_THREADS}"
    default = Job(images)
    with ExitStack() as stack:
        turns: dict[str, list[Turn]] = {}
        if 1 in numbers:  # in one process, where both have what `settle` does
            both = make_process(stack)
            turns |= {"ours": [(both, ours, default)], "bare loop": [(both, bare, default)]}
        if numbers & {2, 3}:
            turns["usual"] = [(make_process(stack), usual, default)]
        if 2 in numbers:
            job = Job(images, (threads, f"trainer.batch_size={USUAL_BATCH_SIZE}"))
            turns["ours, usual batch"] = [(make_process(stack), ours, job)]
            turns["ours, default batch"] = [(make_process(stack), ours, Job(images, (threads,)))]
        if 3 in numbers:
            job = Job(images, ("trainer.threads=1",))
            turns["two of ours"] = [(make_process(stack), ours, job) for _ in range(2)]

        seconds: Seconds = {name: [] for name in turns}
        for number in range(rounds + 1):
            for name, turn in turns.items():
                taken = take_turn(turn)
                if number > 0:  # the first round prepares and warms up
                    seconds[name].append(taken)
    return seconds


def speeds(seconds: Seconds) -> list[Figure]:
    figures = []
    for number, name, (factor, above, below), target in RATIOS:
        if above in seconds and below in seconds:
            pairs = zip(seconds[above], seconds[below], strict=True)
            samples = [factor * a / b for a, b in pairs]
            figures.append(Figure(number, name, samples, target))
    return figures


def peak_memory() -> list[Figure]:
    command = [sys.executable, "-m", "mnist_sweep", "trainer.epochs=1", "trainer.device=cpu"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, check=True, stdout=DEVNULL)
        (row,) = ResultsTable(Path(folder) / OUTPUTS / RESULTS_TABLE).rows()
    code = "import torch, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    alone = subprocess.run([sys.executable, "-c", code], check=True, stdout=PIPE, text=True)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return [
        Figure(4, "peak MB, a default run", [float(row["peak_rss_mb"])], "<= 950"),
        Figure(4, "peak MB, import torch", [int(alone.stdout) * unit / 1e6]),
    ]


def command_line_start() -> list[Figure]:
    command = ["-m", "mnist_sweep", "--cfg", "job"]
    seconds = []
    for _ in range(STARTS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=DEVNULL)
        seconds.append(time.perf_counter() - start)
    traced = [sys.executable, "-X", "importtime", *command]
    imports = subprocess.run(traced, check=True, capture_output=True, text=True).stderr
    num_torch = len(re.findall(r"\| +torch(?:\.\S+)?$", imports, re.MULTILINE))
    note = f"best of {STARTS}; worst {max(seconds):.2f}"
    return [
        Figure(5, "seconds, --cfg job", [min(seconds)], "<= 1", note),
        Figure(5, "torch modules it imports", [num_torch], "<= 0"),
    ]


def appended_rows() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        table = ResultsTable(Path(folder) / RESULTS_TABLE)
        jobs = [Job(table=str(table.path), writer=number) for number in range(WRITERS)]
        turns: list[Turn] = [(make_process(stack), append, job) for job in jobs]
        for process, _, _ in turns:
            process.submit(os.getpid).result()  # it has started
        seconds = take_turn(turns)
        found = {tuple(row.values()) for row in table.rows()}
    written = {
        tuple("" if cell is None else str(cell) for cell in row_of(writer, row).row().values())
        for writer in range(WRITERS)
        for row in range(ROWS_EACH)
    }
    name = f"whole rows, {WRITERS} processes x {ROWS_EACH:,}"
    note = f"in {seconds:.1f} s"
    return [Figure(6, name, [len(written & found)], f">= {len(written):,}", note)]


def describe_machine() -> dict[str, str]:
    load = " ".join(f"{average:.2f}" for average in os.getloadavg())
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    with ExitStack() as stack:
        auto = make_process(stack).submit(settled).result()
    return {
        "cpu": model.group(1) if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "torch": version("torch"),
        "auto": auto,
        "load average": load,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=6400, help="images a round (default 6400)")
    parser.add_argument("--rounds", type=int, default=19, help="timed rounds (default 19)")
    parser.add_argument("--only", default="1,2,3,4,5,6", help="figures to take, such as 2,3")
    parser.add_argument("--json", type=Path, help="file for the figures and every sample")
    arguments = parser.parse_args()
    arguments.only = set(arguments.only.split(","))
    if not arguments.only <= set("123456"):
        parser.error("--only takes numbers from 1 to 6, such as 2,3")
    if arguments.rounds < 1 or not USUAL_BATCH_SIZE <= arguments.images <= 50_000:
        parser.error(f"--rounds is at least 1, --images {USUAL_BATCH_SIZE} to 50000")
    # The usual loop stops after whole batches; all are to have the same images.
    arguments.images -= arguments.images % USUAL_BATCH_SIZE
    return arguments


def main() -> int:
    arguments = parse_arguments()
    numbers = {int(number) for number in arguments.only}
    root = Path(os.environ.get("MNIST_SWEEP_DATA", "data")).resolve()
    if numbers & {1, 2, 3, 4} and not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        what = "set MNIST_SWEEP_DATA to the folder that holds MNIST/raw"
        print(f"error: needs the real MNIST, unpacked: {what}", file=sys.stderr)
        return 2
    os.environ["MNIST_SWEEP_DATA"] = str(root)  # runs start in other folders

    console = Console(highlight=False)
    about = describe_machine()
    console.print("; ".join(f"{key} {value}" for key, value in about.items()), soft_wrap=True)
    seconds = take_turns(numbers, arguments.images, arguments.rounds)
    figures = speeds(seconds)
    for number, measure in ((4, peak_memory), (5, command_line_start), (6, appended_rows)):
        if number in numbers:
            figures += measure()

    table = Table("", "figure", "target", "value", "spread", box=None, header_style="bold")
    for figure in figures:
        table.add_row(*map(Text, figure.cells()))
    console.print(table)
    for name, samples in seconds.items():
        images = arguments.images * (2 if name == "two of ours" else 1)
        console.print(Text(f"   {images / median(samples):8,.0f} images/s  {name}"))
    if arguments.json:
        taken = [{**asdict(figure), "value": median(figure.samples)} for figure in figures]
        content = {
            "machine": about,
            "images": arguments.images,
            "seconds": seconds,
            "figures": taken,
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
