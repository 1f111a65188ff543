"""calculator: arithmetic, read and computed here. Nothing is ever evaluated as a program.

A reader by recursive descent; the numbers are `arithmetic.py`'s. Must stay true: whatever is asked ends within
milliseconds. The text and the depth of what is nested in it have limits.
"""

import operator
import re
from typing import Any

from offgrid.agents.tools.arithmetic import (
    CONSTANTS,
    FUNCTIONS,
    Number,
    bounded,
    called,
    factorial,
    literal,
    quotient,
    raised,
    written,
)
from offgrid.agents.tools.tool import Context, Tool, ToolError, parameters

MAX_CHARS = 1000
MAX_DEPTH = 50

_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_IS_NUMBER = re.compile(_NUMBER).fullmatch
_TOKEN = re.compile(rf"({_NUMBER})|([A-Za-z_][A-Za-z_0-9]*)|(\*\*|//|\S)")
_SAME = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "π": " pi ", "√": " sqrt "})
_SUMS = {"+": operator.add, "-": operator.sub}
_PRODUCTS = {"*": operator.mul, "/": quotient, "//": operator.floordiv, "%": operator.mod}


def calculate(expression: str) -> str:
    """The value of an arithmetic expression, as text. Raises ToolError."""
    if len(expression) > MAX_CHARS:
        raise ToolError(f"The expression is too long: at most {MAX_CHARS} characters.")
    try:
        return written(_Reader(expression).whole())
    except ZeroDivisionError:
        raise ToolError("That divides by zero.") from None
    except OverflowError:
        raise ToolError("A number is too large for what is to be done with it.") from None


class _Reader:
    """Each method reads what its name says from the tokens on, and answers with its value."""

    def __init__(self, text: str):
        self._tokens = [match[0] for match in _TOKEN.finditer(text.translate(_SAME))]
        self._at = 0
        self._depth = 0

    def whole(self) -> Number:
        value = self._sum()
        if self._at < len(self._tokens):
            raise self._unexpected("Write an operator between two numbers: + - * / // % ** ^")
        return value

    def _sum(self) -> Number:
        value = self._product()
        while sign := self._take("+", "-"):
            value = bounded(_SUMS[sign](value, self._product()))
        return value

    def _product(self) -> Number:
        value = self._signed()
        while sign := self._take("*", "/", "//", "%"):
            value = bounded(_PRODUCTS[sign](value, self._signed()))
        return value

    def _signed(self) -> Number:
        is_negative = False
        while sign := self._take("+", "-"):
            is_negative ^= sign == "-"
        value = self._power()
        return -value if is_negative else value

    def _power(self) -> Number:
        base = self._postfix()
        if not self._take("**"):
            return base
        self._enter()
        exponent = self._signed()  # from the right: 2^3^2 is 2^9; and 2^-1 needs no parentheses
        self._depth -= 1
        return raised(base, exponent)

    def _postfix(self) -> Number:
        value = self._atom()
        while self._take("!"):
            value = factorial(value)
        return value

    def _atom(self) -> Number:
        token = self._tokens[self._at] if self._at < len(self._tokens) else ""
        name = token.lower()
        self._at += 1
        if _IS_NUMBER(token):
            return literal(token)
        if token == "(":
            self._at -= 1
            values = self._group()
            if len(values) != 1:
                raise ToolError("A comma stands only between the values of a function. Write 1000, not 1,000.")
            return values[0]
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in FUNCTIONS:
            return called(name, self._group())
        self._at -= 1
        raise self._unexpected(f"There are numbers, + - * / // % ** ^ ! ( ), {', '.join([*FUNCTIONS, *CONSTANTS])}.")

    def _group(self) -> list[Number]:
        """What stands in parentheses, between commas."""
        if not self._take("("):
            raise self._unexpected("A function's values stand in parentheses: sqrt(2).")
        self._enter()
        values = [self._sum()]
        while self._take(","):
            values.append(self._sum())
        if not self._take(")"):
            raise self._unexpected("A parenthesis is not closed.")
        self._depth -= 1
        return values

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ToolError(f"The expression is nested too deeply: at most {MAX_DEPTH} levels.")

    def _take(self, *tokens: str) -> str:
        """The next token, if it is one of these; otherwise "", and it stays."""
        if self._at < len(self._tokens) and self._tokens[self._at] in tokens:
            self._at += 1
            return self._tokens[self._at - 1]
        return ""

    def _unexpected(self, hint: str) -> ToolError:
        if self._at >= len(self._tokens):
            return ToolError(f"The expression ends too early. {hint}")
        return ToolError(f"{self._tokens[self._at][:40]!r} is not understood. {hint}")


def run(arguments: dict[str, Any], _context: Context) -> str:
    return calculate(arguments["expression"])


CALCULATOR = Tool(
    name="calculator",
    description="Compute arithmetic exactly. Angles are radians, log is to base 10, ln is natural.",
    parameters=parameters(
        "expression",
        expression={
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CHARS,
            "description": "For example: (2 + 3) * sqrt(16)",
        },
    ),
    run=run,
)
