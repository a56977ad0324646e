"""What recipes set in a group is a choice of that group, from a root of its own."""

from pathlib import Path

import pytest

from mnist_sweep.config_roots import todays
from mnist_sweep.paths import CONF, RECIPES
from tests.conftest import TINY, Cli, make_config, read_result, read_table

PARTS = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_no_everyday_choice_and_an_experiment_or_sweep_uses_it(part: str) -> None:
    group, _, name = part.partition("/")
    assert not (CONF / group / f"{name}.yaml").exists()
    users = [*CONF.glob("experiment/*.yaml"), *CONF.glob("sweep/*.yaml"), *RECIPES.rglob("*.yaml")]
    words = (f"override /{group}: {name}\n", f"- {name}\n")
    assert any(word in path.read_text() for path in users for word in words), part


def test_a_recipe_can_be_mixed_with_another(cli: Cli, tmp_path: Path) -> None:
    done = cli("experiment=rf_cnn", "optimizer=ds_cnn", "scheduler=step", *TINY)
    assert done.returncode == 0, done.stderr
    row = read_table(tmp_path).iloc[0]
    assert (row.model, row.optimizer, row.scheduler) == ("rf_cnn", "ds_cnn", "step")
    assert row.lr == make_config("optimizer=ds_cnn").optimizer.lr == 0.03


def test_a_wrong_choice_lists_the_everyday_ones_only(cli: Cli) -> None:
    done = cli("optimizer=adamm")
    assert done.returncode == 2 and "did you mean adam; optimizer is one of adam, " in done.stderr
    assert "rf_cnn" not in done.stderr


def test_a_misspelt_name_of_an_older_version_is_quoted_as_it_was_written(cli: Cli) -> None:
    for override in ("model=published_rf_cn", "optimizer=published_rf_cn"):
        done = cli(override)
        assert done.returncode == 2 and f"error: {override}: no such choice" in done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optimizer=published_rf_cnn", "optimizer=rf_cnn"),
        ("scheduler=published_ds_cnn,published_rf_cnn,cosine", "scheduler=ds_cnn,rf_cnn,cosine"),
        ("augmentation=[published_ds_cnn,elastic]", "augmentation=[ds_cnn,elastic]"),
        ("model=ours_ds_cnn", "model=ds_cnn_long"),
        ("model=published_rf_cnn_start", "model=rf_cnn_start"),
        ("protocol=published", "protocol=published"),
        ("model.label=published_x", "model.label=published_x"),
        ("hydra.run.dir=published_runs/a=b", "hydra.run.dir=published_runs/a=b"),
        ("resume=outputs/published_x", "resume=outputs/published_x"),
        ("-m", "-m"),
    ],
)
def test_names_of_an_older_version_are_understood(old: str, new: str) -> None:
    assert todays(old) == new


def test_a_command_of_an_older_version_gives_the_same_run(cli: Cli, tmp_path: Path) -> None:
    for folder, optimizer in (("old", "published_rf_cnn"), ("new", "rf_cnn")):
        done = cli(f"optimizer={optimizer}", *TINY, f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
    old, new = (read_result(tmp_path / folder) for folder in ("old", "new"))
    assert old["config_hash"] == new["config_hash"] and old["val_loss"] == new["val_loss"]
    assert old["optimizer"] == new["optimizer"] == "rf_cnn"
