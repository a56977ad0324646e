"""The parts of a search, each by itself: studies in memory, runs that take no time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import execution_whitelist
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_sweep.config import settings_of
from mnist_sweep.errors import UserError
from mnist_sweep.paths import CONF, RESULTS_TABLE
from mnist_sweep.runs.provenance import code_of
from mnist_sweep.runs.record import RunName, RunRecord, Status, read_result
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.search.controller import Controller
from mnist_sweep.search.display.progress import Progress
from mnist_sweep.search.display.summary import Summary
from mnist_sweep.search.engines.engine import Engine
from mnist_sweep.search.engines.job import Ended, Job, OnEpoch
from mnist_sweep.search.failures import Failures, SearchFailedError
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.patience import Patience
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.proposing import (
    REJECTS_BEFORE_RANDOM,
    REPEATS_BEFORE_RANDOM,
    Accepted,
    Proposer,
    Rejected,
    Repeated,
)
from mnist_sweep.search.points.sampler import make_sampler, number_of_trials
from mnist_sweep.search.points.space import make_space
from mnist_sweep.search.settings import Direction, SearchSettings, search_settings
from mnist_sweep.search.study.attributes import ATTEMPT, RETRY, RETRY_OF, STATUS, is_finished
from mnist_sweep.search.study.lasting import OutageWait
from mnist_sweep.search.study.ledger import Ledger
from mnist_sweep.search.study.opening import check_same, in_common, note_shared
from mnist_sweep.search.trials.layout import Layout
from mnist_sweep.search.trials.lifecycle import Lifecycle, Verdict
from mnist_sweep.search.trials.pruning import cut_of_rung
from mnist_sweep.search.trials.records import Records, leave
from mnist_sweep.search.trials.recovery import Recovery
from mnist_sweep.search.trials.rows import Rows
from mnist_sweep.search.trials.seeds import num_seeds
from mnist_sweep.whitelist import TARGETS

LR = "interval(0.001, 0.1)"


SMALL = ["data=digits", "model=ds_cnn_v3_code"]


@cache
def composed() -> tuple[DictConfig, ConfigLoader]:
    """The config of a sweep, and what composes its jobs."""
    with initialize_config_dir(str(CONF)):
        cfg = compose("config", ["hydra/sweeper=search", *SMALL], return_hydra_config=True)
        return cfg, GlobalHydra.instance().config_loader()


class Parts:
    """What the assembly puts together, on a study in memory. `new` is another command on it."""

    def __init__(
        self,
        folder: Path,
        params: dict[str, str] | None = None,
        fixed: Sequence[str] = (),
        study: Study | None = None,
        **changed: Any,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        cfg, loader = composed()
        plain = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True)
        assert isinstance(plain, dict)
        given = {str(key): plain[key] for key in plain if key != "_target_"}
        self.folder = folder
        self.settings: SearchSettings = search_settings({**given, **changed})
        self.space = make_space(params or {"optimizer.lr": LR}, [*SMALL, *fixed], {}, None)
        self.candidates = Candidates(Composer(loader, cfg), self.space, None)
        self.base = settings_of(self.candidates.base)
        self.n_trials = number_of_trials(self.settings, self.space)
        seeds = tuple(self.base.seed + n for n in range(num_seeds(self.settings)))
        self.layout = Layout(folder / "sweep", seeds)
        self.layout.sweep_dir.mkdir(exist_ok=True)
        records = Records("study", self.layout, self.candidates, code_of({}))
        self.rows = Rows(folder / "all.csv", records)
        self.study = study or optuna.create_study(
            study_name="study", directions=list(self.settings.direction)
        )
        self.ledger = Ledger(self.study, self.settings.lease_s, self.settings.rungs)
        self.objectives = Objectives(self.settings.objective, self.settings.direction)
        grid = self.space.points(100) if self.settings.is_grid else None
        self.proposer = Proposer(self.settings, self.ledger, self.candidates, self.n_trials, grid)
        self.lifecycle = Lifecycle(self.settings, self.objectives, self.ledger, self.rows, None)
        self.recovery = Recovery(self.settings, self.objectives, self.ledger, self.rows)

    def propose(self) -> Accepted:
        proposal = self.proposer.propose()
        assert isinstance(proposal, Accepted), proposal
        return proposal

    def begin(self) -> Job:
        return self.lifecycle.begin(self.propose())

    def end(self, job: Job, status: Status = "completed", **measured: Any) -> Job | Verdict:
        """The job's run ends so, as a worker would leave it."""
        return self.lifecycle.take(Ended(job, self.run(job, status, **measured), None))

    def run(self, job: Job, status: Status = "completed", **measured: Any) -> RunRecord:
        record = self.rows.records.missing(job, self.trial(job.info.trial).params, status, "")
        for name, value in {"val_acc": 0.5, "error": None, **measured}.items():
            setattr(record, name, value)
        leave(record)
        return record

    def trial(self, number: int) -> FrozenTrial:
        return self.ledger.trials()[number]

    def written(self) -> list[tuple[str, str]]:
        """Trial and status of each row in the search's table."""
        table = ResultsTable(self.layout.sweep_dir / RESULTS_TABLE)
        return [(row["trial"], row["status"]) for row in table.rows()]

    def controller(self, engine: Engine) -> Controller:
        progress = Progress(self.ledger, self.objectives, self.n_trials)
        return Controller(
            self.settings,
            self.n_trials,
            engine=engine,
            outage_wait=OutageWait(0.0, progress.note),
            ledger=self.ledger,
            proposer=self.proposer,
            lifecycle=self.lifecycle,
            recovery=self.recovery,
            rows=self.rows,
            failures=Failures(self.settings, self.n_trials, self.layout.sweep_dir),
            patience=Patience(self.settings.patience, self.ledger, self.objectives),
            progress=progress,
            summary=Summary(
                progress.console, self.objectives, self.layout.sweep_dir, "python -m mnist_sweep"
            ),
        )


@pytest.fixture(autouse=True)
def allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with execution_whitelist(TARGETS):
        yield


# The life of a trial


def test_the_value_of_a_trial_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    parts = Parts(tmp_path, replicates=3)
    job, done = parts.begin(), []
    for val_acc in (0.1, 0.2, 0.6):
        assert isinstance(job, Job)
        done.append((job.subdir, job.overrides[-1]))
        after = parts.end(job, val_acc=val_acc)
        job = after  # type: ignore[assignment]
    assert after == Verdict(0, None)
    assert done == [(f"0/seed_{n}", f"seed={n}") for n in range(3)]
    assert parts.trial(0).value == pytest.approx(0.3)
    assert parts.written() == [("0", "completed")] * 3
    assert ResultsTable(tmp_path / "all.csv").rows() == parts.rows.own.rows()


@pytest.mark.parametrize(
    ("scores", "epochs", "more_epochs", "promoted"),
    [
        ([0.5], 1, 2, [True]),
        ([0.5, 0.6], 1, 2, [False, True]),
        ([0.6, 0.6], 1, 2, [True, True]),
        ([0.1, 0.2, 0.3, 0.4], 1, 2, [False, False, True, True]),
        ([0.1, 0.2, 0.3, 0.4], 1, 4, [False, False, False, True]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2, 3, [False, False, True, True, True, True]),
    ],
)
def test_a_rung_promotes_as_many_as_the_next_has_time_for(
    scores: list[float], epochs: int, more_epochs: int, promoted: list[bool]
) -> None:
    signs: dict[Direction, int] = {"maximize": 1, "minimize": -1}
    for direction, sign in signs.items():
        objectives = Objectives(("val_acc",), (direction,))
        cut = sign * cut_of_rung([sign * s for s in scores], objectives, epochs, more_epochs)
        assert [score >= cut for score in scores] == promoted


def test_a_promoted_trial_is_trained_anew_for_longer_and_the_others_are_pruned(
    tmp_path: Path,
) -> None:
    parts = Parts(tmp_path, rungs=[1, 2, 4], replicates=2)
    best, worse = parts.begin(), parts.begin()
    for rung in (1, 2, 4):
        for seed in (0, 1):
            assert isinstance(best, Job)
            assert best.info.rung == rung
            assert best.overrides[-2:] == (f"trainer.epochs={rung}", f"seed={seed}")
            after = parts.end(best, val_acc=0.5 + seed / 10, rung=rung)
            best = after  # type: ignore[assignment]
    assert after == Verdict(0, None)
    assert parts.trial(0).value == pytest.approx(0.55)
    assert parts.trial(0).intermediate_values == pytest.approx({1: 0.55, 2: 0.55, 4: 0.55})

    second = parts.end(worse, val_acc=0.4, rung=1)
    assert isinstance(second, Job)
    assert parts.end(second, val_acc=0.5, rung=1) == Verdict(1, None)
    assert parts.trial(1).state == TrialState.PRUNED
    assert parts.written() == [("0", "completed")] * 2 + [("1", "pruned")] * 2
    for seed in (0, 1):
        assert read_result(parts.layout.run_dir(1, seed)).status == "pruned"


def test_what_failed_is_tried_again_as_often_as_allowed(tmp_path: Path) -> None:
    parts = Parts(tmp_path, max_retries=1)
    job, params = parts.begin(), parts.trial(0).params
    assert parts.end(job, "failed", error="a reason") == Verdict(0, "a reason")
    parts.ledger.queue_retries()
    parts.ledger.queue_retries()
    assert [trial.state.name for trial in parts.ledger.trials()] == ["FAIL", "WAITING"]
    job = parts.begin()
    assert job.info.trial == 1 and parts.trial(1).params == params
    assert job.info.earlier is None, "the first left no checkpoint"
    parts.end(job, "failed", error="again")
    parts.ledger.queue_retries()
    assert len(parts.ledger.trials()) == 2
    assert parts.trial(1).user_attrs[RETRY] is False
    assert parts.written() == [("0", "failed"), ("1", "failed")]


def test_a_retry_goes_on_from_the_last_attempt_that_left_a_checkpoint(tmp_path: Path) -> None:
    parts = Parts(tmp_path, max_retries=3)
    parts.end(parts.begin(), "failed", error="after some epochs")
    first = parts.layout.run_dir(0, 0).absolute()
    (first / "checkpoint.pt").touch()
    parts.ledger.queue_retries()
    job = parts.begin()
    assert job.info.earlier == first
    parts.end(job, "failed", error="before it had taken that over")
    parts.ledger.queue_retries()
    assert parts.begin().info.earlier == first


def test_what_diverged_would_diverge_again(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {"trainer.threads": "range(1, 100000)"})  # of one result
    parts.end(parts.begin(), "diverged", error="no number")
    parts.ledger.queue_retries()
    assert parts.proposer.propose() == Repeated()
    small = Parts(tmp_path, {"optimizer.lr": "choice(0.01, 0.01)"})
    small.end(small.begin(), "diverged", error="no number")
    assert small.proposer.is_exhausted and small.proposer.propose() is None


def test_a_point_that_failed_is_tried_by_the_next_command_and_not_by_this_one(
    tmp_path: Path,
) -> None:
    space = {"optimizer.lr": "choice(0.01, 0.02)"}
    parts = Parts(tmp_path, space, max_retries=0)
    parts.end(parts.begin(), "failed", error="no fault of the study's")
    while not isinstance(proposal := parts.proposer.propose(), Accepted):
        assert proposal == Repeated()
    parts.end(parts.lifecycle.begin(proposal))
    assert parts.proposer.is_exhausted and parts.proposer.propose() is None
    assert "each of the 2 points" in parts.proposer.why_exhausted()
    again = Parts(tmp_path, space, study=parts.study, max_retries=0)
    while not isinstance(proposal := again.proposer.propose(), Accepted):
        assert proposal == Repeated()
    assert proposal.trial.params == parts.trial(0).params


def test_a_run_that_left_nothing_has_a_record_all_the_same(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    job = parts.begin()
    assert parts.lifecycle.take(Ended(job, None, "its worker ended")) == Verdict(
        0, "its worker ended"
    )
    record = read_result(parts.layout.run_dir(0, 0))
    assert (record.status, record.error) == ("failed", "its worker ended")
    assert record.num_params is not None and record.trial == 0


def test_a_trial_that_another_controller_ended_leaves_an_interrupted_row(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    job = parts.begin()
    Ledger(parts.study, 60).fail(parts.trial(0), "interrupted", "its controller died")
    assert parts.lifecycle.on_epoch(job, [])
    assert parts.end(job) == Verdict(0, None)
    assert parts.written() == [("0", "interrupted")]
    assert read_result(parts.layout.run_dir(0, 0)).status == "interrupted"
    assert parts.trial(0).state == TrialState.FAIL and not parts.lifecycle.running


def test_a_trial_that_another_controller_completed_stays_so(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    job = parts.begin()
    record = parts.run(job)
    other = Parts(tmp_path, study=parts.study)
    other.recovery.abandon(other.trial(0), "its controller was asleep")
    assert parts.lifecycle.take(Ended(job, record, None)) == Verdict(0, None)
    assert parts.written() == [("0", "completed")]
    assert read_result(parts.layout.run_dir(0, 0)).status == "completed"
    assert parts.trial(0).state == TrialState.COMPLETE


def test_rows_of_a_controller_that_was_killed_before_it_told_the_study_are_replaced(
    tmp_path: Path,
) -> None:
    parts = Parts(tmp_path)
    job = parts.begin()
    record = parts.rows.records.missing(job, parts.trial(0).params, "completed", "")
    record.val_acc, record.error = 0.5, None
    taken = replace(record, status="interrupted")
    leave(taken)
    parts.rows.append([taken], replace=False)
    assert parts.lifecycle.take(Ended(job, record, None)) == Verdict(0, None)
    assert parts.written() == [("0", "completed")]
    assert read_result(parts.layout.run_dir(0, 0)).status == "completed"
    assert parts.trial(0).state == TrialState.COMPLETE


def test_a_trial_that_has_ended_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    job = parts.begin()
    before = parts.trial(0)
    parts.end(job)
    parts.recovery.abandon(before, "its controller died")
    assert parts.written() == [("0", "completed")]
    assert parts.trial(0).state == TrialState.COMPLETE


def test_a_proposal_that_another_controller_ended_costs_nothing_but_itself(
    tmp_path: Path,
) -> None:
    class Asleep(RandomSampler):
        """While it chooses the first point, the trial is ended."""

        def sample_independent(self, study: Study, trial: FrozenTrial, *args: Any) -> Any:
            if trial.number == 0:
                Ledger(study, 60).fail(trial, "interrupted", "its controller died")
            return super().sample_independent(study, trial, *args)

    parts = Parts(tmp_path, n_trials=2)
    parts.study.sampler = Asleep(seed=0)
    parts.controller(Instant(1, parts.run)).run()
    assert [trial.state.name for trial in parts.ledger.trials()] == ["FAIL", *["COMPLETE"] * 2]


# Proposals


def test_a_repeat_is_not_trained_and_a_space_without_more_points_is_exhausted(
    tmp_path: Path,
) -> None:
    same = {"trainer.threads": "range(1, 100000)"}  # which make no difference
    parts = Parts(tmp_path, same, max_rejected=12)
    parts.end(parts.begin())
    stuck = []
    for _ in range(12):
        assert not parts.proposer.is_exhausted
        stuck.append(parts.proposer.is_stuck)
        assert parts.proposer.propose() == Repeated()
    assert stuck == [False] * REPEATS_BEFORE_RANDOM + [True] * 2
    assert parts.proposer.is_exhausted and parts.proposer.propose() is None
    errors = {trial.user_attrs.get("error") for trial in parts.ledger.trials()[1:]}
    assert errors == {"trial 0 is the same configuration"}


def test_repeats_are_trained_where_they_are_wanted(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {"optimizer.lr": "choice(0.1, 0.1)"}, skip_repeats=False)
    parts.end(parts.begin())
    parts.propose()


def test_a_net_over_budget_is_told_to_the_sampler_and_never_trained(tmp_path: Path) -> None:
    parts = Parts(tmp_path, fixed=["budget.max_params=100"])
    rejected = parts.proposer.propose()
    assert isinstance(rejected, Rejected) and "budget.max_params=100" in rejected.reason
    trial = parts.trial(0)
    assert trial.state == TrialState.PRUNED and not is_finished(trial)
    assert trial.constraints == {"budget": pytest.approx(4538 / 100 - 1)}
    parts.rows.reject(rejected.trial, rejected.candidate, rejected.reason)
    assert parts.written() == []
    parts.rows.flush()
    assert parts.written() == [("0", "infeasible")]
    assert "4,538 parameters" in str(parts.proposer.nothing_fits(rejected))


def test_a_sampler_whose_points_are_refused_is_passed_over_twice_of_three_times(
    tmp_path: Path,
) -> None:
    class Stubborn(RandomSampler):
        """Counts how often it is asked."""

        asked = 0

        def sample_independent(self, *args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            return super().sample_independent(*args, **kwargs)

    parts = Parts(tmp_path, fixed=["budget.max_params=100"])
    parts.study.sampler = sampler = Stubborn(seed=0)
    for _ in range(REJECTS_BEFORE_RANDOM):
        parts.proposer.propose()
    assert sampler.asked == REJECTS_BEFORE_RANDOM
    for _ in range(30):
        parts.proposer.propose()
    assert sampler.asked == REJECTS_BEFORE_RANDOM + 10
    assert parts.study.sampler is sampler


def test_a_study_has_a_place_for_as_many_trials_as_were_asked_for(tmp_path: Path) -> None:
    parts = Parts(tmp_path, n_trials=2)
    jobs = [parts.begin(), parts.begin()]
    assert parts.proposer.propose() is None
    parts.end(jobs[0], "failed", error="no fault of the study's")
    parts.end(jobs[1])
    assert parts.begin().info.trial == 2
    assert parts.proposer.propose() is None


GRID = {"_target_": "optuna.samplers.GridSampler", "_partial_": True}


def test_a_grid_is_as_long_as_it_has_points_and_never_stuck(tmp_path: Path) -> None:
    space = {"optimizer.lr": "choice(0.1, 0.1)", "trainer.epochs": "range(1, 4)"}
    parts = Parts(tmp_path, space, sampler=GRID)
    assert parts.n_trials == 6
    parts.study.sampler = make_sampler(parts.settings, parts.candidates, offset=0)
    parts.proposer.repeats_in_a_row = parts.proposer.refused_in_a_row = 1000
    assert not parts.proposer.is_stuck


def test_a_sampler_that_is_none_is_refused(tmp_path: Path) -> None:
    parts = Parts(tmp_path, sampler={"_target_": "optuna.pruners.NopPruner"})
    with pytest.raises(UserError, match="is no sampler of Optuna's"):
        make_sampler(parts.settings, parts.candidates, offset=0)
    one = Parts(tmp_path, sampler={"_target_": "optuna.samplers.RandomSampler", "seed": 1})
    assert isinstance(make_sampler(one.settings, one.candidates, offset=3), BaseSampler)


# Trials that nobody runs any more


@dataclass(frozen=True)
class Lost:
    """A trial that was cut short: which of its two seeds left what, and what becomes of it."""

    left: tuple[tuple[Status, dict[str, Any]], ...]
    state: TrialState
    rows: tuple[str, ...]
    is_retried: bool
    changed: tuple[tuple[str, Any], ...] = ()


LOST = {
    "nothing": Lost((), TrialState.FAIL, ("interrupted",), True),
    "a seed cut short": Lost(
        (("interrupted", {}),), TrialState.FAIL, ("interrupted",), True
    ),
    "one of two seeds": Lost(
        (("completed", {"val_acc": 0.4}),), TrialState.FAIL, ("completed", "interrupted"), True
    ),
    "both": Lost(
        (("completed", {"val_acc": 0.4}), ("completed", {"val_acc": 0.6})),
        TrialState.COMPLETE, ("completed", "completed"), False,
    ),
    "pruned": Lost((("pruned", {}),), TrialState.PRUNED, ("pruned",), False),
    "half pruned": Lost(
        (("completed", {}), ("pruned", {})), TrialState.PRUNED, ("pruned", "pruned"), False
    ),
    "a lower rung": Lost(
        (("completed", {"rung": 1}), ("completed", {"rung": 1})),
        TrialState.FAIL, ("completed", "interrupted"), True, (("rungs", [1, 2]),),
    ),
    "the last rung": Lost(
        (("completed", {"rung": 2}), ("completed", {"rung": 2})),
        TrialState.COMPLETE, ("completed", "completed"), False, (("rungs", [1, 2]),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LOST)
def test_a_lost_trial_ends_as_far_as_it_came(tmp_path: Path, case: str) -> None:
    lost = LOST[case]
    settings = {"replicates": 2, **dict(lost.changed)}
    killed = Parts(tmp_path, **settings)
    with killed.ledger:
        job = killed.begin()
        for seed, (status, measured) in enumerate(lost.left):
            run_dir = killed.layout.run_dir(0, seed)
            info = replace(job.info, name=RunName.of(run_dir))
            subdir = killed.layout.subdir(0, seed)
            killed.run(replace(job, info=info, subdir=subdir), status, **measured)
    now = Parts(tmp_path, study=killed.study, **settings)
    with now.ledger:
        now.recovery.recover()
        now.ledger.queue_retries()
    assert now.trial(0).state == lost.state
    assert sorted(status for _, status in now.written()) == sorted(lost.rows)
    left = [record.status for record in now.layout.results(0).values()]
    assert sorted(left) == sorted(lost.rows), "what a rebuild would make of it"
    assert len(now.ledger.trials()) == 1 + lost.is_retried
    if lost.state == TrialState.COMPLETE:
        assert now.trial(0).value == pytest.approx(0.5)
    if lost.is_retried:
        again = now.trial(1)
        assert again.user_attrs == {RETRY_OF: 0, ATTEMPT: 0}
        job = now.begin()
        assert job.info.trial == 1 and now.trial(1).params == now.trial(0).params


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("has_run", [False, True])
def test_a_trial_that_was_lost_before_it_was_noted_is_forgotten_unless_its_point_was_given(
    tmp_path: Path, is_given: bool, has_run: bool
) -> None:
    killed = Parts(tmp_path)
    with killed.ledger:
        if is_given:
            killed.study.enqueue_trial({"optimizer.lr": 0.05})
        accepted = killed.propose()
        if has_run:  # and the journal has lost what came after the trial's birth
            killed.run(Parts(tmp_path).begin())
    now = Parts(tmp_path, study=killed.study)
    with now.ledger:
        now.recovery.recover()
        now.ledger.queue_retries()
    assert accepted.trial.number == 0 and now.trial(0).state == TrialState.FAIL
    assert now.written() == ([("0", "interrupted")] if has_run else [])
    assert len(now.ledger.trials()) == 1 + is_given


def test_a_living_controllers_trial_is_its_own(tmp_path: Path) -> None:
    living = Parts(tmp_path)
    with living.ledger:
        living.begin()
        other = Parts(tmp_path, study=living.study)
        with other.ledger:
            other.recovery.recover()
        assert living.trial(0).state == TrialState.RUNNING


def test_rows_that_a_killed_controller_did_not_write_are_written(tmp_path: Path) -> None:
    killed = Parts(tmp_path, fixed=["budget.max_params=100"])
    with killed.ledger:
        for _ in range(3):
            killed.proposer.propose()
    now = Parts(tmp_path, fixed=["budget.max_params=100"], study=killed.study)
    for _ in range(2):
        now.recovery.write_rejected()
    assert now.written() == [(str(n), "infeasible") for n in range(3)]


# The loop, on an engine whose runs take no time


class Instant:
    """Ends each job as `outcome` says: with that record, or with none and this reason."""

    threads = None

    def __init__(self, size: int, outcome: Callable[[Job], RunRecord | str]) -> None:
        self.size = size
        self.outcome = outcome
        self.jobs: list[Job] = []
        self.most = 0
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    @property
    def has_room(self) -> bool:
        return len(self.jobs) < self.size

    @property
    def is_idle(self) -> bool:
        return not self.jobs

    def submit(self, job: Job) -> None:
        assert self.has_room
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))

    def next(self, timeout: float, on_epoch: OnEpoch) -> Ended | None:
        job = self.jobs.pop(0)
        outcome = self.outcome(job)
        if isinstance(outcome, str):
            return Ended(job, None, outcome)
        return Ended(job, outcome, None)

    def stop(self) -> None:
        self.jobs = []

    def close(self) -> None:
        self.is_open = False


def test_the_loop_keeps_all_workers_busy_to_the_last_trial(tmp_path: Path) -> None:
    parts = Parts(tmp_path, n_trials=7)
    engine = Instant(3, lambda job: parts.run(job, val_acc=job.info.trial / 10))
    parts.controller(engine).run()
    assert [trial.value for trial in parts.ledger.trials()] == pytest.approx(
        [n / 10 for n in range(7)]
    )
    assert engine.most == 3 and not engine.is_open
    assert len(parts.written()) == 7
    best = OmegaConf.load(parts.layout.sweep_dir / "optimization_results.yaml")
    assert best.best_trial == 6


def test_the_loop_ends_where_too_many_trials_fail(tmp_path: Path) -> None:
    parts = Parts(tmp_path, n_trials=50)
    engine = Instant(2, lambda job: "its worker ended with exit code 1")
    with pytest.raises(SearchFailedError, match="4 of 4 trials failed.*trial 0: its worker ended"):
        parts.controller(engine).run()
    assert not engine.is_open
    states = {trial.state for trial in parts.ledger.trials()}
    assert states <= {TrialState.FAIL, TrialState.WAITING}, "nothing is left running"


def test_what_runs_when_the_loop_is_stopped_is_tried_again(tmp_path: Path) -> None:
    parts = Parts(tmp_path, n_trials=3)

    def interrupted(job: Job) -> RunRecord:
        if job.info.trial == 1:
            raise KeyboardInterrupt
        return parts.run(job)

    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        parts.controller(Instant(2, interrupted)).run()
    statuses = [trial.user_attrs.get(STATUS) for trial in parts.ledger.trials()]
    assert statuses == [None, "interrupted", "interrupted"]
    now = Parts(tmp_path, n_trials=3, study=parts.study)
    now.controller(Instant(2, now.run)).run()
    assert sum(map(is_finished, now.ledger.trials())) == 3
    assert sum(status == "completed" for _, status in now.written()) == 3


def test_a_search_of_which_nothing_fits_says_so(tmp_path: Path) -> None:
    parts = Parts(tmp_path, fixed=["budget.max_params=100"], max_rejected=20)
    with pytest.raises(UserError, match="no point among 20 proposals.*4,538 parameters"):
        parts.controller(Instant(2, parts.run)).run()
    assert parts.written() == [(str(n), "infeasible") for n in range(20)]


# What the commands on a study have in common


def test_commands_on_a_study_may_differ_in_what_is_marked_so_alone(tmp_path: Path) -> None:
    def shared(fixed: Sequence[str] = (), **changed: Any) -> dict[str, Any]:
        parts = Parts(tmp_path, fixed=fixed, **changed)
        return in_common(parts.settings, parts.candidates.base, parts.space.describe())

    study = optuna.create_study()
    check_same(study, shared())
    note_shared(study, shared())
    check_same(study, shared(["record.table=b.csv", "trainer.threads=1"], n_jobs=2))
    check_same(study, shared(n_trials=99, max_retries=5, lease_s=1.0, skip_repeats=False))
    others: dict[str, Any] = {
        "objective": "val_loss", "direction": "minimize", "rungs": [1, 2], "replicates": 2,
        "pruner": {"_target_": "optuna.pruners.MedianPruner"}, "fit": ["model.width"],
    }  # fmt: skip
    for key, value in others.items():
        with pytest.raises(UserError, match=rf"begun with other settings: hydra\.sweeper\.{key} "):
            check_same(study, shared(**{key: value}))
    with pytest.raises(UserError, match=r"seed \(was 0, is 5\)"):
        check_same(study, shared(["seed=5"]))
    with pytest.raises(UserError, match="trainer.batch_size"):
        check_same(study, shared(["trainer.batch_size=7"]))
    assert set(study.user_attrs["settings"]) >= {
        f"hydra.sweeper.{key}" for key in ("objective", "direction", "rungs", "replicates")
    } | {"hydra.sweeper.budget", "hydra.sweeper.fit", "hydra.sweeper.fit_rest"}
    foreign = optuna.create_study()
    foreign.add_trial(create_trial(value=1.0))
    with pytest.raises(UserError, match="was not made by"):
        check_same(foreign, shared())


# Objectives


def test_the_front_is_what_optuna_makes_of_it() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for value in ([0.9, 5], [0.8, 4], [0.7, 4], [0.95, 9], [0.9, 5], [0.1, 1]):
        study.add_trial(create_trial(values=value))
    objectives = Objectives(("val_acc", "num_params"), ("maximize", "minimize"))
    front = objectives.front(study.trials)
    assert {trial.number for trial in front} == {trial.number for trial in study.best_trials}
    assert [trial.values[0] for trial in front] == [0.95, 0.9, 0.9, 0.8, 0.1]
