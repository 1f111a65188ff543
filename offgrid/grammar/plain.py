"""A schema without references and alternatives: what one value must be. Two of them can be merged into one.

Sub-schemas are kept where they stand, as tuples of `Located`: all of them must hold, the empty tuple allows anything.
So merging needs no look into them, and what is the same place is known to be the same schema.
"""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

from offgrid.errors import BadRequest
from offgrid.grammar.keywords import TYPE_OF

FRACTION = "fraction"  # numbers that are not whole: with "integer" it is JSON Schema's "number"
EVERY_TYPE = frozenset({"null", "boolean", "integer", FRACTION, "string", "array", "object"})


@dataclass(frozen=True, slots=True)
class Located:
    """A part of a schema document; `path` is its name in messages and unique in the document."""

    value: Any
    path: str


All = tuple[Located, ...]


@dataclass(slots=True)
class Plain:
    path: str
    types: frozenset[str] | None = None  # None: not said
    values: list | None = None  # enum and const
    words: dict[str, Located] = field(default_factory=dict)  # checked numbers, pattern, format
    properties: dict[str, All] = field(default_factory=dict)
    required: dict[str, None] = field(default_factory=dict)
    others: All | None = None  # additionalProperties; None: not said
    patterns: Located | None = None
    names: All = ()
    prefix: tuple[All, ...] = ()
    items: All | None = None

    def themes(self) -> set[str]:
        """The types about whose values something is said beyond that they are allowed."""
        from_words = {TYPE_OF[word] for word in self.words}
        has_object = self.properties or self.required or self.others is not None or self.patterns or self.names
        has_array = self.prefix or self.items is not None
        return from_words | ({"object"} if has_object else set()) | ({"array"} if has_array else set())


_HIGHER = {"minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties"}
_LOWER = {"maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties"}


def refuse(path: str, message: str) -> BadRequest:
    """The error for a part of a schema; the caller raises it."""
    return BadRequest(f"{path}: {message}.", param=path)


def merge(a: Plain, b: Plain) -> Plain:
    """What both allow. Raises BadRequest where that cannot be said by one of each keyword."""
    return replace(
        a,
        types=b.types if a.types is None else a.types if b.types is None else a.types & b.types,
        values=_common_values(a.values, b.values),
        words=_merged_words(a.words, b.words),
        properties={
            name: a.properties.get(name, a.others or ()) + b.properties.get(name, b.others or ())
            for name in (*a.properties, *(n for n in b.properties if n not in a.properties))
        },
        required={**a.required, **b.required},
        others=_both(a.others, b.others),
        patterns=_merged_patterns(a, b),
        names=a.names + b.names,
        prefix=_merged_prefix(a, b),
        items=_both(a.items, b.items),
    )


def value_key(value: object) -> str:
    """Equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def type_of(value: object) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else FRACTION
    return {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array"}.get(
        type(value), "object"
    )


def _both(a: All | None, b: All | None) -> All | None:
    return b if a is None else a if b is None else a + b


def _common_values(a: list | None, b: list | None) -> list | None:
    if a is None or b is None:
        return b if a is None else a
    keys = {value_key(value) for value in b}
    return [value for value in a if value_key(value) in keys]


def _merged_words(a: dict[str, Located], b: dict[str, Located]) -> dict[str, Located]:
    merged = {**a, **b}
    for word in a.keys() & b.keys():
        x, y = a[word], b[word]
        if word in _HIGHER:
            merged[word] = max(x, y, key=lambda part: part.value)
        elif word in _LOWER:
            merged[word] = min(x, y, key=lambda part: part.value)
        elif word == "multipleOf" and all(float(part.value).is_integer() for part in (x, y)):
            merged[word] = Located(math.lcm(int(x.value), int(y.value)), y.path)
        elif word != "uniqueItems" and x.value != y.value:
            raise refuse(y.path, f"two different ones hold for one value (the other is {x.path}); write one for both")
    return merged


def _merged_patterns(a: Plain, b: Plain) -> Located | None:
    if a.patterns and b.patterns and a.patterns.path != b.patterns.path:
        raise refuse(b.patterns.path, "two of them hold for one object; write one for both")
    return a.patterns or b.patterns


def _merged_prefix(a: Plain, b: Plain) -> tuple[All, ...]:
    def at(plain: Plain, i: int) -> All:
        return plain.prefix[i] if i < len(plain.prefix) else plain.items or ()

    return tuple(at(a, i) + at(b, i) for i in range(max(len(a.prefix), len(b.prefix))))
