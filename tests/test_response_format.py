"""`response_format` and `grammar` as clients send them: what form they ask for, and what is refused by its name."""

import json

import pytest
from grammar_acceptor import Acceptor

from offgrid.api.fields import Object
from offgrid.api.response_format import FORM, read_grammar
from offgrid.errors import BadRequest

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
AT = "response_format.json_schema"


def grammar_of(body: dict) -> str:
    return read_grammar(Object(*FORM).read(body, ""))


@pytest.mark.parametrize(
    "body", [{}, {"response_format": None}, {"response_format": {"type": "text"}}, {"grammar": ""}]
)
def test_free_text_has_no_grammar(body):
    assert grammar_of(body) == ""


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}},
        {"type": "json_schema", "json_schema": {"name": "person", "description": "one", "schema": SCHEMA}},
        {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": False}},
        {"type": "json_object", "schema": SCHEMA},
    ],
)
def test_a_schema_is_held_to_in_each_way_it_is_sent(form):
    acceptor = Acceptor(grammar_of({"response_format": form}))
    assert acceptor.accepts('{"age": 5}')
    assert not acceptor.accepts("{}")


def test_a_json_object_may_be_any():
    acceptor = Acceptor(grammar_of({"response_format": {"type": "json_object"}}))
    assert acceptor.accepts(json.dumps({"a": [1, {"b": None}]}))
    assert not acceptor.accepts("[1]")


def test_a_grammar_is_taken_as_it_is():
    text = 'root ::= "yes" | "no"\n'
    assert grammar_of({"grammar": text}) == text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format.schema"),
        ({"response_format": {"type": "json_schema"}}, AT),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}}, AT + ".schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "x": 1}}}, AT + ".x"),
        ({"response_format": {"type": "json_object", "schema": {"not": {}}}}, "response_format.schema.not"),
        ({"grammar": "root = x"}, "grammar"),
        ({"grammar": 5}, "grammar"),
        ({"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}}, "grammar"),
    ],
)  # fmt: skip
def test_a_form_that_is_not_understood_is_refused_by_name(body, param):
    with pytest.raises(BadRequest) as caught:
        grammar_of(body)
    assert caught.value.param == param
