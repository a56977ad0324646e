"""Records of runs that left none: points that were refused, and workers that died."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnist_sweep.errors import UserError
from mnist_sweep.runs.killed import learn_what_is_left
from mnist_sweep.runs.provenance import Code, TrialInfo, new_record
from mnist_sweep.runs.record import RunName, RunRecord, Status, read_result, write_result
from mnist_sweep.search.engines.job import Job
from mnist_sweep.search.points.candidate import Candidate, Candidates
from mnist_sweep.search.trials.layout import Layout


class Records:
    """study: its name. code: that its runs are made with."""

    def __init__(self, study: str, layout: Layout, candidates: Candidates, code: Code) -> None:
        self.study = study
        self.code = code
        self.layout = layout
        self.candidates = candidates

    @property
    def columns(self) -> list[str]:
        """Of the rows that this search will write."""
        config, choices = self.candidates.base, self.candidates.base_choices
        return new_record(config, choices, "", self.layout.sweep_dir, self.info(0)).columns

    def info(
        self,
        trial: int,
        rung: int | None = None,
        earlier: Path | None = None,
        name: RunName | None = None,
    ) -> TrialInfo:
        return TrialInfo(self.study, trial, rung, self.code, earlier, name)

    def rejected(self, trial: int, candidate: Candidate, error: str) -> RunRecord:
        """Of a point that was not trained; it has no run directory."""
        run_dir = self.layout.sweep_dir / str(trial)
        record = _record(candidate, candidate.overrides, run_dir, self.info(trial))
        record.status, record.error, record.run_dir = "infeasible", error, ""
        return record

    def missing(self, job: Job, params: Mapping[str, Any], status: Status, error: str) -> RunRecord:
        """Of a run that was begun, as far as it got. params: the trial's point."""
        run_dir = self.layout.sweep_dir / job.subdir
        candidate = self.candidates.make(params)
        config, choices = self.candidates.composer.task(job.overrides)  # its own seed and epochs
        candidate = replace(candidate, config=config, choices=choices)
        record = _record(candidate, job.overrides, run_dir, job.info)
        learn_what_is_left(record, run_dir)
        record.status, record.error = status, error
        return record


def _record(
    candidate: Candidate, overrides: Sequence[str], run_dir: Path, info: TrialInfo
) -> RunRecord:
    record = new_record(candidate.config, candidate.choices, shlex.join(overrides), run_dir, info)
    record.num_params = candidate.num_params
    if candidate.costs is not None:
        record.macs = candidate.costs.macs
        record.receptive_field = candidate.costs.receptive_field
    return record


def is_left(record: RunRecord) -> bool:
    """Whether its directory has a result.json that says so: no other controller has written there
    since."""
    try:
        return read_result(Path(record.run_dir)).status == record.status
    except UserError:
        return False


def leave(record: RunRecord) -> None:
    """Writes result.json in the place of the one that the run left, if any."""
    run_dir = Path(record.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_result(run_dir, record)
