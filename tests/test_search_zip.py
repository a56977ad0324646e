"""hydra.sweeper.zip: keys that move together."""

import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_sweep.errors import UserError
from mnist_sweep.report.analysis.parallel import parallel_info
from mnist_sweep.report.read.load import load_results
from mnist_sweep.report.read.study import read_study
from mnist_sweep.search.points.space import make_space
from mnist_sweep.search.settings import search_settings
from mnist_sweep.search.study.zipped import unzipped
from tests.conftest import Cli
from tests.test_search import GRID, ONE_JOB, SEARCH, assert_refused, results_of, rows_of, small
from tests.test_search_space import VALUE

PAIR = "hydra.sweeper.zip=[[model,optimizer.lr]]"


def space_of(zips: list[list[str]], *arguments: str, **conditions: dict[str, list[Any]]) -> Any:
    exact = {name.replace("__", "."): parents for name, parents in conditions.items()}
    return make_space({}, arguments, exact, None, groups=zips)


# What it makes of keys

TEXT = st.one_of(VALUE, st.sampled_from(["'a b'", '"it, too"', "a\\,b", "[1,2]", "{a:1}"]))


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=2, max_size=5, unique=True))
@settings(max_examples=50, deadline=None)
def test_zipped_keys_have_the_values_that_were_written(rows: list[tuple[str, str, str]]) -> None:
    keys = ["s.a", "t.b", "c"]
    columns = zip(*rows, strict=True)
    swept = [f"{key}=choice({','.join(c)})" for key, c in zip(keys, columns, strict=True)]
    space = space_of([keys], *swept)
    [(name, distribution)] = space.distributions.items()
    assert name == "zip(s.a, t.b, c)" and space.keys == keys
    found = [unzipped({name: choice}) for choice in distribution.choices]
    assert all(list(values) == keys for values in found)
    assert {as_parsed(values.values()) for values in found} == set(map(as_parsed, rows))


def as_parsed(texts: Iterable[Any]) -> str:
    """What these values of overrides mean."""
    parser = OverridesParser.create()
    return repr([parser.parse_override(f"key={text}").value() for text in texts])


def test_several_groups_are_so_many_parameters() -> None:
    space = space_of(
        [["a", "b"], ["seed", "d", "e"]],
        *("a=x,y", "b=range(3,0,-2)", "f=1,2", "seed=0,1", "d=true,false", "++e='p q','r s'"),
    )
    assert list(space.distributions) == ["zip(a, b)", "f", "zip(seed, d, ++e)"]
    assert space.size() == 8 and len(space.points(8)) == 8
    overrides = {space.overrides(point) for point in space.points(8)}
    assert overrides == {
        (f"a={a}", f"b={b}", f"f={f}", f"seed={seed}", f"d={d}", f"++e={e}")
        for (a, b), f, (seed, d, e) in product(
            [("x", 3), ("y", 1)], [1, 2], [(0, True, "'p q'"), (1, False, "'r s'")]
        )
    }


def test_the_same_pair_twice_is_one_choice() -> None:
    space = space_of([["a", "b"]], "a=1,2,1", "b=3,4,3")
    assert space.distributions["zip(a, b)"].choices == ("1, 3", "2, 4")


def test_conditions_hold_for_each_key_by_itself() -> None:
    """As a parent, as a child of another parameter, and within the same zip."""
    space = space_of(
        [["depth", "third.width"]],
        *("third.pool=max,avg", "depth=2,3,3", "third.width=7,8,9", "last=1,2", "head=gap,linear"),
        third__pool={"depth": [3]},
        third__width={"depth": [3], "head": ["gap"]},
    )
    seen = {space.overrides(point) for point in space.points(100)}
    for depth, width, pool, last, head in product(
        [2, 3], [7, 8, 9], ["max", "avg"], [1, 2], ["gap", "linear"]
    ):
        if (depth, width) not in ((2, 7), (3, 8), (3, 9)):
            continue
        wanted = {f"depth={depth}", f"last={last}", f"head={head}"}
        wanted |= {f"third.pool={pool}"} if depth == 3 else set()
        wanted |= {f"third.width={width}"} if (depth, head) == (3, "gap") else set()
        assert any(set(overrides) == wanted for overrides in seen), wanted
    assert all("third.pool=max" not in o for o in seen if "depth=2" in o)
    point = space.point_with("third.pool", "avg")
    assert "depth=3" in space.overrides(point) and "third.pool=avg" in space.overrides(point)


def test_a_key_that_another_one_rules_out_moves_with_nobody() -> None:
    space = space_of([["a", "b"]], "a=1,2", "b=3,4", "c=2", b={"c": [1]})
    assert list(space.distributions) == ["a"]


WRONG = {
    "lengths": ([["a", "b"]], ["a=1,2", "b=1,2,3"], "a 2, b 3"),
    "key in two": ([["a", "b"], ["b", "c"]], ["a=1,2", "b=1,2", "c=1,2"], "b is in .* twice"),
    "key twice": ([["a", "a"]], ["a=1,2"], "a is in .* twice"),
    "fixed": ([["a", "b"]], ["a=1,2", "b=7"], r"b is fixed \(b=7\)"),
    "not swept": ([["a", "lr.max"]], ["a=1,2", "c=1,2"], "lr.max is not swept: give it values"),
    "misspelt": ([["a", "opt.lrr"]], ["a=1,2", "opt.lr=1,2"], "did you mean opt.lr"),
    "interval": ([["a", "b"]], ["a=1,2", "b=interval(0,1)"], r"b=interval\(0,1\) has no list"),
    "shuffle": ([["a", "b"]], ["a=1,2", "b=shuffle(1,2)"], r"b=shuffle\(1,2\) has no order"),
    "alone": ([["a"]], ["a=1,2"], "a single key has none to move with"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_cannot_be_zipped_is_said_in_one_line(mistake: str) -> None:
    zips, arguments, words = WRONG[mistake]
    with pytest.raises(UserError, match=f"hydra.sweeper.zip.*{words}"):
        space_of(zips, *arguments)


def test_keys_in_a_circle_within_a_zip_are_refused() -> None:
    with pytest.raises(UserError, match="circle"):
        space_of([["a", "b"]], "a=1,2", "b=1,2", a={"b": [1]}, b={"a": [1]})


# The command


@pytest.fixture
def search(cli: Cli) -> Cli:
    def call(*arguments: str, **extra: str) -> Any:
        return cli(*SEARCH, ONE_JOB, GRID, *small(*arguments), *arguments, **extra)

    return call


def test_a_grid_with_a_zip_is_searched_shown_and_gone_on_with(
    search: Cli, cli: Cli, tmp_path: Path
) -> None:
    nets = ["model=ds_cnn_v3_code,ds_cnn_v2_code", "optimizer.lr=0.1,0.05"]
    command = [PAIR, *nets, "trainer.batch_size=64,128"]
    done = search(*command)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    pairs = {("ds_cnn_v3_code", 0.1), ("ds_cnn_v2_code", 0.05)}
    found = set(zip(rows.model, rows.lr, rows.batch_size, strict=True))
    assert found == {(*pair, size) for pair in pairs for size in (64, 128)} and len(rows) == 4
    best = results_of(tmp_path)["best_params"]
    assert (best["model"], best["optimizer.lr"]) in pairs
    runs = load_results(tmp_path / "sweep" / "results.csv")
    assert set(zip(runs.model, runs["optimizer.lr"], strict=True)) == pairs
    study = read_study(tmp_path / "sweep", None)
    axes = {axis.name: axis.choices for axis in parallel_info(study, "val_acc").axes}
    assert axes["zip(model, optimizer.lr)"] == ("ds_cnn_v3_code, 0.1", "ds_cnn_v2_code, 0.05")

    shown = cli("explain", "sweep/0", module="mnist_sweep.sweep").stdout
    [lr] = re.findall(r"^optimizer.lr +(\S+) +(.*\S)", shown, re.M)
    assert lr[0] in ("0.1", "0.05") and lr[1] == "0.1, 0.05, together with model"

    again = search(*command)
    assert again.returncode == 0 and len(rows_of(tmp_path)) == 4
    grown = search(PAIR, nets[0], "optimizer.lr=0.1,0.07", "trainer.batch_size=64,128")
    assert grown.returncode == 0, grown.stderr
    rows = rows_of(tmp_path)
    models = set(zip(rows.model, rows.lr, strict=True))
    assert models == {*pairs, ("ds_cnn_v2_code", 0.07)} and len(rows) == 6
    other = "hydra.sweeper.zip=[[model,trainer.batch_size]]"
    refused = search(other, *command[1:])
    assert refused.returncode == 2 and "zip(model, optimizer.lr)" in refused.stderr
    without = search(*nets, "trainer.batch_size=64,128")
    assert without.returncode == 2 and without.stderr.count("\n") == 1


def test_mistakes_of_the_command_line_end_it(search: Cli, tmp_path: Path) -> None:
    keys = ["model=ds_cnn_v3_code,ds_cnn_v2_code", "optimizer.lr=0.1,0.05,0.01"]
    assert_refused(search(PAIR, *keys), tmp_path, "model 2, optimizer.lr 3")
    assert not (tmp_path / "sweep").exists()


def test_a_group_without_brackets_of_its_own_is_explained() -> None:
    with pytest.raises(UserError, match=r"write \[\[a,b\]\]"):
        search_settings({"zip": ["a", "b"]})
