"""Shapes: what one value of a request may be. A shape reads a value, or refuses it, and says the same as JSON Schema.

Knows nothing of names, requests or HTTP; `fields.py` puts shapes under names. Must stay true: `read` takes what
`schema` allows and refuses the rest. A resource that has a shape of its own (a time, a duration) writes it beside its
code, as a subclass.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from offgrid.errors import BadRequest

_KINDS = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


def kind_of(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def wrong(path: str, wanted: str, given: object) -> BadRequest:
    """The error for a value that is not what it must be; the caller raises it."""
    shown = repr(given) if isinstance(given, (int, float, str)) and len(repr(given)) <= 60 else kind_of(given)
    return BadRequest(f"{path} must be {wanted}; it is {shown}.", param=path)


class Shape:
    """`wanted` ends the sentence "temperature must be …"; a path is where the value stands, "messages[2].role"."""

    wanted: str

    def read(self, value: Any, path: str) -> Any:
        """The value as the code uses it; never called for null. Raises BadRequest."""
        raise NotImplementedError

    def read_text(self, text: str, path: str) -> Any:
        """The same for what came as text: in a query, or in a form."""
        return self.read(text, path)

    def schema(self) -> dict:
        """JSON Schema (2020-12)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Anything(Shape):
    """What is passed over, or checked by whoever uses it."""

    wanted = "a value"

    def read(self, value: Any, path: str) -> Any:
        return value

    def schema(self) -> dict:
        return {}


@dataclass(frozen=True)
class Text(Shape):
    """A string. `pattern` is a regular expression for all of it, and `says` is what that means in words.

    `is_unicode`: without halves of surrogate pairs, which JSON can spell and UTF-8 cannot.
    """

    min_chars: int = 0
    max_chars: int | None = None
    pattern: str = ""
    says: str = ""
    is_unicode: bool = False

    @property
    def wanted(self) -> str:
        if self.says:
            return self.says
        if self.max_chars is not None:
            return f"a string of {self.min_chars} to {self.max_chars} characters"
        return "a string that is not empty" if self.min_chars else "a string"

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or len(value) < self.min_chars:
            raise wrong(path, self.wanted, value)
        if self.max_chars is not None and len(value) > self.max_chars:
            raise wrong(path, self.wanted, value)
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise wrong(path, self.wanted, value)
        if self.is_unicode and not _is_unicode(value):
            raise wrong(path, "text without halves of surrogate pairs", value)
        return value

    def schema(self) -> dict:
        bounds = {"minLength": self.min_chars or None, "maxLength": self.max_chars}
        pattern = {"pattern": f"^(?:{self.pattern})$"} if self.pattern else {}
        return {"type": "string"} | {name: n for name, n in bounds.items() if n is not None} | pattern


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Flag(Shape):
    wanted = "true or false"

    def read(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise wrong(path, self.wanted, value)
        return value

    def schema(self) -> dict:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Number(Shape):
    low: float
    high: float

    @property
    def wanted(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def read(self, value: Any, path: str) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not self.low <= value <= self.high:
            raise wrong(path, self.wanted, value)
        return float(value)

    def schema(self) -> dict:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Whole(Shape):
    low: int
    high: int

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def read(self, value: Any, path: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JavaScript and some gateways write 5.0
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise wrong(path, self.wanted, value)
        return value

    def read_text(self, text: str, path: str) -> int:
        is_number = text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20
        return self.read(int(text) if is_number else text, path)

    def schema(self) -> dict:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Choice(Shape):
    """One of several texts."""

    values: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return "one of " + ", ".join(self.values)

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in self.values:
            raise wrong(path, self.wanted, value)
        return value

    def schema(self) -> dict:
        return {"type": "string", "enum": list(self.values)}


@dataclass(frozen=True)
class ListOf(Shape):
    """Read as a tuple. `says` is what is wanted, in words."""

    item: Shape
    most: int
    fewest: int = 0
    says: str = ""

    @property
    def wanted(self) -> str:
        return self.says or f"a list of {self.fewest} to {self.most} values"

    def read(self, value: Any, path: str) -> tuple:
        if not isinstance(value, list) or not self.fewest <= len(value) <= self.most:
            raise wrong(path, self.wanted, value)
        return tuple(self.item.read(one, f"{path}[{i}]") for i, one in enumerate(value))

    def schema(self) -> dict:
        return {"type": "array", "items": self.item.schema(), "minItems": self.fewest, "maxItems": self.most}


@dataclass(frozen=True)
class Texts(Shape):
    """A string or a list of strings, none of them empty. Read as a tuple."""

    most: int
    fewest: int = 0

    @property
    def wanted(self) -> str:
        some = f"{self.fewest} to" if self.fewest else "up to"
        return f"a string, or a list of {some} {self.most} strings, none of them empty"

    def read(self, value: Any, path: str) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        is_list = isinstance(items, list) and self.fewest <= len(items) <= self.most
        if not is_list or not all(isinstance(item, str) and item for item in items):
            raise wrong(path, self.wanted, value)
        return tuple(items)

    def schema(self) -> dict:
        text = {"type": "string", "minLength": 1}
        return {"anyOf": [text, {"type": "array", "items": text, "minItems": self.fewest, "maxItems": self.most}]}


class TextsOnly(Texts):
    """Texts where other servers take token ids as well: those are refused in words of their own."""

    def read(self, value: Any, path: str) -> tuple[str, ...]:
        if isinstance(value, list) and value and all(isinstance(item, (int, list)) for item in value):
            raise BadRequest(f"{path} must be text: this server does not take token ids here.", param=path)
        return super().read(value, path)
