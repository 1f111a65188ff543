"""Two grammars as one."""

import random

import pytest
from grammar_acceptor import Acceptor

from offgrid.errors import BadRequest
from offgrid.grammar.either import either
from offgrid.grammar.schema import object_grammar, schema_grammar

DIGITS = 'root ::= digit{2,3} tail?\ndigit ::= [0-9]\ntail ::= "-" (digit | "x")+\n'
SCHEMA = {"type": "object", "properties": {"digit": {"enum": ["a", "b"]}}, "required": ["digit"]}


def test_a_text_of_each_follows_the_two_and_no_other_does():
    acceptor = Acceptor(either(DIGITS, schema_grammar(SCHEMA, "schema"), "response_format"))
    for text in ("12", "123-4x", '{"digit": "a"}', '{"digit":"b"}'):
        assert acceptor.accepts(text), text
    for text in ("", "1", "12-", '12{"digit":"b"}', '{"digit":"c"}', "x"):
        assert not acceptor.accepts(text), text


def test_what_is_drawn_from_one_of_them_is_taken():
    acceptor = Acceptor(either(DIGITS, object_grammar(), "response_format"))
    for text in ("77-x", '{"a": [1, {"b": null}]}'):
        assert acceptor.accepts(text), text
    assert not any(acceptor.accepts("".join(random.Random(i).choices("x-", k=4))) for i in range(20))


def test_two_that_are_too_large_together_are_refused_by_the_field():
    # 150 KB each: small enough alone.
    large = 'root ::= "' + "x" * 150_000 + '"\n'
    with pytest.raises(BadRequest, match="Shorten") as refused:
        either(large, large, "response_format")
    assert refused.value.param == "response_format"
