"""Data sets as uint8 tensors: where they lie, whether they are intact, how they are split.

`fetch` may download and is called by the entry point alone. `load` reads what is there, checks
every file by SHA-256 first, and maps the images into memory, so that workers on one machine share
one copy.
"""

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor

from mnist_sweep.config import IMAGE_SIZE, DataConfig, ProtocolConfig
from mnist_sweep.data_files import read_file
from mnist_sweep.errors import UserError

log = logging.getLogger(__name__)

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
HEADER_BYTES = {TRAIN_IMAGES: 16, TEST_IMAGES: 16, TRAIN_LABELS: 8, TEST_LABELS: 8}

DOWNLOAD_TIMEOUT_S = 20

VARIABLE = "MNIST_SWEEP_DATA"
"""Of the environment; what data.root is where it is not given."""


@dataclass(frozen=True)
class Source:
    """A data set in torchvision's layout.

    folder: torchvision's class name, also the folder's.
    digests: SHA-256 of each file, of its content (`of_gz` false) or of its `.gz` (true).
    mean, std: of the training images' pixels, scaled to 0..1.
    """

    folder: str
    digests: dict[str, str]
    of_gz: bool
    mean: float
    std: float


SOURCES = {
    "mnist": Source(
        folder="MNIST",
        digests={
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        of_gz=False,
        mean=0.1307,
        std=0.3081,
    ),
    "fashion_mnist": Source(
        folder="FashionMNIST",
        digests={
            TRAIN_IMAGES: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            TRAIN_LABELS: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            TEST_IMAGES: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            TEST_LABELS: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        of_gz=True,
        mean=0.2860,
        std=0.3530,
    ),
    "kmnist": Source(
        folder="KMNIST",
        digests={
            TRAIN_IMAGES: "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            TRAIN_LABELS: "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            TEST_IMAGES: "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            TEST_LABELS: "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
        of_gz=True,
        mean=0.1918,
        std=0.3483,
    ),
}
DIGITS_MEAN, DIGITS_STD = 0.3053, 0.3246
DIGITS_TEST_ONE_IN = 5


@dataclass(frozen=True)
class Split:
    """Images of a set, chosen by index.

    images: (N, 28, 28) uint8, labels: (N,) int64, both of the whole file; index: (n,) int64.
    """

    images: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) positions in this split -> (B, 1, 28, 28) float images in 0..1, (B,) labels."""
        chosen = self.index[positions]
        images = self.images[chosen].unsqueeze(1).float().div_(255)
        return images, self.labels[chosen]

    def first(self, limit: int | None) -> "Split":
        return self if limit is None else Split(self.images, self.labels, self.index[:limit])

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device), self.index.to(device))


@dataclass(frozen=True)
class Dataset:
    """name: the set really used. mean, std: for normalisation. val: None unless one is held out."""

    name: str
    train: Split
    val: Split | None
    test: Split
    mean: float
    std: float

    def limited(
        self, train: int | None = None, val: int | None = None, test: int | None = None
    ) -> "Dataset":
        """The first so many images of the training, validation and test sets; None for all."""
        return replace(
            self,
            train=self.train.first(train),
            val=None if self.val is None else self.val.first(val),
            test=self.test.first(test),
        )

    def to(self, device: torch.device) -> "Dataset":
        val = None if self.val is None else self.val.to(device)
        return replace(self, train=self.train.to(device), val=val, test=self.test.to(device))

    def normalise(self, images: Tensor) -> Tensor:
        """Images in 0..1 -> zero mean, unit variance over the training set; in place."""
        return images.sub_(self.mean).div_(self.std)


def fetch(config: DataConfig) -> str | None:
    """Downloads the set where it is missing and may be; one process at a time.

    Returns why `data=auto` has to do without MNIST, and None where all is well.

    Raises:
        UserError: `data` names a set that is neither there nor to be had.
    """
    name = _wanted(config)
    if is_here(config):
        return None
    _check_root(config.root, name)
    problem = "data.download=false"
    if config.download:
        try:
            _download(config.root, name)
        except (OSError, RuntimeError, UserError) as error:
            problem = f"the download failed: {_reason(error)}"
    if is_present(config.root, name):
        return None
    if config.name == "auto" and not _is_named(config.root):
        return f"{_missing(config.root, name)} ({problem})"
    raise UserError(f"{_named(config)}: {_missing(config.root, name)} ({problem})")


def is_here(config: DataConfig) -> bool:
    """Whether the set that `config` asks for needs no download."""
    name = _wanted(config)
    return name == "digits" or is_present(config.root, name)


def _wanted(config: DataConfig) -> str:
    return "mnist" if config.name == "auto" else config.name


@lru_cache(maxsize=4)  # a worker has many runs on the same data
def load(config: DataConfig, protocol: ProtocolConfig) -> Dataset:
    """The set that `config` names, checked and split. Reads only what is there.

    Raises:
        UserError: a file is missing, damaged, or not what its name says.
    """
    name = find(config)
    if name == "digits":
        images, labels = _digits()
        rest, held_out = stratified_one_in(labels, DIGITS_TEST_ONE_IN, seed=0)
        train, test = Split(images, labels, rest), Split(images, labels, held_out)
        mean, std = DIGITS_MEAN, DIGITS_STD
    else:
        source = SOURCES[name]
        folder = raw_folder(config.root, name)
        train, test = (
            _whole(_read(folder, source, images), _read(folder, source, labels))
            for images, labels in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS))
        )
        mean, std = source.mean, source.std
    train = train.first(protocol.train_first)
    val = None
    if protocol.val_one_in is not None:
        labels = train.labels[train.index]
        rest, held_out = stratified_one_in(labels, protocol.val_one_in, protocol.split_seed)
        val = Split(train.images, train.labels, train.index[held_out])
        train = Split(train.images, train.labels, train.index[rest])
    if not len(train):
        raise UserError(
            f"protocol.train_first={protocol.train_first}: leaves no image to train on beside "
            "those held out for validation; use more"
        )
    return Dataset(name, train, val, test, mean, std)


def find(config: DataConfig) -> str:
    """The name of the set that `load` takes: of `auto` MNIST, or digits where nobody has said where
    MNIST is.

    Raises:
        UserError: the set is not there.
    """
    name = _wanted(config)
    if is_here(config):
        return name
    _check_root(config.root, name)
    if config.name == "auto" and not _is_named(config.root):
        return "digits"
    raise UserError(f"{_named(config)}: {_missing(config.root, name)}")


def stratified_one_in(labels: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Splits off one index in `n`, at random and with the same share of each class.

    labels: (N,). Returns (N - ceil(N / n),) and (ceil(N / n),) indices, both ascending. Shuffled
    indices sorted by class (stably), then every n-th: each class gives its share, rounded.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[by_class[::n]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def raw_folder(root: str, name: str) -> Path:
    return Path(root) / SOURCES[name].folder / "raw"


def is_present(root: str, name: str) -> bool:
    """Whether all four files are there, plain or as `.gz`; not whether they are intact."""
    folder = raw_folder(root, name)
    suffixes = (".gz",) if SOURCES[name].of_gz else ("", ".gz")
    return all(
        any(os.path.exists(folder / (file + suffix)) for suffix in suffixes) for file in FILES
    )


def _is_named(root: str) -> bool:
    """Whether data.root or the environment says where MNIST is: then it is no digits' turn."""
    return VARIABLE in os.environ or root != "data"


def _named(config: DataConfig) -> str:
    if config.name != "auto":
        return f"data={config.name}"
    is_of_environment = config.root == os.environ.get(VARIABLE)
    return f"{VARIABLE if is_of_environment else 'data.root'}={config.root}"


def _check_root(root: str, name: str) -> None:
    """
    Raises:
        UserError: it is a file, or a folder within the one that is meant.
    """
    path, folder = Path(root).absolute(), SOURCES[name].folder
    if path.exists() and not path.is_dir():
        raise UserError(
            f"data.root={root}: is a file, and not the folder that holds {folder}/raw; "
            "give that folder, or use data=digits"
        )
    for inner, meant in ((path / "raw", path.parent), (path, path.parent.parent)):
        if any((inner / file).exists() for file in (TRAIN_IMAGES, f"{TRAIN_IMAGES}.gz")):
            raise UserError(
                f"data.root={root}: is a folder within the one that holds {folder}/raw; "
                f"use data.root={meant}"
            )


def _missing(root: str, name: str) -> str:
    source = SOURCES[name]
    kind = "the .gz form" if source.of_gz else "plain or .gz"
    return (
        f"put the four files {', '.join(FILES)} ({kind}) into {raw_folder(root, name)}, or point "
        f"the environment variable {VARIABLE} at the folder that holds {source.folder}/raw, "
        "or use data=digits, which needs no network"
    )


def _download(root: str, name: str) -> None:
    target = raw_folder(root, name)
    try:
        target.mkdir(parents=True, exist_ok=True)
        staging = TemporaryDirectory(dir=root)
    except OSError as error:
        raise UserError(f"data.root={root} cannot be written: {error}") from error
    lock = FileLock(Path(root) / f".{name}.lock")
    with staging as temporary, lock, _socket_timeout(DOWNLOAD_TIMEOUT_S):
        if is_present(root, name):
            return
        log.warning("%s is not in %s: downloading it", SOURCES[name].folder, root)
        from torchvision import datasets

        getattr(datasets, SOURCES[name].folder)(temporary, download=True)
        for file in raw_folder(temporary, name).iterdir():
            os.replace(file, target / file.name)


def _reason(error: Exception) -> str:
    """torchvision lists a line for every mirror that it tried; what they got is enough."""
    got = re.findall(r"<urlopen error (.*?)>", str(error))
    return "; ".join(dict.fromkeys(got)) or " ".join(str(error).split())[:200] or repr(error)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _whole(images: Tensor, labels: Tensor) -> Split:
    """The file contents without headers -> all of their images."""
    return Split(images.view(-1, IMAGE_SIZE, IMAGE_SIZE), labels.long(), torch.arange(len(labels)))


def _read(folder: Path, source: Source, file: str) -> Tensor:
    digest, header = source.digests[file], HEADER_BYTES[file]
    return read_file(folder / file, digest, of_gz=source.of_gz, header=header)


def _digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits, 8x8 with values 0..16, as (1797, 28, 28) uint8 and labels.

    Its file is read as it lies there: importing its reader takes longer than training on them.
    """
    spec = find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations, "scikit-learn is required"
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.int64))
    small = table[:, :64].view(-1, 1, 8, 8).float() * (255 / 16)
    large = F.interpolate(small, size=IMAGE_SIZE, mode="bilinear", align_corners=False)
    return large.squeeze(1).round().clamp(0, 255).byte(), table[:, 64].clone()
