"""Schemas of the groups that hold settings; their values are in conf/. Imports no torch.

`resolved` is the boundary: `cfg` is Hydra's, `config` what it resolves to, plain values, and
`Settings` its typed form, which needs no net to be built.

The groups of `Leaves` name a class each (`_target_`), and that class is the schema. Nothing here
has a default: a value is written once, in a yaml. What a key has to do with the identity of a run
is marked on its field (`NotIn`), and identity.py derives every list of keys from these marks.
"""

import re
from collections.abc import Mapping
from enum import Flag, auto
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar, cast, get_args

from omegaconf import DictConfig, OmegaConf
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mnist_sweep.errors import UserError, validation_message

LARGEST = 2**53
"""Whole numbers up to here are exact as floats, and fit into a tensor's index."""
MOST_THREADS = 1024
"""Beyond a few thousand, torch's thread pool ends the process."""

Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountFromZero = Annotated[int, Field(ge=0, le=LARGEST)]
Part = TypeVar("Part", bound="Schema")


class NotIn(Flag):
    """Where a key does not count. A key without this mark makes a run what it is, everywhere."""

    HASH = auto()
    """config_hash: runs that differ in it alone are repeats of one configuration."""
    RESULT = auto()
    """The result: whatever it is, the same weights come out (threads: but for the last digits)."""
    STUDY = auto()
    """What the commands that go on with one study must have in common."""
    RERUN = auto()
    """What a rerun takes over: it says where things are, and may be given anew."""
    LOG = auto()
    """What a tracker is told."""


BOOKKEEPING = NotIn.HASH | NotIn.RESULT | NotIn.STUDY
"""Of what says where things are kept and who looks on."""


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """All of it as plain values.

    Raises:
        OmegaConfBaseException: a value is missing, or an interpolation leads nowhere.
    """
    config: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        cfg, resolve=True, throw_on_missing=True
    )
    return config


class Schema(BaseModel):
    """A typed part of the configuration: exact types, finite numbers, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Own = Literal["npz", "folder", "csv", "idx"]
"""Forms of file in which a user's own images may be."""
Torchvision = Literal["emnist", "qmnist", "usps", "svhn", "cifar10"]
"""Sets that torchvision reads."""
OWN, TORCHVISION = get_args(Own), get_args(Torchvision)


class DataConfig(Schema):
    name: Literal["auto", "mnist", "fashion_mnist", "kmnist", "digits"] | Own | Torchvision
    root: Annotated[str, Field(min_length=1), BOOKKEEPING | NotIn.RERUN]
    """Folder in torchvision's layout: <root>/MNIST/raw/train-images-idx3-ubyte[.gz] and so on."""
    download: Annotated[bool, BOOKKEEPING | NotIn.RERUN]
    """Whether a missing data set may be downloaded, by the entry point, never by a worker."""
    # Keys of a user's own set, which the others do not have: so their defaults are here.
    path: Annotated[Annotated[str, Field(min_length=1)] | None, BOOKKEEPING | NotIn.RERUN] = None
    """Of the user's own file or folder. What is in it, its digest says."""
    test_path: Annotated[str | None, BOOKKEEPING | NotIn.RERUN] = None
    """csv: of the table of test images."""
    x: str | None = None
    """npz: name of the array of training images, where it is none of the usual ones."""
    y: str | None = None
    """npz: that of their labels."""
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None
    """folder: side in pixels that all images are brought to."""
    channels: Literal[1, 3] | None = None
    """folder: 1 makes all images grey, 3 coloured; null takes what they are."""

    split: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] | None = None
    """emnist: which of its sets."""

    @property
    def is_own(self) -> bool:
        """Whether it is of the user's own images."""
        return self.name in OWN

    @property
    def is_measured(self) -> bool:
        """Whether its shape, mean and digest are taken from its files; else they are known."""
        return self.is_own or self.name in TORCHVISION

    @model_validator(mode="after")
    def _path_iff_own(self) -> "DataConfig":
        if self.is_own and self.path is None:
            raise ValueError(f"data={self.name} needs data.path: the file or folder of your images")
        if not self.is_own and self.path is not None:
            raise ValueError(
                f"data.path={self.path} does not go with data={self.name}: use "
                f"data={' or '.join(OWN)}"
            )
        return self


class ProtocolConfig(Schema):
    """What is trained on, what chooses, and when the test set is looked at."""

    name: Literal["select", "final", "published"]
    val_one_in: Annotated[int, Field(ge=2, le=LARGEST)] | None
    """One training image in so many is held out for validation, the same share of each class."""
    split_seed: CountFromZero
    train_first: Count | None
    """Use the first so many images of the training file only (R1 and R2 use 50,000 of 60,000)."""

    @model_validator(mode="after")
    def _validation_set_iff_select(self) -> "ProtocolConfig":
        if (self.val_one_in is not None) != (self.name == "select"):
            raise ValueError(
                f"protocol.val_one_in={self.val_one_in} does not go with protocol={self.name}: "
                "`select` holds validation images out, `final` and `published` hold out none"
            )
        return self


class TrainerConfig(Schema):
    epochs: Count
    batch_size: Count
    """Images a step; the last batch of an epoch may be smaller."""
    eval_batch_size: Count
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    grad_clip_norm: Annotated[float, Field(gt=0)] | None
    """Largest L2 norm of all gradients together."""
    ema_horizon: Annotated[float, Field(ge=0)]
    """Averaging time of the weights' exponential moving average, as a share of the run; 0: off."""
    fade_out: Annotated[float, Field(ge=0, le=1)]
    """Share of the run, at its end, over which augmentation and dropout fade to nothing; 0: none.

    Early in training they widen what a net sees; at the end a small net, which underfits, is better
    off with the images as they are.
    """
    early_stopping: Count | None
    """Stop after so many epochs without a better val_acc."""
    weights: Literal["last", "best"]
    """Which epoch's weights are tested and saved: the last, or the best on validation."""
    device: Annotated[str, NotIn.RERUN]
    precision: Literal["auto", "fp32", "bf16"]
    threads: Annotated[int | Literal["auto"], NotIn.RESULT | NotIn.STUDY]
    """CPU threads of this run; auto is what torch chooses (all cores, or OMP_NUM_THREADS)."""
    deterministic: bool
    """Let torch refuse operations that are not deterministic (a CPU run is bitwise either way)."""
    checkpoint_every: CountFromZero
    """Epochs between checkpoints for `resume`; 0 writes none."""
    limit_train: Count | None
    """Train on the first so many images only."""
    limit_val: Count | None
    """Validate on the first so many images only."""
    limit_test: Annotated[Count | None, NotIn.HASH | NotIn.RESULT]
    """Test on the first so many images only; the column `test_images` says on how many it was."""

    @field_validator("device")
    @classmethod
    def _is_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?", device):
            raise ValueError("use auto, cpu, cuda, cuda:<number> or mps")
        return device

    @field_validator("threads", mode="before")
    @classmethod
    def _is_thread_count(cls, threads: object) -> object:
        if threads != "auto" and (type(threads) is not int or not 1 <= threads <= MOST_THREADS):
            raise ValueError(f"use auto, or a whole number from 1 to {MOST_THREADS}")
        return threads


class BudgetConfig(Schema):
    min_params: Count | None
    max_params: Count | None
    max_macs: Count | None
    """Multiply-accumulates of one image's forward pass."""


class RecordConfig(Schema):
    table: Annotated[str, BOOKKEEPING | NotIn.RERUN | NotIn.LOG]
    """The results table that every run adds its row to."""


class Leaves(TypedDict):
    """The groups that name a class each, with the values that it is made of."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    augmentation: dict[str, dict[str, Any]]
    """Several, applied in this order."""
    logger: NotRequired[Annotated[dict[str, dict[str, Any]], BOOKKEEPING | NotIn.LOG]]


class Settings(Schema):
    """All that is not a leaf class."""

    seed: Annotated[int, Field(ge=0, lt=2**32), NotIn.HASH | NotIn.STUDY]
    data: DataConfig
    protocol: ProtocolConfig
    record: RecordConfig
    trainer: TrainerConfig
    budget: BudgetConfig
    resume: Annotated[str | None, BOOKKEEPING | NotIn.LOG]
    """Run directory to go on with (set by `resume=<run dir>` on the command line)."""

    @model_validator(mode="after")
    def _choices_need_validation(self) -> "Settings":
        if self.protocol.name != "select":
            for key, needs_val in (
                ("early_stopping", self.trainer.early_stopping is not None),
                ("weights", self.trainer.weights == "best"),
            ):
                if needs_val:
                    raise ValueError(
                        f"trainer.{key}={getattr(self.trainer, key)} chooses on validation, and "
                        f"protocol={self.protocol.name} holds none out: use protocol=select"
                    )
        return self


def settings_of(config: Mapping[str, Any]) -> Settings:
    """The settings of a resolved config; no net is built.

    Raises:
        UserError: a key is unknown or missing, a value has the wrong type or is out of range, or
            two choices do not go together.
    """
    try:
        return Settings.model_validate(_without_leaves(config))
    except ValidationError as error:
        raise UserError(validation_message(error, "")) from error


def unchecked(config: Mapping[str, Any]) -> Settings:
    """The same for a config whose values may be wrong, as they stand: its run will say so."""
    return _constructed(Settings, _without_leaves(config))


def _without_leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in Leaves.__annotations__}


def _constructed(schema: type[Part], values: Mapping[str, Any]) -> Part:
    parts: dict[str, Schema] = {
        name: _constructed(field.annotation, values[name])
        for name, field in schema.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, Schema)
        and isinstance(values.get(name), Mapping)
    }
    return cast(Part, schema.model_construct(**{**values, **parts}))
