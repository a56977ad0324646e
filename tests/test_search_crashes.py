"""Searches that are killed, stopped, shared or damaged, through the real command line.

Whatever happens to a search, `check_books` holds after its last command: the study has exactly the
trials that were asked for, each of them trained once, with one row in each table.
"""

import csv
import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import optuna
import pandas as pd
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from mnist_sweep.paths import JOURNAL
from mnist_sweep.runs.rebuild import rebuild
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.study.storage import open_storage
from tests.conftest import TINY, environment, read_result, read_table
from tests.postgres import IN_URL, PASSWORD, free_port, new_database, running_server, server_url

pytestmark = pytest.mark.timeout(600)

T = TypeVar("T")

LR = "optimizer.lr=tag(log, interval(0.001, 0.1))"

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


def is_finished(trial: FrozenTrial) -> bool:
    if trial.state == TrialState.PRUNED:
        return trial.user_attrs.get("status") != "infeasible"
    return trial.state == TrialState.COMPLETE


def check_books(search: Search, n_trials: int, replicates: int = 1) -> None:
    """Study, tables and directories agree on `n_trials` trials, and nothing is there twice."""
    trials = search.trials()
    finished = {trial.number: trial for trial in trials if is_finished(trial)}
    assert len(finished) == n_trials, Counter(trial.state.name for trial in trials)
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
    configs = [trial.user_attrs["config"] for trial in finished.values()]
    assert len(set(configs)) == n_trials, "a configuration was trained twice"
    retries = [
        trial.user_attrs["retry_of"]
        for trial in trials
        if "retry_of" in trial.user_attrs and trial.user_attrs.get("status") != "duplicate"
    ]
    assert len(set(retries)) == len(retries), "a trial was tried again twice over"

    assert not list(search.folder.rglob("*.torn"))
    for path in (search.folder / "outputs" / "results.csv", search.sweep_dir / "results.csv"):
        text = path.read_text()
        header, *lines = csv.reader(text.splitlines())
        assert text.endswith("\n") and {len(line) for line in lines} == {len(header)}
        table = pd.read_csv(path)
        assert table.run_id.is_unique
        assert set(table.study) == {"s"}
        ended = table[table.status.isin(["completed", "pruned"])]
        counts = Counter(ended[ended.trial.isin(finished)].trial)
        assert counts == dict.fromkeys(finished, replicates)
        if replicates == 1:
            assert set(ended.trial) == set(finished), "a row of a trial that did not end so"
        others = table[~table.trial.isin(finished)]
        assert others[~others.status.isin(["completed", "pruned"])].error.notna().all()
        assert set(others.trial) <= {t.number for t in trials if t.state == TrialState.FAIL}
        for number, trial in finished.items():
            rows = ended[ended.trial == number]
            expected = "completed" if trial.state == TrialState.COMPLETE else "pruned"
            assert set(rows.status) == {expected}
            if expected == "completed":
                assert rows.val_acc.mean() == pytest.approx(trial.value)
            for row in rows.to_dict("records"):
                run_dir = search.folder / row["run_dir"]
                history = pd.read_csv(run_dir / "history.csv")
                assert list(history.epoch) == list(range(1, row["epochs_done"] + 1))
                assert history.val_acc.iloc[-1] == pytest.approx(row["val_acc"])
                result = read_result(run_dir)
                assert (result["run_id"], result["status"]) == (row["run_id"], expected)
    pd.testing.assert_frame_equal(
        read_table(search.folder).sort_values("run_id", ignore_index=True),
        search.table().sort_values("run_id", ignore_index=True),
    )
    check_rebuild(search)


def check_rebuild(search: Search) -> None:
    """What the run directories hold is what the table says of the runs that have one."""
    again = ResultsTable(search.folder / "again" / "results.csv")
    rebuild(again, [search.sweep_dir])
    own = search.table()
    rows = own[own.run_dir.notna()]
    statuses = {row["run_id"]: row["status"] for row in again.rows()}
    assert statuses == dict(zip(rows.run_id, rows.status, strict=True))


def trained(search: Search) -> dict[Path, int]:
    """When each epoch's history of the finished trials was last written."""
    return {
        path: path.stat().st_mtime_ns
        for trial in search.finished()
        for path in (search.sweep_dir / str(trial.number)).rglob("history.csv")
    }


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


# Killed at any moment


def kill_at_random_moments(search: Search, victims: list[str], pace: float, seed: int) -> None:
    """Kills one of each `victims`, one after the other, after `pace` more trials each and a random
    number of epochs and of lines in the journal; then lets the search come to its end."""
    rng = random.Random(seed)
    before: dict[Path, int] = {}

    def events() -> int:
        files = [search.journal, *search.sweep_dir.glob("**/history.csv")]
        return sum(file.read_bytes().count(b"\n") for file in files if file.exists())

    def rows() -> int:
        table = search.sweep_dir / "results.csv"
        text = table.read_text() if table.exists() else ""
        return text.count(",completed,") + text.count(",pruned,")

    command = search.start()
    for number, victim in enumerate(victims):
        wait_until(lambda: command.workers() and rows() >= number * pace, command)  # noqa: B023
        target = events() + rng.randint(1, 12)
        wait_until(lambda: events() >= target, command)  # noqa: B023
        time.sleep(rng.uniform(0, 0.1))  # not always just after something was written
        tree, workers = command.tree(), command.workers()
        if victim != "controller" and workers:
            rng.choice(workers).kill()
        if victim != "worker":
            command.process.kill()
            assert command.wait() == -signal.SIGKILL
            wait_until(lambda: all(map(is_gone, tree)))  # noqa: B023
            before |= trained(search)
            command = search.start()
    assert command.wait() == 0, command
    assert before, "no trial had finished when it was killed"
    after = trained(search)
    assert {path: after.get(path) for path in before} == before, "a finished trial ran again"
    lost = [trial for trial in search.trials() if trial.user_attrs.get("retry")]
    assert len(lost) >= len(victims) // 2, "few kills hit a running trial"


@pytest.mark.parametrize(
    ("n_jobs", "is_cut"),
    [
        pytest.param(1, False, id="whole"),
        pytest.param(1, True, id="checkpoint-cut", marks=pytest.mark.slow),
        pytest.param(2, False, id="of-two", marks=pytest.mark.slow),
    ],
)
def test_what_was_cut_short_is_resumed_to_the_same_result(
    search: Search, n_jobs: int, is_cut: bool
) -> None:
    search.arguments = [
        *(LR, "trainer.epochs=60", "hydra/sweeper/pruner=median", f"hydra.sweeper.n_jobs={n_jobs}"),
        f"hydra.sweeper.n_trials={n_jobs}",
    ]
    command = search.start()
    histories = [search.sweep_dir / str(n) / "history.csv" for n in range(n_jobs)]
    wait_until(lambda: all(h.exists() and len(h.read_text().splitlines()) > 20 for h in histories))
    tree = command.tree()
    command.process.kill()
    assert command.wait() == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, tree)))
    if is_cut:
        checkpoint = search.sweep_dir / "0" / "checkpoint.pt"
        checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])

    search.run()
    check_books(search, n_jobs)
    for trial in search.finished():
        run_dir = search.sweep_dir / str(trial.number)
        trained_here = re.findall(r"^ +(\d+)/60 ", (run_dir / "output.log").read_text(), re.M)
        assert trained_here[-1] == "60" and (int(trained_here[0]) > 19) == (not is_cut)
        assert set(trial.intermediate_values) == set(range(1, 61)), "the pruner knows of all"
        check = [sys.executable, "-m", "mnist_sweep.rerun", str(run_dir), "--check"]
        done = subprocess.run(check, cwd=search.folder, env=environment(), check=False)
        assert done.returncode == 0, "not what an unbroken run gives"


TO_BE_KILLED = [
    *(LR, "trainer.epochs=8", "hydra.sweeper.n_jobs=2", "hydra.sweeper.lease_s=2"),
    *("hydra.sweeper.max_failure_rate=1", "hydra.sweeper.max_retries=99"),
]


def test_killed_workers_and_controllers_cost_no_trial_and_double_none(search: Search) -> None:
    search.arguments = [*TO_BE_KILLED, "hydra.sweeper.n_trials=9"]
    kill_at_random_moments(search, ["worker", "controller", "worker", "both"], pace=1, seed=0)
    check_books(search, 9)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("n_trials", "kills", "more"),
    [
        pytest.param(40, 20, [], id="plain"),
        pytest.param(
            16,
            8,
            ["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=2"],
            id="pruner",
        ),
        pytest.param(16, 8, ["hydra.sweeper.rungs=[1,3,8]"], id="rungs"),
        pytest.param(10, 8, ["hydra.sweeper.replicates=2"], id="replicates"),
    ],
)
def test_twenty_kills_in_one_study(
    search: Search, n_trials: int, kills: int, more: list[str]
) -> None:
    search.arguments = [*TO_BE_KILLED, f"hydra.sweeper.n_trials={n_trials}", *more]
    victims = (["worker", "controller", "both"] * kills)[:kills]
    random.Random(2).shuffle(victims)
    kill_at_random_moments(search, victims, pace=0.5, seed=1)
    check_books(search, n_trials, replicates=2 if "replicates" in str(more) else 1)
    states = {trial.state for trial in search.finished()}
    pruning = any(name in str(more) for name in ("pruner", "rungs"))
    assert states == {TrialState.COMPLETE, *([TrialState.PRUNED] if pruning else [])}


# Several controllers, and a database server


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    """A PostgreSQL server of these tests' own."""
    with running_server() as server:
        yield server.port


@pytest.fixture
def database(server_port: int) -> str:
    """The URL of a database in which nothing is yet."""
    return new_database(server_port)


@pytest.fixture(params=["journal", "postgres"])
def shared(request: pytest.FixtureRequest, search: Search) -> Search:
    """A search whose study is kept in each of the ways."""
    if request.param == "postgres":
        search.storage = request.getfixturevalue("database")
    return search


def start_two_at_gate(search: Search, n_jobs: int, n_trials: int) -> tuple[Command, Command]:
    """Two controllers on one study, each with as many trials under way as it has workers."""
    search.arguments = [
        *(LR, *BY_MOODY, "trainer.epochs=2", "hydra.sweeper.lease_s=5"),
        *(f"hydra.sweeper.n_trials={n_trials}", f"hydra.sweeper.n_jobs={n_jobs}"),
    ]
    search.shut_gate()
    both = search.start(), search.start()
    wait_until(lambda: all(len(search.running(each)) == n_jobs for each in both), *both)
    return both


def test_two_controllers_share_the_trials_of_a_study(shared: Search) -> None:
    both = start_two_at_gate(shared, n_jobs=1, n_trials=15)
    shared.open_gate()
    assert [command.wait() for command in both] == [0, 0], both
    check_books(shared, 15)
    by_controller = Counter(trial.user_attrs["controller"] for trial in shared.finished())
    assert len(by_controller) == 2, "only one of them had trials"


@pytest.mark.slow
def test_a_controller_goes_on_alone_when_the_other_is_killed(shared: Search) -> None:
    first, second = start_two_at_gate(shared, n_jobs=2, n_trials=8)
    lost = {trial.number for trial in shared.running(first)}
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    shared.open_gate()
    assert second.wait() == 0, second
    check_books(shared, 8)
    assert lost <= {trial.user_attrs.get("retry_of") for trial in shared.finished()}
    table = shared.table()
    assert list(table[table.trial.isin(lost)].status) == ["interrupted"] * 2


@dataclass(frozen=True)
class Asleep:
    """A kind of search whose controller is put to sleep, with its workers or without."""

    more: tuple[str, ...]
    n_jobs: int = 1
    with_workers: bool = True
    replicates: int = 1


ASLEEP = {
    "pruner": Asleep(("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1")),
    "plain": Asleep(()),
    "rungs": Asleep(("hydra.sweeper.rungs=[2,4,12]",)),
    "replicates": Asleep(("hydra.sweeper.replicates=2",), replicates=2),
    "pool": Asleep((), n_jobs=2),
    "controller alone": Asleep(("hydra/sweeper/pruner=median",), n_jobs=2, with_workers=False),
    "grid": Asleep(("hydra/sweeper/sampler=grid", "optimizer.lr=choice(.01,.02,.03,.04)")),
}


def put_to_sleep(
    search: Search, command: Command, others: list[psutil.Process]
) -> list[psutil.Process]:
    """Stops the controller, and these processes of its own, at a moment at which it has a trial
    under way and holds no lock, for which another controller would have to wait."""
    processes = [psutil.Process(command.pid), *others]
    files = [search.journal, search.sweep_dir / ".results.csv.lock"]

    def is_stopped() -> bool:
        for process in processes:
            process.suspend()
        time.sleep(0.02)  # until it has
        if search.running(command) and not any(map(is_locked, files)):
            return True
        for process in processes:
            process.resume()
        return False

    wait_until(is_stopped, command)
    return processes


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize(
    "kind",
    ["pruner", *(pytest.param(k, marks=pytest.mark.slow) for k in ASLEEP if k != "pruner")],
)
def test_a_controller_that_slept_beyond_its_lease_gives_its_trials_up_and_goes_on(
    search: Search, kind: str
) -> None:
    asleep = ASLEEP[kind]
    search.arguments = [
        *(LR, "trainer.epochs=12", "hydra.sweeper.n_trials=4", "hydra.sweeper.lease_s=1"),
        *(f"hydra.sweeper.n_jobs={asleep.n_jobs}", *asleep.more),
    ]
    first = search.start()
    wait_until(
        lambda: any(
            len(path.read_text().splitlines()) > 3
            for path in search.sweep_dir.glob("**/history.csv")
        ),
        first,
    )
    asleep_now = put_to_sleep(search, first, first.tree() if asleep.with_workers else [])
    taken = {trial.number for trial in search.running(first)}
    assert taken, "it had none under way"

    other = search.start()
    wait_until(lambda: taken <= {t.user_attrs.get("retry_of") for t in search.trials()}, other)
    if kind in ("plain", "grid"):  # it may wake up when all is done, or in the middle
        assert other.wait() == 0, other
    for process in asleep_now:
        process.resume()
    assert first.wait() == 0, first
    assert other.wait() == 0, other
    check_books(search, 4, asleep.replicates)
    table = search.table()
    assert set(table[table.trial.isin(taken)].status) <= {"interrupted", "completed"}
    for number in taken:
        assert "interrupted" in set(table[table.trial == number].status)
        assert search.trials()[number].state == TrialState.FAIL


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


def test_the_password_of_a_storage_is_written_nowhere(search: Search, database: str) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"]
    search.storage = database
    search.run()
    assert len(search.finished()) == 2
    assert (search.folder / "out0.txt").read_text(), "the outputs are looked through too"
    check_secret(search)


@pytest.mark.slow
def test_the_password_is_not_shown_where_the_connection_fails(
    search: Search, server_port: int
) -> None:
    search.arguments = [LR]
    for url in (
        server_url(free_port()),
        server_url(server_port, "no_such_database"),
        server_url(server_port).replace(f":{IN_URL}@", f":{IN_URL}x@"),
        f"postgresql+psycopg://127.0.0.1:{free_port()}/postgres?user=tester&password={IN_URL}",
    ):
        search.storage = url
        command = search.run(code=2)
        assert command.err.read_text().count("\n") == 1, command
        assert "hydra.sweeper.storage=postgresql+psycopg://" in command.err.read_text()
        assert "cannot be opened" in command.err.read_text()
    search.run(code=2, HYDRA_FULL_ERROR="1")
    check_secret(search)


# Told to stop


def start_at_gate(search: Search, n_jobs: int, n_trials: int) -> Command:
    """A search that has as many trials under way as it has workers, none of which goes on."""
    search.arguments = [
        *(LR, *BY_MOODY, f"hydra.sweeper.n_trials={n_trials}", f"hydra.sweeper.n_jobs={n_jobs}"),
    ]
    search.shut_gate()
    command = search.start()
    wait_until(lambda: len(list(search.folder.glob("waits.*"))) == n_jobs, command)
    return command


@pytest.mark.parametrize("n_jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_lets_running_trials_finish(search: Search, n_jobs: int) -> None:
    command = start_at_gate(search, n_jobs, n_trials=4)
    command.send(signal.SIGINT)
    command.wait_for_output(f"finishing {n_jobs} running trials")
    search.open_gate()
    assert command.wait() == 130, command
    assert command.err.read_text() == "stopped; the same command goes on with the study\n"
    check_books(search, n_jobs)
    assert len(search.trials()) == n_jobs, "no trial was begun after it"
    before = trained(search)
    search.run()
    check_books(search, 4)
    assert before.items() <= trained(search).items()


@pytest.mark.parametrize(
    ("how", "n_jobs"),
    [
        pytest.param("Ctrl-C twice", 1, id="twice-1", marks=pytest.mark.slow),
        pytest.param("Ctrl-C twice", 2, id="twice-2", marks=pytest.mark.slow),
        pytest.param("SIGTERM", 1, id="term-1", marks=pytest.mark.slow),
        pytest.param("SIGTERM", 2, id="term-2"),
        pytest.param("SIGTERM to all", 2, id="term-all-2", marks=pytest.mark.slow),
    ],
)
def test_stopped_at_once_trials_are_interrupted_and_tried_again(
    search: Search, how: str, n_jobs: int
) -> None:
    command = start_at_gate(search, n_jobs, n_trials=4)
    tree = command.tree()
    if how == "Ctrl-C twice":
        command.send(signal.SIGINT)
        command.wait_for_output(f"finishing {n_jobs} running trials")
        command.send(signal.SIGINT)
    elif how == "SIGTERM":
        command.process.terminate()
    else:  # as a batch system does
        command.send(signal.SIGTERM)
    assert command.wait() == 130, command  # the gate is still shut
    assert command.err.read_text().count("\n") == 1, command
    assert "Traceback" not in command.out.read_text()
    wait_until(lambda: all(map(is_gone, tree)))
    stopped = search.trials()
    assert [trial.state for trial in stopped] == [TrialState.FAIL] * n_jobs
    for table in (read_table(search.folder), search.table()):
        assert list(table.status) == ["interrupted"] * n_jobs
        assert table.error.str.contains("tried again").all()

    search.open_gate()
    search.run()
    check_books(search, 4)
    configs = {trial.user_attrs["config"] for trial in search.finished()}
    assert {trial.user_attrs["config"] for trial in stopped} <= configs


@pytest.mark.slow
def test_ctrl_c_while_workers_start_is_no_failure(search: Search) -> None:
    search.arguments = [LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"]
    command = search.start()
    wait_until(lambda: any(map(is_fork_server, command.tree())), command)
    command.send(signal.SIGINT)
    assert command.wait() == 130, command
    assert command.err.read_text() == "stopped; the same command goes on with the study\n"
    search.run()
    check_books(search, 3)


# Trials that fail


def set_moods(search: Search, moods: dict[str, str]) -> None:
    (search.folder / "moods.json").write_text(json.dumps(moods))


def test_a_bad_trial_costs_itself_alone(search: Search) -> None:
    set_moods(search, {"0.02": "raise", "0.03": "die"})
    search.arguments = [
        *(*BY_MOODY, "optimizer.lr=choice(0.005,0.01,0.015,0.02,0.03,1e30)", "trainer.epochs=3"),
        *("hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=2", "hydra.sweeper.max_retries=2"),
        "hydra.sweeper.max_failure_rate=1",
    ]
    search.run()
    check_books(search, 3)
    table = search.table()
    assert Counter(zip(table.lr, table.status, strict=True)) == {
        (0.005, "completed"): 1,
        (0.01, "completed"): 1,
        (0.015, "completed"): 1,
        (0.02, "failed"): 3,
        (0.03, "failed"): 3,
        (1e30, "diverged"): 1,
    }
    errors = dict(table.groupby("lr").error.first())
    assert errors[0.02] == "RuntimeError: in no mood for 0.02"
    assert "killed by SIGKILL" in errors[0.03]
    assert "the loss is no finite number" in errors[1e30]
    reasons = {trial.user_attrs.get("error") for trial in search.trials()}
    assert {errors[0.02], errors[0.03], errors[1e30]} <= reasons


@pytest.mark.slow
def test_what_fails_once_is_tried_again(search: Search) -> None:
    set_moods(search, {"0.02": "once raise", "0.03": "once die"})
    search.arguments = [
        *(*BY_MOODY, "optimizer.lr=choice(0.01,0.02,0.03)", "hydra.sweeper.n_trials=3"),
        *("hydra.sweeper.n_jobs=2", "hydra.sweeper.max_failure_rate=1"),
    ]
    search.run()
    check_books(search, 3)
    table = search.table()
    assert {lr: list(statuses) for lr, statuses in table.groupby("lr").status} == {
        0.01: ["completed"],
        0.02: ["failed", "completed"],
        0.03: ["failed", "completed"],
    }


def test_without_a_pool_an_exception_costs_its_trial_alone(search: Search) -> None:
    set_moods(search, {"0.02": "raise"})
    search.arguments = [
        *(*BY_MOODY, "optimizer.lr=choice(0.01,0.02,0.03,1e30)", "trainer.epochs=3"),
        *("hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1", "hydra.sweeper.max_retries=0"),
    ]
    search.run()
    check_books(search, 2)
    table = search.table()
    assert dict(zip(table.lr, table.status, strict=True)) == {
        0.01: "completed",
        0.02: "failed",
        0.03: "completed",
        1e30: "diverged",
    }
    assert len(table) == 4


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_too_many_failures_end_the_search_which_can_be_mended(search: Search, n_jobs: int) -> None:
    search.arguments = [
        *("optimizer.lr=choice(0.01,0.02,0.03,0.04,0.05)", *BY_MOODY),
        *("hydra.sweeper.n_trials=5", f"hydra.sweeper.n_jobs={n_jobs}"),
    ]
    set_moods(search, dict.fromkeys(["0.01", "0.02", "0.03", "0.04", "0.05"], "raise"))
    command = search.run(code=1)
    text = command.err.read_text()
    assert text.count("\n") == 1
    assert "4 of 4 trials failed, over hydra.sweeper.max_failure_rate=0.3" in text
    assert "RuntimeError: in no mood for 0.0" in text
    table = search.table()
    assert list(table.status).count("failed") == 4
    assert set(table.status) <= {"failed", "interrupted"}
    set_moods(search, {})
    search.run()
    check_books(search, 5)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["__init__", "forward"])
def test_a_net_that_cannot_be_made_costs_its_trial_alone(search: Search, where: str) -> None:
    """The controller makes each net too, to count its parameters."""
    fails = "if self.mood == 2: raise RuntimeError('no net')"
    (search.folder / "moody.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, mood):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        self.mood = mood\n"
        f"        {fails if where == '__init__' else ''}\n"
        "    def forward(self, images):\n"
        f"        {fails if where == 'forward' else ''}\n"
        "        return super().forward(images)\n"
    )
    (search.folder / "mine" / "model").mkdir(parents=True)
    (search.folder / "mine" / "model" / "moody.yaml").write_text("_target_: moody.Net\nmood: 0\n")
    search.arguments = [
        *("--config-dir", "mine", "model=moody", "model.mood=range(0,4)"),
        *("hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=2", "hydra.sweeper.max_retries=0"),
    ]
    command = search.run()
    assert len([t for t in search.trials() if t.state == TrialState.COMPLETE]) == 3, command
    table = search.table()
    [bad] = table[table.status != "completed"].to_dict("records")
    assert "no net" in bad["error"]
    assert len(table) == 4


# Gone on with, from a study of three trials that has come to its end


THREE = [LR, "hydra.sweeper.n_jobs=1"]


@pytest.fixture(scope="module")
def three_trials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with such a study, and a copy of that."""
    folder = tmp_path_factory.mktemp("three")
    search = Search(folder, THREE)
    search.run("hydra.sweeper.n_trials=3")
    check_books(search, 3)
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    return folder, copy


@pytest.fixture
def ended(three_trials: tuple[Path, Path]) -> Iterator[Search]:
    """The study as it was at its end, in its own place: its runs are known by their paths."""
    folder, copy = three_trials
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    search = Search(folder, THREE)
    yield search
    search.clean_up()


def test_the_same_command_does_nothing_more_and_a_higher_number_goes_on(ended: Search) -> None:
    run_dirs, before, trials = ended.run_dirs(), trained(ended), len(ended.trials())
    again = ended.run("hydra.sweeper.n_trials=3")
    assert "3 trials in all, 3 of them before" in again.out.read_text()
    assert ended.run_dirs() == run_dirs and trained(ended) == before
    assert len(ended.trials()) == trials
    check_books(ended, 3)
    ended.run("hydra.sweeper.n_trials=5")
    check_books(ended, 5)
    assert before.items() <= trained(ended).items()
    fewer = ended.run("hydra.sweeper.n_trials=2")
    assert "2 trials in all, 5 of them before" in fewer.out.read_text()
    check_books(ended, 5)


# A damaged journal


@pytest.mark.parametrize(
    ("text", "keep", "is_kept"),
    [
        pytest.param("", -1, True, id="last-line-end"),
        pytest.param("", 5, True, id="last-line"),
        pytest.param('"op_code":6', 40, True, id="end-of-a-trial"),
        pytest.param('"num_params"', 40, True, id="after-the-point"),
        pytest.param('"config"', 40, False, id="before-the-point"),
        pytest.param('"op_code":4', 40, False, id="birth-of-a-trial"),
    ],
)
def test_a_journal_cut_short_is_gone_on_with(
    ended: Search, text: str, keep: int, is_kept: bool
) -> None:
    """As a power failure leaves it: rows and runs may be on the disk sooner than the journal.

    keep: bytes of the last line that has this text; the rest of the file is lost.
    """
    before = trained(ended)
    journal = ended.journal.read_bytes()
    lines = journal.splitlines(keepends=True)
    number = max(number for number, line in enumerate(lines) if text.encode() in line)
    ended.journal.write_bytes(b"".join(lines[:number]) + lines[number][:keep])
    ended.run("hydra.sweeper.n_trials=4")
    check_books(ended, 4)
    kept = before.items() <= trained(ended).items()
    assert kept or not is_kept, "what was trained is trained again"


@pytest.mark.parametrize("content", ["", '{"run_id": "r1", "sta', "[]", '{"seed": "x"}'])
def test_a_search_goes_on_over_a_damaged_result(ended: Search, content: str) -> None:
    """Of a trial whose end the study has lost: the run is trained again, and the file is named."""
    lines = ended.journal.read_bytes().splitlines(keepends=True)
    number = max(number for number, line in enumerate(lines) if b'"op_code":6' in line)
    ended.journal.write_bytes(b"".join(lines[:number]))
    lost = max(trial.number for trial in ended.trials() if trial.state == TrialState.RUNNING)
    path = ended.sweep_dir / str(lost) / "result.json"
    path.write_text(content)
    command = ended.run("hydra.sweeper.n_trials=4")
    assert f"{lost}/result.json cannot be read" in command.out.read_text(), command
    check_books(ended, 4)
    assert read_result(path.parent)["status"] == "interrupted"


def test_a_journal_of_a_newer_version_is_named_with_the_remedy(ended: Search) -> None:
    with ended.journal.open("a") as file:
        file.write('{"op_code":42,"worker_id":"w","more":1}\n')
    command = ended.run("hydra.sweeper.n_trials=4", code=2)
    text = command.err.read_text()
    assert text.count("\n") == 1 and f"multirun/s/{JOURNAL}" in text, command
    assert f"newer Optuna than {optuna.__version__}" in text and "--upgrade optuna" in text


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x00\xff\x00garbage\n", id="bytes"),
        pytest.param(b'{"op_code":6}\n', id="no-keys"),
        pytest.param(b'{"op_code":99,"worker_id":"w"}\n', id="unknown-operation"),
        pytest.param(b'{"op_code":2,"worker_id":"w","study_', id="half-a-line"),
    ],
)
def test_a_journal_with_garbage_is_refused_and_left_alone(ended: Search, garbage: bytes) -> None:
    lines = ended.journal.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    damaged = b"".join([*lines[:middle], garbage, *lines[middle:]])
    ended.journal.write_bytes(damaged)
    table = (ended.sweep_dir / "results.csv").read_bytes()
    command = ended.run("hydra.sweeper.n_trials=4", code=2)
    text = command.err.read_text()
    assert text.count("\n") == 1 and f"multirun/s/{JOURNAL} is damaged" in text, command
    assert ended.journal.read_bytes() == damaged
    assert (ended.sweep_dir / "results.csv").read_bytes() == table
    assert len(ended.run_dirs()) == 3
