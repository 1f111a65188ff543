"""Reading a JSON request strictly: every field is checked, named when it is wrong, and refused when nobody knows it.

A `Fields` is asked for each field once; `finish` then refuses what is left. null counts as absent, as OpenAI has it.
"""

import difflib
import math
from typing import Any

from offgrid.errors import BadRequest

_KINDS = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


def kind_of(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


class Fields:
    """`path` is put before the names in errors: "messages[2]." for a nested object."""

    def __init__(self, body: dict[str, Any], path: str = ""):
        self._body = body
        self._path = path
        self._known: set[str] = set()

    def take(self, name: str) -> Any:
        """The raw value, None when absent."""
        self._known.add(name)
        return self._body.get(name)

    def path_of(self, name: str) -> str:
        """The whole name of a field, from the request's own object on."""
        return self._path + name

    def refuse(self, name: str, wanted: str, given: object) -> BadRequest:
        """The error for a wrong value; the caller raises it."""
        shown = repr(given) if isinstance(given, (int, float, str)) and len(repr(given)) <= 60 else kind_of(given)
        return BadRequest(f"{self._path}{name} must be {wanted}; it is {shown}.", param=self._path + name)

    def string(self, name: str, default: str | None = None) -> str | None:
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, "a string", value)
        return default if value is None else value

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(name, "true or false", value)
        return default if value is None else value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float | None:
        value = self.take(name)
        if value is None:
            return default
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            raise self.refuse(name, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int | None:
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JavaScript and some gateways write 5.0
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.refuse(name, f"a whole number from {low} to {high}", value)
        return value

    def strings(self, name: str, most: int) -> tuple[str, ...]:
        """A string or a list of up to `most` strings, none of them empty."""
        value = self.take(name)
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or len(items) > most or not all(isinstance(s, str) and s for s in items):
            raise self.refuse(name, f"a string, or a list of up to {most} strings, none of them empty", value)
        return tuple(items)

    def mapping(self, name: str) -> "Fields":
        """A nested object, to be read and finished like this one; empty when absent."""
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(name, "an object", value)
        return Fields(value or {}, f"{self._path}{name}.")

    def ignore(self, *names: str) -> None:
        """Fields that clients send and that mean nothing here."""
        self._known.update(names)

    def only(self, name: str, *neutral: object) -> None:
        """A field whose feature this version does not have: the values that ask for nothing are accepted."""
        value = self.take(name)
        if value is not None and value not in neutral:
            raise BadRequest(
                f"{self._path}{name} is not supported by this version of OffGrid. Leave it out.",
                param=self._path + name,
            )

    def finish(self) -> None:
        """Refuse the first field that nobody asked for."""
        for name in self._body:
            if name not in self._known:
                near = difflib.get_close_matches(name, self._known, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise BadRequest(f"There is no field {self._path}{name} here.{hint}", param=self._path + name)
