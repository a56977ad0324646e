"""The commands that make pictures: front, curves, pruned, parallel, importance, augmentation.

Each reads what runs and searches left behind and hands plain data to `figures`.
"""

import argparse
import math
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.record import RESULT, ResultsTable
from mnist_sweep.report.words import counted

if TYPE_CHECKING:
    import pandas as pd
    from optuna.trial import FrozenTrial

    from mnist_sweep.figures.front import FrontPanel
    from mnist_sweep.figures.search import ParallelAxis
    from mnist_sweep.report.tables import Ranking
    from mnist_sweep.saved import SavedRun

MULTIRUN = Path("multirun")

COSTS = {"num_params": "parameters", "macs": "multiply-accumulates"}
SCORES = ("val_acc", "test_acc")

MOST_TRACKS = 4
"""Panels of one picture."""


# front


def add_front(parser: argparse.ArgumentParser) -> None:
    from mnist_sweep.report.load import SOURCES_HELP
    from mnist_sweep.report.tables import FORMATS
    from mnist_sweep.report.where import ALIASES

    parser.description = (
        "The configurations that no other one of their track beats: none is as good with fewer "
        "parameters, or better with no more. Runs that differ in nothing but the seed are one."
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help=SOURCES_HELP,
    )
    parser.add_argument(
        "--cost",
        type=lambda name: ALIASES.get(name, name),
        choices=list(COSTS),
        default="num_params",
        help="of two equally good ones the one with less of it wins (default: num_params)",
    )
    parser.add_argument(
        "--score",
        choices=SCORES,
        help="its mean over seeds counts (default: val_acc where there is a validation set)",
    )
    parser.add_argument("--where", metavar="EXPR", help="only runs for which this holds")
    parser.add_argument("--format", choices=FORMATS, default="rich")
    _add_output(parser, "draw it, with all configurations and known records")
    parser.set_defaults(run=front)


def front(arguments: argparse.Namespace) -> None:
    """The front of each track as a table, and as a picture if that is asked for."""
    from mnist_sweep.report.leaderboard import leaderboard
    from mnist_sweep.report.load import load_results
    from mnist_sweep.report.where import chosen

    cost = arguments.cost
    if arguments.output is not None:
        # Here, for a table needs no matplotlib.
        from mnist_sweep.figures.front import front as draw
        from mnist_sweep.figures.saving import check_suffix, save

        check_suffix(arguments.output)
    runs = chosen(load_results(*arguments.sources), arguments.where)
    lines = leaderboard(runs, sort=arguments.score)
    tracks = list(_tracks_with_front(lines, cost))
    if not tracks:
        raise UserError(
            f"{', '.join(runs.attrs['sources'])}: none of the {len(runs):,} runs is completed "
            f"and has {arguments.score or 'val_acc or test_acc'} and {cost}, so there is no front"
        )
    notes = list(lines.attrs["notes"])
    if left_out := len(lines) - sum(map(len, tracks)):
        notes.append(f"{counted(left_out, 'configuration')} without score or {cost} left out")
    if runs.attrs["skipped"]:
        notes.append(f"on reading: {runs.attrs['skipped']}")
    if arguments.output is not None:
        panels = _panels(tracks[:MOST_TRACKS], cost, notes)
        if len(tracks) > MOST_TRACKS:
            notes.append(
                f"drawn are the {MOST_TRACKS} of {len(tracks)} tracks with most runs; --where "
                "chooses others"
            )
        figure = draw(panels, COSTS[cost], f"Accuracy against {COSTS[cost]}")
        save(figure, arguments.output)
        notes.append(f"picture {arguments.output}")
    _print_fronts(tracks, cost, notes, arguments.format)


def _tracks_with_front(lines: "pd.DataFrame", cost: str) -> "Iterator[pd.DataFrame]":
    """The lines of each track, the cheapest first, with `score` (column) and `on_front`."""
    from mnist_sweep.report.front import front as is_on_front
    from mnist_sweep.report.leaderboard import TRACK

    for _, track in lines.groupby(TRACK, dropna=False, sort=False):
        score = str(track.ranked_by.iloc[0])
        usable = track[track[score].notna() & track[cost].notna()]
        if len(usable):
            yield usable.assign(on_front=is_on_front(usable, cost, score)).sort_values(
                [cost, score, "label"], ascending=[True, False, True], kind="stable"
            )


def _panels(tracks: "Sequence[pd.DataFrame]", cost: str, notes: list[str]) -> "list[FrontPanel]":
    """The tracks as the picture takes them. notes: gets what is not drawn, and why."""
    import pandas as pd

    from mnist_sweep.figures.front import FrontPanel
    from mnist_sweep.report.front import known_records
    from mnist_sweep.report.tables import track_name

    records = known_records()
    size = records.num_params.fillna(records.max_params)
    low = min(float(track[cost].min()) for track in tracks) / 2
    high = max(float(track[cost].max()) for track in tracks) * 2
    panels, drawn = [], False
    for track in tracks:
        first = track.iloc[0]
        score = first.ranked_by.removesuffix("_mean")
        points = pd.DataFrame(
            {
                "label": track.label,
                "cost": track[cost].astype(float),
                "mean": track[f"{score}_mean"],
                "sd": track[f"{score}_sd"],
                "on_front": track.on_front,
            }
        )
        comparable = score == "test_acc" and first.data == "mnist" and cost == "num_params"
        near = records[size.between(low, high)] if comparable else None
        panels.append(FrontPanel(track_name(first), score, points, near))
        drawn |= comparable
    if not drawn:
        notes.append(
            "known records are not drawn: they are test accuracies on MNIST against num_params"
        )
    elif outside := int((~size.between(low, high)).sum()):
        notes.append(
            f"{counted(outside, 'known record')} not drawn: under {low:,.0f} or over {high:,.0f} "
            "parameters"
        )
    return panels


def _print_fronts(
    tracks: "Sequence[pd.DataFrame]", cost: str, notes: Sequence[str], style: str
) -> None:
    """A table for each track; the notes on standard error where a program reads the output."""
    import pandas as pd

    from mnist_sweep.report import tables

    fronts = []
    for track in tracks:
        best = track[track.on_front].drop(columns="on_front")
        fronts.append(best.assign(rank=range(1, len(best) + 1)))
    if style in ("csv", "json"):
        lines = pd.concat(fronts, ignore_index=True)
        print(tables.as_csv(lines) if style == "csv" else tables.as_json(lines), end="")
    else:
        rankings = [
            _ranking(best, len(track), cost) for best, track in zip(fronts, tracks, strict=True)
        ]
        if style == "rich":
            console = tables.make_console(sys.stdout)
            for ranking in rankings:
                tables.show(console, ranking)
                console.print()
        else:
            write = tables.markdown if style == "md" else tables.latex
            print("\n\n".join(map(write, rankings)))
    for note in notes:
        print(note, file=sys.stdout if style == "rich" else sys.stderr)


def _ranking(best: "pd.DataFrame", configurations: int, cost: str) -> "Ranking":
    from mnist_sweep.report.tables import Ranking, track_name

    first = best.iloc[0]
    score = first.ranked_by.removesuffix("_mean")
    means = [
        f"{100 * mean:.2f} ± " + ("?" if math.isnan(sd) else f"{100 * sd:.2f}")
        for mean, sd in zip(best[f"{score}_mean"], best[f"{score}_sd"], strict=True)
    ]
    columns = {
        "rank": ("#", [str(rank) for rank in best["rank"]]),
        "label": ("configuration", best.label.tolist()),
        "num_params": (cost.removeprefix("num_"), [f"{value:,}" for value in best[cost]]),
        "first": (score, means),
        "n": ("n", [f"{n:,}" for n in best.n]),
    }
    notes = []
    if configurations > len(best):
        by_test = "; this is a choice by the test set" if score == "test_acc" else ""
        notes.append(
            f"the best of {configurations:,} configurations by {score}, so it flatters "
            f"them{by_test}"
        )
    if (best.n == 1).any():
        notes.append("± ? is one run: nothing is known of its spread")
    title = f"{track_name(first)}: front of {score} over {cost}"
    return Ranking(title, columns, total=len(best), note="; ".join(notes))


# curves


def add_curves(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Accuracy and loss of each epoch. Training figures (dashed) are of augmented images and "
        "with dropout, so they may well lie below validation."
    )
    parser.add_argument(
        "run_names", nargs="+", metavar="RUN", help="run id or its beginning, study/trial, or path"
    )
    _add_output(parser, default="curves.png")
    parser.set_defaults(run=curves)


def curves(arguments: argparse.Namespace) -> None:
    """Loss and accuracy of each epoch."""
    from mnist_sweep.figures.curves import curves
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.saved import find_run

    check_suffix(arguments.output)
    histories = {}
    for run in map(find_run, arguments.run_names):
        histories[_label(run)] = run.history()
        if not histories[_label(run)]:
            raise UserError(
                f"run {run.record.run_id} ({run.record.status}) finished no epoch, so it has no "
                "history; choose another run"
            )
    title = next(iter(histories)) if len(histories) == 1 else f"{len(histories)} runs"
    _save(curves(histories, title), arguments.output)


def _label(run: "SavedRun") -> str:
    record = run.record
    return f"{record.groups.get('model')}, seed {record.seed} ({record.run_id})"


# pruned


def add_pruned(parser: argparse.ArgumentParser) -> None:
    parser.description = "val_acc of all trials of a search, each to the epoch where it ended."
    _add_search(parser)
    _add_output(parser, default="pruned.png")
    parser.set_defaults(run=pruned)


def pruned(arguments: argparse.Namespace) -> None:
    """val_acc of all trials of a search, each to where it ended."""
    from mnist_sweep.figures.curves import TrialCurve, pruned
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.saved import find_run

    check_suffix(arguments.output)
    folder = find_search(arguments.source)
    trials, without = [], 0
    for path in sorted(folder.rglob(RESULT)):
        try:
            run = find_run(str(path.parent))
            history = run.history() if run.record.study is not None else []
        except UserError:  # it ended before its first epoch did, or a file is damaged
            without += 1
            continue
        accs = [math.nan if m.val_acc is None else m.val_acc for m in history]
        if any(map(math.isfinite, accs)):
            label = f"trial {run.record.trial}"
            trials.append(TrialCurve(label, run.record.status, accs))
    if not trials:
        raise UserError(
            f"{folder}: no run of the search in it finished an epoch with a validation accuracy, "
            "so there is no curve to draw"
        )
    title = f"Search {folder.name}: validation accuracy of {counted(len(trials), 'run')}"
    _save(pruned(trials, title), arguments.output)
    if without:
        print(
            f"left out: {counted(without, 'run')} that finished no epoch, or whose files are gone"
        )


# parallel


def add_parallel(parser: argparse.ArgumentParser) -> None:
    parser.description = "What each trial of a search chose for each parameter, and its result."
    _add_search(parser)
    _add_study(parser)
    _add_output(parser, default="parallel.png")
    parser.set_defaults(run=parallel)


def parallel(arguments: argparse.Namespace) -> None:
    """What each trial chose for each parameter, and what came of it."""
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.figures.search import parallel

    check_suffix(arguments.output)
    study = read_study(find_search(arguments.source), arguments.storage)
    objective = study.objective(arguments.objective)
    trials = [trial for trial in study.trials if trial.params]
    values = [study.value(trial, objective) for trial in trials]
    if not any(value is not None for value in values):
        raise UserError(
            f"{study.folder}: none of its {counted(len(trials), 'trial')} is completed yet, so "
            "there is nothing to compare; give the search more time"
        )
    title = f"Search {study.folder.name}: {counted(len(trials), 'trial')} by {objective}"
    axes = [
        _parallel_axis(name, trials) for name in study.parameters if not _is_fixed(name, trials)
    ]
    minimize = study.directions[objective] == "minimize"
    figure = parallel(axes, objective, values, title, minimize=minimize)
    _save(figure, arguments.output)
    if study.note:
        print(study.note)


def _is_fixed(name: str, trials: "Sequence[FrozenTrial]") -> bool:
    return all(trial.distributions[name].single() for trial in trials if name in trial.params)


def _parallel_axis(name: str, trials: "Sequence[FrozenTrial]") -> "ParallelAxis":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    from mnist_sweep.figures.search import ParallelAxis

    distribution = next(t.distributions[name] for t in trials if name in t.distributions)
    values = [trial.params.get(name) for trial in trials]
    if isinstance(distribution, CategoricalDistribution):
        return ParallelAxis(name, values, choices=distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return ParallelAxis(
        name, values, low=distribution.low, high=distribution.high, log=distribution.log
    )


# importance

FEWEST_COMPLETED = 4
BEST_TO_EXPLAIN = 5
"""Trials, where there are twice as many; of 50 and more the best tenth, as Optuna has it."""
SHUFFLES = 100
CHANCE = 0.95


def add_importance(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "How much each parameter has to do with a trial's being among the best of its search "
        "(PED-ANOVA, by Optuna), beside what chance alone would give with so few trials."
    )
    _add_search(parser)
    _add_study(parser)
    _add_output(parser, default="importance.png")
    parser.set_defaults(run=importance)


def importance(arguments: argparse.Namespace) -> None:
    """How much each parameter has to do with a trial's being among the best."""
    from mnist_sweep.figures.saving import check_suffix
    from mnist_sweep.figures.search import importance

    check_suffix(arguments.output)
    study = read_study(find_search(arguments.source), arguments.storage)
    objective = study.objective(arguments.objective)
    found = importances(study, objective)
    title = f"Search {study.folder.name}: what matters for {objective}"
    figure = importance(found.shares, found.chance, title, found.note)
    _print_table(
        ("parameter", "importance", f"chance ({CHANCE:.0%})", ""),
        [
            (name, f"{share:.1%}", f"{found.chance[name]:.1%}", "*" * (share > found.chance[name]))
            for name, share in found.shares.items()
        ],
    )
    print(f"* more than chance gives. {found.note}")
    if study.note:
        print(study.note)
    _save(figure, arguments.output)


@dataclass(frozen=True)
class Importances:
    """Parameter -> its share of the whole, the largest first; what chance gives; how reckoned."""

    shares: dict[str, float]
    chance: dict[str, float]
    note: str


def importances(study: "SearchStudy", objective: str) -> Importances:
    """PED-ANOVA (Watanabe et al. 2023) through Optuna, which takes conditional parameters too.

    chance: the 95 % quantile over shuffles of the trials' values among the trials.

    Raises:
        UserError: too few trials are completed, or no parameter was searched.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    values = {
        trial.number: value
        for trial in study.trials
        if (value := study.value(trial, objective)) is not None
    }
    if len(values) < FEWEST_COMPLETED:
        raise UserError(
            f"{study.folder}: {counted(len(values), 'completed trial')} of {len(study.trials)}, "
            f"and importance needs {FEWEST_COMPLETED}; give the search more trials"
        )
    sign = -1 if study.directions[objective] == "maximize" else 1
    completed = [trial for trial in study.trials if trial.number in values]
    taken: dict[str, set[Any]] = {}
    for trial in completed:
        for name, value in trial.params.items():
            taken.setdefault(name, set()).add(value)
    names = sorted(name for name, choices in taken.items() if len(choices) > 1)
    if not names:
        raise UserError(f"{study.folder}: no parameter varies among its completed trials")
    memory = optuna.create_study()
    memory.add_trials([_with_value(trial) for trial in completed])
    numbers = list(values)
    best = max(BEST_TO_EXPLAIN, len(numbers) / 10)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, best / len(numbers)))

    def shares(order: Sequence[int]) -> dict[str, float]:
        cost = {position: sign * values[number] for position, number in enumerate(order)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of what is done here on purpose
            return get_param_importances(
                memory, evaluator=evaluator, params=names, target=lambda t: cost[t.number]
            )

    found = shares(numbers)
    generator = np.random.default_rng(0)
    shuffled = [shares(generator.permutation(numbers).tolist()) for _ in range(SHUFFLES)]
    chance = {name: float(np.quantile([s[name] for s in shuffled], CHANCE)) for name in names}
    ordered = sorted(names, key=lambda name: (-found[name], name))
    chosen = math.ceil(len(numbers) * min(0.5, best / len(numbers)))
    note = (
        f"PED-ANOVA (Optuna {optuna.__version__}) of {len(numbers)} completed trials, without the "
        f"pruned: what sets the best {chosen} apart. Chance: of {SHUFFLES} shuffles of the "
        f"results among the trials, {CHANCE:.0%} stay below the mark."
    )
    left_out = sorted(set(study.parameters) - set(names))
    if left_out:
        note += f" Left out, for they do not vary among these: {', '.join(left_out)}."
    return Importances({name: found[name] for name in ordered}, chance, note)


def _with_value(trial: "FrozenTrial") -> "FrozenTrial":
    """A completed trial for a study of a single objective."""
    from optuna.trial import create_trial

    return create_trial(value=0.0, params=trial.params, distributions=trial.distributions)


# augmentation

DRAWS = 2
"""Rows for each choice."""


def add_augmentation(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A digit of each kind as it is, and as training sees it: of MNIST where it is at hand, "
        "else of scikit-learn's small digits."
    )
    parser.add_argument(
        "names",
        nargs="?",
        metavar="NAME[,NAME]",
        help="choices of augmentation (default: all); a+b is one after the other",
    )
    _add_output(parser, default="augmentation.png")
    parser.set_defaults(run=augmentation)


def augmentation(arguments: argparse.Namespace) -> None:
    """A digit of each kind, as it is and augmented."""
    import torch

    from mnist_sweep.data import load
    from mnist_sweep.figures.augmentation import augmentation
    from mnist_sweep.figures.saving import check_suffix

    check_suffix(arguments.output)
    known = _augmentations()
    names = [name for name in (arguments.names or "").split(",") if name.strip()]
    names = [name.strip() for name in names] or [name for name in known if name != "none"]
    experiments = {name: _experiment_with(name, known) for name in names}
    settings = next(iter(experiments.values())).settings
    data = load(settings.data, settings.protocol)
    labels = data.train.labels[data.train.index]
    first_of_each = torch.stack([(labels == digit).nonzero()[0, 0] for digit in range(10)])
    images, _ = data.train.batch(first_of_each)
    rows = {"original": _pixels(images)[None]}
    for name, experiment in experiments.items():
        generator = torch.Generator().manual_seed(0)
        draws = []
        for _ in range(DRAWS):
            augmented = images
            for augment in experiment.augmentation:
                augmented = augment(augmented, generator)
            draws.append(_pixels(augmented))
        rows[name] = np.stack(draws)
    title = f"Augmentations of {data.name}, {counted(DRAWS, 'draw')} each"
    _save(augmentation(rows, title), arguments.output)


def _augmentations(*, also_of_recipes: bool = False) -> list[str]:
    from mnist_sweep.configs import CONF, RECIPE_PARTS

    names = sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml"))
    return [name for name in names if also_of_recipes or not name.startswith(RECIPE_PARTS)]


def _experiment_with(name: str, known: Sequence[str]) -> Any:
    """The main recipe with this augmentation, or these, one after the other: `affine+elastic`.

    Raises:
        UserError: there is no such choice.
    """
    from hydra import compose, initialize_config_dir
    from hydra.utils import execution_whitelist

    from mnist_sweep.config import resolved
    from mnist_sweep.configs import CONF, TARGETS
    from mnist_sweep.experiment import to_experiment

    parts = name.split("+")
    for part in parts:
        if part not in _augmentations(also_of_recipes=True):
            raise UserError(
                f"augmentation={part}: no such choice{did_you_mean(part, known)}; augmentation is "
                f"one of {', '.join(known)}"
            )
    with initialize_config_dir(str(CONF)), execution_whitelist(TARGETS):
        cfg = compose("config", [f"augmentation=[{','.join(parts)}]"])
        return to_experiment(resolved(cfg))


def _pixels(images: Any) -> "np.ndarray":
    """(N, 1, H, W) in 0..1 -> (N, H, W) uint8."""
    return np.asarray((images.squeeze(1) * 255).round().clamp(0, 255).byte())


# Searches


@dataclass(frozen=True)
class SearchStudy:
    """What Optuna knows of a search."""

    folder: Path
    directions: dict[str, str]
    """Objective -> maximize or minimize."""
    trials: "list[FrozenTrial]"
    """Completed and pruned ones; rejected points, which were never trained, are left out."""
    scaled: tuple[str, ...] = ()
    """Patterns of the parameters that are proportions, scaled to the budget (budget=fit)."""

    @property
    def parameters(self) -> list[str]:
        """All that were searched, in the order in which they first came up."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.params))

    @property
    def note(self) -> str:
        """What must be known to read the parameters rightly."""
        scaled = [n for n in self.parameters if any(fnmatchcase(n, p) for p in self.scaled)]
        return f"{', '.join(scaled)}: before they were scaled to the budget" if scaled else ""

    def objective(self, name: str | None) -> str:
        """
        Raises:
            UserError: the search has no objective of that name.
        """
        objectives = list(self.directions)
        if name is not None and name not in objectives:
            raise UserError(
                f"--objective={name}: this search has {' and '.join(objectives)}; choose one"
            )
        return name or objectives[0]

    def value(self, trial: "FrozenTrial", objective: str) -> float | None:
        """None unless the trial is completed with a number."""
        if trial.state.name != "COMPLETE":
            return None
        value = trial.values[list(self.directions).index(objective)]
        return value if math.isfinite(value) else None


def find_search(source: Path | None) -> Path:
    """The folder of one search: this one, the only one below it, or (default) the newest one.

    Raises:
        UserError: there is no search, or there are several to choose from.
    """
    root = source or MULTIRUN
    if not root.is_dir():
        reason = "is no folder" if root.exists() else "does not exist"
        raise UserError(
            f"{root} {reason}: give a search's folder, such as multirun/arch_20000 (searches are "
            "made with hydra/sweeper=search)"
        )
    if _is_search(root):
        return root
    below = {path.parent for path in [*root.rglob("study.journal"), *root.rglob("results.csv")]}
    found = sorted(filter(_is_search, below), key=lambda folder: folder.stat().st_mtime)
    if not found:
        raise UserError(
            f"{root} holds no search (no study.journal, no run with a trial): give the folder of "
            "one that was made with hydra/sweeper=search"
        )
    if source is not None and len(found) > 1:
        raise UserError(f"{root} holds {len(found)} searches: give one, such as {found[-1]}")
    if source is None and len(found) > 1:
        print(f"search  {found[-1]}, the newest of {len(found)}")
    return found[-1]


def _is_search(folder: Path) -> bool:
    return (folder / "study.journal").is_file() or _study_name(folder) is not None


def _study_name(folder: Path) -> str | None:
    rows = ResultsTable(folder / "results.csv").rows()
    return next((row["study"] for row in rows if row.get("study")), None)


def read_study(folder: Path, url: str | None) -> SearchStudy:
    """The study of the search in this folder. url: of the storage, if it is not kept there.

    A copy of the journal is read: the search may be running, the folder read-only.

    Raises:
        UserError: there is no study, or it cannot be read.
    """
    import optuna

    from mnist_sweep.search.ledger import is_finished
    from mnist_sweep.search.storage import JOURNAL, open_storage, without_credentials

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = str(folder / JOURNAL) if url is None else without_credentials(url)
    with tempfile.TemporaryDirectory() as copy:
        if url is None:
            if not Path(where).is_file():
                raise UserError(
                    f"{folder} has no {JOURNAL}, so the search is kept elsewhere: give "
                    "--storage URL, the hydra.sweeper.storage of the search"
                )
            shutil.copyfile(where, Path(copy) / JOURNAL)
        try:
            storage = open_storage(url, Path(copy))
            names = [study.study_name for study in storage.get_all_studies()]
            name = _study_name(folder) or next(iter(names), folder.name)
            if name not in names:
                raise UserError(
                    f"{where} holds no study {name} (it has {', '.join(names) or 'none'}): give "
                    "--storage the hydra.sweeper.storage of the search"
                )
            study = optuna.load_study(study_name=name, storage=storage)
            trials = study.get_trials(deepcopy=False)
            settings = study.user_attrs.get("settings", {})
        except UserError as error:
            raise UserError(str(error).replace(copy, str(folder))) from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{where}: the study cannot be read ({reason[:120]})") from error
    directions = [direction.name.lower() for direction in study.directions]
    names = settings.get("hydra.sweeper.objective") or [
        f"objective {n}" for n in range(len(directions))
    ]
    finished = [trial for trial in trials if is_finished(trial)]
    scaled = *settings.get("hydra.sweeper.fit", []), *settings.get("hydra.sweeper.fit_rest", [])
    return SearchStudy(folder, dict(zip(names, directions, strict=True)), finished, scaled)


# Arguments and output


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="SOURCE",
        help="a search's folder (default: the newest one in multirun)",
    )


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--objective", metavar="NAME", help="of several (default: the first)")
    parser.add_argument(
        "--storage", metavar="URL", help="where the search is kept, if not in its folder"
    )


def _add_output(
    parser: argparse.ArgumentParser, what: str = "picture", default: str | None = None
) -> None:
    said = f" (default: {default})" if default else ""
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        default=None if default is None else Path(default),
        metavar="FILE",
        help=f"{what}, .png or .svg{said}",
    )


def _save(figure: Any, path: Path) -> None:
    from mnist_sweep.figures.saving import save

    save(figure, path)
    print(f"picture {path}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """First column to the left, the others to the right."""
    from rich.table import Table
    from rich.text import Text

    from mnist_sweep.report.tables import make_console

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    make_console(sys.stdout).print(table)
