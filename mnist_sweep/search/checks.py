"""Whether a sweep as a whole can work: what is wrong is said before its study is opened."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_sweep.config import Settings, settings_of, unchecked
from mnist_sweep.errors import UserError
from mnist_sweep.search.launching.staffing import PROCESSES, STAFFED
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.validity import check_values
from mnist_sweep.search.settings import SearchSettings

NUMBERED = "${hydra.job.num}"
"""hydra.sweep.subdir as conf/config.yaml has it."""


def check_sweep(
    cfg: DictConfig,
    settings: SearchSettings,
    candidates: Candidates,
    samples: Sequence[Mapping[str, Any]],
) -> Settings:
    """The settings of the fixed overrides alone. samples: the candidates'.

    Raises:
        UserError: the sweep cannot work.
        HydraException: a key or a choice does not exist.
    """
    base = settings_of(candidates.base)
    if settings.budget == "fit" and base.budget.max_params is None:
        raise UserError(
            "hydra.sweeper.budget=fit needs a limit to fit to: set budget.max_params, or use "
            "hydra.sweeper.budget=reject"
        )
    launcher = cfg.hydra.runtime.choices["hydra/launcher"]
    if launcher not in (*PROCESSES, *STAFFED):
        raise UserError(
            f"hydra/launcher={launcher} does not go with hydra/sweeper=search, whose workers are "
            f"of {', '.join(STAFFED)}, or processes of its own: leave it out, and set "
            "hydra.sweeper.n_jobs"
        )
    _check_subdir(cfg)
    if settings.tries_every_point:
        candidates.space.check_listable(candidates.base)
    check_values(candidates.space, samples)
    by_val = [name for name in settings.objective if name.startswith("val_")]
    for config in samples:
        protocol = unchecked(config).protocol.name
        if protocol != "select" and by_val:
            raise UserError(
                f"protocol={protocol} has no validation set, so hydra.sweeper."
                f"objective={by_val[0]} is not measured: use protocol=select"
            )
    searched = set(candidates.space.keys)
    if "seed" in searched and not settings.is_grid:
        raise UserError(
            "seed is no parameter to search: a search that tunes it picks luck; "
            "hydra.sweeper.replicates trains each configuration with several, and "
            "hydra/sweeper/sampler=grid each point"
        )
    if "seed" in searched and settings.replicates != 1:
        raise UserError(
            f"hydra.sweeper.replicates={settings.replicates}: trains each point with several seeds "
            "already; leave it out, or do not sweep seed"
        )
    if settings.rungs and "trainer.epochs" in searched:
        raise UserError(
            "trainer.epochs is set by hydra.sweeper.rungs and cannot be searched at once: "
            "use hydra.sweeper.rungs=null, or do not search it"
        )
    return base


def _check_subdir(cfg: DictConfig) -> None:
    sweep = OmegaConf.to_container(cfg.hydra.sweep, resolve=False)
    assert isinstance(sweep, dict)
    if sweep["subdir"] != NUMBERED:
        raise UserError(
            f"hydra.sweep.subdir={sweep['subdir']}: hydra/sweeper=search names each run's "
            "directory by its trial's number, from which the study finds it again: leave "
            "hydra.sweep.subdir out, and set hydra.sweep.dir or hydra.sweeper.study_name"
        )


def doubts(settings: SearchSettings) -> list[str]:
    """What is allowed and is hardly what is meant, a line each."""
    found = []
    for name, direction in zip(settings.objective, settings.direction, strict=True):
        better = "maximize" if "_acc" in name else "minimize"
        if name.startswith("val_") and direction != better:
            found.append(
                f"hydra.sweeper.direction={direction} of objective={name} looks for the worst "
                f"nets: use direction={better}"
            )
    return found
