"""The configuration: every yaml composes, every mistake is said, every setting has its hash."""

import subprocess
import sys
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mnist_sweep.config import OWN, Schema
from mnist_sweep.errors import UserError
from mnist_sweep.experiment import Experiment
from mnist_sweep.paths import CONF
from tests.conftest import choices, environment, hash_of, make_config, make_experiment

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())


# The files of conf/


def group_files() -> list[tuple[str, str]]:
    return [(group, choice) for group in GROUPS for choice in choices(group)]


def typed_group(experiment: Experiment, group: str) -> dict[str, Any]:
    """What became of a config group's settings, as plain values."""
    if group in ("optimizer", "scheduler"):
        leaf: Schema = getattr(experiment, group)
    else:
        leaf = getattr(experiment.settings, group)
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in leaf.model_dump().items()
    }


@pytest.mark.parametrize(
    ("group", "choice"), [found for found in group_files() if found[1] not in OWN]
)
def test_every_choice_of_every_group_becomes_a_typed_experiment(group: str, choice: str) -> None:
    experiment = make_experiment(f"{group}={choice}")
    written = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))
    assert isinstance(written, dict)
    if group == "augmentation":
        names = [type(augmentation).__name__ for augmentation in experiment.augmentation]
        assert names == [entry["_target_"].rpartition(".")[2] for entry in written.values()]
    elif group in ("data", "protocol", "trainer", "budget", "optimizer", "scheduler"):
        written.pop("_target_", None)
        typed = typed_group(experiment, group)
        assert {key: typed[str(key)] for key in written} == written


def test_augmentations_can_be_chosen_together() -> None:
    names = [
        type(augmentation).__name__
        for augmentation in make_experiment("augmentation=[elastic,affine]").augmentation
    ]
    assert names == ["Elastic", "Affine"]


def test_the_model_of_a_seed_is_always_the_same() -> None:
    def weights(seed: int) -> list[float]:
        model = make_experiment(f"seed={seed}").model
        return [value for tensor in model.parameters() for value in tensor.flatten().tolist()]

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


# Experiments


@pytest.mark.parametrize(
    "experiment",
    [
        name if name in ("rf_cnn", "ds_cnn_long") else pytest.param(name, marks=pytest.mark.slow)
        for name in choices("experiment")
    ],
)
def test_any_choice_replaces_that_of_an_experiment(experiment: str) -> None:
    for group in ("model", "optimizer", "scheduler", "augmentation", "protocol", "debug"):
        for choice in choices(group):
            try:
                make_experiment(f"experiment={experiment}", f"{group}={choice}")
            except UserError as error:
                # What a plateau watches, test or validation, is not measured by every protocol.
                assert group in ("protocol", "scheduler")
                assert str(error).startswith("scheduler.monitor=")


# Mistakes


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        # Out of range
        ("optimizer.lr=-1", ["optimizer.lr=-1: ", "greater than 0"]),
        ("optimizer.lr=0", ["optimizer.lr=0: ", "greater than 0"]),
        ("optimizer.lr=nan", ["optimizer.lr=nan: ", "finite"]),
        ("optimizer.lr=inf", ["optimizer.lr=inf: "]),
        ("optimizer.weight_decay=-1", ["optimizer.weight_decay=-1: ", "or equal to 0"]),
        ("optimizer.betas=[0.9,1.0]", ["optimizer.betas.1=1.0: ", "less than 1"]),
        ("optimizer=sgd optimizer.momentum=1", ["optimizer.momentum=1: ", "less than 1"]),
        ("trainer.batch_size=0", ["trainer.batch_size=0: ", "or equal to 1"]),
        ("trainer.epochs=0", ["trainer.epochs=0: ", "or equal to 1"]),
        ("trainer.label_smoothing=1", ["trainer.label_smoothing=1: ", "less than 1"]),
        ("trainer.label_smoothing=-0.1", ["trainer.label_smoothing=-0.1: ", "equal to 0"]),
        ("trainer.grad_clip_norm=0", ["trainer.grad_clip_norm=0: ", "greater than 0"]),
        ("trainer.ema_horizon=-1", ["trainer.ema_horizon=-1: ", "or equal to 0"]),
        ("trainer.early_stopping=0", ["trainer.early_stopping=0: ", "or equal to 1"]),
        ("trainer.checkpoint_every=-1", ["trainer.checkpoint_every=-1: ", "equal to 0"]),
        ("trainer.limit_train=0", ["trainer.limit_train=0: ", "or equal to 1"]),
        ("trainer.threads=0", ["trainer.threads=0: ", "auto, or a whole number from 1"]),
        ("seed=-1", ["seed=-1: ", "or equal to 0"]),
        ("seed=4294967296", ["seed=4294967296: ", "less than 4294967296"]),
        ("protocol.val_one_in=1", ["protocol.val_one_in=1: ", "or equal to 2"]),
        ("protocol.train_first=0", ["protocol.train_first=0: ", "or equal to 1"]),
        ("budget.max_params=0", ["budget.max_params=0: ", "or equal to 1"]),
        ("scheduler.warmup=2", ["scheduler.warmup=2: ", "or equal to 1"]),
        ("scheduler=step scheduler.step_size=0", ["scheduler.step_size=0: ", "equal to 1"]),
        ("scheduler=plateau scheduler.gamma=1", ["scheduler.gamma=1: ", "less than 1"]),
        ("augmentation.affine.strength=-1", ["augmentation.affine.strength=-1: ", "equal to 0"]),
        (
            "augmentation=elastic augmentation.elastic.sigma=0",
            ["augmentation.elastic.sigma=0: ", "greater than 0"],
        ),
        ("model.widths=[[8],[0],[]]", ["model.widths.1.0=0: ", "or equal to 1"]),
        ("model.dropout=[0.1,1.0]", ["model.dropout.1=1.0: ", "less than 1"]),
        # Of another type, or none of the values there are
        ("optimizer.lr=fast", ["optimizer.lr=fast: ", "valid number"]),
        ("optimizer.betas=0.9", ["optimizer.betas=0.9: ", "valid tuple"]),
        ("trainer.epochs=2.5", ["trainer.epochs=2.5: ", "valid integer"]),
        ("trainer.epochs=true", ["trainer.epochs=True: ", "valid integer"]),
        ("trainer.epochs='8'", ["trainer.epochs=8: ", "valid integer"]),
        ("trainer.epochs=null", ["trainer.epochs=", "valid integer"]),
        ("trainer.deterministic=1", ["trainer.deterministic=1: ", "valid boolean"]),
        ("trainer.device=gpu", ["trainer.device=gpu: ", "auto", "cpu", "cuda:<number>", "mps"]),
        ("trainer.device=cuda:x", ["trainer.device=cuda:x: ", "cuda:<number>"]),
        ("trainer.device=cpu:0", ["trainer.device=cpu:0: ", "cpu"]),
        ("trainer.precision=fp16", ["trainer.precision=fp16: ", "'fp32'", "'bf16'"]),
        ("trainer.weights=first", ["trainer.weights=first: ", "'last'", "'best'"]),
        ("data.name=cifar", ["data.name=cifar: ", "'kmnist'", "'digits'"]),
        ("record.table=3", ["record.table=3: ", "valid string"]),
        ("model.padding=full", ["model.padding=full: ", "'valid'", "'same'"]),
        ("scheduler=plateau scheduler.monitor=f1", ["scheduler.monitor=f1: ", "'val_loss'"]),
        # Unknown and missing keys
        ("+trainer.epoch=3", ["trainer.epoch: no such key"]),
        ("+optimizer.beta=3", ["optimizer.beta: no such key"]),
        ("+model.depth=3", ["model.depth: no such key"]),
        ("+augmentation.affine.flip=true", ["augmentation.affine.flip: no such key"]),
        ("+epochs=3", ["epochs: no such key"]),
        ("~trainer.epochs", ["trainer.epochs: missing"]),
        ("~optimizer.lr", ["optimizer.lr: missing"]),
        ("~model.dropout", ["model.dropout: missing"]),
        ("~record", ["record: missing"]),
        ("optimizer.betas=[0.9]", ["optimizer.betas.1: missing"]),
        # Several at once
        ("trainer.epochs=0 trainer.batch_size=0", ["trainer.epochs=0", "trainer.batch_size=0"]),
        # Choices that do not go together
        (
            "scheduler=plateau protocol=final",
            ["scheduler.monitor=val_acc: ", "protocol=final", "scheduler.monitor=train_acc"],
        ),
        (
            "scheduler=plateau protocol=published scheduler.monitor=val_loss",
            ["scheduler.monitor=val_loss: ", "protocol=published", "train_acc or test_acc"],
        ),
        (
            "scheduler=plateau scheduler.monitor=test_acc",
            ["scheduler.monitor=test_acc: ", "protocol=select", "train_acc or val_acc"],
        ),
        (
            "protocol=published trainer.early_stopping=2",
            ["trainer.early_stopping=2", "protocol=published", "use protocol=select"],
        ),
        (
            "protocol=final trainer.early_stopping=2",
            ["trainer.early_stopping=2", "protocol=final", "use protocol=select"],
        ),
        (
            "protocol=final trainer.weights=best",
            ["trainer.weights=best", "protocol=final", "use protocol=select"],
        ),
        (
            "protocol=final protocol.val_one_in=6",
            ["protocol.val_one_in=6", "protocol=final", "hold out none"],
        ),
        (
            "protocol.val_one_in=null",
            ["protocol.val_one_in=", "protocol=select", "holds validation images out"],
        ),
        ("model.dropout=[0.1]", ["model: dropout has 1 values", "need 2"]),
        # Classes
        ("model._target_=os.system", ["model._target_=os.system: ", "MNIST_SWEEP_TARGETS"]),
        (
            "model._target_=mnist_sweep.models.reference.Nothing",
            ["model._target_=mnist_sweep.models.reference.Nothing: ", "cannot be used"],
        ),
        (
            "+augmentation.x={_target_:mnist_sweep.schedulers.Constant,warmup_epochs:1.0}",
            ["augmentation.x._target_=mnist_sweep.schedulers.Constant: is no Augmentation"],
        ),
        ("~model._target_", ["model._target_: missing", "one of the group's files"]),
        ("augmentation.affine=null", ["augmentation.affine"]),
        ("+augmentation.x=3", ["augmentation.x"]),
    ],
)
def test_a_mistake_is_said_with_its_key_and_value(overrides: str, fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        make_experiment(*overrides.split())
    message = str(caught.value)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    assert "\n" not in message and "https://" not in message


@pytest.mark.parametrize(
    ("overrides", "beginning"),
    [
        ("trainer.threads=0", "trainer.threads=0: "),
        ("protocol.val_one_in=null", "protocol.val_one_in="),
        ("protocol=final trainer.weights=best", "trainer.weights=best "),
    ],
)
def test_a_mistake_is_said_in_the_words_of_the_command_line(overrides: str, beginning: str) -> None:
    with pytest.raises(UserError) as caught:
        make_experiment(*overrides.split())
    assert str(caught.value).startswith(beginning)
    assert "constrained-int" not in str(caught.value)


def test_values_at_the_edge_of_their_range_are_taken() -> None:
    trainer = make_experiment(
        "trainer.label_smoothing=0",
        "trainer.ema_horizon=0",
        "trainer.checkpoint_every=0",
        "trainer.threads=1",
        "trainer.device=cuda:1",
        "seed=4294967295",
    ).settings.trainer
    assert (trainer.label_smoothing, trainer.ema_horizon, trainer.checkpoint_every) == (0, 0, 0)
    assert (trainer.threads, trainer.device) == (1, "cuda:1")


# The hash that tells configurations apart

NOT_THE_RESULTS = {
    *("seed", "resume", "record.table", "data.root", "data.download"),
    "trainer.limit_test",  # the column test_images tells such runs apart
}


def leaves(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, child in value.items():
        found |= leaves(f"{prefix}.{key}".strip("."), child)
    return found


def another(value: Any) -> Any:
    """Some other value than this one."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return [*value, 1]
    return 1


def every_key() -> dict[str, Any]:
    return leaves("", OmegaConf.to_container(make_config(), resolve=True))


def changed(cfg: DictConfig, key: str) -> DictConfig:
    copy = cfg.copy()
    OmegaConf.update(copy, key, another(OmegaConf.select(cfg, key)))
    return copy


def test_the_hash_changes_with_every_key_but_those_the_result_does_not_depend_on() -> None:
    cfg = make_config()
    keys = every_key()
    assert set(keys) >= NOT_THE_RESULTS and len(keys) > 40
    hashes = {key: hash_of(changed(cfg, key)) for key in keys}
    same = {key for key, digest in hashes.items() if digest == hash_of(cfg)}
    assert same == NOT_THE_RESULTS
    different = [hashes[key] for key in keys if key not in same]
    assert len(set(different)) == len(different)


def test_every_choice_has_a_hash_of_its_own() -> None:
    hashes: dict[str, list[str]] = {}
    for group, choice in group_files():
        if group in ("sweep", "logger"):  # what to vary, and who watches: not what a run does
            continue
        hashes.setdefault(hash_of(make_config(f"{group}={choice}")), []).append(f"{group}={choice}")
    # The default choices are the config without any; every other choice changes something.
    defaults = OmegaConf.load(CONF / "config.yaml").defaults
    chosen = [next(iter(entry.items())) for entry in defaults if entry != "_self_"]
    expected = {f"{group}={choice}" for group, choice in chosen if choice is not None}
    assert set(hashes.pop(hash_of(make_config()))) == expected
    assert [together for together in hashes.values() if len(together) > 1] == []


@pytest.mark.parametrize(
    ("overrides", "same_as"),
    [
        ("seed=7 data.root=/elsewhere data.download=false record.table=other.csv", ""),
        ("optimizer.lr=0.13 trainer.epochs=8 model=ds_cnn", ""),
        ("debug=fast", "trainer.epochs=2 trainer.limit_train=512 trainer.limit_val=512"),
        ("model=ds_cnn_v3", "model=ds_cnn_v1 model.widths=[[18],[36],[]]"),
        ("augmentation=none", "~augmentation.affine"),
        ("optimizer.lr=0.02 trainer.epochs=3", "trainer.epochs=3 optimizer.lr=0.02"),
        ("trainer.ema_horizon=1", "trainer.ema_horizon=1.0"),
    ],
)
def test_the_same_settings_have_the_same_hash_however_they_were_made(
    overrides: str, same_as: str
) -> None:
    one, other = make_config(*overrides.split()), make_config(*same_as.split())
    assert hash_of(one) == hash_of(other)


def test_a_hash_is_the_same_in_another_process() -> None:
    code = (
        "from tests.conftest import hash_of, make_config; "
        "print(hash_of(make_config('model=rf_cnn')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(PYTHONHASHSEED="1"),
        cwd=CONF.parent,
        check=True,
    )
    assert done.stdout.strip() == hash_of(make_config("model=rf_cnn"))
