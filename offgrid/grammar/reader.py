"""One JSON Schema object's own keywords, checked, as a `Plain`. References and alternatives are left to `expand`."""

import math

from offgrid.grammar.keywords import HONOURED, REFUSED, TYPE_OF, TYPES, is_annotation
from offgrid.grammar.plain import FRACTION, All, Located, Plain, refuse

MAX_COUNT = 10_000  # characters, items, properties
_FORMATS_OF_NUMBERS = {"float": None, "double": None, "int32": 2**31, "int64": 2**63}
_HONOURED_WORDS = {word for words in HONOURED.values() for word in words}


def child(parent: Located, *keys: str | int) -> Located:
    """The part of a schema at these keys below `parent`."""
    value, path = parent.value, parent.path
    for key in keys:
        value = value[key]
        path = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}"
    return Located(value, path)


def check_words(schema: Located) -> None:
    """Refuse what is no schema, and keywords that are not honoured."""
    if not isinstance(schema.value, dict):
        raise refuse(schema.path, "a schema must be an object, true or false")
    for word in schema.value:
        path = f"{schema.path}.{word}"
        if word in REFUSED:
            raise refuse(path, f"this keyword cannot be held to; {REFUSED[word]}")
        if word not in _HONOURED_WORDS and not is_annotation(word):
            raise refuse(path, "no keyword of JSON Schema that is known here; docs/structured-output.md lists them")


def read(schema: Located) -> Plain:
    """Raises BadRequest."""
    check_words(schema)
    plain = Plain(schema.path, types=_types(schema), values=_values(schema))
    for word in TYPE_OF:
        if word in schema.value:
            _READERS[word](child(schema, word), word, plain)
    _read_format(plain)
    return plain


def _types(schema: Located) -> frozenset[str] | None:
    given = schema.value.get("type")
    if given is None:
        return None
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n in TYPES for n in names):
        raise refuse(f"{schema.path}.type", f"it must be one of {', '.join(TYPES)}, or a list of them")
    types = {t for n in names for t in ((FRACTION, "integer") if n == "number" else (n,))}
    return frozenset(types | {"null"} if schema.value.get("nullable") is True else types)


def _values(schema: Located) -> list | None:
    given = schema.value
    if "enum" in given and (not isinstance(given["enum"], list) or not given["enum"]):
        raise refuse(f"{schema.path}.enum", "it must be a list of at least one value")
    if "const" in given:
        return [given["const"]] if given["const"] in given.get("enum", [given["const"]]) else []
    return given.get("enum")


def _read_count(part: Located, word: str, plain: Plain) -> None:
    value = part.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise refuse(part.path, f"it must be a whole number from 0 to {MAX_COUNT}; leave it out where more may come")
    plain.words[word] = Located(value, part.path)


def _read_bound(part: Located, word: str, plain: Plain) -> None:
    value = part.value
    if isinstance(value, int) and abs(value) >= 10**30:
        raise refuse(part.path, "bounds have at most 30 digits; leave it out")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        hint = "; true and false were draft 4: give the bound itself" if isinstance(value, bool) else ""
        raise refuse(part.path, f"it must be a number{hint}")
    if word == "multipleOf" and value <= 0:
        raise refuse(part.path, "it must be more than 0")
    plain.words[word] = part


def _read_text(part: Located, word: str, plain: Plain) -> None:
    if not isinstance(part.value, str):
        raise refuse(part.path, "it must be a string")
    plain.words[word] = part


def _read_format(plain: Plain) -> None:
    """Formats of numbers, as OpenAPI has them, are bounds or nothing."""
    part = plain.words.get("format")
    if part is None or part.value not in _FORMATS_OF_NUMBERS:
        return
    del plain.words["format"]
    if limit := _FORMATS_OF_NUMBERS[part.value]:
        low, high = Located(-limit, part.path), Located(limit - 1, part.path)
        plain.words["minimum"] = max(plain.words.get("minimum", low), low, key=lambda bound: bound.value)
        plain.words["maximum"] = min(plain.words.get("maximum", high), high, key=lambda bound: bound.value)


def _read_flag(part: Located, word: str, plain: Plain) -> None:
    if not isinstance(part.value, bool):
        raise refuse(part.path, "it must be true or false")
    if part.value:
        plain.words[word] = part


def _read_properties(part: Located, word: str, plain: Plain) -> None:
    plain.properties = {name: (child(part, name),) for name in _mapping(part)}


def _read_required(part: Located, word: str, plain: Plain) -> None:
    if not isinstance(part.value, list) or not all(isinstance(name, str) for name in part.value):
        raise refuse(part.path, "it must be a list of names")
    plain.required = dict.fromkeys(part.value)


def _read_schema(part: Located, word: str, plain: Plain) -> None:
    one: All = (part,)
    if word == "additionalProperties":
        plain.others = one
    elif word == "propertyNames":
        plain.names = one
    elif plain.items is None:
        plain.items = one


def _read_patterns(part: Located, word: str, plain: Plain) -> None:
    if _mapping(part):
        plain.patterns = part


def _read_items(part: Located, word: str, plain: Plain) -> None:
    if not isinstance(part.value, list):
        plain.items = (part,)
    else:  # before 2020, a list in items was what prefixItems is now
        _read_prefix(part, word, plain)


def _read_prefix(part: Located, word: str, plain: Plain) -> None:
    if not isinstance(part.value, list):
        raise refuse(part.path, "it must be a list of schemas")
    plain.prefix = tuple((child(part, i),) for i in range(len(part.value)))


def _mapping(part: Located) -> dict:
    if not isinstance(part.value, dict):
        raise refuse(part.path, "it must be an object of schemas")
    return part.value


_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_READERS = {
    **dict.fromkeys(_COUNTS, _read_count),
    **dict.fromkeys(_BOUNDS, _read_bound),
    **dict.fromkeys(("pattern", "format"), _read_text),
    **dict.fromkeys(("additionalProperties", "propertyNames", "additionalItems"), _read_schema),
    "uniqueItems": _read_flag,
    "properties": _read_properties,
    "required": _read_required,
    "patternProperties": _read_patterns,
    "items": _read_items,
    "prefixItems": _read_prefix,
}
