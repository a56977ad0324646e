"""Conditions on runs: what they hold for, what is refused, and that the page means the same."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_sweep.errors import UserError
from mnist_sweep.report import load_results
from mnist_sweep.report.__main__ import parse
from mnist_sweep.report.read.where import where
from mnist_sweep.runs.record import RunRecord
from mnist_sweep.runs.table import ResultsTable
from tests.browser import Opened

RUNS: list[dict[str, Any]] = [
    {"model": "ds_cnn", "seed": 0, "num_params": 100, "val_acc": 0.5, "debug": None},
    {"model": "rf_cnn", "seed": 1, "num_params": 200, "val_acc": None, "debug": "fast"},
    {"model": "it's `x`", "seed": 2, "num_params": 300, "val_acc": 0.7, "debug": None},
]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    table = ResultsTable(tmp_path_factory.mktemp("three") / "results.csv")
    for number, run in enumerate(RUNS):
        values: dict[str, Any] = {**run}
        groups = {"data": "mnist", **{name: values.pop(name) for name in ("model", "debug")}}
        started = f"2026-11-21T10:00:0{number}+00:00"
        table.append(RunRecord(f"r{number}", "completed", groups, started=started, **values))
    runs = load_results(table.path)
    return runs.assign(**{"my column": pd.array(["a", "b", "a"], dtype="string")})


HOLDS: list[tuple[str, list[int]]] = [
    ("params < 250", [0, 1]),
    ("100 < params <= 300", [1, 2]),
    ("model == 'ds_cnn' and seed in [0, 1]", [0]),
    ('val_acc > 0.6 or model == "rf_cnn"', [1, 2]),
    ("not (seed == 1)", [0, 2]),
    ("val_acc == None", [1]),
    ("val_acc != None", [0, 2]),
    ("debug is None and val_acc is not None", [0, 2]),
    ("debug != 'fast'", [0, 2]),
    ("val_acc != 0.5", [1, 2]),
    ("val_acc < 1", [0, 2]),
    ("not val_acc < 1", [1]),
    ("debug in ['fast', None]", [0, 1, 2]),
    ("seed not in (0, 2)", [1]),
    ("'cnn' in model", [0, 1]),
    ("'fast' not in debug", [0, 2]),
    ('model == "it\'s `x`"', [2]),
    ("`my column` == 'a' and `num_params` > 100", [2]),
    ("params / (seed + 1) == 100", [0, 1, 2]),
    ("-params * 2 - 1 < -401", [2]),
    ("1 / seed > 0.6", [1]),
    ("params / 0 > 1", []),
    ("params / 0 < 1 or 1 / 0 > 1 or -1 / -0.0 > 1 or 0 / 0 == 0", []),
    ("params / (seed - 1) == None", [1]),
    ("params / (seed - 1) != None", [0, 2]),
    ("started < '2026-11-21 10:00:02'", [0, 1]),
    ("git_dirty or not git_dirty", [0, 1, 2]),
    ("git_dirty == None", [0, 1, 2]),
    ("True", [0, 1, 2]),
    ("model < 'e'", [0]),
    ("-" * 1500 + "1 < 2", [0, 1, 2]),
    # In short
    ("params = 200", [1]),
    ("100 < params seed != 1", [2]),
    ("seed=0 or seed=1 debug=fast", [0, 1]),
    ("not seed=1 not seed=0", [2]),
    ("model == ds_cnn", [0]),
    ("model in [ds_cnn, rf_cnn] and 'cnn' in model", [0, 1]),
    ("cnn in model", [0, 1]),
    ("params >= 0,200", [1, 2]),
    ("started < 2026-11-21 10:00:02", [0, 1]),
    ("started >= 2026-11-22 or started = '2026-11-21T12:00:01+02:00'", [1]),
    ("started > '2026-11'", [0, 1, 2]),
    # Text that stands alone
    ("RF_cnn", [1]),
    ("'S `x'", [2]),
    ("cnn not fast", [0]),
    ("'cnn' and seed > 0 or \"it's\"", [1, 2]),
    ("'data'", []),  # a column's name, not its text
]


@pytest.mark.parametrize(("expression", "seeds"), HOLDS)
def test_where_keeps_the_runs_for_which_it_holds(
    expression: str, seeds: list[int], three: pd.DataFrame
) -> None:
    assert where(three, expression).seed.tolist() == seeds


REFUSED = [
    ("", "not understood"),
    ("params <", "not understood"),
    ("params = = 3", "not understood"),
    ("parms < 3", "parms: no such column, did you mean "),
    ("modle == ds_cnn", "modle: no such column, did you mean model"),
    ("model == `ds_cnn`", "ds_cnn: no such column"),
    ("seed == one", "one: no such column"),
    ("seed == 1 or 2", "2 is no condition; compare it with something; in quotes it is"),
    ("model", "model is no condition"),
    ("val_acc>99.1", "val_acc>99.1: accuracies are compared as fractions of 1"),
    ("started > '2026-02-30'", "'2026-02-30' is no time"),
    ("seed=1seed=2", "1seed: no such column"),
    ("(seed=1)(seed=2)", "not understood"),
    ("model == 3", "model is text, 3 is a number; text goes in quotes"),
    ("params > '3'", "params is a number, '3' is text"),
    ("git_dirty > False", "has no order"),
    ("val_acc", "val_acc is no condition"),
    ("seed in 3", "in takes a list or text"),
    ("model + 'x' == 'y'", "model is text; only numbers"),
    ("started > 'soon'", "'soon' is no time"),
    ("__import__('os').system('true') == 0", "not understood"),
    ("model.upper() == 'X'", "not understood"),
    ("(lambda: 1)() == 1", "not understood"),
    ("[run for run in model] == 1", "not understood"),
    ("9**9**9 > 1", "not understood"),
    ("f'{model}' == 'x'", "not understood"),
    ("(" * 400 + "1" + ")" * 400 + " < 2", "not understood"),
    ("1 < 2 and " * 1000, "longer than"),
    ("seed == 0\x00", "not understood"),
    ("`` == 1", "not understood"),
]


@pytest.mark.parametrize(("expression", "problem"), REFUSED)
def test_where_refuses_what_is_no_comparison_of_columns(
    expression: str, problem: str, three: pd.DataFrame
) -> None:
    with pytest.raises(UserError) as caught:
        where(three, expression)
    message = str(caught.value)
    assert message.startswith("--where ") and problem in message and "\n" not in message


def expressions() -> st.SearchStrategy[str]:
    """Conditions over the columns a, b (numbers) and s (text)."""
    number = st.recursive(
        st.sampled_from(["a", "b", "0", "1", "2.5"]),
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        max_leaves=4,
    )
    order = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    text = st.sampled_from(["s", "'x'", "'xy'"])
    comparison = st.one_of(
        st.tuples(number, order, number).map(" ".join),
        st.tuples(number, order, number, order, number).map(" ".join),
        st.tuples(text, order, text).map(" ".join),
        st.tuples(number, st.sampled_from(["in", "not in"]), st.just("[0, a, 3]")).map(" ".join),
        st.sampled_from(["'x' in s", "s in ['x', 'z']", "s not in ('x',)"]),
    )
    return st.recursive(
        comparison,
        lambda inner: st.one_of(
            inner.map(lambda one: f"not ({one})"),
            st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(
                lambda parts: f"({''.join(parts)})"
            ),
        ),
        max_leaves=5,
    )


@settings(deadline=None, max_examples=200)
@given(expression=expressions())
def test_where_means_what_python_means(expression: str) -> None:
    rows = [{"a": a, "b": b, "s": s} for a in (0, 1, 3) for b in (-1.5, 2.5) for s in ("x", "z")]
    runs = pd.DataFrame(rows).astype({"a": "Int64", "s": "string"})
    held = where(runs, expression).index.tolist()
    assert held == [n for n, row in enumerate(rows) if eval(expression, {}, row)]


# The same on the page

TEXTS = ["ds_cnn", "rf_cnn", "Größe", "İstanbul", "it's", 'a "b" `c`', "x y", "🦔", "\uff5e", "3"]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with cells that are missing, torn, foreign or odd. Its numbers have few digits, since
    the page rounds those that have many."""
    table = ResultsTable(tmp_path_factory.mktemp("damaged") / "results.csv")
    for number in range(14):
        text = TEXTS[number % len(TEXTS)]
        table.append(
            RunRecord(
                f"r{number:03}",
                "completed" if number % 3 else "failed",
                {"data": "mnist", "model": text, "debug": None if number % 4 else "fast"},
                seed=number % 5,
                num_params=None if number == 3 else 1000 * (number % 6),
                val_acc=None if number % 4 == 1 else round(0.9 + number / 200, 3),
                train_loss=number / 8 - 0.5,
                lr=0.25 * (number % 3),
                started=f"2026-11-{number + 10}T10:00:{number:02}+00:00",
                git_dirty=None if number % 5 == 4 else number % 2 == 0,
                overrides=f"model={text} seed={number % 5}",
                error="out of memory: 2.5 GB" if number % 3 == 0 else None,
            )
        )
    lines = table.path.read_text(encoding="utf-8").splitlines()
    header = next(csv.reader(lines[:1]))
    cells = next(csv.reader(lines[5:6]))
    cells[header.index("num_params")] = "many"
    cells[header.index("started")] = "soon"
    lines[5] = ",".join(cells)
    lines[7] = lines[7][: len(lines[7]) // 2]  # torn
    lines.append("r900,unheard-of" + "," * (len(header) - 2))
    table.path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table.path


@pytest.fixture(scope="module")
def page(browser: Any, damaged: Path) -> Opened:
    output = damaged.with_name("report.html")
    arguments = parse(["html", str(damaged), "-o", str(output)])
    arguments.run(arguments)
    return Opened(browser, output)


FILTER = """(expressions) => expressions.map((expression) => {
    document.querySelector("#filter").value = expression;
    document.querySelector("#filter-form").requestSubmit();
    const problem = document.querySelector("#filter-message").textContent;
    const rows = [...document.querySelectorAll("#grid .body .row .id")];
    return problem || rows.map((row) => row.textContent).sort();
})"""


def on_the_page(page: Opened, expressions: list[str]) -> list[Any]:
    """For each the run ids that the filter leaves, or what it says is wrong."""
    found: list[Any] = page.page.evaluate(FILTER, expressions)
    assert page.said == []
    return found


def in_the_terminal(runs: pd.DataFrame, expression: str) -> Any:
    try:
        return sorted(where(runs, expression).run_id)
    except UserError as error:
        shown = " ".join(expression.split())
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        return str(error).removeprefix(f"--where {shown}: ")


def without_suggestion(found: Any) -> Any:
    """The page suggests no column that may be meant: all are in its list."""
    return found.partition(": no such column")[:2] if isinstance(found, str) else found


LISTED = [
    *(expression for expression, _ in HOLDS),
    *(expression for expression, _ in REFUSED if expression),
    *(
        "error",
        "'error'",
        "out memory",
        "'OUT OF MEMORY'",
        "i̇stanbul",
        "İ",
        "größe",
        "🦔",
        "'🦔' < model",
    ),
    *(
        "model < '\uff5e'",
        "model > '\ud7ff'",
        "model = it's",
        "model = 'it\\'s'",
        "'\"b\" `'",
        "2.5",
    ),
    *("'2.5'", "git_dirty", "not git_dirty", "git_dirty=False", "git_dirty != None", "yes", "no"),
    *("params=None", "num_params / lr > 1000", "lr / lr == 1", "-train_loss > 0", "--seed = 1"),
    *("started < 2026-11-14", "started in ['2026-11-13 10:00:03', None]", "started = started"),
    *("started > '2026-11-12T12:00:02+02:00'", "started > '2026-13-01'", "started > model"),
    *(
        "seed in (0,1)",
        "seed in (1)",
        "seed not in [0, 1,]",
        "(seed) in [0]",
        "seed in []",
        "seed in 0,1",
    ),
    *("(params > 1,000)", "params > 1,000", "params > 1_000", "params in [1,000]", "1e3 < params"),
    *(
        "None < 3",
        "3 < None",
        "None = None",
        "True = git_dirty",
        "True",
        "False or status = failed",
    ),
    *("rung = None and rung < 3", "rung / 0 = None", "study = x", "'' in study", "x in study"),
    *(
        "constructor",
        "constructor = 1",
        "toString < 2",
        "`model` = '3'",
        "`model`",
        "data",
        "data = mnist",
    ),
    *("val_acc > 99", "99 < val_acc", "val_acc * 100 > 99", "val_acc in [98, 0.9]", "seed > 99"),
    *("(" * 40 + "seed=1" + ")" * 40, "(" * 41 + "seed=1" + ")" * 41, "a" * 2001, "é" * 2000),
    *("seed=1 or seed=2 lr=0.5", "not seed=1 or seed=2", "not not seed=1", "model is not None"),
    *("seed == 1 == True", "(seed == 1) == True", "(seed == 1) == (lr > 0)", "seed = seed = seed"),
    *(
        "seed !- 1",
        "seed <> 1",
        "seed == == 1",
        "and",
        "seed = 1 and",
        "'open",
        "seed = 1 )",
        "\t seed\n=1",
    ),
]


def test_the_page_means_the_same(page: Opened, damaged: Path) -> None:
    runs = load_results(damaged)
    for expression, found in zip(LISTED, on_the_page(page, LISTED), strict=True):
        expected = without_suggestion(in_the_terminal(runs, expression))
        assert without_suggestion(found) == expected, expression


WORDS = [
    *("seed", "params", "val_acc", "train_loss", "lr", "model", "debug", "started", "git_dirty"),
    *("rung", "study", "parms", "`model`", "0", "1", "2.5", "1,000", "0.98", "None", "True"),
    *("'cnn'", "'3'", '"it\'s"', "'2026-11-14'", "2026-11-14 10:00", "cnn", "fast", "and", "or"),
    *("not", "in", "is", "==", "=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "(", ")"),
    *("[", "]", ",", "{", "}", "`", "'", "%", "\u00a0"),
]
"""Of which about one in ten sequences is an expression."""


def mixed() -> st.SearchStrategy[str]:
    return st.lists(
        st.tuples(st.sampled_from(WORDS), st.sampled_from(["", " ", " "])), max_size=9
    ).map(lambda parts: "".join(word + blank for word, blank in parts).strip() or "seed=1")


def sensible() -> st.SearchStrategy[str]:
    """Conditions that are well-formed, mostly."""
    number = st.recursive(
        st.sampled_from(["seed", "params", "val_acc", "lr", "rung", "0", "1.5", "1000"]),
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        max_leaves=3,
    )
    text = st.one_of(
        st.sampled_from(["model", "debug", "study", "data", "cnn", "rf_cnn", "None"]),
        st.text(st.sampled_from("cnx3'\"\\`İi🦔\uff5e "), max_size=4).map(repr),
    )
    time = st.sampled_from(["started", "2026-11-14", "'2026-11-15 10:00'", "None", "'soon'"])
    sign = st.sampled_from(["=", "==", "!=", "<", "<=", ">", ">=", "is", "is not"])
    comparison = st.one_of(
        *(st.tuples(side, sign, side).map(" ".join) for side in (number, text, time)),
        st.tuples(number, sign, number, sign, number).map(" ".join),
        st.tuples(text, st.sampled_from(["in", "not in"]), text).map(" ".join),
        st.tuples(number, st.sampled_from(["in", "not in"]), number, number).map(
            lambda parts: "{} {} [{}, {}, None]".format(*parts)
        ),
        st.sampled_from(["git_dirty", "cnn", "'OF m'", "True"]),
    )
    return st.recursive(
        comparison,
        lambda inner: st.one_of(
            inner.map(lambda one: f"not ({one})"),
            st.tuples(inner, st.sampled_from([" and ", " or ", " "]), inner).map("".join),
        ),
        max_leaves=4,
    )


@settings(deadline=None, max_examples=40)
@given(expressions=st.lists(st.one_of(mixed(), sensible()), min_size=1, max_size=20))
def test_the_page_means_the_same_by_whatever_is_typed(
    expressions: list[str], page: Opened, damaged: Path
) -> None:
    runs = load_results(damaged)
    for expression, found in zip(expressions, on_the_page(page, expressions), strict=True):
        expected = without_suggestion(in_the_terminal(runs, expression))
        assert without_suggestion(found) == expected, expression
