"""A saved net on the test set once more: `python -m mnist_sweep.evaluate RUN`."""

import hashlib
import io
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mnist_sweep.errors import Parser, UserError, exit_code
from mnist_sweep.paths import CONFUSION, MISTAKES, PREDICTIONS
from mnist_sweep.runs.lookup import RUN_HELP, find_run
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.saved import SavedRun
from mnist_sweep.writing import write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_sweep.sets.dataset import Dataset
    from mnist_sweep.train import Machine

COLUMNS = ["image", "label", "prediction", "confidence"]

MOST_IN_MATRIX = 12
"""Classes whose matrix is as narrow as a terminal; the picture has all."""

LONGEST_NAME = 16


def main() -> int:
    return exit_code(_main)


def _main() -> None:
    parser = Parser(
        prog="python -m mnist_sweep.evaluate",
        description="Evaluates a saved net on its test set once more: accuracy by class, the "
        f"confusion matrix, the images it gets wrong ({PREDICTIONS}, {CONFUSION}, {MISTAKES}).",
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FOLDER", help="for the files (default: the run's own)"
    )
    arguments = parser.parse_args()
    if arguments.out is not None and arguments.out.exists() and not arguments.out.is_dir():
        raise UserError(f"-o {arguments.out}: is a file; give a folder")
    run = find_run(arguments.run)
    data = run.data()
    frame = _predict(run, data)
    names = data.class_names
    counts = confusion(frame, len(names))
    matrix = ["", *_matrix(counts, names)] if len(names) <= MOST_IN_MATRIX else []
    print("\n".join([*_summary(run, frame), "", *_by_class(counts, names), *matrix]))
    folder = run.run_dir if arguments.out is None else arguments.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / PREDICTIONS, frame, _note(run))
        _draw(folder, run.record, frame, counts, data)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): give a folder that can with -o"
        ) from error
    print(f"\nfiles    {', '.join((PREDICTIONS, CONFUSION, MISTAKES))} in {folder}")


def predictions(run: SavedRun) -> pd.DataFrame:
    """What the net takes each test image for; computed once, then read from predictions.csv.

    Columns: image (its index in the file of the test set), label, prediction, confidence (the
    prediction's share of the softmax, 6 digits).

    Raises:
        UserError: the run has no weights, its data are not here, or a file of it is damaged.
    """
    path, note = run.run_dir / PREDICTIONS, _note(run)
    kept = _read(path, note, run.record.test_images)
    if kept is not None:
        return kept
    frame = _predict(run, run.data())
    with suppress(OSError):  # a folder that cannot be written: it can be computed again
        _write(path, frame, note)
    return frame


def confusion(frame: pd.DataFrame, num_classes: int) -> np.ndarray:
    """(K, K) counts: rows are labels, columns predictions."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (frame["label"].to_numpy(), frame["prediction"].to_numpy()), 1)
    return counts


def logits_of(run: SavedRun, data: "Dataset", machine: "Machine") -> "Tensor":
    """(N, K) logits of the saved net for the test set, as floats on the CPU.

    Raises:
        UserError: the weights cannot be had, or are no numbers.
    """
    import torch

    model, data = run.model().to(machine.device), data.to(machine.device)
    batch_size = run.settings().trainer.eval_batch_size
    batches = []
    with torch.inference_mode(), machine.autocast():
        for positions in torch.arange(len(data.test), device=machine.device).split(batch_size):
            images, _ = data.test.batch(positions)
            batches.append(model(data.normalise(images)).float().cpu())
    logits = torch.cat(batches)
    if not logits.isfinite().all():
        raise UserError(
            f"run {run.record.run_id} ({run.record.status}): its net answers with what is no "
            "finite number; choose a run that completed"
        )
    return logits


def _predict(run: SavedRun, data: "Dataset") -> pd.DataFrame:
    chosen = data.test.index
    confidences, predicted = logits_of(run, data, _machine(run.record)).softmax(1).max(1)
    columns = [
        chosen.numpy(),
        data.test.labels[chosen].numpy(),
        predicted.numpy(),
        confidences.double().numpy().round(6),
    ]
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _machine(record: RunRecord) -> "Machine":
    """What the run computed on, or else the CPU; in the precision of the run."""
    import torch

    from mnist_sweep.train import Machine

    device = torch.device(record.device or "cpu")
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type != "cpu" and (device.index or 0) >= count.get(device.type, 0):
        device = torch.device("cpu")
    return Machine(
        device, "bf16" if record.precision == "bf16" else "fp32", torch.get_num_threads()
    )


# The file


def _note(run: SavedRun) -> str:
    """The file's first line: of what it holds the predictions."""
    digest = hashlib.sha256(run.model_path().read_bytes()).hexdigest()
    return f"# test set of {run.record.groups.get('data')}; model.pt sha256 {digest}"


def _write(path: Path, frame: pd.DataFrame, note: str) -> None:
    write_whole(path, note + "\n" + frame.to_csv(index=False, lineterminator="\n"))


def _read(path: Path, note: str, images: int | None) -> pd.DataFrame | None:
    """None where the file is missing, stale or damaged."""
    try:
        first, _, rest = path.read_text(encoding="utf-8").partition("\n")
        frame = pd.read_csv(io.StringIO(rest), dtype=dict.fromkeys(COLUMNS[:3], np.int64))
    except (OSError, ValueError):
        return None
    whole = list(frame.columns) == COLUMNS and images in (None, len(frame))
    return frame if first == note and whole else None


# What is shown


def _summary(run: SavedRun, frame: pd.DataFrame) -> list[str]:
    record = run.record
    wrong = int((frame["label"] != frame["prediction"]).sum())
    acc = 1 - wrong / len(frame)
    if record.test_acc is None:
        said = "none is recorded"
    elif math.isclose(acc, record.test_acc, abs_tol=0.1 / len(frame)):
        said = "equals the recorded test_acc"
    else:
        images = round(abs(acc - record.test_acc) * len(frame))
        said = f"DIFFERS from the recorded {record.test_acc:.4f}, by {images} images"
    num_params = "" if record.num_params is None else f", {record.num_params:,} parameters"
    return [
        f"run      {record.run_id}: {record.groups.get('model')}{num_params}, seed {record.seed}",
        f"test     {record.groups.get('data')}, {len(frame):,} images",
        f"test_acc {acc:.4f}  ({wrong:,} wrong; {said})",
    ]


def _by_class(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    width = max(5, *(len(short_name(name)) for name in names))
    lines = [f"{'class':<{width}}  images   right        %  most often taken for"]
    for label, row in enumerate(counts):
        images, right = int(row.sum()), int(row[label])
        mistakes = row.copy()
        mistakes[label] = 0
        percent = f"{100 * right / images:.2f}" if images else "-"
        line = f"{short_name(names[label]):>{width}} {images:>7,} {right:>7,} {percent:>8}"
        if mistakes.any():
            most = short_name(names[mistakes.argmax()])
            line += f"  {most} ({mistakes.max():,} of {mistakes.sum():,} mistakes)"
        lines.append(line)
    return lines


def _matrix(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    width = max(4, len(str(counts.max())) + 1)
    first = max(5, *(len(short_name(name)) for name in names))
    header = "".join(f"{name[: width - 1]:>{width}}" for name in names)
    lines = [f"{'label':<{first}}   prediction", f"{'':<{first}}{header}"]
    for name, row in zip(names, counts, strict=True):
        cells = "".join(f"{count or '.':>{width}}" for count in row)
        lines.append(f"{short_name(name):>{first}}{cells}")
    return lines


def short_name(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _draw(
    folder: Path, record: RunRecord, frame: pd.DataFrame, counts: np.ndarray, data: "Dataset"
) -> None:
    """The mistakes of which the net was surest come first."""
    from mnist_sweep.figures.evaluation import confusion_matrix, misclassified
    from mnist_sweep.figures.saving import save

    acc = np.trace(counts) / counts.sum()
    what = f"{record.groups.get('model')} ({record.run_id}) on {data.name}: {100 * acc:.2f} %"
    names = [short_name(name) for name in data.class_names]
    save(confusion_matrix(counts, what, names), folder / CONFUSION)
    wrong = frame[frame["label"] != frame["prediction"]]
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable")
    images = data.test.images.numpy()[wrong["image"].to_numpy()]
    title = f"{what}, {len(wrong):,} of {len(frame):,} wrong"
    labels, predicted, confidences = (wrong[name].to_numpy() for name in COLUMNS[1:])
    called, taken_for = ([names[number] for number in of] for of in (labels, predicted))
    figure = misclassified(images, called, taken_for, confidences, title)
    save(figure, folder / MISTAKES)


if __name__ == "__main__":
    sys.exit(main())
