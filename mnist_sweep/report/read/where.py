"""`--where` expressions: Python's comparisons over columns, read with `ast` and never executed."""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_sweep.errors import UserError, did_you_mean

ALIASES = {"params": "num_params"}

MAX_LENGTH = 2_000

GRAMMAR = (
    "it takes columns, numbers, 'text', None, the comparisons == != < <= > >= in, "
    "and, or, not, + - * / and ( )"
)

Mask = NDArray[np.bool_]


def _quotient(dividend: Any, divisor: Any) -> Any:
    """NaN, so a missing value, where the divisor is zero; floats would have it infinite."""
    return dividend / np.where(divisor == 0, np.nan, divisor)


COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

CALCULATE: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _quotient,
}


def where(runs: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The runs for which the expression holds, such as `params < 8000 and model == 'ds_cnn'`.

    A missing value is equal to None only, and neither smaller nor larger than anything; what is
    divided by zero is one. `x in y` takes a list, or looks for text within text. A name that is no
    identifier stands in backticks.

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

    kind: Literal["a number", "text", "true or false", "a time", "None"]
    data: Any
    missing: Any = False
    """A mask, where `data` holds a stand-in."""


class _Reader:
    def __init__(self, runs: pd.DataFrame, expression: str) -> None:
        self.runs, self.expression = runs, expression
        self.backticked: dict[str, str] = {}

    def mask(self) -> Mask:
        if len(self.expression) > MAX_LENGTH:
            raise self.error(f"longer than {MAX_LENGTH:,} characters")
        # A backticked name becomes an identifier that no column has; quoted text stays as it is.
        source = re.sub(
            r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`([^`]+)`""", self._identifier, self.expression
        )
        try:
            tree = ast.parse(source.strip(), mode="eval")
            with np.errstate(all="ignore"):
                return self.truth(tree.body)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            equals = "; equality is ==" if re.search(r"(?<![=!<>])=(?!=)", source) else ""
            raise self.error(f"not understood; {GRAMMAR}{equals}") from error

    def _identifier(self, found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        self.backticked[f"_backticked_{len(self.backticked)}"] = found[1]
        return f" _backticked_{len(self.backticked) - 1} "

    def error(self, problem: str) -> UserError:
        text = " ".join(self.expression.split())
        return UserError(f"--where {text if len(text) <= 80 else f'{text[:77]}...'}: {problem}")

    def truth(self, node: ast.expr) -> Mask:
        """A condition: true or false for each row."""
        match node:
            case ast.BoolOp(op, operands):
                both = operator.and_ if isinstance(op, ast.And) else operator.or_
                return reduce(both, map(self.truth, operands))
            case ast.UnaryOp(ast.Not(), operand):
                return ~self.truth(operand)
            case ast.Compare(left, operators, rights):
                pairs = zip([left, *rights], operators, rights, strict=False)
                return reduce(operator.and_, (self.compare(*pair) for pair in pairs))
        value = self.value(node)
        if value.kind != "true or false":
            raise self.error(f"{self.shown(node)} is no condition; compare it with something")
        return self.each_row(value.data & ~np.asarray(value.missing))

    def each_row(self, result: Any) -> Mask:
        return np.broadcast_to(np.asarray(result, dtype=bool), len(self.runs))

    def shown(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for identifier, name in self.backticked.items():
            text = text.replace(identifier, f"`{name}`")
        return text

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Mask:
        match op, right:
            case ast.In() | ast.NotIn(), ast.List(items) | ast.Tuple(items) | ast.Set(items):
                found = [self.equal(left, item) for item in items]
                among = reduce(operator.or_, found, self.each_row(False))
                return among if isinstance(op, ast.In) else ~among
            case ast.In() | ast.NotIn(), _:
                within = self.contains(right, left)
                return within if isinstance(op, ast.In) else ~within
            case ast.Eq() | ast.Is(), _:
                return self.equal(left, right)
            case ast.NotEq() | ast.IsNot(), _:
                return ~self.equal(left, right)
        a, b = self.alike(left, right)
        if a.kind in ("true or false", "None"):
            raise self.error(f"{self.shown(left)} has no order; use == or !=")
        return self.each_row(
            COMPARE[type(op)](a.data, b.data) & ~(a.missing | np.asarray(b.missing))
        )

    def equal(self, left: ast.expr, right: ast.expr) -> Mask:
        a, b = self.alike(left, right)
        if "None" in (a.kind, b.kind):
            return self.each_row(b.missing if a.kind == "None" else a.missing)
        return self.each_row((a.data == b.data) & ~(a.missing | np.asarray(b.missing)))

    def contains(self, text: ast.expr, part: ast.expr) -> Mask:
        whole, sought = self.value(text), self.value(part)
        if not (whole.kind == sought.kind == "text" and isinstance(sought.data, str)):
            raise self.error(f"{self.shown(part)} in {self.shown(text)}: in takes a list or text")
        found = [sought.data in row for row in np.atleast_1d(whole.data)]
        return self.each_row(np.array(found, dtype=bool).reshape(np.shape(whole.data)))

    def alike(self, left: ast.expr, right: ast.expr) -> tuple[_Value, _Value]:
        """Both values, of the same kind unless one is None."""
        a, b = self.value(left), self.value(right)
        if a.kind == "a time" and b.kind == "text":
            b = self.time(b)
        elif b.kind == "a time" and a.kind == "text":
            a = self.time(a)
        if a.kind != b.kind and "None" not in (a.kind, b.kind):
            texts = f"{self.shown(left)} is {a.kind}, {self.shown(right)} is {b.kind}"
            quotes = "; text goes in quotes, numbers do not" if "text" in (a.kind, b.kind) else ""
            raise self.error(f"{texts}{quotes}")
        return a, b

    def value(self, node: ast.expr) -> _Value:
        match node:
            case ast.Constant(None):
                return _Value("None", None, True)
            case ast.Constant(bool(flag)):
                return _Value("true or false", np.bool_(flag))
            case ast.Constant(int(number) | float(number)):
                try:
                    return _Value("a number", np.float64(number))
                except OverflowError:
                    return _Value("a number", np.float64(np.inf))
            case ast.Constant(str(text)):
                return _Value("text", text)
            case ast.Name(name):
                return self.column(name)
            case ast.UnaryOp(ast.USub(), operand):
                return self.numbers(-self.number(operand))
            case ast.BinOp(left, op, right) if type(op) in CALCULATE:
                return self.numbers(CALCULATE[type(op)](self.number(left), self.number(right)))
            case ast.BoolOp() | ast.Compare() | ast.UnaryOp(ast.Not()):
                return _Value("true or false", self.truth(node))
        raise self.error(f"{self.shown(node)} is not understood; {GRAMMAR}")

    def number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if value.kind != "a number":
            raise self.error(
                f"{self.shown(node)} is {value.kind}; only numbers can be calculated with"
            )
        return value.data

    def numbers(self, data: Any) -> _Value:
        return _Value("a number", data, np.isnan(data))

    def column(self, identifier: str) -> _Value:
        name = self.backticked.get(identifier, identifier)
        if name not in self.runs:
            name = ALIASES.get(name, name)
        if name not in self.runs:
            near = did_you_mean(name, map(str, self.runs)) or "; text goes in quotes: 'like this'"
            raise self.error(f"{name}: no such column{near}")
        column = self.runs[name]
        missing = column.isna().to_numpy()
        if pd.api.types.is_bool_dtype(column):
            return _Value("true or false", column.to_numpy(dtype=bool, na_value=False), missing)
        if pd.api.types.is_numeric_dtype(column):
            return self.numbers(column.to_numpy(dtype=float, na_value=np.nan))
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            return _Value("a time", _seconds(column), missing)
        return _Value("text", column.astype(object).where(~missing, "").to_numpy(), missing)

    def time(self, text: _Value) -> _Value:
        moment = pd.to_datetime(pd.Series([text.data]), utc=True, errors="coerce")
        if moment.isna().any():
            raise self.error(f"{text.data!r} is no time; write it like '2026-11-21 10:00'")
        return _Value("a time", _seconds(moment)[0])


def _seconds(times: "pd.Series[Any]") -> NDArray[np.float64]:
    """Since 1970; NaN for a missing one."""
    since = (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(since, dtype=np.float64)
