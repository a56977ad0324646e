"""Images as rows of numbers, as Kaggle has MNIST: a column `label`, then one for each pixel."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mnist_sweep.errors import UserError
from mnist_sweep.sets.own import OwnSet, Part, numbered

LABEL = "label"


def read_csv(path: Path, test_path: Path | None) -> OwnSet:
    """
    Raises:
        UserError: it is no such table, or the images are not square.
    """
    train = _part(path, "data.path")
    test = None if test_path is None else _part(test_path, "data.test_path")
    return OwnSet(train, None, test, numbered(int(train.labels.max()) + 1))


def _part(path: Path, key: str) -> Part:
    where = f"{key}={path}"
    try:
        frame = pd.read_csv(path)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror or error})") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{where}: is no table ({' '.join(str(error).split())[:80]})") from error
    if LABEL not in frame.columns:
        raise UserError(
            f"{where}: has no column {LABEL}: its first line names the columns, {LABEL},pixel0,"
            "pixel1,..."
        )
    if frame.empty:
        raise UserError(f"{where}: has no rows")
    pixels = frame.drop(columns=LABEL)
    side = math.isqrt(pixels.shape[1])
    if side * side != pixels.shape[1]:
        raise UserError(
            f"{where}: has {pixels.shape[1]} columns of pixels, which are no square image; a row "
            f"is {LABEL} and width x width pixels"
        )
    for name in frame.columns:
        if frame[name].dtype.kind not in "iu":
            raise UserError(
                f"{where}: the column {name} holds what is no whole number: pixels are 0 to 255, "
                "labels numbers from 0"
            )
    values = pixels.to_numpy()
    if values.size and (values.min() < 0 or values.max() > 255):
        raise UserError(f"{where}: a pixel is {values.max()}: pixels are 0 to 255")
    images = torch.from_numpy(values.astype(np.uint8)).view(-1, 1, side, side)
    return Part(images, torch.from_numpy(frame[LABEL].to_numpy().astype(np.int64)))
