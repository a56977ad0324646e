"""Images of the user's own, in each form of file: trained, searched, ranked, rerun, exported."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_sweep.config import DataConfig, ProtocolConfig
from mnist_sweep.data import load
from mnist_sweep.sets.npz import read_npz
from mnist_sweep.sets.own import statistics
from tests.conftest import Cli, cli_in, read_result, read_table

Array = np.ndarray[Any, Any]

SHORT = ["debug=fast", "trainer.epochs=1", "trainer.limit_train=64", "budget.max_params=100000"]
EVERYTHING = ProtocolConfig(name="final", val_one_in=None, split_seed=0, train_first=None)
SELECT = ProtocolConfig(name="select", val_one_in=6, split_seed=0, train_first=None)


def pictures(count: int, *shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)


def labels(count: int, classes: int) -> Array:
    return np.arange(count) % classes


def write_idx(path: Path, values: Array) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim)
    path.write_bytes(header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes())


def make_npz(folder: Path) -> str:
    """Coloured, 5 classes with names, without a test set."""
    names = np.array(["circle", "square", "<b>&", "a name that is longer than most", "e"])
    x, y = pictures(150, 32, 32, 3), labels(150, 5)
    np.savez(folder / "shapes.npz", x_train=x, y_train=y, class_names=names)
    return "data.path=shapes.npz"


def make_idx(folder: Path) -> str:
    """47 classes, as EMNIST."""
    (folder / "letters").mkdir()
    for part, count in (("train", 235), ("test", 94)):
        start = folder / "letters" / f"emnist-balanced-{part}"
        write_idx(Path(f"{start}-images-idx3-ubyte"), pictures(count, 28, 28))
        write_idx(Path(f"{start}-labels-idx1-ubyte"), labels(count, 47).astype(np.uint8))
    return "data.path=letters"


def make_folder(folder: Path) -> str:
    """Of mixed sizes and kinds of file, in train and test."""
    for part, count in (("train", 30), ("test", 6)):
        for name in ("cats", "dogs"):
            here = folder / "photos" / part / name
            here.mkdir(parents=True)
            for number in range(count):
                picture = Image.fromarray(pictures(1, 20 + number, 40, 3)[0])
                picture.save(here / f"{number}.{'png' if number % 2 else 'jpg'}")
    return "data.path=photos"


def make_csv(folder: Path) -> str:
    """As Kaggle has MNIST."""
    rows = np.column_stack([labels(120, 10), pictures(120, 784)])
    header = ",".join(["label", *(f"pixel{n}" for n in range(784))])
    np.savetxt(folder / "train.csv", rows, "%d", ",", header=header, comments="")
    return "data.path=train.csv"


MADE: dict[str, tuple[Callable[[Path], str], list[str], str, tuple[int, int, int], int]] = {
    "npz": (make_npz, [], "separable_cnn", (3, 32, 32), 5),
    "idx": (make_idx, [], "cnn_space", (1, 28, 28), 47),
    "folder": (make_folder, ["data.image_size=24"], "pointwise_cnn", (3, 24, 24), 2),
    "csv": (make_csv, [], "ds_cnn", (1, 28, 28), 10),
}


@pytest.mark.parametrize("form", MADE)
def test_a_set_of_ones_own_trains_and_all_that_follows(form: str, cli: Cli, tmp_path: Path) -> None:
    make, more, model, image, classes = MADE[form]
    of_data = [f"data={form}", make(tmp_path), *more]
    done = cli(*of_data, f"model={model}", *SHORT)
    assert done.returncode == 0, done.stderr
    row = read_table(tmp_path).iloc[0].to_dict()
    stem = Path(of_data[1].partition("=")[2]).stem
    assert str(row["data"]).startswith(f"{stem}@") and float(row["test_acc"]) >= 0
    run_dir = tmp_path / str(row["run_dir"])
    card = json.loads((run_dir / "data.json").read_text())
    assert tuple(card["image"]) == image and len(card["class_names"]) == classes
    weights = torch.load(run_dir / "model.pt", weights_only=True)
    assert next(iter(weights.values())).shape[1] == image[0]
    assert list(weights.values())[-1].shape == (classes,)

    again = cli("rerun", str(row["run_id"]), "--check")
    assert again.returncode == 0 and "identical bit for bit" in again.stdout, again
    shown = cli("evaluate", str(row["run_id"]))
    assert shown.returncode == 0 and "equals the recorded test_acc" in shown.stdout, shown
    ranked = cli("report")
    assert ranked.returncode == 0 and str(row["data"]) in ranked.stdout, ranked
    page = cli("report", "html", "-o", "page.html")
    assert page.returncode == 0 and (tmp_path / "page.html").exists(), page


@pytest.fixture
def npz_set(tmp_path: Path) -> Path:
    make_npz(tmp_path)
    return tmp_path


def test_a_search_fits_nets_to_the_images_and_notices_others(cli: Cli, npz_set: Path) -> None:
    search = [
        *("-m", "hydra/sweeper=search", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"),
        *("data=npz", "data.path=shapes.npz", "model=cnn_space", *SHORT),
        *("budget.max_params=5000", "hydra.sweeper.budget=fit", "hydra.sweeper.n_trials=2"),
        *("hydra.sweeper.fit=[model.stage*.width]", "model.stage1.width=int(interval(4, 8))"),
        *("model.stage2.width=int(interval(8, 16))", "model.stage3.width=int(interval(8, 16))"),
    ]
    done = cli(*search)
    assert done.returncode == 0, done.stderr
    rows = read_table(npz_set)
    assert (rows.num_params > 4500).all() and (rows.num_params <= 5000).all()
    assert set(rows.data) == {load_of(npz_set / "shapes.npz")}
    np.savez(npz_set / "shapes.npz", x_train=pictures(60, 32, 32, 3)[::-1], y_train=labels(60, 5))
    other = cli(*search, "hydra.sweeper.n_trials=3")
    assert other.returncode == 2 and "images (was shapes@" in other.stderr, other
    rerun = cli("rerun", rows.run_id[0])
    assert rerun.returncode == 2 and "put them back as they were" in rerun.stderr, rerun


def load_of(path: Path) -> str:
    return load(config("npz", path), EVERYTHING).name


def config(name: Any, path: Path, **keys: Any) -> DataConfig:
    return DataConfig(name=name, root="data", download=False, path=str(path), **keys)


def test_two_files_are_never_in_one_ranking(cli: Cli, npz_set: Path) -> None:
    np.savez(
        npz_set / "other.npz",
        x_train=pictures(90, 32, 32, 3)[::-1],
        y_train=labels(90, 5),
    )
    for name in ("shapes", "other"):
        assert cli("data=npz", f"data.path={name}.npz", "model=ds_cnn", *SHORT).returncode == 0
    table = read_table(npz_set)
    assert table.config_hash.nunique() == 2
    text = cli("report").stdout
    assert text.count("by val_acc, best first") == 2 and "shapes@" in text and "other@" in text


def test_the_same_images_in_another_place_are_the_same_set(cli: Cli, npz_set: Path) -> None:
    (npz_set / "elsewhere").mkdir()
    arrays = np.load(npz_set / "shapes.npz")
    np.savez_compressed(npz_set / "elsewhere" / "shapes.npz", **{k: arrays[k] for k in arrays})
    for path in ("shapes.npz", "elsewhere/shapes.npz"):
        assert cli("data=npz", f"data.path={path}", "model=ds_cnn", *SHORT).returncode == 0
    table = read_table(npz_set)
    assert table.config_hash.nunique() == table.data.nunique() == table.test_loss.nunique() == 1


def test_an_exported_net_says_what_it_was_trained_on(cli: Cli, npz_set: Path) -> None:
    onnx = pytest.importorskip("onnx")
    assert cli("data=npz", "data.path=shapes.npz", "model=rf_cnn", *SHORT).returncode == 0
    run = read_table(npz_set).run_id[0]
    done = cli("export", run, "-o", "net.onnx")
    assert done.returncode == 0 and "(N, 3, 32, 32)" in done.stdout, done
    props = onnx.load(npz_set / "net.onnx").metadata_props
    facts = {entry.key: entry.value for entry in props}
    assert json.loads(facts["class_names"])[2] == "<b>&" and len(json.loads(facts["mean"])) == 3


# Sets of torchvision's


def made_emnist(root: Path) -> None:
    """EMNIST's letters in torchvision's layout: labels from 1 on, images turned over."""
    raw = root / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 78), ("test", 26)):
        start = raw / f"emnist-letters-{part}"
        write_idx(Path(f"{start}-images-idx3-ubyte"), pictures(count, 28, 28))
        write_idx(Path(f"{start}-labels-idx1-ubyte"), (labels(count, 26) + 1).astype(np.uint8))


def test_emnist_is_torchvisions_the_right_way_round(cli: Cli, tmp_path: Path) -> None:
    made_emnist(tmp_path / "here")
    line = ["data=emnist", "data.split=letters", "model=ds_cnn", *SHORT]
    missing = cli(*line, "data.download=false")
    assert missing.returncode == 2 and "data=emnist: is not in data.root=data" in missing.stderr
    done = cli(*line, "data.root=here")
    assert done.returncode == 0, done.stderr
    last = read_table(tmp_path).iloc[-1]
    assert str(last["data"]).startswith("emnist-letters@")
    keys = {"name": "emnist", "root": str(tmp_path / "here"), "download": False}
    data = load(DataConfig.model_validate({**keys, "split": "letters"}), EVERYTHING)
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(pictures(78, 28, 28)).mT)
    assert data.class_names[:2] == ("a", "b") and data.train.labels.unique().tolist() == [
        *range(26)
    ]
    again = cli("rerun", str(last["run_id"]), "--check")
    assert again.returncode == 0 and "identical bit for bit" in again.stdout, again


# What is read


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, layout: str, compressed: bool) -> None:
    x = pictures(20, 12, 10, 3)
    x = {"NHW": x[..., 0], "NHWC": x, "NCHW": x.transpose(0, 3, 1, 2)}[layout]
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", images=x, labels=labels(20, 4)[:, None].astype(np.uint8))
    found = read_npz(tmp_path / "a.npz", None, None)
    expected = x[:, None] if layout == "NHW" else x if layout == "NCHW" else x.transpose(0, 3, 1, 2)
    assert np.array_equal(found.train.images.numpy(), expected)
    assert found.train.labels.tolist() == labels(20, 4).tolist()
    assert found.class_names == ("0", "1", "2", "3") and found.test is None


def test_mean_and_std_are_the_pixels_own() -> None:
    images = torch.from_numpy(pictures(50, 3, 9, 7))
    index = torch.arange(0, 50, 2)
    mean, std = statistics(images, index)
    pixels = images[index].double() / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=6e-5)
    assert std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=6e-5)


def test_images_without_test_images_are_split_the_same_each_time(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=pictures(200, 8, 8), y=labels(200, 4))
    data = load(config("npz", tmp_path / "a.npz"), SELECT)
    assert data.val is not None
    parts = [set(split.index.tolist()) for split in (data.train, data.val, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200
    for split in (data.val, data.test):
        counts = torch.bincount(split.labels[split.index])
        assert counts.max() - counts.min() <= 1
    whole = load(config("npz", tmp_path / "a.npz"), EVERYTHING)
    assert torch.equal(whole.test.index, data.test.index) and len(whole.train) == 160


def test_validation_images_of_ones_own_choose_and_are_else_trained_on(tmp_path: Path) -> None:
    x, y = pictures(60, 8, 8), labels(60, 3)
    np.savez(tmp_path / "a.npz", x_train=x[:30], y_train=y[:30], x_val=x[30:45], y_val=y[30:45],
             x_test=x[45:], y_test=y[45:])  # fmt: skip
    chosen = load(config("npz", tmp_path / "a.npz"), SELECT)
    assert chosen.val is not None
    assert (len(chosen.train), len(chosen.val), len(chosen.test)) == (30, 15, 15)
    final = load(config("npz", tmp_path / "a.npz"), EVERYTHING)
    assert final.val is None and len(final.train) == 45
    images, _ = final.train.batch(torch.arange(45))
    assert np.array_equal((images[:, 0] * 255).round().byte().numpy(), x[:45])


# What is refused


class Bomb:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("bomb"),)


def wrong_npz(folder: Path, **arrays: Any) -> None:
    x, y = pictures(30, 8, 8), labels(30, 3)
    np.savez(folder / "a.npz", **{"x_train": x, "y_train": y, **arrays})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def truncated(folder: Path) -> None:
    wrong_npz(folder)
    cut(folder / "a.npz")


def cut_within(folder: Path) -> None:
    """A whole archive around an array that says to be longer than it is."""
    stream = io.BytesIO()
    np.save(stream, pictures(30, 8, 8))
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("x_train.npy", stream.getvalue()[:-500])
        archive.writestr("y_train.npy", b"x")


NPZ: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "truncated": (truncated, ["is damaged or no .npz file"]),
    "cut within": (cut_within, ["x_train", "is cut short"]),
    "text": (lambda f: wrong_text(f / "a.npz"), ["no .npz file", "numpy.savez"]),
    "objects": (
        lambda f: wrong_npz(f, x_train=np.array([Bomb(), Bomb()], dtype=object)),
        ["x_train", "Python objects", "not read"],
    ),
    "object labels": (
        lambda f: wrong_npz(f, y_train=np.array(["a", Bomb()] * 15, dtype=object)), ["y_train"],
    ),
    "floats to 1": (
        lambda f: wrong_npz(f, x_train=pictures(30, 8, 8) / 255),
        ["float64", "(images * 255).round().astype('uint8')"],
    ),
    "floats to 255": (
        lambda f: wrong_npz(f, x_train=pictures(30, 8, 8).astype(np.float32)),
        ["float32", "save images.astype('uint8')"],
    ),
    "negative label": (
        lambda f: wrong_npz(f, y_train=labels(30, 3) - 1), ["label -1", "from 0 to 1"],
    ),
    "gap": (lambda f: wrong_npz(f, y_train=labels(30, 3) * 2), ["of class 1", "without gaps"]),
    "test label": (
        lambda f: wrong_npz(f, x_test=pictures(3, 8, 8), y_test=np.array([0, 1, 7])),
        ["test images", "label 7", "from 0 to 2"],
    ),
    "one class": (lambda f: wrong_npz(f, y_train=np.zeros(30, int)), ["all of one class"]),
    "three images": (
        lambda f: wrong_npz(f, x_train=pictures(3, 8, 8), y_train=np.arange(3)),
        ["no image is left to train on", "use more images"],
    ),
    "too few labels": (lambda f: wrong_npz(f, y_train=labels(9, 3)), ["30", "9 labels"]),
    "one-hot": (lambda f: wrong_npz(f, y_train=np.eye(3)[labels(30, 3)]), ["argmax(1)"]),
    "texts": (lambda f: wrong_npz(f, y_train=np.array(["a", "b", "c"] * 10)), ["class_names"]),
    "no images": (
        lambda f: wrong_npz(f, x_train=pictures(0, 8, 8), y_train=labels(0, 1)), ["none"],
    ),
    "flat": (lambda f: wrong_npz(f, x_train=pictures(30, 64)), ["x_train", "(30, 64)"]),
    "two channels": (
        lambda f: wrong_npz(f, x_train=pictures(30, 8, 8, 2)), ["channels", "1 (grey)"],
    ),
    "other shape": (
        lambda f: wrong_npz(f, x_test=pictures(3, 9, 9), y_test=np.arange(3)),
        ["differ in shape", "1x8x8", "1x9x9"],
    ),
    "other names": (
        lambda f: np.savez(f / "a.npz", pics=pictures(9, 8, 8), y=labels(9, 3)),
        ["data.x", "pics"],
    ),
    "missing": (lambda f: None, ["data.path=a.npz", "No such file"]),
}  # fmt: skip


def wrong_text(path: Path) -> None:
    path.write_text("label,pixel\n")


@pytest.fixture(scope="module")
def refuse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Trains in an empty folder after `make`; the line that refuses it."""

    def call(make: Callable[[Path], Any], *arguments: str) -> str:
        folder = tmp_path_factory.mktemp("wrong")
        make(folder)
        done = cli_in(folder)(*arguments, "model=pointwise_cnn", *SHORT)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done
        assert not (folder / "bomb").exists()
        return done.stderr

    return call


@pytest.mark.parametrize("what", NPZ)
def test_a_wrong_npz_is_one_line(refuse: Callable[..., str], what: str) -> None:
    make, words = NPZ[what]
    line = refuse(make, "data=npz", "data.path=a.npz")
    assert all(word in line for word in ["data.path=a.npz", *words]), line


def photos(folder: Path, *names: str, mode: str = "RGB") -> None:
    for name in names:
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures(1, 20, 20, 3)[0]).convert(mode).save(path)


def folder_with_text(folder: Path) -> None:
    photos(folder, "a/1.png", "b/1.png")
    (folder / "photos" / "a" / "notes.txt").write_text("a photo of a cat")


def folder_with_half_an_image(folder: Path) -> None:
    photos(folder, "a/1.jpg", "b/1.jpg")
    cut(folder / "photos" / "a" / "1.jpg")


def mixed(folder: Path) -> None:
    photos(folder, "a/1.png", "b/1.png")
    photos(folder, "a/2.png", mode="L")


def empty_class(folder: Path) -> None:
    photos(folder, "a/1.png", "b/1.png")
    (folder / "photos" / "c").mkdir()


FOLDERS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "text": (folder_with_text, ["photos/a/notes.txt", "is no image"]),
    "half an image": (folder_with_half_an_image, ["photos/a/1.jpg", "cannot be read"]),
    "mixed channels": (mixed, ["photos/a/2.png", "data.channels=1"]),
    "empty class": (empty_class, ["photos/c", "empty folder"]),
    "no classes": (lambda f: (f / "photos").mkdir(), ["photos", "has no folder"]),
    "one class": (lambda f: photos(f, "a/1.png", "a/2.png"), ["all of one class"]),
    "class in test alone": (
        lambda f: photos(f, "train/a/1.png", "train/b/1.png", "test/c/1.png"),
        ["test/c", "no training images"],
    ),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_wrong_folder_is_one_line(refuse: Callable[..., str], what: str) -> None:
    make, words = FOLDERS[what]
    line = refuse(make, "data=folder", "data.path=photos")
    assert all(word in line for word in words), line


def table(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "a.csv").write_text(text)


TABLES = {
    "no label": ("pixel0,pixel1\n1,2\n", ["no column label"]),
    "no square": ("label,p0,p1\n1,2,3\n0,1,2\n", ["no square"]),
    "text": ("label,p0\n1,x\n0,y\n", ["p0", "whole number"]),
    "too bright": ("label,p0\n1,256\n0,1\n", ["256"]),
    "empty": ("", ["no table"]),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_wrong_table_is_one_line(refuse: Callable[..., str], what: str) -> None:
    text, words = TABLES[what]
    line = refuse(table(text), "data=csv", "data.path=a.csv")
    assert all(word in line for word in ["data.path=a.csv", *words]), line


def idx_files(folder: Path, values: Array, found: Array) -> None:
    (folder / "letters").mkdir()
    write_idx(folder / "letters" / "train-images-idx3-ubyte", values)
    write_idx(folder / "letters" / "train-labels-idx1-ubyte", found.astype(np.uint8))


def cut_idx(folder: Path) -> None:
    idx_files(folder, pictures(30, 8, 8), labels(30, 3))
    cut(folder / "letters" / "train-images-idx3-ubyte")


IDX: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "cut": (cut_idx, ["train-images-idx3-ubyte", "cut short"]),
    "labels for images": (
        lambda f: idx_files(f, labels(30, 3).astype(np.uint8), labels(30, 3)), ["1 dimensions"],
    ),
    "nothing": (lambda f: (f / "letters").mkdir(), ["train-images-idx3-ubyte"]),
}  # fmt: skip


@pytest.mark.parametrize("what", IDX)
def test_a_wrong_idx_folder_is_one_line(refuse: Callable[..., str], what: str) -> None:
    make, words = IDX[what]
    line = refuse(make, "data=idx", "data.path=letters")
    assert all(word in line for word in ["data.path=letters", *words]), line


def test_a_set_without_a_path_says_so(refuse: Callable[..., str]) -> None:
    assert "data.path" in refuse(lambda folder: None, "data=npz")


def test_ones_own_net_is_told_what_it_takes(cli: Cli, npz_set: Path) -> None:
    (npz_set / "mine.py").write_text(
        "from torch import nn\n"
        "class Told(nn.Sequential):\n"
        "    def __init__(self, width, in_channels, num_classes):\n"
        "        super().__init__(nn.Conv2d(in_channels, width, 3, 2), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(width, num_classes))\n"
        "class Fixed(nn.Sequential):\n"
        "    def __init__(self, in_channels):\n"
        "        super().__init__(nn.Conv2d(in_channels, 4, 3, 2), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(4, 10))\n"
    )
    (npz_set / "mine" / "model").mkdir(parents=True)
    for name, keys in (("told", "width: 4\n"), ("fixed", "")):
        text = f"_target_: mine.{name.title()}\n{keys}"
        (npz_set / "mine" / "model" / f"{name}.yaml").write_text(text)
    line = ["--config-dir", "mine", "data=npz", "data.path=shapes.npz", *SHORT]
    told = cli(*line, "model=told", MNIST_SWEEP_TARGETS="mine.*")
    assert told.returncode == 0, told.stderr
    assert read_result(next((npz_set / "outputs").rglob("result.json")).parent)["num_params"]
    fixed = cli(*line, "model=fixed", MNIST_SWEEP_TARGETS="mine.*")
    assert fixed.returncode == 2 and "5 classes: its class may take num_classes" in fixed.stderr
