"""Where the jobs of a sweep would write, and whether they may."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_sweep.errors import UserError
from mnist_sweep.runs.directory import check_free

NUMBERED = "${hydra.job.num}"
"""hydra.sweep.subdir as conf/config.yaml has it."""


def check_job_directories(
    config: DictConfig,
    loader: ConfigLoader,
    total: int,
    jobs: Mapping[str, Sequence[str]] | None,
) -> None:
    """jobs: key -> its values, of a sweep that is their product; None: only their number is known.

    Raises:
        UserError: a job's directory holds a run, or two jobs would have the same.
    """
    sweep_dir = Path(config.hydra.sweep.dir)
    seen: dict[str, int] = {}
    for number, subdir in enumerate(_subdirs(config, loader, total, jobs)):
        if subdir in seen:
            raise UserError(
                f"hydra.sweep.subdir={_raw_subdir(config)}: jobs {seen[subdir]} and {number} would "
                f"both run in {sweep_dir / subdir}; let it name what differs, or {NUMBERED}"
            )
        seen[subdir] = number
        check_free(sweep_dir / subdir)


def _raw_subdir(config: DictConfig) -> str:
    raw = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(raw, dict)
    return str(raw["subdir"])


def _subdirs(
    config: DictConfig,
    loader: ConfigLoader,
    total: int,
    jobs: Mapping[str, Sequence[str]] | None,
) -> Iterator[str]:
    if _raw_subdir(config) == NUMBERED:
        yield from map(str, range(total))
    elif jobs is not None:
        before = HydraConfig.instance().cfg
        for number, values in enumerate(product(*jobs.values())):
            overrides = [f"{key}={value}" for key, value in zip(jobs, values, strict=True)]
            job = loader.load_sweep_config(config, overrides)
            with open_dict(job):
                job.hydra.job.id, job.hydra.job.num = str(number), number
            HydraConfig.instance().set_config(job)
            yield str(job.hydra.sweep.subdir)
        HydraConfig.instance().cfg = before
