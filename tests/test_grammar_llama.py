"""llama.cpp takes the same grammars as we do, and means the same by them: made schemas, GBNF by hand, wrong letters."""

import json
import random

import pytest
from generated_schemas import made
from grammar_acceptor import Acceptor, Deriver
from llama_grammar import Vocabulary
from test_grammar_gbnf import GOOD
from test_grammar_properties import BATCHES, grammar_of, written

from offgrid.grammar.schema import object_grammar, schema_grammar

pytestmark = pytest.mark.model  # hundreds of schemas: many seconds


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    vocabulary = Vocabulary(tmp_path_factory.mktemp("vocabulary"))
    yield vocabulary
    vocabulary.close()


def misspelt(text: str, chance: random.Random) -> str:
    """The text with one letter left out, doubled or changed."""
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(["", text[at] * 2, "x", '"', "}", "é"]) + text[at + 1 :]


@pytest.mark.parametrize("first", BATCHES)
def test_llama_cpp_follows_the_grammars_of_made_schemas(llama, first):
    for seed in range(first, first + 50):
        schema, values = made(seed)
        if grammar := grammar_of(schema):
            deriver = Deriver(grammar, seed)
            texts = [deriver.text(150), deriver.text(150), *map(written, values)]
            verdicts = llama.accepts(grammar, texts)
            assert verdicts is not None, f"llama.cpp does not take the grammar of schema {seed}"
            assert [t for t, is_good in zip(texts, verdicts, strict=True) if not is_good] == [], seed


def test_llama_cpp_and_our_acceptor_judge_misspelt_texts_alike(llama):
    n_wrong = n_right = 0
    for seed in range(60):
        if grammar := grammar_of(made(seed)[0]):
            chance, deriver, acceptor = random.Random(seed), Deriver(grammar, seed), Acceptor(grammar)
            texts = [misspelt(deriver.text(100), chance) for _ in range(8)]
            ours = [acceptor.accepts(text) for text in texts]
            assert llama.accepts(grammar, texts) == ours, (seed, texts)
            n_right, n_wrong = n_right + sum(ours), n_wrong + len(ours) - sum(ours)
    assert n_wrong > 50
    assert n_right > 20


@pytest.mark.parametrize(("text", "accepted", "others"), GOOD, ids=[row[0] for row in GOOD])
def test_llama_cpp_reads_gbnf_as_we_do(llama, text, accepted, others):
    assert llama.accepts(text, [*accepted, *others]) == [True] * len(accepted) + [False] * len(others)


def test_large_grammars_are_taken(llama):
    wide = {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(300)}}
    enum = {"enum": [f"value number {i}" for i in range(1000)]}
    long = {"type": "string", "minLength": 2500, "maxLength": 10_000}
    many = {"type": "array", "items": {"type": "boolean"}, "minItems": 1500, "maxItems": 4000}
    for schema, value, wrong in [
        (wide, {"p0": 1, "p299": 2}, {"p299": 2, "p0": 1}),
        (enum, "value number 77", "value number 1000"),
        (long, "x" * 10_000, "x" * 10_001),
        (many, [True] * 1500, [True] * 1499),
    ]:
        assert llama.accepts(schema_grammar(schema, "s"), [written(value), written(wrong)]) == [True, False]


def test_free_text_is_utf_8_and_nothing_else(llama):
    grammar = schema_grammar({"type": "string"}, "s")
    assert llama.accepts(grammar, ['"é日🙂\x7f"', '"\n"', '"\x01"']) == [True, False, False]
    assert json.loads('"é日🙂\x7f"')
    assert llama.accepts(object_grammar(), ['{"a": [true]}', "[]"]) == [True, False]
