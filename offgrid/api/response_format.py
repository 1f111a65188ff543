"""`response_format` and `grammar`: the form that the answer must have, as the GBNF that the worker holds it to."""

from typing import Any

from offgrid.api.fields import Asked, Field, Object, Variants, required
from offgrid.api.shapes import Flag, Shape, Text
from offgrid.errors import BadRequest
from offgrid.grammar.gbnf import check_grammar
from offgrid.grammar.schema import object_grammar, schema_grammar


class JsonSchema(Shape):
    """A JSON Schema, read as the GBNF of what it allows; what it cannot be held to is refused with the place in it."""

    wanted = "a JSON Schema"

    def read(self, value: Any, path: str) -> str:
        return schema_grammar(value, path)

    def schema(self) -> dict:
        return {"type": ["object", "boolean"]}


class Gbnf(Text):
    def read(self, value: Any, path: str) -> str:
        text = super().read(value, path)
        if text:
            check_grammar(text, path)
        return text


_SCHEMA = JsonSchema()
DESCRIBED = Object(
    required("schema", _SCHEMA, "What the answer must be.", {"type": "object"}),
    Field("name", Text(), "What the form is called; for people."),
    Field("description", Text(), "What it is for; for people."),
    Field("strict", Flag(), "The answer is held to the schema with or without it."),
)
FORMATS = Variants(
    "type",
    {
        "text": Object(),
        "json_object": Object(Field("schema", _SCHEMA, "One may be given here too, as llama-server has it.")),
        "json_schema": Object(required("json_schema", DESCRIBED, "The schema.", {"schema": {"type": "object"}})),
    },
    usual="text",
)
FORM = (
    Field("response_format", FORMATS, "The form of the answer."),
    Field("grammar", Gbnf(), "The form of the answer as GBNF."),
)


def read_grammar(asked: Asked) -> str:
    """The GBNF that the request asks for, "" for none. Raises BadRequest."""
    formatted, raw = _from_response_format(asked["response_format"]), asked["grammar"] or ""
    if formatted and raw:
        raise BadRequest("grammar and response_format both say what form the answer has; send one.", param="grammar")
    return formatted or raw


def _from_response_format(form: Asked | None) -> str:
    if form is None or form["type"] == "text":
        return ""
    if form["type"] == "json_schema":
        return form["json_schema"]["schema"]
    return form["schema"] or object_grammar()
