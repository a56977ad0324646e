"""Schemas of the groups that hold settings; their values are in conf/. Imports no torch.

`resolved` is the boundary: `cfg` is Hydra's, `config` what it resolves to, plain values.

The groups `model`, `optimizer`, `scheduler` and `augmentation` name a class each (`_target_`),
and that class is the schema. Nothing here has a default: a value is written once, in a yaml.
"""

import re
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

IMAGE_SIZE = 28
"""Side of an image in pixels, in every data set."""
NUM_CLASSES = 10

Count = Annotated[int, Field(ge=1)]


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


class DataConfig(Schema):
    name: Literal["auto", "mnist", "fashion_mnist", "kmnist", "digits"]
    root: Annotated[str, Field(min_length=1)]
    """Folder in torchvision's layout: <root>/MNIST/raw/train-images-idx3-ubyte[.gz] and so on."""
    download: bool
    """Whether a missing data set may be downloaded, by the entry point, never by a worker."""


class ProtocolConfig(Schema):
    """What is trained on, what chooses, and when the test set is looked at."""

    name: Literal["select", "final", "published"]
    val_one_in: Annotated[int, Field(ge=2)] | None
    """One training image in so many is held out for validation, the same share of each class."""
    split_seed: Annotated[int, Field(ge=0)]
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
    device: str
    precision: Literal["auto", "fp32", "bf16"]
    threads: int | Literal["auto"]
    """CPU threads of this run; auto is what torch chooses (all cores, or OMP_NUM_THREADS)."""
    deterministic: bool
    """Let torch refuse operations that are not deterministic (a CPU run is bitwise either way)."""
    checkpoint_every: Annotated[int, Field(ge=0)]
    """Epochs between checkpoints for `resume`; 0 writes none."""
    limit_train: Count | None
    """Train on the first so many images only."""
    limit_val: Count | None
    """Evaluate (validation and test) on the first so many images only."""

    @field_validator("device")
    @classmethod
    def _is_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise ValueError("use auto, cpu, cuda, cuda:<number> or mps")
        return device

    @field_validator("threads", mode="before")
    @classmethod
    def _is_thread_count(cls, threads: object) -> object:
        if threads != "auto" and (type(threads) is not int or threads < 1):
            raise ValueError("use auto, or a whole number from 1")
        return threads


class BudgetConfig(Schema):
    min_params: Count | None
    max_params: Count | None
    max_macs: Count | None
    """Multiply-accumulates of one image's forward pass."""


class RecordConfig(Schema):
    table: str
    """The results table that every run adds its row to."""


class Settings(Schema):
    """All that is not a leaf class."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: DataConfig
    protocol: ProtocolConfig
    trainer: TrainerConfig
    budget: BudgetConfig
    record: RecordConfig
    resume: str | None
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
