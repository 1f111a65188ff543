"""Fields: what a request may say, as data. What reads and checks a request is what the document of the API is made of.

A field is a name, a shape, a sentence and a default; an `Object` is several of them. Reading one gives `Asked`. null
counts as left out, as OpenAI has it. Must stay true: a name that no field has is refused, so nothing is passed over in
silence; a field that means nothing here is `Ignored`, one that this version cannot honour `Unsupported`.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from offgrid.api.shapes import Anything, Shape, wrong
from offgrid.errors import BadRequest


@dataclass(frozen=True)
class Field:
    """`means` is a sentence for who writes a client. `default` stands as a client would write it."""

    effect: ClassVar = "honoured"

    name: str
    shape: Shape
    means: str
    default: Any = None
    is_required: bool = False
    example: Any = None

    def read(self, value: Any, path: str) -> Any:
        return self.shape.read(value, path)

    def schema(self, *, is_text: bool = False) -> dict:
        """`is_text`: in a query, where there is no null."""
        schema = self.shape.schema()
        schema = schema if self.is_required or is_text else _or_null(schema)
        default = {} if self.default is None else {"default": self.default}
        example = {} if self.example is None else {"examples": [self.example]}
        return schema | {"description": self.means} | default | example

    @cached_property
    def absent(self) -> Any:
        """What code reads where the field was left out."""
        return None if self.default is None else self.shape.read(self.default, self.name)


def required(name: str, shape: Shape, means: str, example: Any) -> Field:
    """`example`: a value for who tries it out; it must be one that works."""
    return Field(name, shape, means, is_required=True, example=example)


class Ignored(Field):
    """What clients send and what has no meaning here: accepted, whatever it holds, without effect."""

    effect = "ignored"

    def __init__(self, name: str, means: str):
        super().__init__(name, Anything(), means)

    def schema(self, *, is_text: bool = False) -> dict:
        return {"description": self.means, "x-effect": "none"}


class Unsupported(Field):
    """A feature that this version does not have; only the values that ask for nothing are accepted.

    `means` says why, as the error does.
    """

    effect = "refused"

    def __init__(self, name: str, means: str, *neutral: Any):
        super().__init__(name, Anything(), means)
        object.__setattr__(self, "neutral", neutral)

    def read(self, value: Any, path: str) -> None:
        # 0 == False, and the two are not the same to who sends them
        if not any(value == one and type(value) is type(one) for one in self.neutral):
            raise BadRequest(
                f"{path} is not supported by this version of OffGrid: {self.means} Leave it out.", param=path
            )

    def schema(self, *, is_text: bool = False) -> dict:
        why = self.means[:1].upper() + self.means[1:]
        return {"enum": [*self.neutral, None], "description": why, "x-effect": "refused"}


class Asked(dict):
    """What a request says, by the names of its fields. `asked["n"]` is the default where it was left out; `in` and
    `get` tell what was given."""

    def __init__(self, fields: dict[str, Field]):
        super().__init__()
        self._fields = fields

    def __missing__(self, name: str) -> Any:
        return self._fields[name].absent


class Object(Shape):
    """An object of these fields and no others."""

    wanted = "an object"

    def __init__(self, *fields: Field):
        self.fields = {field.name: field for field in fields}
        if len(self.fields) < len(fields):
            raise ValueError("two fields of one name")

    @property
    def needs_nothing(self) -> bool:
        return not any(field.is_required for field in self.fields.values())

    def read(self, value: Any, path: str) -> Asked:
        """`path` is "" for the request as a whole."""
        if not isinstance(value, dict):
            raise wrong(path, self.wanted, value)
        before = path + "." if path else ""
        asked = Asked(self.fields)
        for name, field in self.fields.items():
            given = value.get(name)
            if given is not None:
                asked[name] = field.read(given, before + name)
            elif field.is_required:
                raise wrong(before + name, field.shape.wanted, None)
        if not value.keys() <= self.fields.keys():
            raise _unknown(value, self.fields, before, "field")
        return asked

    def read_query(self, query: dict[str, str]) -> Asked:
        """What came as text in the query."""
        if not query.keys() <= self.fields.keys():
            raise _unknown(query, self.fields, "", "parameter")
        return self._read_texts(query)

    def read_form(self, form: dict[str, str]) -> Asked:
        """What came as text in a form. Empty fields count as left out, further ones are passed over (RFC 6749, 3.2)."""
        return self._read_texts({name: text for name, text in form.items() if text})

    def _read_texts(self, texts: dict[str, str]) -> Asked:
        asked = Asked(self.fields)
        for name, field in self.fields.items():
            if name in texts:
                asked[name] = field.shape.read_text(texts[name], name)
            elif field.is_required:
                raise wrong(name, field.shape.wanted, None)
        return asked

    def form_schema(self) -> dict:
        """What `read_form` takes: texts, and further fields."""
        properties = {name: field.schema(is_text=True) for name, field in self.fields.items()}
        return self.schema() | {"properties": properties, "additionalProperties": True}

    def schema(self) -> dict:
        needed = [field.name for field in self.fields.values() if field.is_required]
        schema = {"type": "object", "properties": {name: field.schema() for name, field in self.fields.items()}}
        return schema | ({"required": needed} if needed else {}) | {"additionalProperties": False}


class Variants(Shape):
    """One of several objects, told apart by one of their members: {"type": "text", …} or {"type": "image_url", …}.

    `usual` is the variant of an object without that member; None: it must be there.
    """

    wanted = "an object"

    def __init__(self, tag: str, variants: dict[str, Object], usual: str | None = None):
        self.tag, self.variants, self.usual = tag, variants, usual

    def read(self, value: Any, path: str) -> Asked:
        if not isinstance(value, dict):
            raise wrong(path, f"{self.wanted} with {self.tag}", value)
        before = path + "." if path else ""
        kind = value.get(self.tag)
        kind = self.usual if kind is None else kind
        if not isinstance(kind, str) or kind not in self.variants:
            raise wrong(before + self.tag, "one of " + ", ".join(self.variants), kind)
        rest = {name: member for name, member in value.items() if name != self.tag}
        asked = self.variants[kind].read(rest, path)
        asked[self.tag] = kind
        return asked

    def schema(self) -> dict:
        return {"oneOf": [self._schema_of(kind) for kind in self.variants]}

    def _schema_of(self, kind: str) -> dict:
        schema = self.variants[kind].schema()
        is_usual = kind == self.usual
        tag = {"enum": [kind, None]} if is_usual else {"const": kind}
        properties = {self.tag: tag | {"description": "Says which form it is."}, **schema["properties"]}
        needed = schema.get("required", []) if is_usual else [self.tag, *schema.get("required", [])]
        return schema | {"properties": properties} | ({"required": needed} if needed else {})


def _or_null(schema: dict) -> dict:
    """The same, or null: a field that may be left out."""
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else {}


def _unknown(given: Iterable[str], known: Iterable[str], before: str, what: str) -> BadRequest:
    """The error for the first name that nobody knows."""
    name = next(name for name in given if name not in known)
    near = difflib.get_close_matches(name[:80], known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return BadRequest(f"There is no {what} {before}{name[:80]} here.{hint}", param=before + name[:80])
