"""Conditions on runs (`--where`): what the tree of an expression means for the rows of a frame.

The report page asks the same of its own rows (page/scripts/where.js); VOCABULARY is what both know.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_sweep.errors import UserError, did_you_mean
from mnist_sweep.metrics import is_accuracy
from mnist_sweep.report.read.expression import (
    LONGEST,
    AllOf,
    AnyOf,
    Calculation,
    Comparison,
    Constant,
    Negative,
    Node,
    Not,
    Several,
    Word,
    parse,
)

ALIASES = {"params": "num_params"}

GRAMMAR = (
    "it takes columns, numbers, 'text', None, the comparisons == != < <= > >= in, "
    "and, or, not, + - * / and ( )"
)

VOCABULARY = {"aliases": ALIASES, "grammar": GRAMMAR, "longest": LONGEST}

HELP = """EXPR takes columns, numbers, 'text', None (a missing value), == != < <= > >= in, and, or,
not, + - * / and ( ). Accuracies are fractions of 1: val_acc > 0.99. What is divided by zero is
missing. A column whose name is no identifier stands in `backticks`. Times are UTC.
In short, = is ==, a blank between two conditions is and, and a word needs no quotes beside a column
of texts: model=ds_cnn val_acc>0.99. Text that stands alone is looked for in all columns of texts,
whatever its case: affine 'out of memory'."""

Mask = NDArray[np.bool_]
Kind = Literal["a number", "text", "true or false", "a time", "None"]

MOMENT = re.compile(
    r"(?!0000)[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
    r"(?::[0-5][0-9](?:\.[0-9]{1,3})?)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?)?)?"
)


def _quotient(dividend: Any, divisor: Any) -> Any:
    """NaN, so a missing value, where the divisor is zero; floats would have it infinite."""
    return dividend / np.where(divisor == 0, np.nan, divisor)


ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

CALCULATE: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
}


def where(runs: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The runs for which the expression holds, such as `params < 8000 and model == 'ds_cnn'`.

    A missing value is equal to None only, and neither smaller nor larger than anything; what is
    divided by zero is one. `x in y` takes a list, or looks for text within text. Text alone is
    looked for in all columns of texts, whatever its case.

    Raises:
        UserError: the expression is malformed, names no column, or compares text with numbers.
    """
    return runs[_Reader(runs, expression).mask()]


def chosen(runs: pd.DataFrame, expression: str | None) -> pd.DataFrame:
    """The runs that a command is about: all, or those of its --where.

    Raises:
        UserError: as `where`, and where the expression holds for none.
    """
    if expression is None:
        return runs
    found = where(runs, expression)
    if found.empty:
        raise UserError(f"--where {expression}: holds for none of the {len(runs):,} runs")
    return found


@dataclass(frozen=True)
class _Value:
    """A constant, or a value for each row. data: float64, str, bool; times are UTC seconds."""

    kind: Kind
    data: Any
    missing: Any = False
    """A mask, where `data` holds a stand-in."""


class _Reader:
    def __init__(self, runs: pd.DataFrame, expression: str) -> None:
        self.runs, self.expression = runs, expression

    def mask(self) -> Mask:
        if len(self.expression) > LONGEST:
            raise self.error(f"longer than {LONGEST:,} characters")
        try:
            tree = parse(self.expression)
        except ValueError as error:
            raise self.error(f"not understood; {GRAMMAR}") from error
        with np.errstate(all="ignore"):
            return self.truth(tree)

    def error(self, problem: str) -> UserError:
        text = " ".join(self.expression.split())
        return UserError(f"--where {text if len(text) <= 80 else f'{text[:77]}...'}: {problem}")

    def shown(self, first: Node, last: Node | None = None) -> str:
        return self.expression[first.start : (last or first).end]

    def truth(self, node: Node) -> Mask:
        """A condition: true or false for each row."""
        match node:
            case AllOf(parts=parts):
                return reduce(operator.and_, map(self.truth, parts))
            case AnyOf(parts=parts):
                return reduce(operator.or_, map(self.truth, parts))
            case Not(of=of):
                return ~self.truth(of)
            case Comparison(operands=operands, signs=signs):
                pairs = zip(operands, signs, operands[1:], strict=False)
                return reduce(operator.and_, (self.compare(*pair) for pair in pairs))
            case Constant(value=str(text)):
                return self.found(text)
            case Word() if self.is_text(node):
                return self.found(node.name)
        value = self.value(node)
        if value.kind != "true or false":
            look = "; in quotes it is looked for" if isinstance(node, Constant | Word) else ""
            raise self.error(f"{self.shown(node)} is no condition; compare it with something{look}")
        return self.each_row(value.data & ~np.asarray(value.missing))

    def each_row(self, result: Any) -> Mask:
        return np.broadcast_to(np.asarray(result, dtype=bool), len(self.runs))

    def found(self, text: str) -> Mask:
        """In which rows a column of texts has this text, whatever its case."""
        found = np.zeros(len(self.runs), dtype=bool)
        for name in self.runs:
            if self.kind(str(name)) == "text":
                codes, distinct = pd.factorize(self.runs[name])  # -1 where it is missing
                holds = [text.lower() in str(other).lower() for other in distinct]
                found |= np.array([*holds, False], dtype=bool)[codes]
        return found

    def compare(self, left: Node, sign: str, right: Node) -> Mask:
        if sign == "==":
            return self.equal(left, right)
        if sign == "!=":
            return ~self.equal(left, right)
        if sign in ("in", "not in"):
            within = self.among(left, right)
            return within if sign == "in" else ~within
        a, b = self.alike(left, right)
        for node, value in ((left, a), (right, b)):
            if value.kind in ("true or false", "None"):
                raise self.error(f"{self.shown(node)} has no order; use == or !=")
        return self.each_row(ORDER[sign](a.data, b.data) & ~(a.missing | np.asarray(b.missing)))

    def equal(self, left: Node, right: Node) -> Mask:
        a, b = self.alike(left, right)
        if "None" in (a.kind, b.kind):
            return self.each_row(b.missing if a.kind == "None" else a.missing)
        return self.each_row((a.data == b.data) & ~(a.missing | np.asarray(b.missing)))

    def among(self, left: Node, right: Node) -> Mask:
        if isinstance(right, Several):
            found = [self.equal(left, item) for item in right.items]
            return reduce(operator.or_, found, self.each_row(False))
        whole, sought = self.value(right), self.value(self.beside(right, left))
        if not (whole.kind == sought.kind == "text" and isinstance(sought.data, str)):
            raise self.error(f"{self.shown(left, right)}: in takes a list or text")
        held = [sought.data in row for row in np.atleast_1d(whole.data)]
        return self.each_row(np.array(held, dtype=bool).reshape(np.shape(whole.data)))

    def alike(self, left: Node, right: Node) -> tuple[_Value, _Value]:
        """Both values, of the same kind unless one is None."""
        a, b = self.value(self.beside(right, left)), self.value(self.beside(left, right))
        if a.kind == "a time" and isinstance(b.data, str):
            b = self.time(b.data)
        elif b.kind == "a time" and isinstance(a.data, str):
            a = self.time(a.data)
        if a.kind != b.kind and "None" not in (a.kind, b.kind):
            texts = f"{self.shown(left)} is {a.kind}, {self.shown(right)} is {b.kind}"
            quotes = "; text goes in quotes, numbers do not" if "text" in (a.kind, b.kind) else ""
            raise self.error(f"{texts}{quotes}")
        if self.is_percent(left, right) or self.is_percent(right, left):
            problem = "accuracies are compared as fractions of 1, such as 0.99"
            raise self.error(f"{self.shown(left, right)}: {problem}")
        return a, b

    def is_percent(self, accuracy: Node, number: Node) -> bool:
        """Whether an accuracy is compared with more than 1, as if it were in percent."""
        return (
            isinstance(accuracy, Word)
            and is_accuracy(ALIASES.get(accuracy.name, accuracy.name))
            and isinstance(number, Constant)
            and isinstance(number.value, float)
            and number.value > 1
        )

    def value(self, node: Node) -> _Value:
        match node:
            case Constant(value=None):
                return _Value("None", None, True)
            case Constant(value=bool(flag)):
                return _Value("true or false", np.bool_(flag))
            case Constant(value=str(text)):
                return _Value("text", text)
            case Constant(value=number):
                return _Value("a number", np.float64(number))
            case Word(name=name):
                return self.column(name)
            case Negative(of=of):
                return self.numbers(-self.number(of))
            case Calculation(left=left, sign=sign, right=right):
                return self.numbers(CALCULATE[sign](self.number(left), self.number(right)))
        return _Value("true or false", self.truth(node))

    def number(self, node: Node) -> Any:
        value = self.value(node)
        if value.kind != "a number":
            raise self.error(
                f"{self.shown(node)} is {value.kind}; only numbers can be calculated with"
            )
        return value.data

    def numbers(self, data: Any) -> _Value:
        return _Value("a number", data, np.isnan(data))

    # Columns

    def known(self, name: str) -> str | None:
        return next((n for n in (name, ALIASES.get(name)) if n in self.runs), None)

    def is_text(self, word: Word) -> bool:
        return not word.in_backticks and self.known(word.name) is None

    def beside(self, other: Node, node: Node) -> Node:
        """The node; a word that names no column is text beside a column of texts or times."""
        if not (isinstance(node, Word) and self.is_text(node) and isinstance(other, Word)):
            return node
        if self.kind(self.known(other.name)) not in ("text", "a time"):
            return node
        return Constant(node.start, node.end, node.name)

    def kind(self, name: str | None) -> Kind | None:
        if name is None:
            return None
        dtype = self.runs[name].dtype
        if pd.api.types.is_bool_dtype(dtype):
            return "true or false"
        if pd.api.types.is_numeric_dtype(dtype):
            return "a number"
        return "a time" if isinstance(dtype, pd.DatetimeTZDtype) else "text"

    def column(self, word: str) -> _Value:
        name = self.known(word)
        if name is None:
            near = did_you_mean(word, map(str, self.runs)) or "; text goes in quotes: 'like this'"
            raise self.error(f"{word}: no such column{near}")
        column, kind = self.runs[name], self.kind(name)
        missing = column.isna().to_numpy()
        if kind == "true or false":
            return _Value(kind, column.to_numpy(dtype=bool, na_value=False), missing)
        if kind == "a number":
            return self.numbers(column.to_numpy(dtype=float, na_value=np.nan))
        if kind == "a time":
            return _Value(kind, _seconds(column), missing)
        return _Value("text", column.astype(object).where(~missing, "").to_numpy(), missing)

    def time(self, text: str) -> _Value:
        try:
            if not MOMENT.fullmatch(text):
                raise ValueError
            moment = datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text)
        except ValueError as error:
            problem = f"'{text}' is no time; write it like '2026-11-21 10:00'"
            raise self.error(problem) from error
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _Value("a time", (zoned - datetime.fromtimestamp(0, UTC)).total_seconds())


def _seconds(times: "pd.Series[Any]") -> NDArray[np.float64]:
    """Since 1970; NaN for a missing one."""
    since = (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(since, dtype=np.float64)
