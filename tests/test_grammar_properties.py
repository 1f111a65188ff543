"""300 made schemas: what their grammars say is JSON that validates, what is valid is accepted, few are refused."""

import json

import jsonschema
import pytest
from generated_schemas import made
from grammar_acceptor import Acceptor, Deriver

from offgrid.errors import BadRequest
from offgrid.grammar.gbnf import check_grammar
from offgrid.grammar.schema import object_grammar, schema_grammar

pytestmark = pytest.mark.model  # hundreds of schemas: many seconds

N_SCHEMAS = 300
N_TEXTS = 3
BATCHES = range(0, N_SCHEMAS, 50)


def grammar_of(schema: dict) -> str | None:
    """None where it is refused, which names a place in the schema."""
    try:
        return schema_grammar(schema, "schema")
    except BadRequest as refused:
        assert refused.param.startswith("schema")
        return None


def written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("first", BATCHES)
def test_every_text_of_the_grammar_is_json_that_validates(first):
    for seed in range(first, first + 50):
        schema, _ = made(seed)
        if grammar := grammar_of(schema):
            check_grammar(grammar, "grammar")
            deriver, validator = Deriver(grammar, seed), jsonschema.Draft202012Validator(schema)
            for _ in range(N_TEXTS):
                text = deriver.text()
                validator.validate(json.loads(text))


@pytest.mark.parametrize("first", BATCHES)
def test_what_is_valid_is_accepted_in_the_order_of_the_schema(first):
    n_values = 0
    for seed in range(first, first + 50):
        schema, values = made(seed)
        if grammar := grammar_of(schema):
            acceptor = Acceptor(grammar)
            for value in values:
                jsonschema.validate(value, schema)  # the maker keeps its word
                assert acceptor.accepts(written(value)), (seed, written(value))
                assert not acceptor.accepts(written(value) + " "), "nothing may follow"
                n_values += 1
    assert n_values > 50


def test_at_most_one_schema_in_ten_is_refused():
    n_refused = sum(grammar_of(made(seed)[0]) is None for seed in range(N_SCHEMAS))
    assert 0 < n_refused <= N_SCHEMAS // 10


def test_any_object_is_json_within_its_nesting():
    grammar = object_grammar()
    deriver, acceptor = Deriver(grammar, 1), Acceptor(grammar)
    for _ in range(50):
        assert isinstance(json.loads(deriver.text()), dict)
    assert acceptor.accepts('{\n  "a": [1, -2.5e3, "x\\ud83d\\ude00\\n", null, {"b": {}}],\n  "c": true\n}')
    for text in ("[]", "{", '{"a":1,}', '{"a":01}', '{"a":"\n"}', '{"a":"\\ud83d"}', '{"a"  :1}', "{}{}", '{"a":+1}'):
        assert not acceptor.accepts(text), text
