"""Images in one file of numpy's, mapped into memory where they lie in it as they are."""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from mnist_sweep.errors import UserError
from mnist_sweep.sets.own import OwnSet, Part, numbered

IMAGES = ("x_train", "train_images", "x", "images", "X", "data")
LABELS = ("y_train", "train_labels", "y", "labels", "Y", "targets")
"""Names of arrays, in the order in which they are looked for."""

PARTS = {
    "val": (("x_val", "val_images"), ("y_val", "val_labels")),
    "test": (("x_test", "test_images"), ("y_test", "test_labels")),
}
CLASS_NAMES = "class_names"

LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a zip's member: its signature, the lengths of its name and of what is extra."""


def read_npz(path: Path, x: str | None, y: str | None) -> OwnSet:
    """x, y: names of the arrays of training images and labels; None looks for the usual ones.

    Raises:
        UserError: it is no such file, or holds no such arrays.
    """
    where = f"data.path={path}"
    try:
        with zipfile.ZipFile(path) as archive:
            file = _File(path, archive, where)
            names = file.names
            images = _name("x", x, IMAGES, names, where)
            labels = _name("y", y, LABELS, names, where)
            parts = {
                part: file.part(*found)
                for part, wanted in PARTS.items()
                if (found := [name for of in wanted for name in of if name in names])
            }
            train = file.part(images, labels)
            class_names = file.class_names(int(train.labels.max()) + 1 if len(train) else 0)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError) as error:
        raise UserError(
            f"{where}: is damaged or no .npz file ({error}): write it with numpy.savez"
        ) from error
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror or error})") from error
    return OwnSet(train, parts.get("val"), parts.get("test"), class_names)


def _name(
    key: str, given: str | None, usual: Sequence[str], names: Sequence[str], where: str
) -> str:
    if given is not None and given not in names:
        raise UserError(f"data.{key}={given}: {where} has no such array; it has {', '.join(names)}")
    found = [given] if given is not None else [name for name in usual if name in names]
    if not found:
        raise UserError(
            f"{where}: has no array {' or '.join(usual[:3])}: name yours with data.{key}, one of "
            f"{', '.join(names) or 'none'}"
        )
    return found[0]


class _File:
    def __init__(self, path: Path, archive: zipfile.ZipFile, where: str) -> None:
        self.path = path
        self.archive = archive
        self.where = where
        members = archive.namelist()
        self.names = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]

    def part(self, *names: str) -> Part:
        """names: of the images, and of their labels."""
        if len(names) != 2:
            raise UserError(
                f"{self.where}: has {names[0]} without its fellow: give both, images and labels"
            )
        images, labels = names
        return Part(_as_images(self.array(images), self._said(images)), self._labels(labels))

    def class_names(self, at_least: int) -> tuple[str, ...]:
        if CLASS_NAMES not in self.names:
            return numbered(at_least)
        names = self.array(CLASS_NAMES)
        if names.ndim != 1 or names.dtype.kind not in "US":
            raise UserError(f"{self._said(CLASS_NAMES)}: is no list of texts")
        texts = names.astype(str).tolist()
        if len(set(texts)) < len(texts):
            raise UserError(f"{self._said(CLASS_NAMES)}: a name is there twice")
        return tuple(texts)

    def _labels(self, name: str) -> Tensor:
        labels, said = self.array(name), self._said(name)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise UserError(
                f"{said}: has the shape {labels.shape}: give a class number for each image (of "
                "one-hot rows, labels.argmax(1))"
            )
        if labels.dtype.kind not in "iu":
            raise UserError(
                f"{said}: holds {labels.dtype}: give class numbers from 0, as integers, and their "
                f"names as an array {CLASS_NAMES}"
            )
        return torch.from_numpy(labels.astype(np.int64))

    def _said(self, name: str) -> str:
        return f"{self.where}: {name}"

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """Never unpickles: whoever has written an object array could have it run code."""
        member = self.archive.getinfo(f"{name}.npy")
        with self.archive.open(member) as file:
            try:
                version = npy.read_magic(file)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, fortran, dtype = read(file)
            except ValueError as error:
                raise UserError(f"{self._said(name)}: is damaged ({error})") from error
            if dtype.hasobject:
                raise UserError(
                    f"{self._said(name)}: holds Python objects, which are not read, since reading "
                    "them can run code: save it as numbers, all images of one shape"
                )
            header = file.tell()
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            if member.file_size - header != size:
                raise UserError(f"{self._said(name)}: is cut short; write the file again")
            if member.compress_type == zipfile.ZIP_STORED and dtype == np.uint8:
                raw = self._mapped(member, header, size)
            else:
                raw = np.frombuffer(bytearray(file.read()), dtype=dtype)
        order: Any = "F" if fortran else "C"
        return raw.reshape(shape, order=order)

    def _mapped(self, member: zipfile.ZipInfo, header: int, size: int) -> np.ndarray[Any, Any]:
        with self.path.open("rb") as file:
            file.seek(member.header_offset)
            _, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        start = member.header_offset + LOCAL_HEADER.size + name + extra + header
        if start + size > self.path.stat().st_size:
            raise EOFError("it is cut short")
        whole = torch.from_file(str(self.path), shared=False, size=start + size, dtype=torch.uint8)
        mapped: np.ndarray[Any, Any] = whole[start:].numpy()
        return mapped


def _as_images(array: np.ndarray[Any, Any], said: str) -> Tensor:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) -> (N, C, H, W), without a copy."""
    if array.dtype != np.uint8:
        advice = "(images * 255).round().astype('uint8')"
        if array.dtype.kind != "f" or (array.size and float(array.max()) > 1):
            advice = "images.astype('uint8')"
        raise UserError(f"{said}: holds {array.dtype}: pixels are bytes, 0 to 255; save {advice}")
    images = torch.from_numpy(array)
    if images.ndim == 3:
        return images.unsqueeze(1)
    if images.ndim == 4:
        first, last = images.shape[1], images.shape[3]
        return images.permute(0, 3, 1, 2) if last in (1, 3) and first not in (1, 3) else images
    raise UserError(
        f"{said}: has the shape {tuple(array.shape)}: images are (N, H, W), (N, H, W, C) or "
        "(N, C, H, W)"
    )
