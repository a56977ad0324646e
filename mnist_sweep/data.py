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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock
from torch import Tensor

from mnist_sweep.config import TORCHVISION, DataConfig, ProtocolConfig
from mnist_sweep.data_files import read_file
from mnist_sweep.errors import UserError
from mnist_sweep.sets import digits
from mnist_sweep.sets.dataset import Dataset, Split
from mnist_sweep.sets.digits import read_digits
from mnist_sweep.sets.measured import check_classes, measured_parts, measured_set
from mnist_sweep.sets.own import numbered, statistics
from mnist_sweep.sets.shape import MNIST_SHAPE
from mnist_sweep.sets.splitting import stratified_one_in
from mnist_sweep.sets.torchvision_sets import read_torchvision

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


def fetch(config: DataConfig) -> str | None:
    """Downloads the set where it is missing and may be; one process at a time.

    Returns why `data=auto` has to do without MNIST, and None where all is well.

    Raises:
        UserError: `data` names a set that is neither there nor to be had.
    """
    if config.is_own:
        measured_set(config)
        return None
    if config.name in TORCHVISION:
        _fetch_torchvision(config)
        return None
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
    if config.name in TORCHVISION:
        try:
            measured_set(config)
        except UserError:
            return False
        return True
    name = _wanted(config)
    return config.is_own or name == "digits" or is_present(config.root, name)


def _wanted(config: DataConfig) -> str:
    return "mnist" if config.name == "auto" else config.name


def load(config: DataConfig, protocol: ProtocolConfig) -> Dataset:
    """The set that `config` names, checked and split. Reads only what is there.

    Raises:
        UserError: a file is missing, damaged, or not what its name says.
    """
    return _load(config, protocol, find(config))


@lru_cache(maxsize=4)  # a worker has many runs on the same data
def _load(config: DataConfig, protocol: ProtocolConfig, name: str) -> Dataset:
    val, class_names = None, numbered(MNIST_SHAPE.num_classes)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    if config.is_measured:
        parts = measured_parts(config, protocol)
        train, val, test, class_names = parts.train, parts.val, parts.test, parts.class_names
        mean, std = statistics(train.images, train.index)
    elif name == "digits":
        images, labels = read_digits()
        rest, held_out = stratified_one_in(labels, digits.TEST_ONE_IN, seed=0)
        train, test = Split(images, labels, rest), Split(images, labels, held_out)
        mean, std = (digits.MEAN,), (digits.STD,)
    else:
        source = SOURCES[name]
        folder = raw_folder(config.root, name)
        train = _part(folder, source, TRAIN_IMAGES, TRAIN_LABELS)
        test = _part(folder, source, TEST_IMAGES, TEST_LABELS)
        mean, std = (source.mean,), (source.std,)
    train = train.first(protocol.train_first)
    if protocol.val_one_in is not None and val is None:
        labels = train.labels[train.index]
        rest, held_out = stratified_one_in(labels, protocol.val_one_in, protocol.split_seed)
        train, val = train.at(rest), train.at(held_out)
    if config.is_measured:
        check_classes(config, train, class_names)
    elif not len(train):
        raise UserError(
            f"protocol.train_first={protocol.train_first}: leaves no image to train on beside "
            "those held out for validation; use more"
        )
    return Dataset(name, train, val, test, mean, std, class_names)


def find(config: DataConfig) -> str:
    """The name of the set that `load` takes: of `auto` MNIST, or digits where nobody has said where
    MNIST is; of a user's own one with a digest of its content.

    Raises:
        UserError: the set is not there.
    """
    if config.is_measured:
        return measured_set(config)[1]
    name = _wanted(config)
    if is_here(config):
        return name
    _check_root(config.root, name)
    if config.name == "auto" and not _is_named(config.root):
        return "digits"
    raise UserError(f"{_named(config)}: {_missing(config.root, name)}")


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


def _part(folder: Path, source: Source, images: str, labels: str) -> Split:
    pixels = _read(folder, source, images).view(-1, *MNIST_SHAPE.image)
    return Split.whole(pixels, _read(folder, source, labels).long())


def _read(folder: Path, source: Source, file: str) -> Tensor:
    digest, header = source.digests[file], HEADER_BYTES[file]
    return read_file(folder / file, digest, of_gz=source.of_gz, header=header)


def _fetch_torchvision(config: DataConfig) -> None:
    """
    Raises:
        UserError: it is not there, and not to be had.
    """
    try:
        measured_set(config)
    except UserError as missing:
        if not config.download:
            raise UserError(f"{missing}: put it there, or use data.download=true") from missing
        try:
            with _socket_timeout(DOWNLOAD_TIMEOUT_S):
                read_torchvision(config.name, config.root, config.split, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{missing}, and the download failed: {_reason(error)}; put it there, or use "
                "data=digits, which needs no network"
            ) from error
