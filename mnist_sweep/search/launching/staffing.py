"""Which staff a launcher of Hydra's stands for."""

from collections.abc import Mapping
from typing import Any

from mnist_sweep.search.launching.staff import Staff

PROCESSES = ("basic", "joblib")
"""Launchers whose workers are processes of the search's own."""

STAFFED = ("submitit_local", "submitit_slurm", "ray")


def are_here(launcher: str, settings: Mapping[str, Any]) -> bool:
    """Whether the workers are of this machine. settings: hydra.launcher."""
    if launcher == "ray":
        return settings["ray"]["init"]["address"] is None
    return launcher != "submitit_slurm"


def make_staff(launcher: str, settings: Mapping[str, Any]) -> Staff:
    """launcher: one of `STAFFED`. settings: hydra.launcher."""
    # Here: each needs a package of its own.
    if launcher == "ray":
        from mnist_sweep.search.launching.ray_actors import RayActors

        return RayActors(settings)
    if launcher == "submitit_slurm":
        from mnist_sweep.search.launching.slurm_jobs import SlurmJobs

        return SlurmJobs(settings)
    from mnist_sweep.search.launching.submitit_jobs import LocalJobs

    return LocalJobs(settings)
