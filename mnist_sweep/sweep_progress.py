"""Hydra callback: refuses a run or sweep that would write over another one; of `-m` sweeps, overall
progress, and a summary at the end."""

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from mnist_sweep.hydra_private import PastHydra, hush_launcher, raised_by
from mnist_sweep.paths import RESULTS_TABLE

MOST_VALUES = 100_000
"""Of a key that is swept."""

LOCAL_LAUNCHERS = ("basic", "joblib", "submitit_local")
"""Those whose jobs are processes of this machine, of which it can be seen whether they live."""


class SweepProgress(Callback):
    """One line before each job and one after each that failed; a table of the sweep at its end.

    Also fetches the data before workers start, which do not download, and writes the rows of those
    that were killed.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self.start = 0.0
        self.swept: dict[str, list[str]] = {}
        self.one_by_one = True

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before Hydra writes its files into the run's directory."""
        from mnist_sweep.errors import UserError

        try:
            _check_chdir(config)
            _check_run_directory(config)
        except UserError as error:
            raise PastHydra from error
        except (OmegaConfBaseException, OSError):
            pass  # Hydra comes upon it next, and says so

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from mnist_sweep.errors import UserError

        try:
            self.swept = sweeps = _discrete_sweeps(config)
            if not _is_search(config):  # which shows its own progress
                given = config.hydra.sweeper.get("n_trials")
                self.total = given or math.prod(map(len, sweeps.values()))
            _check_chdir(config)
            if self.total is not None:  # a search goes on with its directory
                _check_job_directories(config, self.total)
        except UserError as error:
            raise PastHydra from error
        self.start = time.time()
        hush_launcher()
        self.one_by_one = config.hydra.runtime.choices["hydra/launcher"] == "basic"
        if self.total is not None:  # a search does, when all else of its line is right
            _fetch(config, sweeps)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        from mnist_sweep.runs.console import duration, make_console, show_rule

        number = config.hydra.job.get("num")
        if self.total is None or number is None:
            return
        left = ""
        if number and self.one_by_one:
            seconds = (time.time() - self.start) / number * (self.total - number)
            left = f", about {duration(seconds)} left"
        what = " ".join(config.hydra.overrides.task)
        console = make_console()
        console.print()
        show_rule(console, f"job {number + 1} of {self.total}{left}")
        console.print(what, style="bold", markup=False, soft_wrap=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        error = raised_by(job_return)
        if job_return.status == JobStatus.FAILED and error is not None and self.total is not None:
            from mnist_sweep.runs.console import make_console

            text = " ".join(str(error).split())
            make_console().print(f"failed: {text}", style="red", markup=False, soft_wrap=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from mnist_sweep.runs.console import duration, make_console, show_rule
        from mnist_sweep.runs.killed import leave_rows
        from mnist_sweep.runs.sweep_end import show_missing, show_sweep
        from mnist_sweep.runs.table import ResultsTable

        if _is_search(config) or not self.start:
            return
        sweep_dir = Path(config.hydra.sweep.dir)
        if config.hydra.runtime.choices["hydra/launcher"] in LOCAL_LAUNCHERS:
            leave_rows(sweep_dir, self.start)
        table = ResultsTable(sweep_dir / RESULTS_TABLE)
        rows = table.rows()
        console = make_console()
        if rows:
            statuses = Counter(row["status"] for row in rows)
            counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
            console.print()
            show_rule(console, f"{counts} in {duration(time.time() - self.start)}")
            show_sweep(console, rows, list(self.swept))
        if self.swept and config.hydra.runtime.choices["hydra/sweeper"] == "basic":
            show_missing(console, rows, self.swept, sys.argv[1:], f"grid_{sweep_dir.name}")
        if rows:
            console.print(f"table    {table.path}", markup=False, soft_wrap=True)


def _check_chdir(config: DictConfig) -> None:
    """
    Raises:
        UserError: Hydra would change the folder, and every path would mean another place.
    """
    from mnist_sweep.errors import UserError

    if config.hydra.job.chdir:
        raise UserError(
            "hydra.job.chdir=true: data, tables and run directories are named from the folder in "
            "which the command was started; leave it out, and name a run's own directory as "
            "${hydra:runtime.output_dir}"
        )


def _check_run_directory(config: DictConfig) -> None:
    """
    Raises:
        UserError: it is another run's.
    """
    from mnist_sweep.config import resolved
    from mnist_sweep.runs.directory import check_free

    HydraConfig.instance().set_config(config)
    if config.get("resume") is None:
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        check_free(Path(config.hydra.run.dir), resolved(own))


def _check_job_directories(config: DictConfig, total: int) -> None:
    """
    Raises:
        UserError: a job's directory is another run's, or another job's.
    """
    from mnist_sweep.runs.job_directories import check_job_directories

    jobs = None
    if config.hydra.runtime.choices["hydra/sweeper"] == "basic":
        jobs = {
            override.get_key_element(): list(override.sweep_string_iterator())
            if override.is_discrete_sweep()
            else [override.get_value_element_as_str()]
            for override in _overrides(config)
        }
    check_job_directories(config, GlobalHydra.instance().config_loader(), total, jobs)


def _fetch(config: DictConfig, sweeps: Mapping[str, Sequence[str]]) -> None:
    """The data sets of all jobs."""
    from mnist_sweep.config import DataConfig
    from mnist_sweep.data import fetch
    from mnist_sweep.errors import UserError
    from mnist_sweep.runs.console import make_console, warn

    plain = OmegaConf.to_container(config.data, resolve=True)
    assert isinstance(plain, dict)
    for name in sweeps.get("data", [plain["name"]]):
        try:
            problem = fetch(DataConfig.model_validate({**plain, "name": name}))
        except (UserError, ValidationError) as error:
            problem = str(error)  # Hydra would swallow it; the jobs that need the set will fail
        if problem:
            warn(make_console(), f"no data={name}", problem)


def _is_search(config: DictConfig) -> bool:
    return bool(config.hydra.runtime.choices["hydra/sweeper"] == "search")


def _discrete_sweeps(config: DictConfig) -> dict[str, list[str]]:
    """Swept key -> its values as text, of the command line and of `hydra.sweeper.params`.

    Raises:
        UserError: they are more than anyone would wait for, or there is memory for.
    """
    from mnist_sweep.errors import UserError

    swept = {}
    for override in filter(Override.is_discrete_sweep, _overrides(config)):
        key = str(override.get_key_element())
        swept[key] = list(islice(override.sweep_string_iterator(), MOST_VALUES + 1))
        if len(swept[key]) > MOST_VALUES:
            raise UserError(
                f"{key.lstrip('+')}: more than {MOST_VALUES:,} values; give fewer, or search an "
                "interval(...) with hydra/sweeper=search"
            )
    return swept


def _overrides(config: DictConfig) -> list[Override]:
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    params = config.hydra.sweeper.get("params") or {}
    plain = {key: value for key, value in params.items() if not isinstance(value, DictConfig)}
    given = [f"{key}={value}" for key, value in plain.items()] + list(config.hydra.overrides.task)
    return parser.parse_overrides(given)
