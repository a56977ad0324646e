"""What a run needs beyond its overrides: folders of config files, and classes of the user's own."""

import os
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_sweep.paths import MAIN_CONFIG, RUN_HYDRA
from mnist_sweep.sources import named
from mnist_sweep.whitelist import VARIABLE, of_the_environment

_MAY_BE_MORE = re.compile(
    rf"provider: (command-line|hydra\.searchpath)|config_name: (?!{MAIN_CONFIG}\n)"
    rf"|{VARIABLE}: (?!''\n)"
)
"""In the text of what Hydra recorded."""


@dataclass(frozen=True)
class Surroundings:
    """By default what every run has."""

    config_dir: str | None = None
    """Absolute, as of `--config-dir`."""
    searchpath: tuple[str, ...] = ()
    """URLs, as of `hydra.searchpath`."""
    config_name: str = MAIN_CONFIG
    targets: str = ""
    """What the environment allowed a config to name, as of MNIST_SWEEP_TARGETS."""

    @classmethod
    def of(cls, config: DictConfig) -> "Surroundings":
        """config: with the `hydra` node, composed or as Hydra recorded it in a run's directory."""
        sources = OmegaConf.select(config, "hydra.runtime.config_sources")
        if sources is None:
            return cls()
        config_dir, searchpath = None, []
        for source in sources:
            path = source.path
            if source.schema == "file":
                path = os.path.join(config.hydra.runtime.cwd, path)
            if source.provider == "command-line":
                config_dir = path
            elif str(source.provider).startswith("hydra.searchpath"):
                searchpath.append(f"{source.schema}://{path}")
        name = OmegaConf.select(config, "hydra.job.config_name", default=MAIN_CONFIG)
        targets = OmegaConf.select(config, f"hydra.job.env_set.{VARIABLE}", default="")
        return cls(config_dir, tuple(searchpath), str(name), str(targets))

    @classmethod
    def recorded(cls, run_dir: Path) -> "Surroundings":
        """Of the run in this directory; the default where it left no record that can be read."""
        try:
            text = (run_dir / RUN_HYDRA).read_text(encoding="utf-8")
            if not _MAY_BE_MORE.search(text):  # which is quick, and a page has thousands of runs
                return cls()
            config = OmegaConf.create(text)
            return cls.of(config) if isinstance(config, DictConfig) else cls()
        except Exception:  # yaml, omegaconf, encoding: each raises its own
            return cls()

    @property
    def environment(self) -> str:
        """What stands in front of a shell's command."""
        return f"{VARIABLE}={shlex.quote(self.targets)} " if self.targets else ""

    @property
    def command(self) -> str:
        """The shell's command of a run with these; its overrides come after it."""
        options = []
        if self.config_dir is not None:
            options += ["--config-dir", _from_here(self.config_dir)]
        if self.config_name != MAIN_CONFIG:
            options += ["--config-name", self.config_name]
        if self.searchpath:
            options.append(_searchpath(self.searchpath))
        return f"{self.environment}python -m mnist_sweep {shlex.join(options)}".strip()

    def overrides(self) -> list[str]:
        """For a process that is started without the command's options. Folders that are gone are
        left out."""
        folders = [f"file://{self.config_dir}"] if self.config_dir is not None else []
        here = [url for url in [*folders, *self.searchpath] if not _is_gone(url)]
        return [_searchpath(here)] if here else []

    def main_config(self) -> str:
        """The primary config; this package's where a folder that may hold it is gone."""
        folders = [self.config_dir] if self.config_dir is not None else []
        return self.config_name if all(map(os.path.isdir, folders)) else MAIN_CONFIG

    def not_allowed(self, config: Any) -> list[str]:
        """Classes that a config (of plain values) names, and that the environment allowed then and
        does not allow now."""
        patterns = set(self.targets.split()) - set(of_the_environment())
        return [
            name
            for name in dict.fromkeys(named(config))
            if any(fnmatchcase(name, p) for p in patterns)
        ]


def _searchpath(urls: list[str] | tuple[str, ...]) -> str:
    quoted = ["'" + url.replace("\\", "\\\\").replace("'", "\\'") + "'" for url in urls]
    return f"hydra.searchpath=[{','.join(quoted)}]"


def _from_here(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def _is_gone(url: str) -> bool:
    scheme, _, path = url.partition("://")
    return scheme == "file" and not os.path.isdir(path)
