"""Runs to report on, and the HTML page of them as a file."""

import base64
import gzip
import json
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mnist_sweep.metrics import EpochMetrics
from mnist_sweep.report.__main__ import parse
from mnist_sweep.runs.history import write_history
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import TINY, environment, make_config

HOSTILE = [
    "<script>window.harmed = true</script>",
    "</script><img src=x onerror='window.harmed = true'>",
    "<!--<script>",
    "{{ 7 * 7 }} ${7 * 7} %{x}",
    "\"'><svg/onload=window.harmed=true>",
    "&lt;b&gt; & <b>bold</b>",
    "Größe 🦔 \u2028 end",
]


def make_records(folder: Path) -> list[RunRecord]:
    """Two nets over three seeds, four trials of a search, two that failed, some hostile names."""
    models = ["ds_cnn", "rf_cnn"] * 3 + ["cnn_space"] * 4 + ["ds_cnn"] * 2 + HOSTILE
    statuses = ["completed"] * 8 + ["pruned"] * 2 + ["failed", "diverged"]
    statuses += ["completed"] * len(HOSTILE)
    records = []
    for number, (model, status) in enumerate(zip(models, statuses, strict=True)):
        completed, searched = status == "completed", model == "cnn_space"
        hostile = model in HOSTILE
        records.append(
            RunRecord(
                run_id=f"r{number:09d}",
                status=status,  # type: ignore[arg-type]
                groups={"data": "mnist", "model": model, "protocol": "select"},
                seed=number // 2 if number < 6 else 0,
                num_params=4000 + 1000 * number,
                macs=123_456,
                epochs=3,
                epochs_done=3 if completed else 1,
                batch_size=128,
                lr=0.01,
                val_images=10_000,
                test_images=10_000,
                train_acc=0.98,
                val_acc=round(0.99 + number / 10_000, 4),
                test_acc=0.991 if completed else None,
                seconds=60.0 + number,
                device="cpu",
                mnist_sweep_version="0.1.0",
                torch_version="2.15.0",
                python_version="3.11.7",
                git_commit="0123456789abcdef0123456789abcdef01234567",
                git_dirty=True,
                config_hash=f"c{number % 2 if number < 6 else number:011d}",
                overrides=f"model={model} seed={number}",
                run_dir=str(folder / "multirun" / str(number)),
                started=f"2026-01-02T03:{number:02d}:00+00:00",
                error=None
                if completed or status == "pruned"
                else f"loss is nan in epoch {number}: {HOSTILE[0]}",
                study=HOSTILE[1] if hostile else "arch" if searched else None,
                trial=number if searched else None,
            )
        )
    return records


def write_run(record: RunRecord) -> None:
    """A run's directory, with a curve and a config."""
    run_dir = Path(record.run_dir)
    (run_dir / ".hydra").mkdir(parents=True)
    write_result(run_dir, record)
    curve = [0.9, 0.97, record.val_acc][: record.epochs_done]
    write_history(
        run_dir,
        [
            EpochMetrics(n, 0.01, 0.1 / n, 0.98, 0.1 / n, acc, 0.1, 0.98, None, None, 1.0, 100.0)
            for n, acc in enumerate(curve, start=1)
        ],
    )
    (run_dir / ".hydra" / "config.yaml").write_text(config_yaml())


@cache
def config_yaml() -> str:
    return OmegaConf.to_yaml(make_config("model=ds_cnn"))


def html(folder: Path, *arguments: str) -> Path:
    """Runs the command in this process; returns the page it wrote."""
    output = folder / "report.html"
    parsed = parse(["html", *arguments, "-o", str(output)])
    parsed.run(parsed)
    return output


def page_of(records: list[RunRecord], folder: Path) -> Path:
    table = ResultsTable(folder / "results.csv")
    table.extend(records)
    return html(folder, str(table.path), "--title", HOSTILE[0])


def page_of_a_search(folder: Path) -> Path:
    """From a sweep to its page, through the real commands."""
    search = ["sweep=arch_20k", *TINY, "trainer.epochs=1", "hydra/sweeper/pruner=none"]
    limits = ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=1"]
    for arguments in (
        ["mnist_sweep", "-m", *search, *limits],
        ["mnist_sweep.report", "html", "multirun/arch_20000"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    size = ("report.html: 1.", "report.html: 2.")  # MB, most of it plotly.js, which grows
    assert done.stdout.startswith(size) and "4 runs (4 completed" in done.stdout
    return folder / "report.html"


# The page as a file


class Reader(HTMLParser):
    """Text and elements; every element that was opened must be closed."""

    VOID = ("meta", "input", "rect", "img", "br", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            name = self.tags[-1][1].get("id") or "page"
            self.scripts[name] = self.scripts.get(name, "") + data
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def data(self) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self.scripts["data"])))


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def run_ids(figure: dict[str, Any], trace: str | None = None) -> list[str]:
    """Of the points of a figure or of one of its traces, each once."""
    found = [
        run_id
        for one in figure["data"]
        if trace in (None, one.get("name"))
        for run_id in one.get("customdata", [])
    ]
    return [run_id for run_id in dict.fromkeys(found) if run_id]
