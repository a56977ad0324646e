"""Data sets: their splits and constants, what damaged files lead to, and how to do without them."""

import filecmp
import gzip
import hashlib
import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnist_sweep.config import DataConfig, ProtocolConfig
from mnist_sweep.data import FILES, fetch, is_present, load
from mnist_sweep.errors import UserError
from mnist_sweep.sets.dataset import Dataset, Split
from mnist_sweep.sets.splitting import stratified_one_in
from tests.conftest import make_experiment

DataName = Literal["auto", "mnist", "fashion_mnist", "kmnist", "digits"]

EVERYTHING = ProtocolConfig(name="final", val_one_in=None, split_seed=0, train_first=None)
WEB_PAGE = b"\n<!DOCTYPE html>\n<html><title>404 Not Found</title></html>\n"


def source(name: DataName, root: str | Path, *, download: bool = False) -> DataConfig:
    return DataConfig(name=name, root=str(root), download=download)


def load_by(protocol: str, name: str, root: str | Path, *overrides: str) -> Dataset:
    """The set as a protocol of conf/ splits it."""
    settings = make_experiment(
        f"data={name}", f"data.root='{root}'", f"protocol={protocol}", *overrides
    ).settings
    return load(settings.data, settings.protocol)


def fingerprint(data: Dataset) -> str:
    digest = hashlib.sha256()
    for split in (data.train, data.test):
        for tensor in (split.images, split.labels, split.index):
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def class_counts(split: Split) -> Tensor:
    return split.labels[split.index].bincount(minlength=10)


@cache
def zipped(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=1)


@pytest.fixture
def linked_root(tmp_path: Path, mnist_root: str) -> Path:
    """The real MNIST in a folder of this test's own, whose files it may replace."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).symlink_to(Path(mnist_root) / "MNIST" / "raw" / file)
    return tmp_path


@pytest.fixture
def zipped_root(tmp_path: Path, mnist_root: str) -> Path:
    """The real MNIST, as .gz only."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / f"{file}.gz").write_bytes(zipped(Path(mnist_root) / "MNIST" / "raw" / file))
    return tmp_path


def replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # it may be a link to the real file
    path.write_bytes(content)


# Splits


@given(
    labels=st.lists(st.integers(0, 9), max_size=400) | st.lists(st.integers(3, 4), max_size=50),
    n=st.integers(2, 15),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_a_stratified_split_is_disjoint_complete_and_fair(
    labels: list[int], n: int, seed: int
) -> None:
    given_labels = torch.tensor(labels, dtype=torch.int64)
    rest, held_out = stratified_one_in(given_labels, n, seed)
    assert sorted(rest.tolist() + held_out.tolist()) == list(range(len(labels)))
    assert rest.tolist() == sorted(rest.tolist()) and held_out.tolist() == sorted(held_out.tolist())
    assert len(held_out) == math.ceil(len(labels) / n)
    for label in set(labels):
        of_class = int((given_labels[held_out] == label).sum())
        assert abs(of_class - labels.count(label) / n) < 1
    again = stratified_one_in(given_labels, n, seed)
    assert torch.equal(again[0], rest) and torch.equal(again[1], held_out)


def test_each_seed_gives_another_split() -> None:
    labels = torch.arange(1000) % 10
    splits = {tuple(stratified_one_in(labels, 6, seed)[1].tolist()) for seed in range(50)}
    assert len(splits) == 50


def test_a_split_does_not_depend_on_the_random_state_of_torch() -> None:
    labels = torch.arange(1000) % 10
    torch.manual_seed(1)
    before = stratified_one_in(labels, 6, 0)[1]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(stratified_one_in(labels, 6, 0)[1], before)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "a split must not use up random numbers"


@pytest.mark.parametrize(
    ("protocol", "train", "val"),
    [("select", 1197, 240), ("final", 1437, None), ("published", 1437, None)],
)
def test_the_protocols_split_digits(
    protocol: str, train: int, val: int | None, tmp_path: Path
) -> None:
    data = load_by(protocol, "digits", tmp_path)
    parts = [data.train, data.test] + ([] if data.val is None else [data.val])
    assert len(data.train) == train and len(data.test) == 360
    assert (None if data.val is None else len(data.val)) == val
    # Digits come as one file, which the three parts share out between them.
    assert sorted(torch.cat([part.index for part in parts]).tolist()) == list(range(1797))
    everywhere = data.train.labels.bincount()
    for part in parts:
        share = len(part) / 1797
        assert (class_counts(part) - everywhere * share).abs().max() < 2


def test_the_test_set_is_the_same_whatever_the_split_seed(tmp_path: Path) -> None:
    one, other = (
        load_by("select", "digits", tmp_path, f"protocol.split_seed={seed}") for seed in (0, 1)
    )
    assert one.val is not None and other.val is not None
    assert torch.equal(one.test.index, other.test.index)
    assert not torch.equal(one.val.index, other.val.index)


@pytest.mark.mnist
def test_select_holds_out_ten_thousand_of_mnist(mnist_root: str) -> None:
    data = load_by("select", "mnist", mnist_root)
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test)) == (50_000, 10_000, 10_000)
    both = torch.cat([data.train.index, data.val.index])
    assert torch.equal(both.sort().values, torch.arange(60_000))
    everywhere = data.train.labels.bincount()
    assert (class_counts(data.val) - everywhere / 6).abs().max() < 1
    assert (class_counts(data.train) - everywhere * 5 / 6).abs().max() < 1


@pytest.mark.mnist
@pytest.mark.parametrize("protocol", ["final", "published"])
def test_the_other_protocols_train_on_all_of_mnist(protocol: str, mnist_root: str) -> None:
    data = load_by(protocol, "mnist", mnist_root)
    assert data.val is None
    assert torch.equal(data.train.index, torch.arange(60_000))
    assert torch.equal(data.test.index, torch.arange(10_000))


@pytest.mark.mnist
def test_train_first_uses_the_first_images_of_the_file(mnist_root: str) -> None:
    published = load_by("published", "mnist", mnist_root, "protocol.train_first=50000")
    assert torch.equal(published.train.index, torch.arange(50_000))
    assert len(published.test) == 10_000
    select = load_by("select", "mnist", mnist_root, "protocol.train_first=50000")
    assert select.val is not None
    assert (len(select.train), len(select.val)) == (41_666, 8_334)
    both = torch.cat([select.train.index, select.val.index])
    assert torch.equal(both.sort().values, torch.arange(50_000))


# Images and their arithmetic


def test_digits_are_scikit_learns_enlarged_bilinearly() -> None:
    from sklearn.datasets import load_digits

    data = load(source("digits", "nowhere"), EVERYTHING)
    images, labels = data.train.images, data.train.labels
    assert images.shape == (1797, 1, 28, 28) and images.dtype == torch.uint8
    assert (int(images.min()), int(images.max())) == (0, 255)
    bunch = load_digits()
    assert labels.tolist() == bunch.target.tolist()
    # Bilinear interpolation between pixel centres, as a matrix: each output row is a mean of two.
    enlarge = np.zeros((28, 8))
    for row in range(28):
        centre = min(max((row + 0.5) * 8 / 28 - 0.5, 0), 7)
        low = int(centre)
        enlarge[row, low] += 1 - (centre - low)
        enlarge[row, min(low + 1, 7)] += centre - low
    expected = enlarge @ bunch.images @ enlarge.T * (255 / 16)
    assert np.abs(images[:, 0].numpy() - expected).max() <= 0.51  # half a step of rounding


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        pytest.param("mnist", marks=pytest.mark.mnist),
    ],
)
def test_the_normalisation_constants_are_the_training_images_own(
    name: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue("mnist_root") if name == "mnist" else "nowhere"
    data = load_by("final", name, root)
    pixels = data.train.images[data.train.index].double() / 255
    assert data.mean[0] == pytest.approx(pixels.mean().item(), abs=5e-4)
    assert data.std[0] == pytest.approx(pixels.std().item(), abs=5e-4)


def test_a_batch_is_the_chosen_images_divided_by_255() -> None:
    images = torch.randint(
        0, 256, (5, 1, 28, 28), generator=torch.Generator().manual_seed(0)
    ).byte()
    original = images.clone()
    split = Split(images, torch.tensor([50, 51, 52, 53, 54]), torch.tensor([4, 2, 0]))
    batch, labels = split.batch(torch.tensor([2, 0, 0]))
    assert labels.tolist() == [50, 54, 54]
    assert batch.shape == (3, 1, 28, 28) and batch.dtype == torch.float32
    expected = original.numpy()[[0, 4, 4]].astype(np.float32) / np.float32(255)
    assert np.array_equal(batch.numpy(), expected)
    assert torch.equal(images, original), "a batch must not write to the data set"


def test_a_split_is_cut_to_its_first_images() -> None:
    split = Split(torch.zeros(5, 1, 28, 28).byte(), torch.arange(5), torch.tensor([4, 2, 0]))
    assert split.first(2).index.tolist() == [4, 2] and len(split.first(2)) == 2
    assert split.first(None).index.tolist() == split.first(99).index.tolist() == [4, 2, 0]


def test_normalise_subtracts_the_mean_and_divides_by_the_std() -> None:
    data = load(source("digits", "nowhere"), EVERYTHING)
    images, _ = data.train.batch(torch.arange(10))
    expected = (images.double().numpy() - data.mean[0]) / data.std[0]
    normalised = data.normalise(images)
    assert np.abs(normalised.numpy() - expected).max() < 1e-6
    assert normalised.data_ptr() == images.data_ptr(), "in place: a batch is not needed twice"


@pytest.mark.mnist
def test_mnist_equals_torchvisions_pixel_by_pixel(linked_root: Path) -> None:
    from torchvision import datasets

    data = load(source("mnist", linked_root), EVERYTHING)
    for split, is_train in ((data.train, True), (data.test, False)):
        reference = datasets.MNIST(str(linked_root), train=is_train, download=False)
        assert torch.equal(split.images[:, 0], reference.data)
        assert torch.equal(split.labels, reference.targets)


# Damaged and missing files


def flipped(position: float) -> Callable[[bytes], bytes]:
    """One bit the other way, at this share of the file."""

    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[round(position * (len(content) - 1))] ^= 1 << 4
        return bytes(changed)

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut by a byte": lambda content: content[:-1],
    "cut in half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a byte longer": lambda content: content + b"\0",
    "first byte": flipped(0),
    "middle byte": flipped(0.5),
    "last byte": flipped(1),
    "web page": lambda content: WEB_PAGE,
}


@pytest.mark.mnist
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_a_remedy(damage: str, file: str, linked_root: Path) -> None:
    path = linked_root / "MNIST" / "raw" / file
    replace(path, DAMAGES[damage](path.read_bytes()))
    with pytest.raises(UserError) as caught:
        load(source("mnist", linked_root), EVERYTHING)
    message = str(caught.value)
    assert str(path) in message and "delete it and fetch it again" in message
    assert "data=digits" in message and "\n" not in message
    assert ("web page" in message) == (damage == "web page")


@pytest.mark.mnist
def test_a_damaged_file_is_not_passed_over_by_auto(linked_root: Path) -> None:
    path = linked_root / "MNIST" / "raw" / FILES[3]
    replace(path, flipped(0.5)(path.read_bytes()))
    with pytest.raises(UserError, match=FILES[3]):
        load(source("auto", linked_root), EVERYTHING)


def assert_says_what_is_missing(message: str, folder: Path) -> None:
    assert all(file in message for file in FILES) and str(folder) in message
    assert "MNIST_SWEEP_DATA" in message and "data=digits" in message
    assert "\n" not in message


@pytest.mark.mnist
@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_said_with_what_to_do(file: str, linked_root: Path) -> None:
    raw = linked_root / "MNIST" / "raw"
    (raw / file).unlink()
    with pytest.raises(UserError) as caught:
        load(source("mnist", linked_root), EVERYTHING)
    assert_says_what_is_missing(str(caught.value), raw)


@pytest.mark.mnist
@pytest.mark.parametrize(
    "suffix",
    [
        "",
        ".gz",
    ],
)
def test_a_file_that_cannot_be_read_is_named(suffix: str, linked_root: Path) -> None:
    # A folder in the file's place: permissions would not keep root from reading a file.
    raw = linked_root / "MNIST" / "raw"
    (raw / FILES[0]).unlink()
    (raw / f"{FILES[0]}{suffix}").mkdir()
    with pytest.raises(UserError) as caught:
        load(source("mnist", linked_root), EVERYTHING)
    assert str(raw / f"{FILES[0]}{suffix}") in str(caught.value)


# Zipped files


@pytest.mark.mnist
def test_zipped_files_give_the_same_images_and_stay_unpacked(
    zipped_root: Path, mnist_root: str
) -> None:
    plain = load(source("mnist", mnist_root), EVERYTHING)
    assert fingerprint(load(source("mnist", zipped_root), EVERYTHING)) == fingerprint(plain)
    raw = zipped_root / "MNIST" / "raw"
    assert {path.name for path in raw.iterdir()} == {*FILES, *(f"{file}.gz" for file in FILES)}
    for file in FILES:
        assert filecmp.cmp(raw / file, Path(mnist_root) / "MNIST" / "raw" / file, shallow=False)
        assert (raw / file).stat().st_mode & 0o444 == 0o444, "other users of the folder read it too"
        (raw / f"{file}.gz").unlink()
    assert fingerprint(load(source("mnist", zipped_root), EVERYTHING)) == fingerprint(plain)


def load_without_rights(root: str) -> str | None:
    """The set's fingerprint, loaded by a process that may not write to `root`.

    None where that cannot be had: root (who may write anywhere) becomes nobody, which not every
    container allows.
    """
    os.chdir(root)  # nobody may not pass through the folders above
    if os.geteuid() == 0:
        try:
            os.setegid(65534)
            os.seteuid(65534)
        except OSError:
            return None
    try:
        handle, _ = tempfile.mkstemp(dir="MNIST/raw")
    except PermissionError:
        return fingerprint(load(source("mnist", "."), EVERYTHING))
    os.close(handle)
    return None


@pytest.mark.mnist
def test_zipped_files_load_from_a_folder_that_cannot_be_written(
    zipped_root: Path, mnist_root: str
) -> None:
    raw = zipped_root / "MNIST" / "raw"
    zipped_root.chmod(0o755)  # pytest's folders are for their owner alone
    raw.chmod(0o555)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(load_without_rights, str(zipped_root)).result()
    finally:
        raw.chmod(0o755)
    if found is None:
        pytest.skip("no user here is kept from writing to a folder")
    assert found == fingerprint(load(source("mnist", mnist_root), EVERYTHING))
    assert {path.name for path in raw.iterdir()} == {f"{file}.gz" for file in FILES}


_barrier: Any = None  # multiprocessing's, in a worker


def keep_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def load_with_the_others(root: str) -> str:
    try:
        _barrier.wait(timeout=120)
    except BrokenBarrierError as error:
        raise RuntimeError("the workers did not start together") from error
    return fingerprint(load(source("mnist", root), EVERYTHING))


@pytest.mark.mnist
def test_processes_that_unpack_at_once_all_get_the_same_data(linked_root: Path) -> None:
    expected = fingerprint(load(source("mnist", linked_root), EVERYTHING))
    raw = linked_root / "MNIST" / "raw"
    for file in FILES[1:]:
        (raw / f"{file}.gz").write_bytes(zipped((raw / file).resolve()))
        (raw / file).unlink()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, context, keep_barrier, (context.Barrier(4),)) as pool:
        found = list(pool.map(load_with_the_others, [str(linked_root)] * 4))
    assert found == [expected] * 4
    left = {*FILES, *(f"{file}.gz" for file in FILES[1:])}
    assert {path.name for path in raw.iterdir()} == left


@pytest.mark.mnist
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["cut by a byte", "cut in half", "empty", "web page"])
def test_a_damaged_zipped_file_is_named_with_a_remedy(
    damage: str, file: str, linked_root: Path
) -> None:
    raw = linked_root / "MNIST" / "raw"
    content = zipped((raw / file).resolve())
    (raw / file).unlink()
    (raw / f"{file}.gz").write_bytes(DAMAGES[damage](content))
    with pytest.raises(UserError) as caught:
        load(source("mnist", linked_root), EVERYTHING)
    message = str(caught.value)
    assert str(raw / f"{file}.gz") in message and "delete it and fetch it again" in message
    assert ("web page" in message) == (damage == "web page")
    assert not (raw / file).exists(), "nothing may be unpacked from a damaged file"


@pytest.mark.mnist
def test_any_flipped_bit_of_a_zipped_file_is_found(linked_root: Path) -> None:
    raw = linked_root / "MNIST" / "raw"
    plain = raw / FILES[3]
    content = zipped(plain.resolve())
    plain.unlink()
    # From byte 10 on: gzip's header before it holds a time and flags that change no data.
    for position in range(10, len(content), len(content) // 40):
        damaged = flipped(position / (len(content) - 1))(content)
        (raw / f"{FILES[3]}.gz").write_bytes(damaged)
        with pytest.raises(UserError, match=f"{FILES[3]}.gz is damaged"):
            load(source("mnist", linked_root), EVERYTHING)
        assert not plain.exists()


@pytest.mark.parametrize(
    ("name", "folder"), [("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"\0" * 800), WEB_PAGE, b""],
    ids=["other images", "web page", "empty"],
)
def test_a_zipped_file_of_other_content_is_refused(
    name: DataName, folder: str, content: bytes, tmp_path: Path
) -> None:
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / f"{file}.gz").write_bytes(content)
    assert is_present(str(tmp_path), name)
    with pytest.raises(UserError) as caught:
        load(source(name, tmp_path), EVERYTHING)
    message = str(caught.value)
    assert str(raw / FILES[0]) in message and "delete it and fetch it again" in message
    assert ("web page" in message) == (content == WEB_PAGE)
    assert {path.suffix for path in raw.iterdir()} == {".gz"}


@pytest.mark.parametrize(
    ("name", "folder"), [("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_a_set_known_by_its_zipped_files_needs_them(
    name: DataName, folder: str, tmp_path: Path
) -> None:
    # Only the .gz files' digests are published, so plain files alone cannot be checked.
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).write_bytes(b"\0" * 800)
    with pytest.raises(UserError, match="the .gz form") as caught:
        load(source(name, tmp_path), EVERYTHING)
    assert_says_what_is_missing(str(caught.value), raw)


# Where the data come from


@pytest.fixture
def unnamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The root where nobody has said where MNIST is: a folder of the current one's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNIST_SWEEP_DATA", raising=False)
    return "data"


def test_auto_falls_back_to_digits(unnamed: str, tmp_path: Path) -> None:
    data = load(source("auto", unnamed), EVERYTHING)
    digits = load(source("digits", tmp_path), EVERYTHING)
    assert data.name == "digits" and fingerprint(data) == fingerprint(digits)


@pytest.mark.mnist
def test_auto_takes_mnist_where_it_is(mnist_root: str) -> None:
    data = load(source("auto", mnist_root), EVERYTHING)
    assert data.name == "mnist" and len(data.train) == 60_000


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_fetch_without_leave_to_download_says_what_is_missing(
    name: DataName, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        fetch(source(name, tmp_path / "data"))
    message = str(caught.value)
    assert_says_what_is_missing(message, tmp_path / "data")
    assert f"data={name}" in message and "data.download=false" in message
    assert not (tmp_path / "data").exists()


def test_fetch_tells_auto_why_it_has_to_do_without_mnist(unnamed: str) -> None:
    reason = fetch(source("auto", unnamed))
    assert reason is not None
    assert_says_what_is_missing(reason, Path(unnamed) / "MNIST" / "raw")
    assert "data.download=false" in reason


def test_fetch_into_a_place_that_cannot_be_is_said_before_any_download(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "data"
    with pytest.raises(UserError, match="cannot be written") as caught:
        fetch(source("mnist", root, download=True))
    assert_says_what_is_missing(str(caught.value), root)


@pytest.mark.parametrize("kind", ["file", "folder", "nothing", "within", "raw"])
def test_a_root_that_the_user_names_and_that_is_none_is_an_error(kind: str, tmp_path: Path) -> None:
    """Never a run on digits that nobody asked for."""
    raw = tmp_path / "right" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / f"{FILES[0]}.gz").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    root = {"within": raw.parent, "raw": raw}.get(kind, tmp_path / kind)
    for call in (fetch, lambda config: load(config, EVERYTHING)):
        with pytest.raises(UserError, match=f"data.root={root}") as caught:
            call(source("auto", root))
        assert "data=digits" in str(caught.value) or str(tmp_path / "right") in str(caught.value)


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_root_that_the_environment_names_and_that_is_none_is_an_error_too(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("MNIST_SWEEP_DATA", str(tmp_path / kind))
    named = "data.root" if kind == "file" else "MNIST_SWEEP_DATA"
    for call in (fetch, lambda config: load(config, EVERYTHING)):
        with pytest.raises(UserError, match=f"{named}={tmp_path / kind}: .*data=digits"):
            call(source("auto", tmp_path / kind))


def test_fetch_has_nothing_to_do_for_digits(tmp_path: Path) -> None:
    assert fetch(source("digits", tmp_path / "data", download=True)) is None
    assert not (tmp_path / "data").exists()


@pytest.mark.mnist
@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_fetch_leaves_files_that_are_there(name: DataName, linked_root: Path) -> None:
    for download in (False, True):
        assert fetch(source(name, linked_root, download=download)) is None
    assert all((linked_root / "MNIST" / "raw" / file).is_symlink() for file in FILES)
