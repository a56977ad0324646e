"""The typed form of `hydra.sweeper` (conf/hydra/sweeper/search.yaml has the values)."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from mnist_sweep.config import Count, CountFromZero, NotIn, Schema
from mnist_sweep.errors import UserError, validation_message

ObjectiveName = Literal[
    "val_acc",
    "val_loss",
    "val_acc_raw",
    "val_loss_raw",
    "num_params",
    "macs",
    "receptive_field",
    "train_seconds",
]
"""Columns of the results table that a search may go by; the test set's are not among them."""


OF_THE_NET = ("num_params", "macs", "receptive_field")
"""Of these objectives those that are the same for each seed."""

Direction = Literal["minimize", "maximize"]

MOST_RACED = 100
"""Seeds for one configuration, beyond which the rest of the search would wait for it."""


class Race(Schema):
    """Each configuration gets another seed only while it can still be the winner."""

    max: Count
    """Seeds that none has more of; the winner has them all."""
    race: bool

    @model_validator(mode="after")
    def _has_something_to_decide(self) -> "Race":
        if not 2 <= self.max <= MOST_RACED:
            instead = f"hydra.sweeper.replicates={self.max}" if self.max == 1 else "a race of 5"
            raise ValueError(
                f"hydra.sweeper.replicates.max={self.max}: a race takes 2 to {MOST_RACED} seeds; "
                f"use {instead}"
            )
        return self


LONGEST_NAME = 200
"""Bytes of a study's name; file systems take some 255, and files beside it are named after it."""


class SearchSettings(Schema):
    """What is marked `NotIn.STUDY` may differ between the commands on one study. `params` and
    `conditions` are marked because they are compared as the distributions that they come to."""

    study_name: Annotated[
        Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)*$")] | None, NotIn.STUDY
    ]
    """A named study lives in multirun/<study_name>, and the same command goes on with it."""
    mixed_code: Annotated[bool, NotIn.STUDY]
    """Whether other code or config files than it was begun with may go on with a study."""
    storage: Annotated[str | None, NotIn.STUDY]
    """A database's URL, or `grpc://host:port` of Optuna's proxy; null is a journal file in the
    sweep's directory."""
    storage_wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False), NotIn.STUDY]
    """A database that goes away (a restart) is waited for this long before the search ends."""
    objective: Annotated[tuple[ObjectiveName, ...], Field(min_length=1)]
    direction: tuple[Direction, ...]
    """`maximize` or `minimize`, for each objective."""
    n_trials: Annotated[Count | None, NotIn.STUDY]
    """Finished trials (completed or pruned) that the study is to have in all; null is every point
    of a grid, or of another space that can be listed."""
    n_jobs: Annotated[CountFromZero | Literal["auto"], NotIn.STUDY]
    """Workers to start; auto is one a core, and no more than trials. 0: only such as join by
    `python -m mnist_sweep.sweep join`."""
    workers_per_gpu: Annotated[Count, NotIn.STUDY]
    """That n_jobs=auto starts for each GPU of this machine, where trainer.device is one."""
    rungs: Annotated[tuple[Count, ...], Field(min_length=2)] | None
    """Epochs of ever longer whole schedules; the best of each rung go on to the next."""
    detach: Annotated[bool | Literal["on_interrupt"], NotIn.STUDY]
    """Whether the search goes on without its terminal: from its start on, or from Ctrl-C on."""
    replicates: Annotated[
        Annotated[Count, Tag("int")] | Annotated[Race, Tag("dict[race]")],
        Discriminator(lambda value: "dict[race]" if isinstance(value, dict | Race) else "int"),
    ]
    """Seeds that each configuration is trained with, from `seed` on; their mean is the value. Or
    {max: 5, race: true}: up to 5, a next one only while it can still be the winner."""
    budget: Literal["reject", "fit"]
    """What to do with a net over budget: reject it untrained, or scale `fit` to what fits."""
    fit: tuple[str, ...]
    """Keys (with *) of the widths that budget=fit scales."""
    fit_rest: tuple[str, ...]
    """Keys (with *) of widths that are not scaled, but may take single channels of what is left."""
    conditions: Annotated[dict[str, dict[str, tuple[Any, ...]]], NotIn.STUDY]
    """Keys (with *) of parameters that exist only where another one has one of these values."""
    max_rejected: Annotated[Count, NotIn.STUDY]
    """Proposals rejected in a row (over budget, no valid net, seen before) before giving up."""
    skip_repeats: Annotated[bool, NotIn.STUDY]
    """Whether a configuration that the study has tried is not tried again."""
    max_retries: Annotated[CountFromZero, NotIn.STUDY]
    """New attempts at a trial that failed or whose worker died."""
    max_failure_rate: Annotated[float, Field(ge=0, le=1), NotIn.STUDY]
    """Share of this command's trials, of at least ten, that may fail before the sweep stops."""
    max_minutes: Annotated[Annotated[float, Field(gt=0)] | None, NotIn.STUDY]
    """Start no trial after this time."""
    patience: Annotated[Count | None, NotIn.STUDY]
    """Start no trial after so many finished ones in a row without a gain beyond noise."""
    lease_s: Annotated[float, Field(gt=0), NotIn.STUDY]
    """A controller elsewhere that was silent for this long is dead, and its trials are retried."""
    custom_search_space: Annotated[str | None, NotIn.STUDY]
    """Function of (config, trial), whose suggestions join the space (see MNIST_SWEEP_TARGETS)."""
    params: Annotated[dict[str, Any] | None, NotIn.STUDY]
    """The search space, as overrides: key -> choice(...), range(...), interval(...) or a value."""
    warm_start: Annotated[str | None, NotIn.STUDY]
    """Finished runs to learn from: a results table, a search's directory or name, STUDY@URL."""
    try_first: Annotated[tuple[dict[str, Any], ...], NotIn.STUDY]
    """Points to try before any other, or parts of such, whose rest is the sampler's."""
    priors: Annotated[dict[str, Any] | None, NotIn.STUDY]
    """Parameter -> a value near which good ones are expected, or {near: value, spread: share}."""
    zip: Annotated[tuple[tuple[str, ...], ...], NotIn.STUDY]
    """Groups of keys that move together: the first values of all, the second ones, and so on."""
    preview: Annotated[bool, NotIn.STUDY]
    """Whether to say what the search would do and take, and not to begin it."""
    sampler: Annotated[dict[str, Any], NotIn.STUDY]
    pruner: dict[str, Any] | None

    @property
    def is_grid(self) -> bool:
        """Whether the sampler goes through the product of all values, in an order of its own."""
        return str(self.sampler.get("_target_")).endswith("GridSampler")

    @property
    def tries_every_point(self) -> bool:
        """Whether the sampler goes through all points, each once: a grid, or a tree of them."""
        return self.is_grid or str(self.sampler.get("_target_")).endswith("BruteForceSampler")

    @field_validator(
        *("objective", "direction", "rungs", "fit", "fit_rest", "conditions", "try_first"),
        mode="before",
    )
    @classmethod
    def _lists_as_tuples(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else _with_tuples(value)

    @field_validator("replicates", mode="before")
    @classmethod
    def _no_race_is_a_number(cls, value: Any) -> Any:
        is_number = isinstance(value, dict) and set(value) == {"max", "race"}
        return value["max"] if is_number and value["race"] is False else value

    @field_validator("zip", mode="before")
    @classmethod
    def _is_of_groups(cls, groups: Any) -> Any:
        if not isinstance(groups, list | tuple):
            return groups
        if any(not isinstance(group, list | tuple) for group in groups):
            keys = ",".join(map(str, groups))
            raise ValueError(f"it is a list of groups, each a list of keys: write [[{keys}]]")
        return tuple(map(tuple, groups))

    @field_validator("study_name")
    @classmethod
    def _stays_in_its_folder(cls, name: str | None) -> str | None:
        if name is not None and {".", ".."} & set(name.split("/")):
            raise ValueError("a study lives in multirun/<study_name>: use a name without . or ..")
        if name is not None and any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
            raise ValueError(f"it names a folder: use at most {LONGEST_NAME} bytes")
        return name

    @field_validator("pruner", mode="before")
    @classmethod
    def _none_is_null(cls, pruner: Any) -> Any:
        none = isinstance(pruner, dict) and pruner.get("_target_") == "optuna.pruners.NopPruner"
        return None if none else pruner

    @model_validator(mode="after")
    def _go_together(self) -> "SearchSettings":
        if len(self.objective) != len(self.direction):
            raise ValueError(
                f"hydra.sweeper.direction={list(self.direction)} does not go with "
                f"hydra.sweeper.objective={list(self.objective)}: give one direction for each"
            )
        several = len(self.objective) > 1
        if several and self.pruner is not None:
            raise ValueError(
                "hydra/sweeper/pruner does not go with several objectives, which have no one "
                "value to prune by: use hydra/sweeper/pruner=none, or with it "
                "hydra.sweeper.rungs, which go by rank"
            )
        race = self.replicates if isinstance(self.replicates, Race) else None
        if race is not None and (several or self.objective[0] in OF_THE_NET):
            raise ValueError(
                f"hydra.sweeper.replicates={{max: {race.max}, race: true}} does not go with "
                f"hydra.sweeper.objective={list(self.objective)}, by which no seed can win or "
                "lose: use one measured objective such as val_acc, or a number of replicates"
            )
        if several and self.patience is not None:
            raise ValueError(
                f"hydra.sweeper.patience={self.patience} does not go with several objectives, "
                "which have no one value to gain in: use hydra.sweeper.patience=null, and n_trials "
                "or max_minutes"
            )
        if self.rungs is not None and self.pruner is not None:
            raise ValueError(
                f"hydra.sweeper.rungs={list(self.rungs)} does its own pruning: "
                "use hydra/sweeper/pruner=none, or hydra.sweeper.rungs=null"
            )
        if self.rungs is not None and list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(
                f"hydra.sweeper.rungs={list(self.rungs)}: each rung must have more epochs than "
                "the one before"
            )
        by_epoch = ("val_acc", "val_loss", "val_acc_raw", "val_loss_raw")
        if self.pruner is not None and self.objective[0] not in by_epoch:
            raise ValueError(
                f"hydra.sweeper.objective={self.objective[0]} is not measured every epoch, so "
                "there is nothing to prune by: use hydra/sweeper/pruner=none"
            )
        if self.is_grid and self.custom_search_space is not None:
            raise ValueError(
                f"hydra.sweeper.custom_search_space={self.custom_search_space} does not go with a "
                "grid, whose points are known before: use hydra/sweeper/sampler=brute_force"
            )
        if self.budget == "fit" and not self.fit:
            raise ValueError(
                "hydra.sweeper.budget=fit needs hydra.sweeper.fit: name the widths to scale, such "
                "as 'model.stage*.width'"
            )
        return self


def _with_tuples(value: Any) -> Any:
    """The same with tuples in the place of lists, also in dicts."""
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


def of_today(key: str, value: Any = None) -> str | None:
    """What to write for a key of Optuna's sweeper as it was before Hydra 1.2; None for others."""
    if key == "optuna_config":
        return "its keys stand in hydra.sweeper itself today (n_trials, direction, n_jobs ...)"
    if key != "search_space":
        return None
    example = {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}}
    name, entry = next(iter((value if isinstance(value, dict) and value else example).items()))
    return f"is hydra.sweeper.params today, in which you write '{name}: {_as_override(entry)}'"


def _as_override(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    if "choices" in entry:
        return f"choice({', '.join(map(str, entry['choices']))})"
    low, high, step = entry.get("low"), entry.get("high"), entry.get("step")
    is_int = entry.get("type") == "int"
    if step is not None:
        return f"range({low}, {high + step}, {step})"
    interval = f"int(interval({low}, {high}))" if is_int else f"interval({low}, {high})"
    return f"tag(log, {interval})" if entry.get("log") else interval


def search_settings(sweeper: dict[str, Any]) -> SearchSettings:
    """
    Raises:
        UserError: a key is unknown or missing, a value is out of range, or two do not go together.
    """
    for key in sweeper:
        if advice := of_today(key, sweeper[key]):
            raise UserError(f"hydra.sweeper.{key}: {advice}")
    try:
        return SearchSettings(**sweeper)
    except ValidationError as error:
        raise UserError(validation_message(error, "hydra.sweeper")) from error
