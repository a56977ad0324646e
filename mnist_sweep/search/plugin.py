"""The sweeper as Hydra sees it. Imports nothing heavy: it is registered on every start."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from mnist_sweep.hydra_private import settle_configs


class SearchSweeper(Sweeper):
    """`hydra/sweeper=search`: see conf/hydra/sweeper/search.yaml."""

    def __init__(self, **keys: Any) -> None:
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config
        name = config.hydra.sweeper.study_name
        overrides = (str(override).lstrip("+") for override in config.hydra.overrides.hydra)
        given = any(override.startswith("hydra.sweep.dir=") for override in overrides)
        if name is not None and not given:
            with read_write(config.hydra):
                config.hydra.sweep.dir = f"multirun/{name}"

    def sweep(self, arguments: Sequence[str]) -> None:
        assert self.config is not None and self.hydra_context is not None
        from optuna.exceptions import ExperimentalWarning

        from mnist_sweep.settled import settle
        from mnist_sweep.sources import of_package

        # What trains is from here on as it is now, before more of it is imported.
        settle(of_package())
        settle_configs(self.hydra_context.config_loader)
        from mnist_sweep.errors import UserError
        from mnist_sweep.search.detaching import detach
        from mnist_sweep.search.settings import search_settings

        warnings.simplefilter("ignore", ExperimentalWarning)  # the user's choice of sampler
        launcher = self.config.hydra.launcher
        if not isinstance(launcher, DictConfig):
            raise UserError(
                f"hydra.launcher={launcher}: is no launcher: choose hydra/launcher=NAME"
            )
        plain = OmegaConf.to_container(self.config.hydra.sweeper, resolve=True)
        assert isinstance(plain, dict)
        settings = search_settings({str(key): plain[key] for key in plain if key != "_target_"})
        if settings.preview:
            from mnist_sweep.search.preview.show import preview

            try:
                preview(settings, self.config, self.hydra_context, arguments)
            except KeyboardInterrupt as interrupt:
                raise KeyboardInterrupt("interrupted; nothing was begun") from interrupt
            return
        on_start = None
        if settings.detach:
            sweep_dir = Path(self.config.hydra.sweep.dir)
            on_start = detach(sweep_dir, at_once=settings.detach is True)
        # Here, so that --help and --cfg import no torch, nor a process that is about to be forked.
        from mnist_sweep.search.assembly import make_controller
        from mnist_sweep.search.planning import make_plan

        plan = make_plan(settings, self.config, self.hydra_context, arguments)
        make_controller(plan).run(on_start)
