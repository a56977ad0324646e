"""What makes a run what it is: the marks on the schemas, and what is derived from them."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mnist_sweep.config import NotIn, Schema, Settings, resolved, settings_of, unchecked
from mnist_sweep.errors import UserError
from mnist_sweep.identity import config_hash, differing, flat_config, keys, result_key
from tests.conftest import choices, make_config


class Inner(Schema):
    counts: int
    noted: Annotated[int, NotIn.HASH | NotIn.LOG]


class Outer(Schema):
    inner: Inner
    place: Annotated[str, NotIn.HASH | NotIn.RESULT]
    whole: Annotated[Inner, NotIn.RESULT]


def test_a_mark_on_a_field_is_all_that_a_new_key_needs() -> None:
    assert keys(NotIn.HASH, Outer) == ("inner.noted", "place", "whole.noted")
    assert keys(NotIn.RESULT, Outer) == ("place", "whole")
    assert keys(NotIn.HASH | NotIn.RESULT, Outer) == ("place",), "both marks, not either"
    assert keys(NotIn.STUDY, Outer) == ()


def config_of(*overrides: str) -> dict[str, Any]:
    return resolved(make_config(*overrides))


@pytest.mark.parametrize(
    ("mark", "digest"), [(NotIn.HASH, config_hash), (NotIn.RESULT, result_key)]
)
def test_a_digest_is_blind_to_marked_keys_and_sees_all_others(mark: NotIn, digest: Any) -> None:
    config = config_of("logger=tensorboard", "protocol=select")
    plain = digest(config)
    for key, value in flat_config(config).items():
        changed = OmegaConf.create(config)
        OmegaConf.update(changed, key, [value, "other"])
        is_marked = any(f"{key}.".startswith(f"{marked}.") for marked in keys(mark))
        assert (digest(resolved(changed)) == plain) == is_marked, key


def test_every_marked_key_exists() -> None:
    own = ("data=csv", "data.path=train.csv")  # which has keys that the other sets lack
    known = {
        key for data in ((), own) for key in flat_config(config_of("logger=tensorboard", *data))
    }
    for mark in NotIn:
        for key in keys(mark):
            assert any(f"{name}.".startswith(f"{key}.") for name in known), (mark, key)


@given(st.dictionaries(st.text("ab", min_size=1), st.integers() | st.none(), max_size=5))
def test_what_differs_is_named_and_missing_is_null(config: dict[str, Any]) -> None:
    assert differing(config, config, ()) == []
    assert differing(config, {}, ()) == [key for key, v in config.items() if v is not None]


@pytest.mark.parametrize("protocol", choices("protocol"))
def test_unchecked_settings_of_a_right_config_are_the_checked_ones(protocol: str) -> None:
    config = config_of(f"protocol={protocol}")
    assert unchecked(config) == settings_of(config)


def test_unchecked_settings_hold_what_is_wrong_as_it_stands() -> None:
    config = config_of("trainer.batch_size=16.5")
    with pytest.raises(UserError, match=r"trainer\.batch_size=16\.5"):
        settings_of(config)
    assert unchecked(config).trainer.batch_size == 16.5
    assert isinstance(unchecked(config), Settings)
