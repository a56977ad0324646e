"""A run found again, run again, evaluated and exported, as its user does it."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mnist_sweep import evaluate, export, rerun, train
from mnist_sweep.errors import FailureError, UserError
from mnist_sweep.runs.lookup import find_run
from mnist_sweep.runs.outcome import Outcome, compare
from mnist_sweep.runs.record import RunRecord, write_result
from mnist_sweep.runs.saved import SavedRun
from mnist_sweep.runs.table import ResultsTable
from mnist_sweep.sets.dataset import Dataset
from tests.conftest import TINY, choices, environment, make_experiment, read_result, read_table

QUICK = [*TINY[1:], "trainer.epochs=2"]
"""Of TINY all but the data set: without MNIST here, `auto` is digits."""


def start(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "Traceback" not in done.stderr
    return done


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of `data=auto`, and what a search would leave: the same run as a trial,
    and a row of a point that its budget rejected."""
    folder = tmp_path_factory.mktemp("runs")
    done = start(folder, "mnist_sweep", *QUICK, "seed=3", "hydra.run.dir=outputs/one")
    assert done.returncode == 0, done.stderr
    trial = shutil.copytree(folder / "outputs" / "one", folder / "multirun" / "tiny" / "0")
    as_trial = {"study": "tiny", "trial": 0, "run_dir": "multirun/tiny/0", "run_id": "rtrial0"}
    change(trial / "result.json", **as_trial)
    rejected = RunRecord("rtrial1", "infeasible", {}, 0, study="tiny", trial=1, error="over 15000")
    for record in (RunRecord.from_row(read_result(trial)), rejected):
        ResultsTable(folder / "multirun" / "tiny" / "results.csv").append(record)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, and this process in it."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return Path.cwd()


@pytest.fixture
def one(here: Path) -> SavedRun:
    return find_run("outputs/one")


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """`command(evaluate, RUN)` -> exit code, standard output and error, in this process."""
    before = signal.getsignal(signal.SIGTERM)

    def call(module: Any, *arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        code = module.main()
        return code, *capsys.readouterr()

    yield call
    signal.signal(signal.SIGTERM, before)


# Finding


def test_a_run_is_found_by_any_of_its_names(here: Path) -> None:
    run_id = read_result(Path("outputs/one"))["run_id"]
    for name in (run_id, run_id[:6], "outputs/one", str(here / "outputs" / "one")):
        found = find_run(name)
        assert found.record.run_id == run_id and found.run_dir.resolve() == here / "outputs/one"
    trial = Path("multirun/tiny/0")
    for found in (find_run("tiny/0"), find_run("rtrial0"), find_run("rtrial0", Path("multirun"))):
        assert found.run_dir == trial and found.record.run_id == "rtrial0"


def test_a_found_run_is_what_it_was(one: SavedRun) -> None:
    assert one.record.row() == read_result(one.run_dir)
    history = pd.DataFrame([vars(metrics) for metrics in one.history()])
    pd.testing.assert_frame_equal(
        history.astype(float), pd.read_csv(one.run_dir / "history.csv").astype(float)
    )
    assert one.config().data.name == "auto" and one.config().seed == 3
    data = one.data()
    assert data.name == "digits" and data.val is not None
    assert (len(data.train), len(data.val), len(data.test)) == (128, 100, 100)


def test_its_net_scores_what_was_recorded(one: SavedRun) -> None:
    model, data = one.model(), one.data()
    assert not model.training
    machine = train.Machine(torch.device("cpu"), "fp32", 1)
    score = train.evaluate(model, data.test, data, machine, one.config().trainer.eval_batch_size)
    assert (score.acc, score.loss) == (one.record.test_acc, one.record.test_loss)


def test_loading_a_net_leaves_the_random_state(one: SavedRun) -> None:
    before = torch.get_rng_state()
    one.model()
    assert torch.equal(before, torch.get_rng_state())


def test_runs_are_found_where_their_folder_was_moved(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("elsewhere").mkdir()
    moved = Path("multirun/tiny").rename("elsewhere/renamed")
    assert find_run("rtrial0", Path("elsewhere")).run_dir == moved / "0"
    monkeypatch.chdir("elsewhere")
    assert find_run("rtrial0", Path("renamed/results.csv")).run_dir == Path("renamed/0")
    run_id = read_result(here / "outputs" / "one")["run_id"]
    found = find_run(run_id, Path("../outputs"), Path("renamed"))
    assert found.run_dir.resolve() == here / "outputs" / "one"


def test_runs_are_found_without_a_table(here: Path) -> None:
    for path in here.rglob("results.csv"):
        path.unlink()
    run_id = read_result(Path("outputs/one"))["run_id"]
    assert find_run(run_id[:6]).run_dir == Path("outputs/one")


HEX = st.text("0123456789abcdef", min_size=9, max_size=9)


@given(ids=st.lists(HEX, min_size=1, max_size=8, unique=True), length=st.integers(3, 10))
@settings(max_examples=40, deadline=None)
def test_a_beginning_names_a_run_where_no_other_begins_so(
    ids: list[str], length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    names = [f"r{digits}" for digits in ids]
    for name in names:
        (folder / name).mkdir()
        record = RunRecord(name, "completed", {"model": "ds_cnn"}, 0, run_dir=f"old/{name}")
        write_result(folder / name, record)
        ResultsTable(folder / "results.csv").append(record)
    for name in names:
        beginning = name[:length]
        same = [other for other in names if other.startswith(beginning)]
        if same == [name]:
            assert find_run(beginning, folder).run_dir == folder / name
        else:
            with pytest.raises(UserError) as caught:
                find_run(beginning, folder)
            assert all(other in str(caught.value) for other in same[:6])


def refused(name: str, *sources: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_run(name, *sources)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wrong_names_are_refused_with_what_would_do(here: Path) -> None:
    run_id = read_result(Path("outputs/one"))["run_id"]
    typo = run_id[:-1] + ("0" if run_id[-1] != "0" else "1")
    assert f"did you mean {run_id} (model=ds_cnn, seed=3, completed)" in refused(typo)
    assert "the latest of 3 are" in refused("zzzzzzz")
    assert "at least 3 characters" in refused("r") and "at least 3" in refused("")
    assert "RUN=no such: no such run" in refused("no\nsuch")
    assert "studies: tiny" in refused("tiny/99") and "studies: tiny" in refused("tinny/0")
    assert "holds 1 runs: choose one, such as outputs/one" in refused("outputs")
    assert "is no run directory" in refused("outputs/one/.hydra")
    assert "no such table or folder" in refused(run_id, Path("nowhere"))
    Path("outputs/one/result.json").unlink()
    assert "has not ended" in refused("outputs/one")
    shutil.rmtree("outputs/one")
    assert "its directory outputs/one is gone" in refused(run_id)


def test_a_folder_without_runs_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no run is recorded here" in refused("r12345")


def test_what_was_never_trained_has_nothing_to_load(here: Path) -> None:
    message = refused("tiny/1")
    assert "run rtrial1 (infeasible) is a run without checkpoint" in message
    assert "over 15000" in message


# Damage

OTHER_NET = {"weight": torch.zeros(3)}


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\3\4 cut short", pickle.dumps(Evil(), protocol=2), OTHER_NET, torch.zeros(2)],
    ids=["empty", "cut short", "executable", "another net", "a tensor"],
)
def test_a_damaged_model_is_one_line(content: Any, one: SavedRun) -> None:
    path = one.run_dir / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match="outputs/one/model.pt is damaged or of another") as caught:
        one.model()
    assert "\n" not in str(caught.value)
    assert f"mnist_sweep.rerun {one.record.run_id}" in str(caught.value)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "content",
    ["", "text", "[1, 2]", "model: [", "\0", "model: {a: 1}\ndata: 1\ntrainer: 3\n", "model: ${x}"],
)
def test_a_damaged_config_is_one_line(content: str, one: SavedRun) -> None:
    (one.run_dir / ".hydra" / "config.yaml").write_text(content)
    for load in (one.model, one.data):
        with pytest.raises(UserError) as caught:
            load()
        assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_named(one: SavedRun) -> None:
    (one.run_dir / "history.csv").write_text("epoch,lr\n1,abc\n")
    with pytest.raises(UserError, match="outputs/one/history.csv is damaged"):
        one.history()
    for file, load in (
        ("history.csv", one.history),
        ("model.pt", one.model),
        (".hydra/config.yaml", one.config),
    ):
        (one.run_dir / file).unlink()
        with pytest.raises(UserError, match=f"there is no outputs/one/{file}"):
            load()
    (one.run_dir / "result.json").write_text('{"run_id": "r1", ')
    assert "outputs/one/result.json is damaged" in refused("outputs/one")


def test_a_config_cannot_have_anything_called(one: SavedRun) -> None:
    path = one.run_dir / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    config.model = {"_target_": "os.mkdir", "path": "executed"}
    OmegaConf.save(config, path)
    with pytest.raises(UserError, match="model._target_=os.mkdir: cannot be used"):
        one.model()
    assert not Path("executed").exists()


# Rerun


def test_a_rerun_is_the_same_bit_for_bit(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "here")
    before = read_result(folder / "outputs" / "one")
    change(folder / "outputs" / "one" / "result.json", host="elsewhere", gpu="1: another one")
    done = start(
        folder,
        *("mnist_sweep.rerun", before["run_id"], "--check", "hydra.run.dir=outputs/two"),
        OMP_NUM_THREADS="2",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout.splitlines()[-1]
    assert shown.startswith("identical bit for bit, val_acc ") and "2 epochs" in shown
    after = read_result(folder / "outputs" / "two")
    assert before["threads"] == after["threads"] == 1 and after["data"] == "digits"
    assert (after["host"], after["gpu"]) == (socket.gethostname(), None)
    for name in ("config_hash", "seed", "test_loss", "val_loss", "model", "study"):
        assert after[name] == before[name]
    assert after["overrides"] == before["overrides"] + " data=digits"
    weights = [torch.load(folder / "outputs" / run / "model.pt") for run in ("one", "two")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert list(read_table(folder)["run_id"]) == [before["run_id"], after["run_id"]]
    config = OmegaConf.load(folder / "outputs" / "two" / ".hydra" / "config.yaml")
    assert isinstance(config, DictConfig)
    root = "${oc.env:MNIST_SWEEP_DATA,data}"
    written = OmegaConf.to_container(config.data)
    assert written == {"root": root, "download": True, "name": "digits"}


IN_PROCESS = "hydra/job_logging=none"  # leaves pytest's logging alone


def test_the_recorded_config_wins_and_differences_are_told(one: SavedRun, command: Command) -> None:
    """As if the config files had changed since, and the code."""
    path = one.run_dir / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    config.optimizer.lr = 0.001
    del config.trainer["label_smoothing"]
    del config["budget"]
    OmegaConf.save(config, path)
    result = one.run_dir / "result.json"
    change(result, git_commit="0123456789abcdef", git_dirty=True, torch_version="1.0")
    Path("outputs/results.csv").unlink()
    code, _, err = command(rerun, "outputs/one", "--check", IN_PROCESS)
    assert code == 1
    changed, newer, elsewhere, error = err.replace("; trainer", "\ntrainer").splitlines()
    assert changed.startswith("warning: the config files have other values now for optimizer.lr:")
    assert newer.startswith("trainer.label_smoothing, budget.") and "today's value" in newer
    assert elsewhere.startswith("warning: commit was 0123456789 and changes, is ")
    assert f"torch was 1.0, is {torch.__version__}" in elsewhere
    assert error.startswith("error: not identical: epoch 1 lr is ") and "off by" in error
    assert list(pd.read_csv("outputs/results.csv")["lr"]) == [0.001]


def test_a_run_whose_choices_are_no_more_runs_as_recorded(one: SavedRun, command: Command) -> None:
    change(one.run_dir / "result.json", overrides="experiment=of_old seed=3", experiment="of_old")
    code, out, err = command(rerun, "outputs/one", "--check", IN_PROCESS)
    assert code == 0 and "identical bit for bit" in out
    assert "warning: the config files cannot make this run any more (experiment=of_old: no" in err
    assert list(pd.read_csv("outputs/results.csv")["experiment"].tail(1)) == ["of_old"]


def test_of_a_pruned_run_its_epochs_are_compared(one: SavedRun, command: Command) -> None:
    lines = (one.run_dir / "history.csv").read_text().splitlines(keepends=True)
    (one.run_dir / "history.csv").write_text("".join(lines[:2]))
    (one.run_dir / "model.pt").unlink()
    change(one.run_dir / "result.json", status="pruned", study="s", trial=4)
    Path("outputs/results.csv").unlink()
    code, out, _ = command(rerun, "s/4", "--check", "record.table=mine.csv", IN_PROCESS)
    assert code == 0
    assert out.splitlines()[-1].endswith(": the 1 epoch of history.csv before it was pruned")
    [row] = pd.read_csv("mine.csv").to_dict("records")
    assert row["epochs_done"] == 2 and row["status"] == "completed" and pd.isna(row["study"])


@pytest.mark.slow
def test_a_trial_of_a_search_can_be_run_again(tmp_path: Path) -> None:
    search = ["hydra/sweeper=search", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1"]
    sizes = ["model=cnn_space", "model.stage1.width=choice(8, 60)", "budget.max_params=15000"]
    study = ["hydra.sweeper.study_name=tiny", "hydra.sweeper.n_trials=1"]
    done = start(tmp_path, "mnist_sweep", "-m", *search, *sizes, *study, *QUICK)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "multirun" / "tiny" / "results.csv").set_index("status")["trial"]
    done = start(tmp_path, "mnist_sweep.rerun", f"tiny/{rows['completed']}", "--check")
    assert done.returncode == 0 and "identical bit for bit" in done.stdout
    done = start(tmp_path, "mnist_sweep.rerun", f"tiny/{rows['infeasible']}")
    assert done.returncode == 2 and "is a run without checkpoint" in done.stderr


def test_a_rerun_takes_settings_of_the_machine_only(one: SavedRun, command: Command) -> None:
    code, out, err = command(rerun, "outputs/one", "optimizer.lr=1")
    assert (code, out) == (2, "") and err.startswith("error: optimizer.lr=1: a rerun keeps")
    code, out, err = command(rerun, "outputs/one", "hydra.run.dir=outputs/../outputs/one")
    assert code == 2 and "is the recorded run's own: choose another" in err
    code, out, err = command(rerun, "outputs/one", "hydra.run.dri=x")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    (one.run_dir / "history.csv").unlink()
    code, out, err = command(rerun, "outputs/one", "--check")
    assert code == 2 and "has no history" in err and out == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w["0.0.weight"].view(-1)[3:4].add_(0.5), "0.0.weight: 1 of 72 numbers are off"),
        (lambda w: w.pop("0.0.weight"), "has other tensors"),
        (lambda w: w.update({"0.0.weight": torch.zeros(2)}), "has another shape"),
    ],
)
def test_the_first_different_number_is_named(
    one: SavedRun, change: Callable[[Any], None], words: str
) -> None:
    recorded, new = Outcome.of(one), Outcome.of(one)
    assert new.weights is not None
    assert compare(recorded, new).startswith("identical bit for bit")
    change(new.weights)
    with pytest.raises(FailureError, match=words):
        compare(recorded, new)


# Evaluation


def test_evaluating_shows_and_writes_what_the_net_does(one: SavedRun, command: Command) -> None:
    code, out, err = command(evaluate, one.record.run_id[:6])
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines())
    assert f"test_acc {one.record.test_acc:.4f}" in out and "equals the recorded test_acc" in out
    frame = pd.read_csv(one.run_dir / "predictions.csv", comment="#")
    data = one.data()
    images, labels = data.test.batch(torch.arange(100))
    with torch.no_grad():
        shares = one.model()(data.normalise(images)).softmax(1).numpy()
    assert list(frame["prediction"]) == list(shares.argmax(1))
    assert list(frame["label"]) == labels.tolist()
    np.testing.assert_allclose(frame["confidence"], shares.max(1), atol=1e-6)
    same = data.test.labels[torch.tensor(frame["image"].to_numpy())]
    assert list(frame["label"]) == same.tolist(), "`image` is the index in the file"
    counts = pd.crosstab(frame["label"], frame["prediction"])
    rows = [line.split() for line in out.split("label   prediction\n")[1].splitlines()[1:11]]
    for label, row in enumerate(rows):
        expected = [counts.get(p, pd.Series(dtype=int)).get(label, 0) for p in range(10)]
        assert [0 if cell == "." else int(cell) for cell in row[1:]] == expected
    for picture in ("confusion.png", "misclassified.png"):
        assert (one.run_dir / picture).read_bytes().startswith(b"\x89PNG")


def test_an_accuracy_that_differs_is_said(one: SavedRun, command: Command) -> None:
    change(one.run_dir / "result.json", test_acc=one.record.test_acc - 0.02)  # type: ignore[operator]
    code, out, _ = command(evaluate, "outputs/one", "-o", "new/folder")
    assert code == 0 and "DIFFERS from the recorded" in out and "by 2 images" in out
    assert {path.name for path in Path("new/folder").iterdir()} == {
        *("predictions.csv", "confusion.png", "misclassified.png")
    }


def test_predictions_are_kept_and_never_stale(one: SavedRun) -> None:
    first = evaluate.predictions(one)
    path = one.run_dir / "predictions.csv"
    pd.testing.assert_frame_equal(evaluate.predictions(one), first)
    kept = path.read_text()
    path.write_text(kept.replace("\n", " \n", 1))  # another first line
    pd.testing.assert_frame_equal(evaluate.predictions(one), first)
    assert path.read_text() == kept
    lines = kept.splitlines(keepends=True)
    path.write_text("".join([*lines[:2], "7,1,2,0.5\n", *lines[3:]]))
    assert evaluate.predictions(one)["prediction"][0] == 2, "what is kept is not computed again"
    for damaged in ("".join(lines[:50]), lines[0], "", "\0", "".join([*lines[:2], "a,b,c,d\n"])):
        path.write_text(damaged)
        pd.testing.assert_frame_equal(evaluate.predictions(one), first)
    weights = torch.load(one.run_dir / "model.pt")
    weights["0.0.weight"].neg_()
    torch.save(weights, one.run_dir / "model.pt")
    assert list(evaluate.predictions(one)["confidence"]) != list(first["confidence"])


def test_predictions_can_be_asked_for_by_many_at_once(one: SavedRun) -> None:
    with ThreadPoolExecutor(6) as pool:
        frames = list(pool.map(lambda _: evaluate.predictions(one), range(12)))
    assert all(frame.equals(frames[0]) for frame in frames)
    assert [path.name for path in one.run_dir.glob("*predictions*")] == ["predictions.csv"]


def test_predictions_need_no_folder_that_can_be_written(one: SavedRun, command: Command) -> None:
    (one.run_dir / "predictions.csv" / "in the way").mkdir(parents=True)
    assert len(evaluate.predictions(one)) == 100
    code, out, err = command(evaluate, "outputs/one")
    assert code == 2 and "test_acc" in out
    assert err.startswith("error: outputs/one cannot be written (") and err.endswith("with -o\n")


def test_a_run_without_weights_cannot_be_evaluated(one: SavedRun, command: Command) -> None:
    weights = torch.load(one.run_dir / "model.pt")
    torch.save({n: v * torch.nan for n, v in weights.items()}, one.run_dir / "model.pt")
    for module, extra in ((evaluate, []), (export, ["-o", "net.onnx"])):
        code, out, err = command(module, "outputs/one", *extra)
        assert (code, out) == (2, "") and "no finite number" in err
    (one.run_dir / "model.pt").unlink()
    for module, extra in ((evaluate, []), (export, ["-o", "net.onnx"])):
        code, out, err = command(module, "outputs/one", *extra)
        assert (code, out) == (2, "") and "is a run without checkpoint" in err


# Export


def session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_an_exported_net_answers_as_the_trained_one(one: SavedRun, command: Command) -> None:
    import onnx

    code, out, err = command(export, "outputs/one", "-o", "net.onnx")
    assert (code, err) == (0, "")
    assert "checked  on 100 test images of digits: the same answers as torch" in out
    exported = onnx.load("net.onnx")
    onnx.checker.check_model(exported, full_check=True)
    facts = {entry.key: entry.value for entry in exported.metadata_props}
    assert facts["run_id"] == one.record.run_id and facts["num_classes"] == "10"
    assert int(facts["num_params"]) == one.record.num_params
    assert float(facts["test_acc"]) == one.record.test_acc
    [image] = exported.graph.input
    assert image.name == "image" and exported.graph.output[0].name == "logits"
    content = Path("net.onnx").read_bytes()
    assert str(Path(nn.__file__).parents[1]).encode() not in content, "no path of this machine"
    # As someone would who has only the file: raw pixels, and its own mean and std.
    data = one.data()
    raw = data.test.images[data.test.index].numpy().astype(np.float32)
    pixels = (raw / 255 - float(facts["mean"])) / float(facts["std"])
    net = session(Path("net.onnx"))
    [logits] = net.run(None, {"image": pixels})
    answers = logits.argmax(1)
    assert (answers == data.test.labels[data.test.index].numpy()).mean() == one.record.test_acc
    [single] = net.run(None, {"image": pixels[:1]})
    np.testing.assert_allclose(single, logits[:1], atol=1e-5)


def exported(model: nn.Module, path: Path) -> float:
    """The largest difference between torch and the exported net, on noise."""
    path.write_bytes(export.to_onnx(model, (1, 28, 28), {}))
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images).numpy()
    [logits] = session(path).run(None, {"image": images.numpy()})
    assert logits.shape == (5, 10)
    return float(np.abs(logits - expected).max())


def warmed_up(*overrides: str) -> nn.Module:
    """A net with batch-norm statistics of its own, in evaluation mode."""
    model = make_experiment(*overrides, "budget.max_params=null").model
    model(torch.randn(32, 1, 28, 28))
    return model.eval()


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=rf_cnn"],
        ["model=cnn_space", "model.stage2.conv=separable", "model.stage2.residual=true",
         "model.stage2.pool=avg", "model.order=conv-act-bn", "model.activation=silu",
         "model.head=linear"],
        ["model=cnn_space", "model.stage2.pool=stride", "model.head=gmp", "model.stem_stride=2"],
    ],
    ids=["rf_cnn", "space of separable units", "space with strides"],
)  # fmt: skip
def test_nets_can_be_exported(overrides: list[str], tmp_path: Path) -> None:
    assert exported(warmed_up(*overrides), tmp_path / "net.onnx") < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("model", choices("model"))
def test_every_model_can_be_exported(model: str, tmp_path: Path) -> None:
    assert exported(warmed_up(f"model={model}"), tmp_path / "net.onnx") < 1e-4


def constant(data: Dataset) -> torch.Tensor:
    return torch.eye(10)[torch.zeros(len(data.test), dtype=torch.int64)]


class Wrong(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))[:, None] * torch.ones(10) + torch.eye(10)[1]


def test_a_net_that_answers_otherwise_is_refused(one: SavedRun, tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(export.to_onnx(Wrong(), (1, 28, 28), {}))
    data = one.data()
    with pytest.raises(FailureError, match="100 of 100 test images are classified otherwise"):
        export.check(file, data, constant(data))
    images, _ = data.test.batch(torch.arange(len(data.test)))
    expected = Wrong()(data.normalise(images))
    difference, _ = export.check(file, data, expected)
    assert difference < 1e-5
    with pytest.raises(FailureError, match="0 of 100 .* differ by 2.0e-04 at most"):
        export.check(file, data, expected + 2e-4)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(FailureError, match="no valid ONNX model"):
        export.check(file, data, expected)


def test_a_file_is_replaced_only_by_a_verified_one(one: SavedRun, command: Command) -> None:
    Path("net.onnx").write_text("old")
    (one.run_dir / "model.pt").write_bytes(b"")
    code, out, err = command(export, "outputs/one", "-o", "net.onnx")
    assert (code, out) == (2, "") and "model.pt is damaged" in err
    assert Path("net.onnx").read_text() == "old"
    assert [path.name for path in Path().iterdir() if "onnx" in path.name] == ["net.onnx"]


def test_wrong_arguments_of_export_are_one_line(
    one: SavedRun, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("folder.onnx").mkdir()
    for arguments, words in (
        (["-o", "net.pt"], "-o net.pt: the file is an ONNX net; end its name in .onnx"),
        (["-o", "folder.onnx"], "-o folder.onnx cannot be written (Is a directory)"),
        (["-o", "no/net.onnx"], "-o no/net.onnx cannot be written (No such file"),
        (["-o", "net.onnx", "--check-images", "0"], "--check-images 0: at least one"),
    ):
        code, out, err = command(export, "outputs/one", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {words}") and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = command(export, "outputs/one", "-o", "net.onnx")
    assert code == 2 and "export needs onnxruntime: pip install 'mnist-sweep[export]'" in err


# The real MNIST


@pytest.mark.mnist
def test_on_all_test_images_of_mnist(mnist_root: str, tmp_path: Path, command: Command) -> None:
    arguments = ["data=mnist", "debug=fast", "trainer.limit_val=null", "trainer.epochs=1"]
    arguments += ["trainer.limit_test=null"]
    extra = ["optimizer.lr=0.02", "trainer.ema_horizon=0", "hydra.run.dir=run"]
    done = start(tmp_path, "mnist_sweep", *arguments, *extra, MNIST_SWEEP_DATA=mnist_root)
    assert done.returncode == 0, done.stderr
    run = find_run(str(tmp_path / "run"))
    frame = evaluate.predictions(run)
    assert len(frame) == 10_000 and list(frame["image"]) == list(range(10_000))
    assert (frame["label"] == frame["prediction"]).mean() == run.record.test_acc
    digest = hashlib.sha256((run.run_dir / "model.pt").read_bytes()).hexdigest()
    assert digest in (run.run_dir / "predictions.csv").read_text().splitlines()[0]
    code, out, err = command(export, run.run_dir, "-o", tmp_path / "net.onnx")
    assert (code, err) == (0, "")
    assert "checked  on 10,000 test images of mnist: the same answers as torch, accuracy " in out
    assert f"{run.record.test_acc:.4f}" in out
