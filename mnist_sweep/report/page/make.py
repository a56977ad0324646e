"""The report as one HTML page that needs nothing else.

What can be text is text in the page (templates/); the runs, the curves and the figures of the plots
go along as JSON, out of which scripts/ makes the table, the panels and, with plotly, the plots. The
page's policy lets no other script run and no request out.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mnist_sweep import __version__
from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.analysis.curves import all_curves
from mnist_sweep.report.analysis.invocations import all_surroundings, invocations
from mnist_sweep.report.analysis.leaderboard import leaderboard
from mnist_sweep.report.analysis.searches import searches
from mnist_sweep.report.analysis.tracks import TRACK
from mnist_sweep.report.page import bundle
from mnist_sweep.report.page.columnar import columnar
from mnist_sweep.report.page.curves import CurvesSection
from mnist_sweep.report.page.failures import failures_section
from mnist_sweep.report.page.front import front_section
from mnist_sweep.report.page.net import winning_nets
from mnist_sweep.report.page.origin import origin_section
from mnist_sweep.report.page.plots import THEME
from mnist_sweep.report.page.searches import SearchSection
from mnist_sweep.report.page.summary import ranking_summaries, tiles
from mnist_sweep.report.read.folders import RunFolders
from mnist_sweep.report.read.where import VOCABULARY
from mnist_sweep.report.wording import percent, statuses

TEMPLATES = Path(__file__).with_name("templates")

MOST_SEARCHES = 5


@dataclass(frozen=True)
class Section:
    """templates/<template>.html.j2 shows `content`."""

    id: str
    name: str
    """In the page's navigation."""
    template: str
    content: Any


REFRESHING = ' data-refresh="{seconds:g}" data-made="{made:.0f}"'


def at_rest(page: str) -> str:
    """The page, of which a browser is not to expect a newer one."""
    return re.sub(r' data-refresh="[^"]+" data-made="[^"]+"', "", page, count=1)


def make_page(
    runs: pd.DataFrame, title: str, own_command: str, refresh_s: float | None = None
) -> str:
    """The page of these runs (as `load_results` gives them). refresh_s: after how many seconds a
    browser is to look whether there is a newer one in its place.

    Run directories, where they exist, add curves, commands and the drawing of the winning net.
    """
    board = leaderboard(runs)
    folders = RunFolders(runs)
    tracks = [lines for _, lines in board.groupby(TRACK, dropna=False, sort=False)]
    front = front_section(tracks)
    curves = CurvesSection(all_curves(runs, tracks, folders), len(runs))
    found = {
        f"search-{n}": SearchSection(search)
        for n, search in enumerate(islice(searches(runs, folders), MOST_SEARCHES))
    }
    nets = winning_nets(tracks, folders)
    origin = origin_section(runs, board, invocations(runs, folders), own_command)
    sections = [
        Section("summary", "Summary", "summary", ranking_summaries(tracks)),
        Section("runs", "All runs", "runs", None),  # the table is the script's
        *([Section("front", "Front", "front", front)] if tracks else []),
        Section("curves", "Curves", "curves", curves),
        *(Section(id, f"Search {s.info.name}", "search", s) for id, s in found.items()),
        Section("failures", "Failures", "failures", failures_section(runs)),
        *([Section("net", "Winning net", "net", nets)] if nets else []),
        Section("origin", "Origin", "origin", origin),
    ]
    data = {
        "runs": columnar(runs),
        "sort": _first_order(tracks),
        "vocabulary": VOCABULARY,
        "theme": THEME,
        "fronts": front.choices(),
        "curves": curves.data(),
        "surroundings": {
            run_id: {"environment": found.environment, "command": found.command}
            for run_id, found in all_surroundings(runs, folders).items()
        },
        "searches": {
            search.info.name: explained
            for search in found.values()
            if (explained := search.trials_data(runs)) is not None
        },
        "plots": {
            f"{name}-{id}": figure
            for id, search in found.items()
            for name, figure in search.figures().items()
        },
    }
    script, plotly = bundle.script("start"), bundle.plotly()
    page = _environment().get_template("page.html.j2")
    now = datetime.now(UTC)
    return page.render(
        refreshing=""
        if refresh_s is None
        else REFRESHING.format(seconds=refresh_s, made=now.timestamp()),
        title=title,
        num_runs=len(runs),
        statuses=statuses(runs),
        tiles=list(tiles(runs, tracks)),
        sections=sections,
        origin=origin,
        skipped=runs.attrs.get("skipped", ""),
        version=__version__,
        made=f"{now:%Y-%m-%d %H:%M} UTC",
        style=bundle.style(),
        script=script,
        data=bundle.packed(_json(data)),
        plotly=bundle.packed(plotly),
        policy_sources=f"{bundle.policy_source(script)} {bundle.policy_source(plotly)}",
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["percent"] = percent
    environment.tests["accuracy"] = is_accuracy
    return environment


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _first_order(tracks: Sequence[pd.DataFrame]) -> str:
    """By what the table is sorted at first: accuracies of several tracks make no order."""
    return str(tracks[0].ranked_by.iloc[0]).removesuffix("_mean") if len(tracks) == 1 else "started"
