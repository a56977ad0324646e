"""The grammar of conditions on runs: text -> tree, for `--where`.

    any    := all ("or" all)*
    all    := not ("and"? not)*                  a blank alone means `and`
    not    := "not"* compare
    compare:= sum (("==" | "=" | "!=" | "<" | "<=" | ">" | ">=" | "is" "not"?) sum
                   | "not"? "in" (sum | list))*
    sum    := product (("+" | "-") product)*
    product:= signed (("*" | "/") signed)*
    signed := "-"* (number | 'text' | date | word | `name` | None | True | False | "(" any ")")

The report page has the same grammar in scripts/expression.js; a test holds the two to each other.
Nothing is executed. Python's `ast` would read most of this, but neither a blank as `and` nor dates.
"""

import re
from dataclasses import dataclass, replace

LONGEST = 2_000  # characters
DEEPEST = 40  # brackets within brackets

TOKEN = re.compile(
    r"""
    (?P<text> '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" )
    | (?P<name> `[^`]+` )
    | (?P<date> [0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T\ ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)? (?![\w.:]) )
    | (?P<thousands> [0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)? (?![\w.:,]) )
    | (?P<number> (?:[0-9](?:_?[0-9])*(?:\.[0-9]*)? | \.[0-9]+)(?:[eE][+-]?[0-9]+)? (?![\w.:]) )
    | (?P<word> [\w.:]+ )
    | (?P<sign> [<>!=]= | [-<>=+*/,()\[\]{}] )
    """,
    re.VERBOSE | re.DOTALL,
)
BLANK = re.compile(r"[ \t\r\n\u00a0]*")

KEYWORDS = ("and", "or", "not", "in", "is")
CONSTANTS = {"None": None, "True": True, "False": False}
BRACKETS = {"(": ")", "[": "]", "{": "}"}
STARTS = ("text", "name", "date", "thousands", "number", "word")
"""Tokens that begin a condition, beside `(`, `-` and `not`."""


@dataclass(frozen=True)
class Node:
    """start, end: where it stands in the expression, for messages."""

    start: int
    end: int


@dataclass(frozen=True)
class Constant(Node):
    value: float | bool | str | None


@dataclass(frozen=True)
class Word(Node):
    """A column or, if there is none of that name and no backticks, text."""

    name: str
    in_backticks: bool


@dataclass(frozen=True)
class Several(Node):
    """What stands to the right of `in`."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Negative(Node):
    of: Node


@dataclass(frozen=True)
class Calculation(Node):
    left: Node
    sign: str
    right: Node


@dataclass(frozen=True)
class Comparison(Node):
    """Each operand with the next one, all of which must hold. signs: == != < <= > >= in, not in."""

    operands: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Not(Node):
    of: Node


@dataclass(frozen=True)
class AllOf(Node):
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class AnyOf(Node):
    parts: tuple[Node, ...]


def parse(expression: str) -> Node:
    """
    Raises:
        ValueError: it is malformed.
    """
    return _Parser(expression).whole()


@dataclass(frozen=True)
class _Token:
    kind: str  # a group of TOKEN, "keyword" or "end"
    text: str
    start: int
    end: int
    after_blank: bool


def _tokens(expression: str) -> list[_Token]:
    found: list[_Token] = []
    open_brackets = 0
    at = 0
    while True:
        start = BLANK.match(expression, at).end()  # type: ignore[union-attr]  # may be of no length
        if start == len(expression):
            return [*found, _Token("end", "", start, start, start > at)]
        match = TOKEN.match(expression, start)
        if match is None or match.lastgroup is None:
            raise ValueError
        kind, end = match.lastgroup, match.end()
        if kind == "thousands" and open_brackets:  # there a comma parts the items of a list
            kind, end = "number", expression.index(",", start)
        text = expression[start:end]
        open_brackets += (text in BRACKETS) - (text in BRACKETS.values())
        if kind == "word" and text in KEYWORDS:
            kind = "keyword"
        found.append(_Token(kind, text, start, end, start > at))
        at = end


class _Parser:
    def __init__(self, expression: str) -> None:
        self.tokens = _tokens(expression)
        self.at = 0
        self.depth = 0

    def whole(self) -> Node:
        node = self.any_of()
        if self.next.kind != "end":
            raise ValueError
        return node

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self, *texts: str) -> str:
        """The next token's text if it is one of these signs or keywords, and goes on; else ""."""
        token = self.next
        if token.kind not in ("sign", "keyword") or token.text not in texts:
            return ""
        self.at += 1
        return token.text

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise ValueError

    def any_of(self) -> Node:
        parts = [self.all_of()]
        while self.take("or"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else AnyOf(parts[0].start, parts[-1].end, tuple(parts))

    def all_of(self) -> Node:
        parts = [self.negated()]
        while self.take("and") or (self.next.after_blank and self.starts()):
            parts.append(self.negated())
        return parts[0] if len(parts) == 1 else AllOf(parts[0].start, parts[-1].end, tuple(parts))

    def starts(self) -> bool:
        return self.next.kind in STARTS or self.next.text in ("(", "not")

    def negated(self) -> Node:
        start, times = self.next.start, 0
        while self.take("not"):
            times += 1
        node = self.comparison()
        return Not(start, node.end, node) if times % 2 else node

    def comparison(self) -> Node:
        operands, signs = [self.sum()], []
        while sign := self.comparing():
            signs.append(sign)
            among = sign in ("in", "not in") and self.next.text in BRACKETS
            operands.append(self.several() if among else self.sum())
        if not signs:
            return operands[0]
        return Comparison(operands[0].start, operands[-1].end, tuple(operands), tuple(signs))

    def comparing(self) -> str:
        if self.next.text == "not" and self.tokens[self.at + 1].text == "in":
            self.at += 2
            return "not in"
        sign = self.take("==", "=", "!=", "<", "<=", ">", ">=", "in", "is")
        if sign == "is":
            return "!=" if self.take("not") else "=="
        return "==" if sign == "=" else sign

    def several(self) -> Node:
        """A list, or what stands in round brackets alone, without a comma."""
        start, opening = self.next.start, self.take(*BRACKETS)
        items: list[Node] = []
        closing, commas = BRACKETS[opening], 0
        while not self.take(closing):
            if len(items) > commas:
                self.expect(",")
                commas += 1
                continue
            items.append(self.nested())
        if opening == "(" and len(items) == 1 and not commas:
            return items[0]
        return Several(start, self.tokens[self.at - 1].end, tuple(items))

    def nested(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError
        node = self.any_of()
        self.depth -= 1
        return node

    def sum(self) -> Node:
        node = self.product()
        while sign := self.take("+", "-"):
            right = self.product()
            node = Calculation(node.start, right.end, node, sign, right)
        return node

    def product(self) -> Node:
        node = self.signed()
        while sign := self.take("*", "/"):
            right = self.signed()
            node = Calculation(node.start, right.end, node, sign, right)
        return node

    def signed(self) -> Node:
        start, times = self.next.start, 0
        while self.take("-"):
            times += 1
        node = self.atom()
        for _ in range(times and 2 - times % 2):  # twice is not once: it must be a number, too
            node = Negative(start, node.end, node)
        return node

    def atom(self) -> Node:
        token = self.next
        if self.take("("):
            node = self.nested()
            self.expect(")")
            return replace(node, start=token.start, end=self.tokens[self.at - 1].end)
        self.at += 1
        place = token.start, token.end
        match token.kind:
            case "text":
                return Constant(*place, re.sub(r"\\(['\"\\])", r"\1", token.text[1:-1]))
            case "date":
                return Constant(*place, token.text)
            case "number" | "thousands":
                return Constant(*place, float(token.text.replace(",", "")))
            case "name":
                return Word(*place, token.text[1:-1], in_backticks=True)
            case "word" if token.text in CONSTANTS:
                return Constant(*place, CONSTANTS[token.text])
            case "word":
                return Word(*place, token.text, in_backticks=False)
        raise ValueError
