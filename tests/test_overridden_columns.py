"""Every key that runs were given is a column: of the frames, of --by, --where, --sort, the page."""

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_sweep.report import load_results
from mnist_sweep.report.page.columnar import columnar
from mnist_sweep.report.read.where import where
from mnist_sweep.runs.table import ResultsTable
from tests.conftest import Cli
from tests.results import alone

GIVEN = [
    "model=a model.width=8 optimizer.lr=0.1 'model.kinds=[plain, separable]' hydra.job.chdir=false",
    "model=a model.width=16 optimizer.lr=1e-3 +mine.flag=true ~scheduler seed=3",
    "model=a optimizer.lr=.5 ++mine.flag=False model.width=null",
    "",
]


@pytest.fixture
def runs(tmp_path: Path) -> pd.DataFrame:
    path = tmp_path / "results.csv"
    for number, overrides in enumerate(GIVEN):
        ResultsTable(path).append(alone(number, model="a", overrides=overrides))
    return load_results(path)


def test_a_key_is_a_column_a_number_where_all_of_it_are(runs: pd.DataFrame) -> None:
    keys = [str(name) for name in runs if "." in str(name)]
    assert keys == ["mine.flag", "model.kinds", "model.width", "optimizer.lr"]
    assert [str(runs[key].dtype) for key in keys] == ["boolean", "string", "Int64", "float64"]
    assert runs["model.width"].fillna(-1).tolist() == [8, 16, -1, -1]
    assert runs["optimizer.lr"].fillna(-1).tolist() == [0.1, 0.001, 0.5, -1]
    assert runs["mine.flag"].astype(object).where(runs["mine.flag"].notna(), None).tolist() == [
        *(None, True, False, None)
    ]
    assert runs["model.kinds"][0] == "[plain, separable]"
    assert runs.seed.notna().all()  # and no key has taken the place of a column


def test_conditions_name_keys_as_commands_do(runs: pd.DataFrame) -> None:
    def found(expression: str) -> list[int]:
        return where(runs, expression).index.tolist()

    assert found("model.width > 8 or optimizer.lr=0.5") == [1, 2]
    assert found("model.width == None") == [2, 3]
    assert found("mine.flag") == [1]
    assert found("'separable' in model.kinds") == [0]


def test_the_page_shows_a_key_where_it_varies(runs: pd.DataFrame) -> None:
    shown = columnar(runs)["shown"]
    assert {"model.width", "mine.flag"} <= set(shown)
    assert "optimizer.lr" not in shown  # lr says so
    kinds = {column["name"]: column["kind"] for column in columnar(runs)["columns"]}
    assert (kinds["model.width"], kinds["mine.flag"]) == ("number", "flag")
    one_width = columnar(pd.concat([runs.head(1)] * 2, ignore_index=True))
    assert "model.width" not in one_width["shown"]


VALUES = st.one_of(
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.sampled_from(["null", "relu", "[1,2]", "1_000", "nan", "inf", "1e999", "0x10", "-"]),
)


@given(st.lists(st.none() | VALUES, min_size=1, max_size=8))
def test_whatever_is_given_is_read(values: list[Any]) -> None:
    from mnist_sweep.report.read.overridden import with_overridden

    texts = ["" if value is None else f"a.b={value}" for value in values]
    frame = with_overridden(pd.DataFrame({"overrides": pd.Series(texts, dtype="string")}))
    given_ones = [value for value in values if value is not None]
    assert ("a.b" in frame) == bool(given_ones)
    if not given_ones:
        return
    column = frame["a.b"]
    assert len(column) == len(values) and column[[v is None for v in values]].isna().all()
    numbers = [v for v in given_ones if v != "null"]
    if numbers and all(isinstance(v, float | int) and not isinstance(v, bool) for v in numbers):
        assert column.dropna().astype(float).tolist() == pytest.approx(list(map(float, numbers)))
    elif str(column.dtype) == "string":
        assert column.dropna().tolist() == [str(v) for v in numbers]


def test_runs_are_grouped_and_ranked_by_keys(cli: Cli, tmp_path: Path) -> None:
    draw = random.Random(0)
    table = ResultsTable(tmp_path / "results.csv")
    for seed in range(2):
        for width in (8, 16):
            overrides = f"model.width={width} optimizer.lr={draw.choice([0.1, 0.2])} seed={seed}"
            number = 10 * width + seed
            table.append(
                alone(number, model="a", seed=seed, overrides=overrides, val_acc=width / 100)
            )
    done = cli("report", "results.csv", "--by", "model.width", "--sort", "optimizer.lr:asc")
    assert done.returncode == 0, done.stderr
    assert "model.width=8" in done.stdout and "model.width=16" in done.stdout
    wrong = cli("report", "results.csv", "--by", "model.widht")
    assert wrong.returncode == 2 and "model.width" in wrong.stderr
