"""The grammar of calls: the tools' names, arguments by their schemas, and nothing behind the last call."""

import json
import random

import pytest
from dialect_samples import CALLS, Sample, parsed
from grammar_acceptor import Acceptor, Deriver
from llama_grammar import Vocabulary

from offgrid.dialects import formats
from offgrid.dialects.calls import MAX_CALLS, calls_grammar
from offgrid.dialects.formats import GENERIC, HERMES, SIGNATURES
from offgrid.errors import BadRequest
from offgrid.grammar.gbnf import check_grammar
from offgrid.types import ToolUse

DIALECTS = {GENERIC.name: GENERIC} | {known.dialect.name: known.dialect for known in SIGNATURES}
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}, "required": ["city"]}


def tool(name: str, parameters: object = None, **function) -> dict:
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": {"name": name, **function}}


TOOLS = [tool("f", CITY), tool("now"), tool("get_weather", CITY), tool("f.2-b", {"type": "object"})]
MAYBE_CITY = {"type": "object", "properties": CITY["properties"]}
SAMPLE_TOOLS = [tool("f", MAYBE_CITY), tool("now", {"type": "object"}), tool("get_weather", CITY)]


def hermes(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def accepts(parameters: object, arguments: str, **use) -> bool:
    grammar = calls_grammar(HERMES, ToolUse([tool("f", parameters)], **use))
    check_grammar(grammar, "tools")
    return Acceptor(grammar).accepts(hermes("f", arguments))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    vocabulary = Vocabulary(tmp_path_factory.mktemp("vocabulary"))
    yield vocabulary
    vocabulary.close()


def text_of_calls(sample: Sample) -> str:
    """What is handed to the grammar of a sample: from the trigger on."""
    begun: list[str] = []
    parsed(
        sample.dialect, [sample.text], is_thinking=sample.is_thinking, on_call=lambda text: begun.append(text) or True
    )
    return begun[-1].rstrip()


def test_there_is_a_sample_of_every_dialect():
    assert {sample.dialect.name for sample in CALLS} == set(DIALECTS)


@pytest.mark.parametrize("sample", CALLS, ids=[sample.name for sample in CALLS])
def test_the_grammar_takes_what_models_write(sample, llama):
    text = text_of_calls(sample)
    grammar = calls_grammar(sample.dialect, ToolUse(SAMPLE_TOOLS))
    check_grammar(grammar, "tools")
    assert Acceptor(grammar).accepts(text)
    assert llama.accepts(grammar, [text, text[:-1], text + "x", text + "\n"]) == [True, False, False, False]
    other = calls_grammar(sample.dialect, ToolUse([tool("other", CITY)]))
    assert llama.accepts(other, [text]) == [False]


@pytest.mark.parametrize("name", DIALECTS)
def test_whatever_follows_the_grammar_is_read_as_calls_of_the_tools(name):
    dialect, chance = DIALECTS[name], random.Random(name)
    names = {tool["function"]["name"] for tool in TOOLS}
    deriver = Deriver(calls_grammar(dialect, ToolUse(TOOLS)), 7)
    for _ in range(25):
        text = deriver.text(200)
        if len(text) > 4000:
            continue
        whole = parsed(dialect, [text])
        assert {kind for kind, _ in whole} <= {"markup", "call", "arguments"}, text
        assert names.issuperset(text for kind, text in whole if kind == "call")
        assert all(isinstance(json.loads(text), dict) for kind, text in whole if kind == "arguments")
        cuts = sorted(chance.randrange(len(text) + 1) for _ in range(12))
        assert parsed(dialect, [text[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]) == whole


@pytest.mark.parametrize("name", DIALECTS)
def test_the_text_of_a_call_that_we_write_follows_the_grammar(name):
    from offgrid.dialects.conversation import write_calls

    dialect = DIALECTS[name]
    grammar = Acceptor(calls_grammar(dialect, ToolUse(TOOLS)))
    calls = [("f", '{"city": "Rom"}'), ("now", "{}")]
    n = 1 if dialect.calls.forms[0].separator is None else 2
    assert grammar.accepts(write_calls(dialect.calls.forms[0], calls[:n]))


def test_only_as_many_calls_as_asked_for():
    one, many = hermes("now", "{}"), "\n".join([hermes("now", "{}")] * MAX_CALLS)
    alone = Acceptor(calls_grammar(HERMES, ToolUse(TOOLS, is_parallel=False)))
    assert alone.accepts(one)
    assert not alone.accepts(f"{one}\n{one}")
    several = Acceptor(calls_grammar(HERMES, ToolUse(TOOLS)))
    assert several.accepts(many)
    assert not several.accepts(f"{many}\n{one}")


def test_a_named_tool_is_the_only_one():
    grammar = Acceptor(calls_grammar(HERMES, ToolUse(TOOLS, only="now")))
    assert grammar.accepts(hermes("now", "{}"))
    assert not grammar.accepts(hermes("f", '{"city": "Rom"}'))


@pytest.mark.parametrize(
    ("parameters", "good", "bad"),
    [
        (None, "{}", '{"a": 1}'),
        ({"type": "object", "properties": {}}, "{}", '{"a": 1}'),
        ({"type": "object"}, '{"a": [1]}', "[]"),
        ({}, '{"a": 1}', "1"),
        (CITY, '{"city": "x", "n": 2}', '{"n": 2}'),
        ({"properties": {"a": {"type": "null"}}}, '{"a": null}', '{"a": 1}'),
        ({"anyOf": [{"type": "string"}, CITY]}, '{"city": "x"}', '"x"'),
        ({"$ref": "#/$defs/c", "$defs": {"c": CITY}}, '{"city": "x"}', "{}"),
    ],
)
def test_arguments_are_an_object_of_the_schema(parameters, good, bad):
    assert accepts(parameters, good)
    assert not accepts(parameters, bad)


NOT_HELD = {"type": "object", "properties": {"a": {"not": {"type": "null"}}}}


def test_what_a_grammar_cannot_hold_is_any_object_unless_it_must_hold():
    assert accepts(NOT_HELD, '{"b": 1}')
    for use in (
        ToolUse([tool("now"), tool("f", NOT_HELD)], is_required=True),
        ToolUse([tool("now"), tool("f", NOT_HELD)], only="f"),
        ToolUse([tool("now"), tool("f", NOT_HELD, strict=True)]),
    ):
        with pytest.raises(BadRequest) as refusal:
            calls_grammar(HERMES, use)
        assert refusal.value.param == "tools[1].function.parameters.properties.a.not"


@pytest.mark.parametrize(
    ("use", "param"),
    [
        (ToolUse([tool("f", {"type": "string"})]), "tools[0].function.parameters"),
        (ToolUse([tool("f", [])]), "tools[0].function.parameters"),
        (ToolUse([tool("f", {"$ref": "#/$defs/s", "$defs": {"s": {"type": "string"}}})], is_required=True),
         "tools[0].function.parameters"),
        (ToolUse([tool("now"), tool("a b")]), "tools[1].function.name"),
        (ToolUse([tool("now"), tool("now")]), "tools[1].function.name"),
        (ToolUse([tool("now")], only="then"), "tool_choice"),
    ],
)  # fmt: skip
def test_what_is_no_tool_is_refused_by_its_place(use, param):
    with pytest.raises(BadRequest) as refusal:
        calls_grammar(HERMES, use)
    assert refusal.value.param == param


def test_schemas_that_are_too_large_together_become_any_objects():
    wide = {"type": "object", "properties": {f"p{i}": {"enum": [f"{i} {j}" for j in range(40)]} for i in range(60)}}
    tools = [tool(f"f{i}", {**wide, "title": str(i)}) for i in range(40)]
    assert Acceptor(calls_grammar(HERMES, ToolUse(tools))).accepts(hermes("f3", '{"other": 1}'))
    with pytest.raises(BadRequest):
        calls_grammar(HERMES, ToolUse(tools, is_required=True))


def test_many_tools_are_taken(llama):
    tools = [tool(f"get_{i}_weather", CITY) for i in range(128)]
    for dialect in (HERMES, GENERIC, formats.HARMONY):
        grammar = calls_grammar(dialect, ToolUse(tools))
        assert llama.accepts(grammar, []) == []
    grammar = calls_grammar(HERMES, ToolUse(tools))
    assert llama.accepts(grammar, [hermes("get_77_weather", '{"city": "x"}'), hermes("get_x", "{}")]) == [True, False]
