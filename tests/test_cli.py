"""The command line as a user meets it: start-up, help, and one clear line for each mistake."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli, choices, environment, read_table


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["--help"], ["--info", "defaults"]])
def test_looking_at_the_config_imports_no_torch(tmp_path: Path, arguments: list[str]) -> None:
    probe = (
        "import sys; from mnist_sweep.cli import main\n"
        "try: code = main()\n"
        "finally: print('imported:', {'torch', 'pandas', 'optuna', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "model=rf_cnn", *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert "imported: set()" in done.stdout, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_cfg_job_shows_the_choices_made(cli: Cli) -> None:
    done = cli("model=rf_cnn", "optimizer=sgd", "--cfg", "job")
    assert done.returncode == 0
    assert "reference.RfCnn" in done.stdout and "nesterov: true" in done.stdout


def test_help_names_every_group(cli: Cli) -> None:
    out = cli("--help").stdout
    for group in ("data", "model", "optimizer", "scheduler", "augmentation", "protocol"):
        assert re.search(rf"^{group}: .*{choices(group)[0]}", out, re.MULTILINE), group


def test_shell_completion_offers_choices(tmp_path: Path) -> None:
    """What bash asks the installed command through Hydra's completion function."""
    command = Path(sys.executable).with_name("mnist-sweep")
    line = "mnist-sweep model=ds_"
    done = subprocess.run(
        [command, "-sc", "query=bash"],
        cwd=tmp_path,
        env=environment(COMP_LINE=line, COMP_POINT=str(len(line))),
        capture_output=True,
        text=True,
    )
    assert "model=ds_cnn_v1" in done.stdout.split(), done.stderr


MISTAKES = {
    "model=ds_cn": ["model=ds_cn", "did you mean ds_cnn", "rf_cnn"],
    "augmentation=[affine,elastik]": ["elastik", "elastic"],
    "optimizer=3": ["optimizer=3: no such choice; optimizer is one of adam, adamw"],
    "optimizer=[1,2]": ["optimizer=[1,2]: no such choice"],
    "-m --cfg job": ["Only one of", "--multirun", "--cfg"],
    "lr=0.1": ["lr: no such key", "did you mean optimizer.lr"],
    "modle=ds_cnn": ["modle", "did you mean model"],
    "optimizer.lrr=1": ["optimizer.lrr", "did you mean optimizer.lr"],
    "+optimizer.lrr=1": ["optimizer.lrr"],
    "optimizer.lr=-0.1": ["optimizer.lr=-0.1", "greater than 0"],
    "optimizer.lr=fast": ["optimizer.lr=fast", "number"],
    "trainer.batch_size=0": ["trainer.batch_size=0", "greater than or equal to 1"],
    "trainer.epochs=0": ["trainer.epochs=0", "greater than or equal to 1"],
    "trainer.epochs=1.5": ["trainer.epochs=1.5", "integer"],
    "trainer.device=cuda:99": ["trainer.device=cuda:99", "trainer.device=cpu"],
    "trainer.device=tpu": ["trainer.device=tpu", "auto, cpu"],
    "scheduler.warmup=2": ["scheduler.warmup=2"],
    "augmentation.affine.rotate=-5": ["augmentation.affine.rotate=-5"],
    "model.widths=[[8],[0]]": ["model.widths.1.0=0"],
    "model._target_=os.system": ["model._target_=os.system", "MNIST_SWEEP_TARGETS"],
    "record.table=.": ["record.table=.", "set record.table"],
    "data=mnist data.download=false": [
        "data=mnist", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "MNIST_SWEEP_DATA",
        "data=digits",
    ],
    "protocol=final scheduler=plateau": ["scheduler.monitor=val_acc", "protocol=final"],
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_key_and_remedy(
    cli: Cli, tmp_path: Path, mistake: str
) -> None:
    done = cli("debug=fast", *mistake.split())
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    for fragment in MISTAKES[mistake]:
        assert fragment in done.stderr
    assert not list(tmp_path.glob("**/model.pt"))


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_a_launcher_that_is_not_installed_says_what_brings_it(cli: Cli) -> None:
    done = cli("-m", "hydra/launcher=ray", "seed=0,1", "debug=fast")
    assert done.returncode == 2
    assert done.stderr == (
        "error: hydra/launcher=ray is not installed: pip install 'mnist-sweep[ray]' brings it\n"
    )


def test_a_mistake_shows_its_traceback_when_asked(cli: Cli) -> None:
    done = cli("trainer.epochs=0", HYDRA_FULL_ERROR="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr and "error: trainer.epochs=0" in done.stderr


def test_no_network_and_no_data_says_where_to_put_the_files(cli: Cli) -> None:
    """A proxy on a closed port stands for a machine without a network."""
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    done = cli("data=mnist", "debug=fast", no_proxy="", NO_PROXY="", **nowhere)
    assert done.returncode == 2
    assert "MNIST_SWEEP_DATA" in done.stderr and "data=digits" in done.stderr
    assert "the download failed" in done.stderr and "Traceback" not in done.stderr


def test_an_output_path_that_is_a_file_is_said_before_training(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    done = cli(*TINY)
    assert done.returncode == 2
    assert (
        re.search(r"outputs/\S+ cannot be written", done.stderr) and "hydra.run.dir" in done.stderr
    )
    assert done.stderr.count("\n") == 1 and "train_loss" not in done.stdout


def test_a_full_disk_is_said_before_training(tmp_path: Path) -> None:
    """A limit on the size of files stands for it: config files fit, the probe does not."""
    command = f"ulimit -f 100; exec {sys.executable} -m mnist_sweep {' '.join(TINY)}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "cannot be written" in done.stderr and "hydra.run.dir" in done.stderr
    assert done.stderr.count("\n") == 1 and "train_loss" not in done.stdout


def test_a_foreign_table_is_refused_before_training_and_left_alone(
    cli: Cli, tmp_path: Path
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("name,score\nada,3\n")
    done = cli(*TINY, "record.table=mine.csv")
    assert done.returncode == 2 and "mine.csv is another kind of table" in done.stderr
    assert "train_loss" not in done.stdout
    assert table.read_text() == "name,score\nada,3\n"


def test_a_torn_line_is_set_aside_and_the_run_goes_on(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY).returncode == 0
    table = tmp_path / "outputs" / "results.csv"
    whole = table.read_text()
    table.write_text(whole + "r0123456789,compl")
    assert cli(*TINY, "seed=1").returncode == 0
    frame = read_table(tmp_path)
    assert list(frame.seed) == [0, 1] and set(frame.status) == {"completed"}
    assert (tmp_path / "outputs" / "results.csv.torn").read_text() == "r0123456789,compl\n"
