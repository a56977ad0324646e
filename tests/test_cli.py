"""The command line as a user meets it: start-up, help, and one clear line for each mistake."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mnist_sweep import __version__
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


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_fits_a_first_screen(cli: Cli, flag: str) -> None:
    done = cli("model=rf_cnn", flag)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0].startswith("usage: python -m mnist_sweep ")
    assert len(lines) < 24 and max(map(len, lines)) < 80
    for command in ("report", "rerun RUN", "evaluate RUN", "export RUN", "-m sweep=", "--version"):
        assert command in done.stdout, command


def test_help_names_the_users_own_choices(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "my_net.yaml").touch()
    assert re.search(
        r"^model: .*\n.*my_net", cli("--config-dir=mine", "--help").stdout, re.MULTILINE
    )


@pytest.mark.parametrize("flag", ["--version", "--vers"])
def test_version_is_ours(cli: Cli, flag: str) -> None:
    assert cli("seed=1", flag).stdout == f"mnist_sweep {__version__}\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("report --help", "usage: python -m mnist_sweep.report"),
        ("report html --help", "usage: python -m mnist_sweep.report html"),
        ("rerun --help", "usage: python -m mnist_sweep.rerun"),
        ("evaluate --help", "usage: python -m mnist_sweep.evaluate"),
        ("export --help", "usage: python -m mnist_sweep.export"),
    ],
)
def test_the_other_commands_are_commands_of_this_one(cli: Cli, command: str, says: str) -> None:
    done = cli(*command.split())
    assert done.returncode == 0 and done.stdout.startswith(says), done.stderr


@pytest.mark.parametrize("command", ["report nowhere", "rerun nowhere", "export nowhere -o x.txt"])
def test_a_mistake_in_another_command_has_its_line_and_code(cli: Cli, command: str) -> None:
    done = cli(*command.split())
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1


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
    # Numbers that are too large for what computes with them.
    f"trainer.epochs=1{30 * '0'}": ["trainer.epochs=1000", "less than or equal to"],
    f"trainer.batch_size=1{400 * '0'}": ["trainer.batch_size=1000", "(401 characters)"],
    f"trainer.limit_train=1{19 * '0'}": ["trainer.limit_train=1000", "less than or equal to"],
    f"protocol.split_seed=1{20 * '0'}": ["protocol.split_seed=1000", "less than or equal to"],
    f"optimizer.lr=1{400 * '0'}": ["optimizer.lr="],
    f"seed=1{5000 * '0'}": ["seed="],
    "trainer.device=cuda:99999999999999999999": ["trainer.device=cuda:9999", "use auto, cpu"],
    "trainer.device=cuda:128": ["trainer.device=cuda:128", "trainer.device=cpu"],
    "trainer.device='cuda:²'": ["trainer.device=cuda:²", "use auto, cpu"],
    "trainer.threads=100000": ["trainer.threads=100000", "use auto, or a whole number from 1 to"],
    "++protocol.train_first=1": ["protocol.train_first=1", "no image"],
    # Lists and other things where a value or a choice should stand.
    "model.widths=[]": ["model.widths"],
    "model.widths=[[1],[1],[1],[1],[1],[1]] model.dropout=[0,0,0,0,0]": ["model: takes no image"],
    "model.widths=[[[]]]": ["model.widths.0.0"],
    "augmentation=[]": ["augmentation: missing", "augmentation=none"],
    "augmentation=[[affine]]": ["augmentation=[[affine]]"],
    "model=[]": ["model"],
    "optimizer.lr=[]": ["optimizer.lr=[]"],
    "+model=1.5": ["model=1.5"],
    "++optimizer=[1]": ["optimizer=[1]"],
    "++augmentation=3": ["augmentation=3"],
    "++augmentation.affine=3": ["augmentation.affine=3"],
    "++logger=5": ["logger=5"],
    "++trainer=5": ["trainer=5"],
    "++hydra=5": ["++hydra=5"],
    "+1=2": ["1"],
    # Groups and keys that are taken away.
    "~model": ["model: missing"],
    "~optimizer": ["optimizer: missing"],
    "~augmentation": ["augmentation: missing"],
    "~trainer": ["trainer.batch_size: missing"],
    "~data": ["data"],
    "~hydra.run": ["hydra.run"],
    # Hydra's own keys and flags.
    "hydra.verbose=1": ["hydra.verbose=1: cannot be used", "--cfg hydra"],
    "hydra.verbose={a:1}": ["hydra.verbose={a:1}"],
    "hydra.mode=5": ["hydra.mode"],
    "hydra.job_logging=5": ["hydra.job_logging=5"],
    f"hydra.run.dir={300 * 'n'}": ["cannot be written", "hydra.run.dir"],
    "--nothing": ["--nothing: no such flag", "--help"],
    "--multi-run": ["--multi-run: no such flag, did you mean --multirun"],
    "--cfg everything": ["--cfg", "everything"],
    "--config-dir nowhere": ["--config-dir=nowhere: no such folder"],
    "--config-name other": ["--config-name=other: no such config"],
    "--experimental-rerun=nowhere": ["--experimental-rerun=nowhere", "rerun RUN"],
    # What is no override at all.
    "seed": ["'seed': is no KEY=VALUE"],
    "evalute RUN": ["'evalute': is no KEY=VALUE, did you mean evaluate"],
    "report html": ["report: comes first, as in python -m mnist_sweep report --help"],
    "++resume=nowhere": ["resume=nowhere takes the run's own settings: leave out debug=fast"],
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


OF_A_SEARCH = {
    "../../evil": "use a name without . or ..",
    "..": "use a name without . or ..",
    "a/../../b": "use a name without . or ..",
    "/tmp/evil": "study_name=/tmp/evil",
    "[1]": "study_name=[1]",
}


@pytest.mark.parametrize("name", OF_A_SEARCH)
def test_a_study_stays_in_its_folder(cli: Cli, tmp_path: Path, name: str) -> None:
    search = ("-m", "hydra/sweeper=search", "hydra.sweeper.n_trials=1", "optimizer.lr=choice(1,2)")
    done = cli(*search, *TINY, f"hydra.sweeper.study_name={name}")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"hydra.sweeper.study_name={name}" in done.stderr and OF_A_SEARCH[name] in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["the current folder", "hydra.run.dir", "MNIST_SWEEP_DATA"])
def test_a_name_that_is_no_utf8_is_said_at_once(tmp_path: Path, where: str) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(name)
    done = subprocess.run(
        [sys.executable, "-m", "mnist_sweep", *TINY]
        + [f"hydra.run.dir={name}/run"] * (where == "hydra.run.dir"),
        cwd=name if where == "the current folder" else tmp_path,
        env={**environment(), **{where: name}},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: {where}") and r"caf\xe9" in done.stderr
    assert os.listdir(tmp_path) == [Path(name).name] and not os.listdir(name)


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
