"""From a few measured runs to the time and the memory of a whole search, as ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles, stdev

from mnist_sweep.identity import flat_config
from mnist_sweep.search.planning import Plan
from mnist_sweep.search.points.candidate import Candidate
from mnist_sweep.search.preview.measuring import Measured, Timed
from mnist_sweep.search.trials.seeds import num_seeds
from mnist_sweep.search.workforce import num_cores

NUM_MEASURED = 9
"""Points of the sample, evenly over their order by work: the smallest, the median and the largest
net among them. Those that take the same time are measured once."""

MARGIN = 1.25
"""By which a long run may be slower, or quicker, than a few of its steps: a machine's clock, what
else it does, and what a run leaves on the disk."""

BY_CHANCE = ("GridSampler", "BruteForceSampler", "RandomSampler", "QMCSampler")
"""Samplers that learn nothing, so that the nets of their trials are a fair sample."""


@dataclass(frozen=True)
class Expectation:
    low_s: float
    """If as many trials are pruned as `share_trained` says."""
    high_s: float
    """If all of them run to their end."""
    mb: float
    """Memory of all processes, in units of 10^6 bytes."""
    epochs_s: tuple[float, float, float]
    """An epoch of the smallest, the median and the largest net."""


def spread(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Some of these, evenly over their order by the work that they are; those of as much work by
    what else takes time."""

    def work(candidate: Candidate) -> tuple[float, float, str]:
        trainer = candidate.settings.trainer
        macs = 0 if candidate.costs is None else candidate.costs.macs
        images = trainer.epochs * (trainer.limit_train or 60_000)
        return macs * images, -trainer.batch_size, what_takes_time(candidate)

    ordered = sorted(candidates, key=work)
    if len(ordered) <= NUM_MEASURED:
        return ordered
    last = len(ordered) - 1
    return [ordered[round(n * last / (NUM_MEASURED - 1))] for n in range(NUM_MEASURED)]


def what_takes_time(candidate: Candidate) -> str:
    """The same for runs that take the same time: of a configuration all but its seed, and numbers
    that are no whole ones, such as a learning rate, but whether they are 0."""
    flat = flat_config(candidate.config, ("seed",))
    return str({k: bool(v) if isinstance(v, float) else v for k, v in flat.items()})


def expect(
    plan: Plan,
    runs: Sequence[Timed],
    measured: Measured,
    to_come: int,
    share: float,
    started_s: float,
    proposing_s: float,
    own_mb: float,
) -> Expectation:
    """runs: of the points that were spread, in their order. to_come: trials. share: of the epochs
    that is trained at least. started_s: what the command took up to here. proposing_s: of a point.
    own_mb: memory of this process."""
    whole = [_trial_s(plan, run) for run in runs]
    low, high = _means(plan, whole, to_come)
    workers = max(1, min(plan.workforce.size, to_come))
    parallel = min(workers, num_cores()) if plan.workforce.is_here else workers

    def total(each: float) -> float:
        if plan.workforce.size == 1:
            return to_come * (each + proposing_s)
        return max(to_come * each / parallel, to_come * proposing_s)

    start_s = started_s + measured.start_s
    low_s = (start_s + total(low * share)) / MARGIN
    at_the_end_s = (1 - 1 / workers) * max(whole)  # the last one trains alone
    high_s = (start_s + total(high) + at_the_end_s) * MARGIN
    if plan.settings.max_minutes is not None:
        limit = 60 * plan.settings.max_minutes
        low_s, high_s = min(low_s, limit), min(high_s, limit + max(whole) * MARGIN)
    epochs_s = [run.epoch_s for run in runs]
    middle = epochs_s[len(epochs_s) // 2]
    mb = own_mb + workers * measured.worker_mb if plan.workforce.is_here else measured.worker_mb
    return Expectation(low_s, high_s, mb, (epochs_s[0], middle, epochs_s[-1]))


def _trial_s(plan: Plan, run: Timed) -> float:
    """Of a worker, for all seeds and rungs."""
    schedules = plan.settings.rungs or (run.epochs,)
    each = sum(run.start_s + epochs * run.epoch_s + run.end_s for epochs in schedules)
    return num_seeds(plan.settings) * each


def _means(plan: Plan, whole: Sequence[float], to_come: int) -> tuple[float, float]:
    """Between which the mean of so many trials will lie: of a sampler that learns also where it
    goes for the small nets, or for the large ones."""
    if len(whole) == 1:
        return whole[0], whole[0]
    mean = fmean(whole)
    error = 2 * stdev(whole) * math.sqrt(1 / len(whole) + 1 / max(1, to_come))
    ends = [mean - error, mean + error]
    if not str(plan.settings.sampler.get("_target_")).endswith(BY_CHANCE):
        quartiles = quantiles(whole, n=4)
        ends += [quartiles[0], quartiles[-1]]
    return max(min(whole), min(ends)), min(max(whole), max(ends))
