"""Says what a search would do and take."""

import math
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from hydra.types import HydraContext
from omegaconf import DictConfig
from optuna.study import Study
from optuna.trial import TrialState
from rich.console import Console
from rich.text import Text

from mnist_sweep.data import find
from mnist_sweep.errors import FailureError, UserError
from mnist_sweep.paths import JOURNAL, RESULTS_TABLE
from mnist_sweep.runs.console import duration, make_console, warn
from mnist_sweep.runs.table import ResultsTable, last_trials
from mnist_sweep.search.checks import doubts
from mnist_sweep.search.display.notation import short_values
from mnist_sweep.search.growing import Outlook, outlook
from mnist_sweep.search.planning import Plan, make_plan
from mnist_sweep.search.points.candidate import Candidate
from mnist_sweep.search.points.proposing import Accepted
from mnist_sweep.search.points.validity import check_places
from mnist_sweep.search.points.warm_start import warm_start
from mnist_sweep.search.preview.expecting import (
    Expectation,
    expect,
    spread,
    what_takes_time,
)
from mnist_sweep.search.preview.measuring import Work, measure
from mnist_sweep.search.preview.proposals import Proposals, propose
from mnist_sweep.search.preview.sample import Sample, fitting, take_sample
from mnist_sweep.search.preview.savings import share_trained
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import is_finished, scaled_widths
from mnist_sweep.search.study.credentials import without_credentials
from mnist_sweep.search.study.finding import study_there
from mnist_sweep.search.study.wholeness import check_whole
from mnist_sweep.search.trials.seeds import is_race, num_seeds
from mnist_sweep.search.workforce import num_cores

COLUMNS = 80

LABEL = 10

SHARES = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Quantiles of the nets' sizes."""

MOST_COUNTED = 100_000
"""Points of a space that are counted with regard to its conditions."""


def preview(
    settings: SearchSettings, cfg: DictConfig, context: HydraContext, arguments: Sequence[str]
) -> None:
    """
    Raises:
        UserError: as of the search itself.
    """
    plan = make_plan(settings, cfg, context, arguments)
    console = make_console()
    tables = {table.path: table.look() for table in _tables(plan)}
    missing = check_places(plan.samples, trains_here=plan.workforce.is_here, downloads=False)
    recorded = last_trials(plan.sweep_dir / RESULTS_TABLE).get(plan.name, -1)
    new = None
    with study_there(plan.name, settings.storage, plan.sweep_dir) as study:
        seen = _look(plan, study, recorded)
        if not missing:
            kept = {} if study is None else study.user_attrs
            data, own = find(plan.base.data), plan.candidates
            new = warm_start(settings, own, plan.objectives, data, plan.name, kept)
        started_s = time.time() - psutil.Process().create_time()
        _say(console, "preview", "nothing is begun, and nothing is written")
        proposals = propose(plan, study, seen, new)
        to_come = _show_study(console, plan, study, tables, proposals.n_trials)
    if new is not None:
        _say(console, "warm", f"{new.source}: {new.text}")
    sample = take_sample(plan)
    _show_sizes(console, plan, sample)
    _show_points(console, plan, proposals)
    for doubt in (*doubts(settings), *plan.workforce.doubts()):
        warn(console, "is this meant?", doubt)
    if seen.doubt is not None:
        warn(console, "mixed", seen.doubt)
    fits = sample.fitting
    if missing:
        why = f"data={missing[0]} is not here, and the search would download it first"
        _say(console, "time", f"not measured: {why}")
    elif to_come and fits:
        _show_cost(console, plan, fits, to_come, started_s, proposals.seconds_each)


def _tables(plan: Plan) -> list[ResultsTable]:
    return [ResultsTable(plan.sweep_dir / RESULTS_TABLE), ResultsTable(plan.main_table)]


def _look(plan: Plan, study: Study | None, recorded: int) -> Outlook:
    """recorded: the largest number of a trial in the search's table.

    Raises:
        UserError: it would be refused.
    """
    if study is None:
        if recorded >= 0:
            raise UserError(
                f"hydra.sweeper.storage: the study {plan.name} is not there, and the search's "
                "table has trials of it: put it back, or begin a new one with another "
                "hydra.sweeper.study_name"
            )
        plan.layout.check_own(plan.name)
        return Outlook(plan.candidates, [])
    seen = outlook(study, plan.settings, plan.candidates)
    check_whole(study, recorded)
    if not seen.trials:
        plan.layout.check_own(plan.name)
    return seen


def _show_study(
    console: Console, plan: Plan, study: Study | None, tables: dict[Path, int], n_trials: int
) -> int:
    """Trials that are still to come, of n_trials."""
    url = plan.settings.storage
    place = str(plan.sweep_dir / JOURNAL) if url is None else without_credentials(url)
    trials = [] if study is None else study.get_trials(deepcopy=False)
    finished = sum(map(is_finished, trials))
    to_come = max(0, n_trials - finished)
    if trials:
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        what = f"goes on: {finished} trials finished, {running} running, {to_come} to come"
        best = plan.objectives.best(trials) if len(plan.settings.objective) == 1 else None
        if best is not None and best.value is not None:
            what += f"; best {plan.settings.objective[0]} {best.value:.4f} (trial {best.number})"
    else:
        what = "is new"
    _say(console, "study", f"{plan.name} in {place}: it {what}")
    _say(console, "runs", f"in {plan.sweep_dir}, a directory for each trial")
    for path, rows in tables.items():
        now = f"{rows:,} rows now" if path.exists() else "is new"
        _say(console, "table", f"{path}: {now}")
    _say(console, "space", _describe_space(plan))
    limits = [_class(plan.settings.sampler)]
    if plan.settings.pruner is not None:
        limits.append(_class(plan.settings.pruner))
    if plan.settings.rungs is not None:
        limits.append(f"rungs of {', '.join(map(str, plan.settings.rungs))} epochs")
    if (seeds := num_seeds(plan.settings)) > 1:
        limits.append(f"{'up to ' * is_race(plan.settings)}{seeds} seeds each")
    _say(console, "trials", f"{n_trials:,} in all; {', '.join(limits)}")
    return to_come


def _describe_space(plan: Plan) -> str:
    num_keys = len(plan.space.keys)
    keys = f"{num_keys} key{'s' * (num_keys > 1)}"
    size = plan.space.size()
    if plan.space.extender is not None:
        return f"{keys}, and what hydra.sweeper.custom_search_space adds"
    if size is None:
        return f"{keys}, continuous"
    points = plan.space.points(MOST_COUNTED)
    if points is None:
        shown = f"{size:,}" if size < 1e9 else f"{size:.1e}"
        return f"{keys}, up to {shown} points"
    return f"{keys}, {len(points):,} points"


def _class(config: dict[str, object]) -> str:
    seed = config.get("seed")
    name = str(config.get("_target_")).rpartition(".")[2]
    return name if seed is None else f"{name} of seed {seed}"


def _show_sizes(console: Console, plan: Plan, sample: Sample) -> None:
    budget = plan.base.budget
    limits = {"max_params": budget.max_params, "max_macs": budget.max_macs}
    given = ", ".join(f"budget.{k}={v}" for k, v in limits.items() if v is not None)
    asked = sample.before or sample.candidates
    of = f"all {len(asked):,}" if sample.is_all else f"{len(asked):,} random"
    line = f"{_share(asked)} of {of} points can be trained"
    line += f" within {given}" if given else ""
    if sample.before is not None:
        line += f" as they are; scaled to it, {_share(sample.candidates)}"
        line += f" of the first {len(sample.candidates):,}"
    _say(console, "budget", line)
    heading = "".join(f"{name:>12}" for name in ("smallest", "10 %", "median", "90 %", "largest"))
    _say(console, "params", heading)
    rows = [("all points", sample.candidates)]
    if sample.before is not None:
        rows = [("unscaled", sample.before), ("scaled", sample.candidates)]
    elif len(sample.fitting) < len(asked):
        rows.append(("that fit", sample.fitting))
    for name, candidates in rows:
        sizes = sorted(c.num_params for c in candidates if c.num_params is not None)
        if sizes:
            cells = (sizes[round(share * (len(sizes) - 1))] for share in SHARES)
            line = "".join(f"{cell:>12,}" for cell in cells)
            console.print(Text(f"{name:<{LABEL}}{line}"), soft_wrap=True)


def _share(candidates: list[Candidate]) -> str:
    """Of those that would be trained."""
    fits = len(fitting(candidates))
    return f"{fits:,} ({fits / len(candidates):.1%})"


def _show_points(console: Console, plan: Plan, proposals: Proposals) -> None:
    points = proposals.points
    if not points:
        _say(console, "next", "no point: the study has all trials that it is to have")
        return
    refused = f"; {proposals.rejected} points before them are refused" * (proposals.rejected > 0)
    by_results = "" if plan.settings.is_grid else ", if none of them ends before all have begun"
    count = f"the next {len(points)} points" if len(points) > 1 else "the next point"
    _say(console, "next", f"{count}{by_results}{refused}")
    for accepted in points:
        _say(console, f"{accepted.trial.number:>8}", " ".join(_words(plan, accepted)))


def _words(plan: Plan, accepted: Accepted) -> Iterator[str]:
    """Of a point: its net's size, then its values, with the widths that the net has."""
    if accepted.candidate.num_params is not None:
        yield f"{accepted.candidate.num_params:,} params"
    values = plan.space.values(accepted.trial.params)
    yield short_values(values, scaled_widths(values, accepted.candidate.overrides))


def _show_cost(
    console: Console,
    plan: Plan,
    fits: list[Candidate],
    to_come: int,
    started_s: float,
    proposing_s: float,
) -> None:
    chosen = spread(fits)
    kinds = {what_takes_time(candidate): candidate for candidate in chosen}
    try:
        measured = measure(_works(plan, list(kinds.values())))
    except FailureError as error:
        _say(console, "time", f"not measured: {error}")
        return
    of_kind = dict(zip(kinds, measured.runs, strict=True))
    runs = [run for one in chosen if (run := of_kind[what_takes_time(one)]) is not None]
    epochs = max(run.epochs for run in runs)
    share = share_trained(plan.settings, epochs, to_come)
    own_mb = psutil.Process().memory_info().rss / 1e6
    expected = expect(plan, runs, measured, to_come, share, started_s, proposing_s, own_mb)
    size = plan.workforce.size
    by = f"{size} worker{'s' * (size > 1)}" if size else "each worker that joins, alone"
    _say(console, "time", f"{_range(expected)} with {by}{_ends(plan, share)}")
    shown = ", ".join(
        f"{seconds:.3g} s ({name})"
        for seconds, name in zip(
            expected.epochs_s, ("smallest", "median", "largest net"), strict=True
        )
    )
    here = "" if plan.workforce.is_here else ", on this machine, where its workers are not"
    _say(console, "epoch", f"takes {shown}; measured on a few steps just now{here}")
    _say(console, "memory", f"about {expected.mb / 1000:.1f} GB{'' if size else ' each'}")


def _range(expected: Expectation) -> str:
    low, high = duration(_rounded(expected.low_s)), duration(_rounded(expected.high_s))
    return f"about {low}" if low == high else f"{low} to {high}"


def _rounded(seconds: float) -> float:
    """To two digits, of which no more are known."""
    if seconds < 10:
        return math.ceil(seconds)
    unit = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return round(seconds / unit) * unit


def _ends(plan: Plan, share: float) -> str:
    if plan.settings.max_minutes is not None:
        return f"; hydra.sweeper.max_minutes={plan.settings.max_minutes:g} ends it"
    if share == 1:
        return ""
    return (
        f": from {share:.0%} of all epochs, if trials are cut as of a random order, to all of them"
    )


def _works(plan: Plan, candidates: Sequence[Candidate]) -> list[Work]:
    """One for each process, as many as the search would have at once."""
    force = plan.workforce
    count = min(max(1, force.size), max(num_cores(), len(force.gpus) * force.per_gpu))
    threads = None if force.size == 1 and plan.launcher == "basic" else 1
    if not force.is_here:
        count = 1
    configs = [candidate.config for candidate in candidates]
    whitelist = plan.context.execution_whitelist or ()
    return [
        Work(
            configs,
            threads,
            force.gpus[number % len(force.gpus)] if force.gpus else None,
            plan.own,
            whitelist,
            first=number * len(configs) // count,
        )
        for number in range(count)
    ]


def _say(console: Console, label: str, text: str) -> None:
    """In lines that fit a terminal of 80 columns, also into a pipe."""
    width = min(console.width, COLUMNS) - LABEL - 1
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        head = label if number == 0 else ""
        console.print(Text(f"{head:<{LABEL}}{line}"), soft_wrap=True)
