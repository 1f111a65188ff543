"""What Anthropic's clients send, read into what every model here is told. Pure."""

import json

import pytest

from offgrid.api.anthropic.blocks import MESSAGES, SYSTEM, system_messages
from offgrid.api.anthropic.messages import count_tokens
from offgrid.api.anthropic.options import read_grammar, read_thinking
from offgrid.api.anthropic.tools import read_tool_use
from offgrid.dialects.calls import calls_grammar
from offgrid.dialects.dialect import dialect_of
from offgrid.errors import BadRequest
from offgrid.types import Thinking, ToolUse

HELLO = {"role": "user", "content": "Hello!"}
ADD = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
SAME_ADD = {"type": "function", "function": {"name": "add", "parameters": ADD["input_schema"]}}


def text(words: str, **more) -> dict:
    return {"type": "text", "text": words, **more}


def call(id: str, **arguments) -> dict:
    return {"type": "tool_use", "id": id, "name": "add", "input": arguments}


def same_call(id: str, arguments: str) -> dict:
    return {"id": id, "type": "function", "function": {"name": "add", "arguments": arguments}}


def result(id: str, **more) -> dict:
    return {"type": "tool_result", "tool_use_id": id, **more}


def messages_of(*messages: dict) -> list[dict]:
    return list(MESSAGES.read(list(messages), "messages"))


def asked_of(**body):
    return count_tokens.takes.read({"messages": [HELLO], **body}, "")


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        ("Hello!", [{"role": "user", "content": "Hello!"}]),
        ([text("a"), text(""), text("b")], [{"role": "user", "content": "a\n\nb"}]),
        ([], [{"role": "user", "content": ""}]),
        ([result("t")], [{"role": "tool", "tool_call_id": "t", "content": ""}]),
        (
            [result("t", content="1"), result("u", content=[text("x"), text("y")], is_error=True), text("So?")],
            [
                {"role": "tool", "tool_call_id": "t", "content": "1"},
                {"role": "tool", "tool_call_id": "u", "content": "Error: x\n\ny"},
                {"role": "user", "content": "So?"},
            ],
        ),
        (
            [text("a"), result("t", content="1"), text("b"), text("c")],
            [
                {"role": "user", "content": "a"},
                {"role": "tool", "tool_call_id": "t", "content": "1"},
                {"role": "user", "content": "b\n\nc"},
            ],
        ),
    ],
)
def test_a_message_of_the_user_is_its_texts_and_the_results_of_tools_in_their_order(content, messages):
    assert messages_of({"role": "user", "content": content}) == messages


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Hi.", {"content": "Hi."}),
        ([], {"content": ""}),
        (
            [text("Hm."), call("t", a=1), call("u", a="é")],
            {"content": "Hm.", "tool_calls": [same_call("t", '{"a": 1}'), same_call("u", '{"a": "é"}')]},
        ),
        (
            [
                {"type": "thinking", "thinking": "I think", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "thinking", "thinking": "", "signature": "x"},
                {"type": "thinking", "thinking": "so", "signature": ""},
                call("t"),
            ],
            {"content": "", "reasoning_content": "I think\n\nso", "tool_calls": [same_call("t", "{}")]},
        ),
    ],
)
def test_an_earlier_answer_is_one_message_with_its_thoughts_and_calls(content, message):
    assert messages_of({"role": "assistant", "content": content}, HELLO)[0] == {"role": "assistant", **message}


def test_a_system_message_between_others_stays_where_it_is():
    reminder = {"role": "system", "content": [text("It is Monday."), text("Still.")]}
    assert messages_of(HELLO, reminder, HELLO)[1] == {"role": "system", "content": "It is Monday.\n\nStill."}


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (None, None),
        ("", None),
        ([], None),
        ("Be kind.", "Be kind."),
        ([text("a", cache_control={"type": "ephemeral"}), text("b", citations=None)], "a\n\nb"),
        ([text("x-anthropic-billing-header: cc_version=2; cch=0f;"), text("a")], "a"),
    ],
)
def test_the_system_prompt_is_its_blocks_but_for_the_one_that_changes_every_time(system, words):
    blocks = None if system is None else SYSTEM.read(system, "system")
    assert system_messages(blocks) == ([{"role": "system", "content": words}] if words else [])


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, {}),
        ({"type": "auto"}, {}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"is_parallel": False}),
        ({"type": "any"}, {"is_required": True}),
        ({"type": "tool", "name": "add", "disable_parallel_tool_use": True}, {"only": "add", "is_parallel": False}),
    ],
)
def test_a_choice_of_tools_is_what_it_is_everywhere(choice, wanted):
    body = {"tools": [ADD]} | ({"tool_choice": choice} if choice else {})
    assert read_tool_use(asked_of(**body)) == ToolUse([SAME_ADD], schema_at="input_schema", **wanted)


def test_without_tools_and_with_none_nothing_may_be_called():
    assert read_tool_use(asked_of()) is None
    assert read_tool_use(asked_of(tools=[ADD], tool_choice={"type": "none"})) is None


def test_what_a_tool_says_beside_its_schema_is_kept_or_has_no_meaning():
    tool = {
        **ADD,
        "type": "custom",
        "description": "Adds.",
        "strict": True,
        "cache_control": {"type": "ephemeral"},
        "input_examples": [{"a": 1}],
        "eager_input_streaming": True,
        "defer_loading": True,
        "allowed_callers": ["direct"],
    }
    [read] = read_tool_use(asked_of(tools=[tool])).tools
    assert read == {"type": "function", "function": {**SAME_ADD["function"], "description": "Adds.", "strict": True}}


def test_a_tool_may_have_a_name_of_128_letters_and_is_held_to_its_schema():
    use = read_tool_use(asked_of(tools=[{**ADD, "name": "a" * 128}]))
    assert "a" * 128 in calls_grammar(dialect_of(""), use)
    with pytest.raises(BadRequest, match="128 letters"):
        asked_of(tools=[{**ADD, "name": "a" * 129}])


def test_a_schema_at_fault_is_named_where_the_client_wrote_it():
    use = read_tool_use(asked_of(tools=[ADD, {**ADD, "name": "b", "strict": True, "input_schema": {"not": {}}}]))
    with pytest.raises(BadRequest) as caught:
        calls_grammar(dialect_of(""), use)
    assert caught.value.param.startswith("tools[1].input_schema")


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, Thinking(is_enabled=False)),
        ({"thinking": {"type": "disabled"}}, Thinking(is_enabled=False)),
        ({"thinking": {"type": "between_tools"}}, Thinking(is_enabled=False)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Thinking()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Thinking(is_enabled=True, budget=2000)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            Thinking(effort="low"),
        ),
    ],
)
def test_thinking_is_what_is_asked_for_and_off_where_nothing_is(fields, thinking):
    assert read_thinking(asked_of(**fields)) == thinking


def test_the_form_of_an_answer_may_stand_under_its_older_name():
    form = {"type": "json_schema", "schema": {"const": 1}}
    grammar = read_grammar(asked_of(output_config={"format": form}))
    assert json.dumps("1") in grammar
    assert read_grammar(asked_of(output_format=form)) == grammar
    assert read_grammar(asked_of(output_format=form, output_config={"format": form})) == grammar
    assert read_grammar(asked_of()) == ""
    with pytest.raises(BadRequest, match="differ"):
        read_grammar(asked_of(output_format={**form, "schema": {"const": 2}}, output_config={"format": form}))


def test_a_document_that_is_a_text_is_read_as_one():
    source = {"type": "text", "media_type": "text/plain", "data": "The sky is green."}
    document = {"type": "document", "source": source, "title": "Sky", "citations": {"enabled": True}}
    [message] = messages_of({"role": "user", "content": [document, text("What colour?")]})
    assert message == {"role": "user", "content": "Sky\nThe sky is green.\n\nWhat colour?"}
    returned = messages_of({"role": "user", "content": [result("toolu_1", content=[{**document, "title": None}])]})
    assert returned[0]["content"] == "The sky is green."


@pytest.mark.parametrize("kind", ["base64", "url", "file", "content"])
def test_a_document_that_is_a_file_is_refused_by_its_place(kind):
    with pytest.raises(BadRequest) as caught:
        messages_of({"role": "user", "content": [{"type": "document", "source": {"type": kind}}]})
    assert caught.value.param == "messages[0].content[0].source" and kind in caught.value.message
