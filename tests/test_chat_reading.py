"""What chat clients send beside OpenAI's own fields, and how it is read."""

import pytest

from offgrid.api.fields import Object
from offgrid.api.messages import MESSAGES
from offgrid.api.tools import TOOLS, read_tool_use
from offgrid.errors import BadRequest

TOOL = {"type": "function", "function": {"name": "add"}}
OTHER = {"type": "function", "function": {"name": "subtract"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def messages(*sent: dict) -> list[dict]:
    return list(MESSAGES.read(list(sent), "messages"))


def tool_use(choice: object, *tools: dict):
    return read_tool_use(Object(*TOOLS).read({"tools": list(tools), "tool_choice": choice}, ""))


def test_what_libraries_keep_of_other_servers_answers_has_no_effect():
    kept = {"provider_specific_fields": {"a": [1]}}
    call = {**CALL, **kept, "function": {**CALL["function"], **kept}}
    sent = {"role": "assistant", "content": "Hi", "tool_calls": [call], "reasoning_details": [{"type": "x"}], **kept}
    assert messages(sent) == [{"role": "assistant", "content": "Hi", "tool_calls": [CALL]}]


@pytest.mark.parametrize("content", [{"content": None}, {"content": ""}, {"content": []}, {}])
def test_a_tool_that_returned_nothing_has_returned_an_empty_text(content):
    assert messages({"role": "tool", "tool_call_id": "call_1", **content}) == [
        {"role": "tool", "content": "", "tool_call_id": "call_1"}
    ]


def test_what_a_user_says_may_not_be_left_out():
    with pytest.raises(BadRequest) as caught:
        messages({"role": "user", "content": None})
    assert caught.value.param == "messages[0].content"


def test_a_refusal_of_the_assistant_is_read_as_its_text():
    parts = [{"type": "text", "text": "Sorry. "}, {"type": "refusal", "refusal": "I cannot say that."}]
    assert messages({"role": "assistant", "content": parts})[0]["content"] == "Sorry. I cannot say that."
    with pytest.raises(BadRequest) as caught:
        messages({"role": "user", "content": parts})
    assert caught.value.param == "messages[0].content[1]"


def test_any_asks_for_a_call_as_required_does():
    assert tool_use("any", TOOL, OTHER) == tool_use("required", TOOL, OTHER)
    assert tool_use("any", TOOL, OTHER).is_required


def test_a_tool_is_also_chosen_by_its_name_alone():
    named = {"type": "function", "function": {"name": "subtract"}}
    assert tool_use({"type": "function", "name": "subtract"}, TOOL, OTHER) == tool_use(named, TOOL, OTHER)
    assert tool_use(named, TOOL, OTHER).only == "subtract"


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "function", "name": "divide"}, "tool_choice.name"),
        ({"type": "function", "function": {"name": "divide"}}, "tool_choice.function.name"),
        ({"type": "function"}, "tool_choice.function"),
        ({"type": "function", "name": "add", "function": {"name": "add"}}, "tool_choice.name"),
        ("sometimes", "tool_choice"),
        (["any"], "tool_choice"),
    ],
)
def test_a_choice_that_chooses_nothing_is_refused_by_its_place(choice, param):
    with pytest.raises(BadRequest) as caught:
        tool_use(choice, TOOL, OTHER)
    assert caught.value.param == param


def test_marks_for_the_caches_of_others_have_no_effect_wherever_libraries_put_them():
    mark = {"cache_control": {"type": "ephemeral"}}
    for role, more in (("system", {}), ("user", {}), ("assistant", {}), ("tool", {"tool_call_id": "call_1"})):
        sent = {"role": role, "content": [{"type": "text", "text": "x", **mark}], **more}
        assert messages({**sent, **mark}) == messages(sent)
    assert tool_use("auto", {**TOOL, **mark}) == tool_use("auto", TOOL)
