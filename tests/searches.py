"""Searches through the real command line, to be watched, killed, stopped or shared."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import optuna
import pandas as pd
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.paths import JOURNAL
from mnist_sweep.search.study.storage import open_storage
from tests.books import is_finished
from tests.conftest import TINY, cli_in, environment
from tests.postgres import IN_URL, PASSWORD

T = TypeVar("T")

LR = "optimizer.lr=tag(log, interval(0.001, 0.1))"

ENDINGS = [
    pytest.param([signal.SIGINT], 130, id="Ctrl-C"),
    pytest.param([signal.SIGINT, signal.SIGINT], 130, id="Ctrl-C twice"),
    pytest.param([signal.SIGHUP], 130, id="terminal closed"),
    pytest.param([signal.SIGKILL], -9, id="killed"),
]
"""Signals that end a command, and its exit code."""

PATIENCE_S = 240
"""For what takes seconds where nothing else runs."""

# An optimizer that does to its run what the file `moods.json` says of its learning rate, and with
# any other one waits until there is no file `gate`.
MOODY = """
import json, os, signal, time
from pathlib import Path
from mnist_sweep.optimizers import AdamW

HERE = Path(__file__).parent

class Moody(AdamW):
    def build(self, model):
        (HERE / f"waits.{os.getpid()}").touch()
        while (HERE / "gate").exists():
            time.sleep(0.01)
        moods = HERE / "moods.json"
        mood = json.loads(moods.read_text()).get(str(self.lr), "") if moods.exists() else ""
        once = HERE / f"once.{self.lr}"
        if not mood.startswith("once") or not once.exists():
            once.touch()
            if mood.endswith("raise"):
                raise RuntimeError(f"in no mood for {self.lr}")
            if mood.endswith("die"):
                os.kill(os.getpid(), signal.SIGKILL)
        return super().build(model)
"""
BY_MOODY = ("optimizer=adamw", "optimizer._target_=moody.Moody")


@dataclass(repr=False)
class Command:
    """One controller: a process group of its own, its output in files."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def tree(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """The children of the fork server, which is a child of the controller's."""
        try:
            children = psutil.Process(self.pid).children()
            return [worker for child in children for worker in child.children()]
        except psutil.NoSuchProcess:
            return []

    def send(self, how: signal.Signals) -> None:
        """To all of the group, as a terminal does with Ctrl-C."""
        os.killpg(self.pid, how)

    def end(self, signals: Sequence[signal.Signals], code: int) -> None:
        """One after the other: the second when the first has been understood."""
        for number, how in enumerate(signals):
            if number:
                self.wait_for_output("Ctrl-C again stops them at once")
            self.send(how)
        assert self.wait() == code, self

    def wait_for_output(self, text: str) -> None:
        wait_until(lambda: text in self.out.read_text(), self)

    def __repr__(self) -> str:
        return f"exit {self.process.poll()}\n{self.out.read_text()}\n{self.err.read_text()}"


def wait_until(condition: Callable[[], T], *commands: Command) -> T:
    """What the condition gives once that is true; fails if a command ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended = [command for command in commands if command.process.poll() is not None]
        if found := condition():
            return found
        assert not ended, f"it ended early: {ended[0]}"
        time.sleep(0.01)
    raise AssertionError("waited in vain\n" + "\n".join(map(repr, commands)))


@dataclass
class Search:
    """A study, in a folder of its own, and the command that goes on with it."""

    folder: Path
    arguments: list[str] = field(default_factory=list)
    storage: str | None = None
    commands: list[Command] = field(default_factory=list)
    on_server: optuna.Study | None = None
    """The study where it is on a server, to be connected to once."""

    @property
    def sweep_dir(self) -> Path:
        return self.folder / "multirun" / "s"

    @property
    def journal(self) -> Path:
        return self.sweep_dir / JOURNAL

    def start(self, *more: str, **extra: str) -> Command:
        storage = [] if self.storage is None else [f"hydra.sweeper.storage='{self.storage}'"]
        number = len(self.commands)
        out, err = self.folder / f"out{number}.txt", self.folder / f"err{number}.txt"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mnist_sweep", "-m", "hydra/sweeper=search"),
                    *("hydra.sweeper.study_name=s", *TINY, "model=ds_cnn_v3_code"),
                    *("trainer.epochs=1", *self.arguments, *storage, *more),
                ],
                cwd=self.folder,
                env=environment(
                    PYTHONPATH=os.pathsep.join(
                        [str(self.folder), os.environ.get("PYTHONPATH", "")]
                    ),
                    PYTHONUNBUFFERED="1",
                    MNIST_SWEEP_TARGETS="moody.*",
                    **extra,
                ),
                stdout=stdout,
                stderr=stderr,
                process_group=0,
                # Under nohup, tests inherit an ignored SIGINT; a terminal sends a real one.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.commands.append(Command(process, out, err))
        return self.commands[-1]

    def run(self, *more: str, code: int = 0, **extra: str) -> Command:
        command = self.start(*more, **extra)
        assert command.wait() == code, command
        assert "Traceback" not in command.err.read_text() or extra, command
        return command

    def run_here(self, *more: str) -> str:
        """As `run`, by one worker and in a process that has imported all before; what it shows."""
        done = cli_in(self.folder)(
            *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", *TINY),
            *("model=ds_cnn_v3_code", "trainer.epochs=1", "hydra.sweeper.n_jobs=1"),
            *(*self.arguments, *more),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def study(self) -> optuna.Study | None:
        """None before the first run: a reader must not be the one to make the tables."""
        if self.on_server is not None or not any(self.sweep_dir.glob("**/output.log")):
            return self.on_server
        storage = open_storage(self.storage, self.sweep_dir)
        study = optuna.load_study(study_name="s", storage=storage)
        self.on_server = study if self.storage is not None else None
        return study

    def trials(self) -> list[FrozenTrial]:
        study = self.study()
        return [] if study is None else study.get_trials(deepcopy=False)

    def objectives(self) -> list[str]:
        study = self.study()
        assert study is not None and study.metric_names is not None
        return study.metric_names

    def finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials() if is_finished(trial)]

    def running(self, command: Command) -> list[FrozenTrial]:
        """The trials that this controller has taken, is training, and has not ended."""
        study = self.study()
        if study is None:
            return []
        return [
            trial
            for trial in study.get_trials(deepcopy=False)
            if trial.state == TrialState.RUNNING
            and "config" in trial.user_attrs
            and study.user_attrs[f"controller:{trial.user_attrs['controller']}"]["pid"]
            == command.pid
        ]

    def run_dirs(self) -> list[Path]:
        return sorted(path.parent for path in self.sweep_dir.glob("**/.hydra"))

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.sweep_dir / "results.csv")

    def shut_gate(self) -> None:
        (self.folder / "gate").touch()

    def open_gate(self) -> None:
        (self.folder / "gate").unlink()

    def clean_up(self) -> None:
        for command in self.commands:
            if command.process.poll() is None:
                command.send(signal.SIGKILL)
                command.process.wait()


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    """A study that is kept in its journal; whatever still runs of it is ended after the test."""
    (tmp_path / "moody.py").write_text(MOODY)
    search = Search(tmp_path)
    yield search
    search.clean_up()


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_fork_server(process: psutil.Process) -> bool:
    try:
        return "multiprocessing.forkserver" in " ".join(process.cmdline())
    except psutil.Error:  # it is just ending, or not yet a program of its own
        return False


def start_at_gate(search: Search, n_jobs: int, n_trials: int, *more: str) -> Command:
    """A search that has as many trials under way as it has workers, none of which goes on."""
    search.arguments = [
        *(LR, *BY_MOODY, f"hydra.sweeper.n_trials={n_trials}", f"hydra.sweeper.n_jobs={n_jobs}"),
        *more,
    ]
    search.shut_gate()
    command = search.start()
    wait_until(lambda: len(list(search.folder.glob("waits.*"))) == n_jobs, command)
    return command


def check_secret(search: Search) -> None:
    """The password, as it is and as it is in a URL, is in no file and in no output."""
    found = [
        path
        for path in search.folder.rglob("*")
        if path.is_file()
        for form in (PASSWORD, IN_URL, "se%40", "Zq7")
        if form.encode() in path.read_bytes()
    ]
    assert not found


def check_refused(search: Search, mistake: str, words: str) -> None:
    """With this argument the search ends at once, and says these words in its one line."""
    command = search.run(mistake, code=2)
    [line] = command.err.read_text().splitlines()
    assert line.startswith("error: ") and words in line, line
