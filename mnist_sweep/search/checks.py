"""Whether a sweep as a whole can work: what is wrong is said before its study is opened."""

from omegaconf import DictConfig

from mnist_sweep.config import Settings, settings_of, unchecked
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import build_loggers
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.settings import SearchSettings


def check_sweep(cfg: DictConfig, settings: SearchSettings, candidates: Candidates) -> Settings:
    """The settings of the fixed overrides alone.

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
    if launcher != "basic":
        raise UserError(
            f"hydra/launcher={launcher} does not go with hydra/sweeper=search, which runs its "
            "own workers: leave it out, and set hydra.sweeper.n_jobs"
        )
    build_loggers(candidates.base)  # what one needs may be missing
    by_val = [name for name in settings.objective if name.startswith("val_")]
    for config in candidates.samples():
        protocol = unchecked(config).protocol.name
        if protocol != "select" and by_val:
            raise UserError(
                f"protocol={protocol} has no validation set, so hydra.sweeper."
                f"objective={by_val[0]} is not measured: use protocol=select"
            )
    searched = candidates.space.distributions
    if "seed" in searched:
        raise UserError(
            "seed is no parameter to search: a search that tunes it picks luck; "
            "hydra.sweeper.replicates trains each configuration with several"
        )
    if settings.rungs and "trainer.epochs" in searched:
        raise UserError(
            "trainer.epochs is set by hydra.sweeper.rungs and cannot be searched at once: "
            "use hydra.sweeper.rungs=null, or do not search it"
        )
    return base
