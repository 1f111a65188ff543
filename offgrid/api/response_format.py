"""`response_format` and `grammar`: the form that the answer must have, as the GBNF that the worker holds it to."""

from offgrid.api.fields import Fields
from offgrid.errors import BadRequest
from offgrid.grammar.gbnf import check_grammar
from offgrid.grammar.schema import object_grammar, schema_grammar

TYPES = ("text", "json_object", "json_schema")


def read_grammar(fields: Fields) -> str:
    """The GBNF that the request asks for, "" for none. Raises BadRequest, for a schema with the place in it."""
    formatted = _from_response_format(fields)
    raw = fields.string("grammar", "")
    if formatted and raw:
        raise BadRequest("grammar and response_format both say what form the answer has; send one.", param="grammar")
    if raw:
        check_grammar(raw, "grammar")
    return formatted or raw


def _from_response_format(fields: Fields) -> str:
    form = fields.mapping("response_format")
    kind = form.string("type", "text")
    if kind not in TYPES:
        raise form.refuse("type", "one of " + ", ".join(TYPES), kind)
    grammar = ""
    if kind == "json_object":
        schema = form.take("schema")  # llama-server's and llama-cpp-python's way to give one
        grammar = object_grammar() if schema is None else schema_grammar(schema, "response_format.schema")
    elif kind == "json_schema":
        described = form.mapping("json_schema")
        schema = described.take("schema")
        if schema is None:
            raise described.refuse("schema", "a JSON Schema", None)
        described.string("name")
        described.string("description")
        described.boolean("strict")  # without it too: nothing is promised by halves
        described.finish()
        grammar = schema_grammar(schema, "response_format.json_schema.schema")
    form.finish()
    return grammar
