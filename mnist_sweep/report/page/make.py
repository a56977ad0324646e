"""The report as one HTML page that needs nothing else.

What can be text is text in the page (static/page.html.j2); the runs, the curves and the points of
the plots go along as JSON, out of which static/page.js makes the table, the panels and, with
plotly, the plots. The page's policy lets no other script run and no request out.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mnist_sweep import __version__
from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.front import known_records, on_front
from mnist_sweep.report.analysis.leaderboard import METRICS, leaderboard
from mnist_sweep.report.analysis.tracks import TRACK, track_name
from mnist_sweep.report.commands.leaderboard import percent, span
from mnist_sweep.report.page.columnar import columnar
from mnist_sweep.report.page.net import draw
from mnist_sweep.report.page.searches import commands, searches
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.report.wording import counted, duration, number_or_none, statuses, text

PAGE = Path(__file__).with_name("static")

MOST_LINES = 15  # of the first ranking
MOST_LINES_OF_OTHERS = 6
MOST_IDS = 5  # named in a line
MOST_POINTS = 2_000  # of a plot, which SVG still draws at once
MOST_CURVES = 150  # of ranked runs, and as many of pruned ones
BEST_CURVES = 8  # colours that can be told apart
MOST_SEARCHES = 5
MOST_REASONS = 40
MOST_NETS = 3

CURVES = ("val_acc", "train_acc", "test_acc", "val_acc_raw", "val_loss", "train_loss", "test_loss")

NOT_SCORED = ("failed", "diverged", "interrupted", "infeasible")
"""Statuses that have a reason to tell, the worst first."""


def make_page(runs: pd.DataFrame, title: str, own_command: str) -> str:
    """The page of these runs (as `load_results` gives them).

    Run directories, where they exist, add curves, commands and the drawing of the winning net.
    """
    board = leaderboard(runs)
    folders = RunFolders(runs)
    tracks = [lines for _, lines in board.groupby(TRACK, dropna=False, sort=False)]
    fronts = [_front(lines) for lines in tracks]
    curves = _curves(runs, tracks, folders)
    found_searches = list(islice(searches(runs, folders), MOST_SEARCHES))
    ran, more_commands = commands(runs, folders)
    failures = _failures(runs)
    nets = [_net(lines, folders) for lines in tracks[:MOST_NETS]]
    with_search = [(f"search-{n}", f"Search {s['name']}") for n, s in enumerate(found_searches)]
    js = (PAGE / "page.js").read_text(encoding="utf-8")
    plotly, plotly_hash = _plotly()
    data = {
        "runs": columnar(runs),
        "sort": _first_order(tracks),
        "fronts": [front["plot"] for front in fronts],
        "curves": curves["plot"],
        "searches": [{key: s[key] for key in ("importance", "timeline")} for s in found_searches],
    }
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["percent"] = percent
    return environment.get_template("page.html.j2").render(
        title=title,
        num_runs=len(runs),
        statuses=statuses(runs),
        tiles=_tiles(runs, tracks),
        tracks=[
            _track(lines, MOST_LINES_OF_OTHERS if number else MOST_LINES)
            for number, lines in enumerate(tracks)
        ],
        fronts=fronts,
        scores=[m for m in METRICS if board[f"{m}_mean"].notna().any()],
        curves=curves,
        searches=found_searches,
        failures=failures[:MOST_REASONS],
        more_failures=max(0, len(failures) - MOST_REASONS),
        has_pruned=bool((runs.status == "pruned").any()),
        nets=_distinct(nets),
        origin=list(_origin(runs, board)),
        commands=ran,
        more_commands=more_commands,
        own_command=own_command,
        skipped=runs.attrs.get("skipped", ""),
        sections=[
            ("summary", "Summary"),
            ("runs", "All runs"),
            *([("front", "Front")] if fronts else []),
            ("curves", "Curves"),
            *with_search,
            ("failures", "Failures"),
            *([("net", "Winning net")] if nets else []),
            ("origin", "Origin"),
        ],
        version=__version__,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        data=_packed(json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))),
        js=js,
        css=(PAGE / "page.css").read_text(encoding="utf-8"),
        plotly=plotly,
        script_hashes=f"{_hash_of(js)} {plotly_hash}",
    )


def _first_order(tracks: Sequence[pd.DataFrame]) -> str:
    """By what the table is sorted at first: accuracies of several tracks make no order."""
    return str(tracks[0].ranked_by.iloc[0]).removesuffix("_mean") if len(tracks) == 1 else "started"


def _packed(content: str) -> str:
    """For a script element, out of which page.js unpacks it: a fraction of its size, and nothing
    that a parser could take for markup."""
    data = content.encode("utf-8", "replace")  # a name may hold half of a surrogate pair
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


@cache
def _plotly() -> tuple[str, str]:
    """plotly.js as the Python package brings it, packed, and its hash."""
    script = files("plotly") / "package_data" / "plotly.min.js"
    source = script.read_text(encoding="utf-8")
    return _packed(source), _hash_of(source)


def _hash_of(script: str) -> str:
    """The source expression of a Content-Security-Policy that lets this script run, no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


# Summary


def _tiles(runs: pd.DataFrame, tracks: Sequence[pd.DataFrame]) -> list[dict[str, str]]:
    tiles = []
    if tracks:
        best = tracks[0].iloc[0]
        score = best.ranked_by.removesuffix("_mean")
        among = f"best of {counted(len(tracks[0]), 'configuration')}, n = {best.n}"
        if text(best.protocol) == "published":
            among += ", test was watched"
        elif score == "test_acc" and len(tracks[0]) > 1:
            among += ", picked on test"
        tiles.append(
            {
                "what": f"Best {score} of {text(best.data)}, protocol {text(best.protocol)}",
                "value": f"{_mean_and_sd(best, score)} %",
                "note": f"{among}: {best.label}",
            }
        )
        if score == "val_acc" and not pd.isna(best.test_acc_mean):
            value = f"{_mean_and_sd(best, 'test_acc')} %"
            note = "not what it was chosen by"
            tiles.append({"what": "Its test_acc", "value": value, "note": note})
        params = "–" if pd.isna(best.num_params) else f"{best.num_params:,}"
        macs = "" if pd.isna(best.macs) else f"{best.macs:,} MACs an image"
        tiles.append({"what": "Its parameters", "value": params, "note": macs})
    seconds = float(runs.seconds.sum())
    ends = [f"{time:%Y-%m-%d %H:%M}" for time in runs.started.agg(["min", "max"]).dropna()]
    begun = f"begun {' to '.join(dict.fromkeys(ends))} UTC" if ends else ""
    tiles.append({"what": "Time of all runs", "value": duration(seconds), "note": begun})
    return tiles


def _mean_and_sd(line: Any, metric: str) -> str:
    """In percent and percentage points, without their sign."""
    mean, sd = (percent(line[f"{metric}_{part}"]) for part in ("mean", "sd"))
    return f"{mean or '–'} ± {sd}" if sd else mean or "–"


def _track(lines: pd.DataFrame, most: int) -> dict[str, Any]:
    first = lines.iloc[0]
    score = first.ranked_by.removesuffix("_mean")
    shown = [_line(line) for line in _lines(lines.head(most))]
    several = bool((lines.n > 1).any())
    words = [
        f"{counted(int(lines.n.sum()), 'run')} of {counted(len(lines), 'configuration')}, ranked "
        f"by {score}, the mean over runs that differ only in the seed."
    ]
    if several:
        words.append("± is their standard deviation, the interval Student’s t of the mean.")
    if (lines.n == 1).any():
        words.append("n = 1 is a single run: it says nothing of the spread between seeds.")
    if len(lines) > 1:
        words.append(f"The first line is the best of {len(lines):,}, so its {score} flatters it.")
    warning = ""
    if text(first.protocol) == "published":
        warning = (
            "Protocol published looks at the test set every epoch: these are the last epoch’s "
            "figures, yet of recipes made with test in sight."
        )
    elif score == "test_acc":
        warning = (
            "There is no validation set here, so the order itself comes from the test set: what "
            "stands first has been picked on test."
        )
    if not pd.isna(first.debug):
        warning = f"debug={first.debug} runs a few steps only: these are no results. {warning}"
    return {
        "title": track_name(first),
        "words": " ".join(words),
        "warning": warning,
        "lines": shown,
        "metrics": [m for m in METRICS if lines[f"{m}_mean"].notna().any()],
        "several": several,
        "more": max(0, len(lines) - most),
    }


def _lines(frame: pd.DataFrame) -> list[dict[str, Any]]:
    lines: Any = frame.to_dict("records")
    return list(lines)


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {
        name: "–" if pd.isna(line[name]) else f"{line[name]:,}" for name in ("num_params", "macs")
    }
    for metric in METRICS:
        interval = span(line[f"{metric}_low"], line[f"{metric}_high"])
        cells[metric] = {"mean": _mean_and_sd(line, metric), "interval": interval or "–"}
    ids = line["run_ids"]
    return {
        **cells,
        "rank": line["rank"],
        "label": line["label"],
        "n": line["n"],
        "run_ids": ids[:MOST_IDS],
        "more_runs": max(0, len(ids) - MOST_IDS),
    }


# Front


def _front(lines: pd.DataFrame) -> dict[str, Any]:
    """Of one track: the points of the plot, and its front as a table."""
    first = lines.iloc[0]
    title, score = track_name(first), first.ranked_by.removesuffix("_mean")
    points = lines[lines.num_params.notna() & (lines.num_params > 0)].copy()
    scores = [metric for metric in METRICS if points[f"{metric}_mean"].notna().any()]
    for metric in METRICS:
        points[f"{metric}_front"] = on_front(points, "num_params", f"{metric}_mean")
    num_configs = len(points)
    points = _thinned(points)
    best = points[points[f"{score}_front"]].sort_values("num_params")
    of_all_mnist = text(first.data) == "mnist" and text(first.test_images) == "10000"
    known = pd.DataFrame(map(asdict, known_records()))
    if not of_all_mnist or not pd.isna(first.debug):
        known = known.head(0)
    return {
        "title": title,
        "score": score,
        "best": [
            {
                "label": line["label"],
                "num_params": line["num_params"],
                "score": line[f"{score}_mean"],
                "n": line["n"],
                "id": line["run_ids"][0],
            }
            for line in _lines(best)
        ],
        "plot": {
            "score": score,
            "scores": scores,
            "num_configs": num_configs,
            "points": {
                "label": points.label.tolist(),
                "num_params": [int(value) for value in points.num_params],
                "n": [int(value) for value in points.n],
                "id": [ids[0] for ids in points.run_ids],
                "more": [int(value) for value in points.more],
                **{m: [number_or_none(value, 6) for value in points[f"{m}_mean"]] for m in METRICS},
                **{f"{m}_front": points[f"{m}_front"].tolist() for m in METRICS},
            },
            "known": [
                {key: None if pd.isna(value) else value for key, value in record.items()}
                for record in _lines(known)
            ],
        },
    }


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    """Of dots that would lie on each other the first, which ranks best; the front whole.

    `more`: how many each stands for beside itself.
    """
    points = points.assign(more=0)
    if len(points) <= MOST_POINTS:
        return points
    across = _cells(np.log(points.num_params.to_numpy(dtype=float)), 150)
    # Two plots, of two accuracies that are close to each other: a cell of one, nearly of the other.
    val, test = (
        -np.log(1.0001 - points[f"{metric}_mean"].to_numpy(dtype=float)) for metric in METRICS
    )
    chosen, other = (test, val) if np.isnan(val).all() else (val, test)
    cell = pd.Series(
        list(zip(across, _cells(chosen, 60), _cells(other, 6), strict=True)), index=points.index
    )
    first = ~cell.duplicated()
    kept = first | points[[f"{metric}_front" for metric in METRICS]].any(axis=1)
    points.loc[first, "more"] = cell[first].map(cell[~kept].value_counts()).fillna(0)
    return points[kept]


def _cells(values: np.ndarray, number: int) -> list[int]:
    """Each value's place among so many of the same size; -1 where there is no value."""
    low, high = (np.nanmin(values), np.nanmax(values)) if (~np.isnan(values)).any() else (0, 0)
    places = (values - low) / max(high - low, 1e-9) * (number - 1)
    return [int(place) for place in np.nan_to_num(np.rint(places), nan=-1)]


# Curves


def _curves(
    runs: pd.DataFrame, tracks: Sequence[pd.DataFrame], folders: RunFolders
) -> dict[str, Any]:
    """Of each ranking its best and its pruned runs, which are plotted together; of other runs,
    curves that only their panels show."""
    seeds = dict(zip(runs.run_id, runs.seed, strict=True))
    ranked = _histories(
        {
            run_id: f"{line['label']}, seed {seeds[run_id]}" if line["n"] > 1 else line["label"]
            # What is plotted comes first: there is no room for all.
            for most, runs_of_each in ((BEST_CURVES, 1), (MOST_CURVES, None))
            for lines in tracks
            for line in _lines(lines.head(most))
            for run_id in line["run_ids"][:runs_of_each]
        },
        folders,
    )
    pruned = _histories(_names(runs[runs.status == "pruned"]), folders)
    broken = _histories(_names(runs[runs.status.isin(NOT_SCORED)]), folders)
    rankings = list(_rankings_of_curves(runs, tracks, ranked, pruned))
    num_curves = len(ranked) + len(pruned) + len(broken)
    words = (
        f"A click opens the run. {num_curves:,} of {counted(len(runs), 'run')} have their curve "
        "in their panel."
        if rankings
        else "No directory of these runs with a history.csv is here, so there are no curves."
    )
    shown = {metric for ranking in rankings for metric in ranking["metrics"]}
    return {
        "words": words,
        "rankings": rankings,
        "metrics": [metric for metric in CURVES if metric in shown],
        "plot": {
            "rankings": [
                {key: ranking[key] for key in ("words", "metrics", "best", "pruned")}
                for ranking in rankings
            ],
            "of": {**ranked, **pruned, **broken},
        },
    }


def _rankings_of_curves(
    runs: pd.DataFrame,
    tracks: Sequence[pd.DataFrame],
    ranked: Mapping[str, dict[str, Any]],
    pruned: Mapping[str, dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Those that have curves, and tracks of nothing but pruned runs. ranked, pruned: run id ->
    curve."""
    track = runs.groupby(TRACK, dropna=False, sort=False).ngroup()
    rows = runs.assign(_track=track).set_index("run_id")
    best_of = {
        rows["_track"][lines.run_ids.iloc[0][0]]: [
            ids[0] for ids in lines.run_ids.head(BEST_CURVES) if ids[0] in ranked
        ]
        for lines in tracks
    }
    pruned_of = rows[rows.status == "pruned"].groupby("_track").groups
    for number in dict.fromkeys([*best_of, *pruned_of]):
        best, all_pruned = best_of.get(number, []), list(pruned_of.get(number, []))
        grey = [run_id for run_id in all_pruned if run_id in pruned]
        if not best and not grey:
            continue
        title = track_name(rows.loc[(best or grey)[0]])
        plotted = [*(ranked[run_id] for run_id in best), *(pruned[run_id] for run_id in grey)]
        yield {
            "title": title,
            "words": f"{title}: {_plotted_words(len(best), len(grey), len(all_pruned))}.",
            "metrics": [m for m in CURVES if any(m in curve["metrics"] for curve in plotted)],
            "best": best,
            "pruned": grey,
            "ends": [
                {
                    "id": run_id,
                    "name": ranked[run_id]["name"],
                    "epochs": ranked[run_id]["epoch"][-1],
                    "metrics": {name: m[-1] for name, m in ranked[run_id]["metrics"].items()},
                }
                for run_id in best
            ],
        }


def _plotted_words(best: int, grey: int, pruned: int) -> str:
    configurations = (
        f"each of the {best} best configurations" if best > 1 else "the best configuration"
    )
    some = f" of {pruned:,}" if grey < pruned else ""
    parts = [f"the first run of {configurations}"] if best else []
    parts += [f"{counted(grey, 'pruned run')}{some}, thin and grey"] if grey else []
    return "; ".join(parts)


def _names(runs: pd.DataFrame) -> dict[str, str]:
    """Run id -> what to call it: a search's trial by its number."""
    columns = runs.run_id, runs.study, runs.trial
    return {
        run_id: run_id if pd.isna(trial) else f"{text(study)} #{trial}"
        for run_id, study, trial in zip(*columns, strict=True)
    }


def _histories(names: Mapping[str, str], folders: RunFolders) -> dict[str, dict[str, Any]]:
    """Run id -> curve, of the first runs that have one."""
    found: dict[str, dict[str, Any]] = {}
    for run_id, name in islice(names.items(), 2 * MOST_CURVES):
        history = folders.history(run_id)
        if history and len(found) < MOST_CURVES:
            metrics = {
                metric: [number_or_none(getattr(epoch, metric), 5) for epoch in history]
                for metric in CURVES
                if any(getattr(epoch, metric) is not None for epoch in history)
            }
            found[run_id] = {
                "name": name,
                "epoch": [epoch.epoch for epoch in history],
                "metrics": metrics,
            }
    return found


# Failures


def _failures(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Reasons, those that differ in numbers only taken together."""
    failed = runs[runs.status.isin(NOT_SCORED)]
    message = failed.error.fillna("(no reason recorded)")
    kind = message.str.replace(r"\d[\d.,:e+-]*", "#", regex=True)
    groups = []
    for (status, _), group in failed.assign(message=message).groupby([failed.status, kind]):
        groups.append(
            {
                "status": status,
                "count": len(group),
                "message": group.message.iloc[0],
                "run_ids": group.run_id.head(MOST_IDS).tolist(),
                "more": max(0, len(group) - MOST_IDS),
            }
        )
    return sorted(groups, key=lambda group: (NOT_SCORED.index(group["status"]), -group["count"]))


# The winning net


def _net(lines: pd.DataFrame, folders: RunFolders) -> dict[str, Any]:
    """That of the first of a ranking; if it cannot be drawn, `problem` says why."""
    best = lines.iloc[0]
    net = {"title": f"{best.label} ({track_name(best)})", "problem": None}
    run = folders.first(best.run_ids)
    if run is None:
        gone = f"The directory of run {best.run_ids[0]} is not here, so its net cannot be drawn."
        return {**net, "problem": gone}
    try:
        return {**net, "id": run.record.run_id, **draw(run)}
    except UserError as error:
        return {**net, "problem": f"Run {run.record.run_id} cannot be drawn: {error}."}


def _distinct(nets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each drawing once; if there is none, what stood in the way of the first."""
    drawn = [net for net in nets if not net["problem"]]
    return [
        net
        for n, net in enumerate(drawn)
        if all(net["layers"] != before["layers"] for before in drawn[:n])
    ] or list(nets[:1])


# Origin


def _origin(runs: pd.DataFrame, board: pd.DataFrame) -> Iterator[tuple[str, str]]:
    sources: list[str] = runs.attrs.get("sources", [])
    more = f" and {len(sources) - 10} more" if len(sources) > 10 else ""
    yield "tables", ", ".join(sources[:10]) + more
    if runs.attrs.get("skipped"):
        yield "not read", runs.attrs["skipped"]
    for note in board.attrs.get("notes", []):
        yield "not ranked", note
    for name, column in (("data sets", "data"), ("protocols", "protocol")):
        yield name, _values(runs[column])
    for name in ("mnist_sweep", "torch", "python"):
        yield name, _values(runs[f"{name}_version"])
    changed = runs.git_dirty.fillna(False).map({True: " (changed)", False: ""})
    commit = runs.git_commit.str[:10] + changed.astype("string")
    yield "git commit", _values(commit)
    yield "device", _values(runs.device)
    made_elsewhere = __version__ not in set(runs.mnist_sweep_version.dropna())
    if made_elsewhere and runs.mnist_sweep_version.notna().any():
        yield "this page", f"made by mnist_sweep {__version__}"


def _values(column: "pd.Series[Any]") -> str:
    """The distinct values, the most frequent first, with their counts if there are several."""
    counts = column.value_counts()
    if counts.empty:
        return "not recorded"
    if len(counts) == 1 and column.notna().all():
        return str(counts.index[0])
    shown = [f"{value} ({counted(number, 'run')})" for value, number in counts.head(6).items()]
    rest = [f"{len(counts) - 6:,} others"] if len(counts) > 6 else []
    missing = int(column.isna().sum())
    rest += [f"not recorded ({counted(missing, 'run')})"] if missing else []
    return ", ".join([*shown, *rest])
