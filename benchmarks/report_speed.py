"""What reading results costs: the leaderboard and the page of a table of 100,000 runs.

    python benchmarks/report_speed.py [leaderboard] [html]

Makes the table in a temporary folder, the same one each time, and runs the real command on it.
Processor time is beside the wall clock, for machines that have other work to do.
"""

import csv
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from mnist_sweep.runs.record import RunRecord

ROWS = 100_000

# Each returns milliseconds, of a change and the drawing of the table after it.
PAGE_ACTIONS = {
    "sort by num_params": """() => {
        const button = document.querySelector("[data-name=num_params] button");
        const start = performance.now();
        button.click();
        document.querySelector("#grid").getBoundingClientRect();
        return performance.now() - start;
    }""",
    "filter": """() => {
        document.querySelector("#filter").value = "adam num_params<8000 val_acc>0.99";
        const start = performance.now();
        document.querySelector("#filter-form").requestSubmit();
        document.querySelector("#grid").getBoundingClientRect();
        return performance.now() - start;
    }""",
}
SEEDS = 5  # runs of a configuration


def records(rows: int = ROWS) -> Iterator[RunRecord]:
    """Grids over seeds and one large search, with every status, as a year of sweeps leaves them."""
    draw = random.Random(0)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(rows):
        config, seed = divmod(number, SEEDS)
        of_config = random.Random(config)
        searched = config % 4 == 0
        model = "cnn_space" if searched else of_config.choice(["ds_cnn", "rf_cnn", "pointwise_cnn"])
        protocol = of_config.choice(["select", "select", "select", "final", "published"])
        optimizer = of_config.choice(["adamw", "adam", "sgd", "muon"])
        augmentation = of_config.choice(["affine", "elastic", "affine+elastic", "none"])
        lr = float(f"{10 ** of_config.uniform(-3, -1):.4g}")
        width = of_config.randrange(8, 64)
        status = draw.choices(
            ["completed", "pruned", "infeasible", "diverged", "failed", "interrupted"],
            [80, 12, 4, 2, 1, 1],
        )[0]
        trained = status != "infeasible"
        done = status == "completed"
        skill = 0.996 - of_config.expovariate(300)
        val_acc = round(min(1.0, skill + draw.gauss(0, 0.0005)), 4) if trained else None
        test_acc = round(min(1.0, skill + draw.gauss(0, 0.0005)), 4) if done else None
        has_val = protocol == "select"
        named = "".join(
            f" model.stage{stage}.{key}={of_config.choice(values)}"
            for stage in (1, 2, 3)
            for key, values in {"units": "123", "kernel": "35", "width": [width]}.items()
            if searched
        )
        seconds = draw.uniform(60, 240)
        started += timedelta(seconds=seconds / 4)
        yield RunRecord(
            run_id=f"r{number:09x}",
            status=status,  # type: ignore[arg-type]
            groups={
                "data": "mnist" if config % 10 else "fashion_mnist",
                "model": model,
                "optimizer": optimizer,
                "scheduler": "onecycle",
                "augmentation": augmentation,
                "protocol": protocol,
                "trainer": "default",
                "budget": "default",
                "experiment": None,
                "sweep": "arch_20k" if searched else None,
                "debug": None,
            },
            seed=seed,
            num_params=width * 311 + 642,
            macs=width * 71_236 + 48_672,
            receptive_field=28,
            epochs=8,
            epochs_done=8 if done else draw.randrange(8) * trained,
            batch_size=128,
            lr=lr,
            train_images=50_000 if has_val else 60_000,
            val_images=10_000 if has_val else None,
            test_images=10_000,
            train_acc=draw.uniform(0.98, 0.995) if trained else None,
            train_loss=draw.uniform(0.01, 0.05) if trained else None,
            val_acc=val_acc if has_val else None,
            val_loss=draw.uniform(0.01, 0.05) if trained and has_val else None,
            val_acc_raw=val_acc if has_val else None,
            val_loss_raw=draw.uniform(0.01, 0.05) if trained and has_val else None,
            best_epoch=draw.randrange(1, 9) if trained and has_val else None,
            weights_epoch=8 if done else None,
            test_acc=test_acc,
            test_loss=draw.uniform(0.01, 0.05) if done else None,
            test_acc_raw=test_acc,
            test_loss_raw=draw.uniform(0.01, 0.05) if done else None,
            test_acc_peak=test_acc if done and protocol == "published" else None,
            test_peak_epoch=8 if done and protocol == "published" else None,
            seconds=seconds,
            train_seconds=seconds * 0.9 if trained else None,
            images_per_s=draw.uniform(2000, 5000) if trained else None,
            peak_rss_mb=draw.uniform(700, 900),
            device="cpu",
            precision="fp32",
            threads=1,
            mnist_sweep_version="0.1.0",
            torch_version="2.15.0+cpu",
            python_version="3.11.7",
            git_commit=f"{of_config.randrange(200):040x}",
            git_dirty=False,
            config_hash=f"c{config:011x}",
            overrides=f"model={model} optimizer={optimizer} optimizer.lr={lr:g} data=mnist "
            f"'augmentation=[{augmentation.replace('+', ',')}]' protocol={protocol}{named} "
            f"seed={seed}",
            run_dir=f"multirun/sweep{config // 1000}/{number % 5000}",
            started=started.isoformat(timespec="seconds"),
            error=None if done else f"{status}: of run {number}, in epoch {draw.randrange(1, 9)}",
            study="arch_20000" if searched else None,
            trial=number if searched else None,
        )


def write_table(path: Path, rows: int = ROWS) -> None:
    """As ResultsTable writes it, but not row by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, record in enumerate(records(rows)):
            row = {**vars(record)}  # record.row() copies deeply, which takes a minute
            row = {
                "run_id": row.pop("run_id"),
                "status": row.pop("status"),
                **row.pop("groups"),
            } | row
            if number == 0:
                writer.writerow(row)
            writer.writerow(
                f"{value:.8g}" if isinstance(value, float) else value for value in row.values()
            )


def timed(folder: Path, *arguments: str) -> tuple[float, float]:
    """Seconds of wall clock and of processor that `report` takes with these arguments."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mnist_sweep.report", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def leaderboard(folder: Path) -> None:
    for arguments in ([], ["--by", "model,optimizer"], ["--where", "params < 8000"]):
        wall, processor = timed(folder, *arguments)
        command = " ".join(["report", *arguments])
        print(f"leaderboard: {wall:.1f} s, {processor:.1f} s of processor (limit 3): {command}")


def html(folder: Path) -> None:
    wall, processor = timed(folder, "html")
    page = folder / "report.html"
    size = page.stat().st_size / 1e6
    print(f"html: {wall:.1f} s, {processor:.1f} s of processor (limit 15): report html")
    print(f"html: {size:.1f} MB (limit 25)")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or find_spec("playwright") is None:
        print("page: no Chromium and playwright here, so it is not opened")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        shown = browser.new_page()
        shown.goto(page.as_uri(), wait_until="commit")
        # A function: the page's policy lets no string be evaluated again while this waits.
        shown.wait_for_function("() => document.documentElement.dataset.ready")
        ready = shown.evaluate("Number(document.documentElement.dataset.ready)")
        print(f"page: interactive after {ready / 1000:.1f} s (limit 3)")
        for what, action in PAGE_ACTIONS.items():
            print(f"page: {shown.evaluate(action):.0f} ms to {what}")
        browser.close()


def main() -> None:
    parts = {"leaderboard": leaderboard, "html": html}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "outputs" / "results.csv"
        write_table(table)
        print(f"table: {ROWS:,} rows, {table.stat().st_size / 1e6:.0f} MB")
        for part in sys.argv[1:] or parts:
            parts[part](folder)


if __name__ == "__main__":
    main()
