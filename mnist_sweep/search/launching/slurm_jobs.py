"""Workers as jobs of Slurm: what it says of those that it refuses, holds back or has ended."""

import subprocess
from collections.abc import Iterable, Iterator, Mapping

from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from submitit import Job

from mnist_sweep.errors import shortened
from mnist_sweep.search.launching.submitit_jobs import SubmititJobs

GPUS = ("gres", "gpus_per_node", "gpus_per_task", "additional_parameters")
MEMORY = ("mem_gb", "mem_per_cpu", "mem_per_gpu")
SIZE = ("nodes", "tasks_per_node", "cpus_per_task", *GPUS, *MEMORY, "exclude", "constraint")

MEANT: Mapping[str, tuple[str, ...]] = {
    "partition": ("partition",),
    "account": ("account",),
    "qos": ("qos",),
    "generic resource": GPUS,
    "feature": ("constraint",),
    "memory specification": MEMORY,
    "node configuration": SIZE,
    "node count": ("nodes",),
    "node name": ("exclude", "additional_parameters"),
    "time limit": ("timeout_min",),
    "array": ("array_parallelism",),
}
"""Words of sbatch's -> keys of hydra.launcher that they may be about."""

NEVER = {
    "PartitionConfig": SIZE,
    "BadConstraints": ("constraint", *SIZE),
    "PartitionNodeLimit": ("nodes",),
    "PartitionTimeLimit": ("timeout_min",),
}
"""Reasons of squeue's for which a job will not begin as it is -> the keys that have it ask for too
much."""


SHOWS = "sinfo -o '%P %D %c %m %G %f %l' shows what its partitions have"


class SlurmJobs(SubmititJobs):
    """What has become of its jobs is asked of squeue: sacct needs an accounting, which not every
    cluster has."""

    cluster = "slurm"
    config = SlurmQueueConf

    def delays(self) -> Iterator[str]:
        found = self._queue() or {}
        for reason in sorted({reason for state, reason in found.values() if state == "PENDING"}):
            if reason in NEVER:
                asked = self._given(NEVER[reason]) or self._name
                yield f"Slurm will never begin these jobs ({reason}), for {asked}; {SHOWS}"
            elif reason != "None":  # it has not looked at them yet
                yield f"in Slurm's queue ({reason})"
        yield from super().delays()

    def _alive(self) -> list[Job[int]]:
        found = self._queue()
        return self.jobs if found is None else [job for job in self.jobs if job.job_id in found]

    def _queue(self) -> dict[str, tuple[str, str]] | None:
        """Job -> its state and the reason of that; None where nobody knows."""
        if not self.jobs:
            return {}
        arrays = sorted({job.job_id.partition("_")[0] for job in self.jobs})
        command = ["squeue", "--noheader", "--array", "--format=%i|%T|%r"]
        try:
            asked = subprocess.run(
                [*command, f"--jobs={','.join(arrays)}"], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return None
        lines = (line.split("|") for line in asked.stdout.split("\n") if line.count("|") == 2)
        return {job: (state, reason) for job, state, reason in lines}

    def _cancel(self, job: Job[int]) -> None:
        job.cancel(check=False)

    def _refusal(self, text: str) -> str:
        said = [line.partition("error: ")[2] or line for line in text.splitlines()]
        words = "; ".join(dict.fromkeys(said))[-300:]
        if "contact slurm controller" in text:
            return f"{self._name}: no Slurm answers here ({words}): its slurmctld has to run"
        keys = [key for word, keys in MEANT.items() if word in text.lower() for key in keys]
        keys += [key for key in self.settings if f"--{key.replace('_', '-')}" in text]
        if any(f"--{key}" in text for key in self.settings.get("additional_parameters") or ()):
            keys.append("additional_parameters")
        if given := self._given(keys):
            return f"{given}: Slurm refuses that ({words}); {SHOWS}"
        return f"{self._name}: {words}"

    def _given(self, keys: Iterable[str]) -> str:
        """Those whose values are the user's, as on the command line."""
        given = {key: self.settings[key] for key in dict.fromkeys(keys) if key in self.settings}
        return ", ".join(
            f"hydra.launcher.{key}={shortened(value)}"
            for key, value in given.items()
            if value != self.defaults[key]
        )
