"""A saved net as an ONNX file: `python -m mnist_sweep.export RUN -o net.onnx`.

The file is written only once onnxruntime has given torch's answers on the test images.
"""

import errno
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_sweep.errors import FailureError, Parser, UserError, exit_code
from mnist_sweep.evaluate import logits_of
from mnist_sweep.runs.lookup import RUN_HELP, find_run
from mnist_sweep.runs.saved import SavedRun
from mnist_sweep.writing import unwritable_output

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mnist_sweep.sets.dataset import Dataset

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

INPUT, OUTPUT = "image", "logits"

TOLERANCE = 1e-4
"""Largest difference of a logit between torch and onnxruntime."""

BATCH = 500


def main() -> int:
    return exit_code(_main)


def _main() -> None:
    parser = Parser(
        prog="python -m mnist_sweep.export",
        description="Exports a saved net as ONNX, checked against torch on the test images.",
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--check-images",
        type=int,
        metavar="N",
        help="check the first N test images only (default: all)",
    )
    arguments = parser.parse_args()
    out, check_images = arguments.out, arguments.check_images
    if out.suffix.lower() != ".onnx":
        raise UserError(f"-o {out}: the file is an ONNX net; end its name in .onnx")
    if check_images is not None and check_images < 1:
        raise UserError(f"--check-images {check_images}: at least one image must be checked")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"export needs {', '.join(missing)}: pip install 'mnist-sweep[export]' brings them"
        )
    run = find_run(arguments.run)

    import torch

    from mnist_sweep.train import Machine

    with _whole_or_not(out) as staged:
        data = run.data().limited(test=check_images)
        expected = logits_of(run, data, Machine(torch.device("cpu"), "fp32", 1))
        staged.write_bytes(to_onnx(run.model(), data.shape.image, _metadata(run, data)))
        difference, acc = check(staged, data, expected)
    print(
        f"{out}  {out.stat().st_size / 1e3:,.0f} kB\n"
        f"input    {INPUT}: float32 (N, {', '.join(map(str, data.shape.image))}), "
        f"(pixels / 255 - {_numbers(data.mean)}) / {_numbers(data.std)}\n"
        f"output   {OUTPUT}: float32 (N, {data.shape.num_classes})\n"
        f"checked  on {len(data.test):,} test images of {data.name}: the same answers as torch, "
        f"accuracy {acc:.4f}, logits off by {difference:.1e} at most"
    )


def to_onnx(model: "nn.Module", image: tuple[int, int, int], metadata: dict[str, str]) -> bytes:
    """The net as a serialized ONNX model: batches of any size, weights inside. image: (C, H, W).

    Raises:
        FailureError: torch cannot export it.
    """
    import torch

    contiguous = model.to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, *image)
    try:
        with _quiet():
            program = torch.onnx.export(
                contiguous,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        assert program is not None
        proto = program.model_proto
    except Exception as error:  # its own, onnxscript's, the compiler's
        reason = " ".join(str(error).split())[:200]
        raise FailureError(f"torch cannot export this net as ONNX: {reason}") from error
    _strip(proto)
    proto.doc_string = f"{INPUT}: (pixels / 255 - mean) / std, mean and std as in the metadata"
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    serialized: bytes = proto.SerializeToString()
    return serialized


def check(file: Path, data: "Dataset", expected: "Tensor") -> tuple[float, float]:
    """Runs the file on the test images. expected: (N, K), the net's own logits.

    Returns the largest difference of a logit, and the file's accuracy.

    Raises:
        FailureError: the file is no valid model, takes an image for something else than the net
            does, or a logit is off by more than 1e-4.
    """
    import onnx
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised, too
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        onnx.checker.check_model(str(file), full_check=True)
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # both have many of their own
        reason = " ".join(str(error).split())[:200]
        raise FailureError(f"the exported net is no valid ONNX model: {reason}") from error
    outputs = []
    for positions in torch.arange(len(data.test)).split(BATCH):
        images, _ = data.test.batch(positions)
        outputs += session.run([OUTPUT], {INPUT: data.normalise(images).numpy()})
    logits = np.concatenate(outputs)
    difference = float(np.abs(logits - expected.numpy()).max())
    answers = logits.argmax(1)
    other = int((answers != expected.argmax(1).numpy()).sum())
    if other or not difference <= TOLERANCE:  # so that NaN does not pass
        raise FailureError(
            f"the exported net does not agree with torch: {other:,} of {len(answers):,} test "
            f"images are classified otherwise, logits differ by {difference:.1e} at most "
            f"(allowed: {TOLERANCE:g}); nothing was written"
        )
    labels = data.test.labels[data.test.index].numpy()
    return difference, float((answers == labels).mean())


def _metadata(run: SavedRun, data: "Dataset") -> dict[str, str]:
    """What one needs to use the net, and where it comes from."""
    record = run.record
    entries = {
        "run_id": record.run_id,
        "model": record.groups.get("model"),
        "data": data.name,
        "mean": _numbers(data.mean),
        "std": _numbers(data.std),
        "num_classes": data.shape.num_classes,
        "class_names": json.dumps(data.class_names, ensure_ascii=False),
        "num_params": record.num_params,
        "protocol": record.groups.get("protocol"),
        "test_acc": record.test_acc,
        "seed": record.seed,
        "config_hash": record.config_hash,
        "git_commit": record.git_commit,
        "mnist_sweep_version": record.mnist_sweep_version,
    }
    return {key: str(value) for key, value in entries.items() if value is not None}


def _numbers(of_channels: Sequence[float]) -> str:
    """One, or a list of one for each channel."""
    if len(of_channels) == 1:
        return str(of_channels[0])
    return f"[{', '.join(map(str, of_channels))}]"


def _strip(proto: Any) -> None:
    """Takes out the notes on where each node comes from: they name the files of this machine."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress, deprecations and logs; what it raises is enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


@contextmanager
def _whole_or_not(path: Path) -> Iterator[Path]:
    """A file to write to, which becomes `path` if nothing is raised meanwhile.

    Raises:
        UserError: `path` cannot be written; at once, before anything is computed.
    """
    target, staged = path.resolve(), None
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        staged = Path(name)
        yield staged
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.chmod(0o644)
        os.replace(staged, target)
    except OSError as error:
        raise unwritable_output(path, error.strerror or str(error)) from error
    finally:
        if staged is not None:
            staged.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
