"""Which dialect a template tells of, what it takes, and how tools, calls and results get into its prompt."""

import copy
import json

import dialect_templates as templates
import pytest
from dialect_templates import renderer

from offgrid.dialects.conversation import conversation
from offgrid.dialects.dialect import dialect_of
from offgrid.dialects.formats import GENERIC, HERMES
from offgrid.dialects.traits import Traits, traits_of
from offgrid.types import ToolUse

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "é", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "now"}},
]


def call(name: str, call_id: str, arguments: str = '{"city": "Rom"}') -> dict:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "Two calls.",
        "tool_calls": [call("get_weather", "call_1234567890"), call("now", "call_2", "{}")],
    },
    {"role": "tool", "tool_call_id": "call_1234567890", "content": "rain"},
    {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
    {"role": "user", "content": "Thanks."},
]


def prompt(source: str, messages: list[dict], use: ToolUse | None) -> str:
    before = copy.deepcopy(messages)
    render = renderer(source)
    result = render(*conversation(messages, use, dialect_of(source), traits_of(render)))
    assert messages == before
    return result


@pytest.mark.parametrize(
    ("source", "name", "thinking"),
    [
        (templates.HERMES, "hermes", ("<think>", "</think>")),
        (templates.LLAMA_3, "llama-3", None),
        (templates.MISTRAL, "mistral", None),
        (templates.DEEPSEEK_R1, "deepseek-r1", ("<think>", "</think>")),
        (templates.HARMONY, "harmony", ("<|channel|>analysis<|message|>", "<|end|>")),
        (templates.GEMMA_2, "generic", None),
        (templates.CHATML, "generic", None),
        ("", "generic", None),
        ("'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + name + '<｜tool▁sep｜>'", "deepseek-v3", None),
        ("'[TOOL_CALLS][' ... [THINK]", "mistral-list", ("[THINK]", "[/THINK]")),
        ("'>>>all\\n' + content", "functionary-3.2", None),
        ("<function={{ name }}>{{ arguments }}</function>", "functionary-3.1", None),
        ("<tool_call>\n<function=f>\n<parameter=a>1</parameter></function></tool_call> arguments", "generic", None),
        ("<tool_call>f<arg_key>a</arg_key>... arguments </think>", "generic", ("<think>", "</think>")),
        (
            '<|START_ACTION|>[{"tool_name": ...}]<|START_THINKING|>',
            "cohere",
            ("<|START_THINKING|>", "<|END_THINKING|>"),
        ),
        ("<|tool_calls_section_begin|><|tool_call_argument_begin|>", "kimi", None),
        ("<|tools_prefix|>[", "apertus", None),
        ("<TOOLCALL>[", "nemotron", None),
        ("<|tool_call|> followed by a JSON list of tools", "granite-3", None),
        ("<tool_calls>[{...", "apriel", None),
        ('<tool_calls>\\n{"name": <tool-name>, "arguments": ...', "minimax-m1", None),
        ("<|function_call|> <|role_sep|>", "gigachat", None),
        ("{'role': 'function call'} <|role_sep|>", "gigachat-3", None),
        ("<seed:tool_call><function=f><parameter=a> <seed:think>", "generic", ("<seed:think>", "</seed:think>")),
        ("<|tool_call>call:f{} <|channel>thought", "generic", ("<|channel>thought", "<channel|>")),
    ],
)
def test_a_template_tells_its_dialect(source, name, thinking):
    dialect = dialect_of(source)
    assert (dialect.name, dialect.thinking) == (name, thinking)


def test_the_markers_are_the_texts_that_may_be_control_tokens():
    assert dialect_of(templates.HERMES).markers == ("<think>", "</think>", "<tool_call>", "</tool_call>")
    assert dialect_of(templates.MISTRAL).markers == ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]")
    assert set(dialect_of(templates.HARMONY).markers) == {
        *("<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|constrain|>")
    }


@pytest.mark.parametrize(
    ("source", "traits"),
    [
        (
            templates.HERMES,
            Traits(
                **{
                    "has_system": True,
                    "has_double_turns": True,
                    "takes_tools": True,
                    "takes_calls": True,
                    "takes_bare_tools": True,
                },
                **{"takes_several_calls": True, "takes_text_with_calls": True},
            ),
        ),
        (
            templates.LLAMA_3,
            Traits(
                **{"has_system": True, "has_double_turns": True, "takes_tools": True, "takes_calls": True},
                takes_bare_tools=True,
            ),
        ),
        (
            templates.MISTRAL,
            Traits(
                **{"has_system": True, "takes_tools": True, "takes_bare_tools": True, "takes_calls": True},
                **{"takes_several_calls": True, "takes_long_ids": False},
            ),
        ),
        (
            templates.DEEPSEEK_R1,
            Traits(
                **{"has_system": True, "has_double_turns": True, "takes_calls": True, "takes_several_calls": True},
                **{"has_object_arguments": False, "empty_content": None},
            ),
        ),
        (
            templates.HARMONY,
            Traits(
                **{
                    "has_system": True,
                    "has_double_turns": True,
                    "takes_tools": True,
                    "takes_calls": True,
                    "takes_bare_tools": True,
                },
                thinking_key="thinking",
            ),
        ),
        (templates.GEMMA_2, Traits()),
        (templates.CHATML, Traits(has_system=True, has_double_turns=True)),
        ("{{ raise_exception('never') }}", Traits()),
    ],
)
def test_what_a_template_takes_is_found_by_trying(source, traits):
    assert traits_of(renderer(source)) == traits


def test_a_template_that_knows_tools_is_given_them():
    text = prompt(templates.HERMES, HISTORY, ToolUse(TOOLS))
    assert '"name": "get_weather", "description": "é"' in text
    assert 'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rom"}}\n</tool_call>' in text
    assert "<tool_response>\nnoon\n</tool_response>" in text
    assert "<tools>" not in text
    messages, tools = conversation(HISTORY, None, HERMES, traits_of(renderer(templates.HERMES)))
    assert tools is None
    assert messages[2]["tool_calls"][0]["function"]["arguments"] == {"city": "Rom"}
    assert messages[3]["name"] == "get_weather"


def test_a_template_that_knows_no_tools_is_told_in_words():
    text = prompt(templates.CHATML, HISTORY, ToolUse(TOOLS))
    system, _, rest = text.partition("<|im_end|>")
    assert system.startswith("<|im_start|>system\nBe brief.\n\n")
    assert all(json.dumps(tool["function"], ensure_ascii=False) in system for tool in TOOLS)
    assert "<tool_call>\n{" in system
    assert (
        'assistant\nI look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rom"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>' in rest
    )
    results = "<tool_response>\nrain\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"
    assert f"<|im_start|>user\n{results}<|im_end|>\n<|im_start|>user\nThanks.<|im_end|>" in rest


def test_a_template_without_system_role_and_double_turns_gets_neither():
    text = prompt(templates.GEMMA_2, HISTORY, ToolUse(TOOLS))
    first = text.partition("<end_of_turn>")[0]
    assert first.startswith("<start_of_turn>user\nBe brief.\n\n")
    assert "get_weather" in first
    assert first.endswith("Weather?")
    assert "noon\n</tool_response>\n\nThanks.<end_of_turn>" in text
    assert prompt(templates.GEMMA_2, HISTORY[:2], None) == (
        "<start_of_turn>user\nBe brief.\n\nWeather?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_calls_of_the_past_are_shown_when_no_tools_are_offered_now():
    for source in (templates.CHATML, templates.HERMES, templates.GEMMA_2):
        text = prompt(source, HISTORY, None)
        assert '"name": "get_weather"' in text
        assert "noon" in text
        assert "You can use tools" not in text


def test_ids_become_short_where_the_template_wants_it_and_stay_the_same_ones():
    render = renderer(templates.MISTRAL)
    traits, dialect = traits_of(render), dialect_of(templates.MISTRAL)
    messages, tools = conversation(HISTORY[1:5], ToolUse(TOOLS), dialect, traits)
    ids = [call["id"] for call in messages[1]["tool_calls"]]
    assert [message["tool_call_id"] for message in messages[2:]] == ids
    assert all(len(id_) == 9 and id_.isalnum() for id_ in ids)
    assert len(set(ids)) == 2
    assert conversation(HISTORY[1:5], ToolUse(TOOLS), dialect, traits) == (messages, tools)
    assert "get_weather" in render(messages, tools)


def test_several_calls_become_single_ones_each_with_its_result():
    text = prompt(templates.LLAMA_3, HISTORY, ToolUse(TOOLS))
    words = ["I look.", '"get_weather", "parameters": {"city"', "rain", '"now", "parameters": {}', "noon", "Thanks"]
    order = [text.index(word) for word in words]
    assert order == sorted(order)
    traits = Traits(takes_calls=True, takes_text_with_calls=True, has_system=True, has_double_turns=True)
    messages, _ = conversation(HISTORY, None, HERMES, traits)
    assert [message["content"] for message in messages] == [
        "Be brief.",
        "Weather?",
        "I look.",
        "rain",
        "",
        "noon",
        "Thanks.",
    ]


def test_text_beside_calls_comes_first_where_the_template_would_lose_either():
    text = prompt(templates.DEEPSEEK_R1, HISTORY, ToolUse(TOOLS))
    assert "<｜Assistant｜>I look.<｜tool▁calls▁begin｜>" in text
    assert '```json\n{"city": "Rom"}\n```' in text
    assert "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>name of the tool\n```json\n" in text


def test_thoughts_come_under_the_name_that_the_template_knows():
    silent = [{**message} for message in HISTORY]
    silent[2]["content"] = None
    assert "<|message|>Two calls.<|end|>" in prompt(templates.HARMONY, silent, ToolUse(TOOLS))
    assert "Two calls." not in prompt(templates.CHATML, silent, ToolUse(TOOLS))
    assert "functions.now to=assistant" in prompt(templates.HARMONY, HISTORY, ToolUse(TOOLS))


@pytest.mark.parametrize("arguments", ["{broken", "[1]", ""])
def test_arguments_that_are_no_object_stay_text(arguments):
    history = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [call("now", "a", arguments)]},
    ]
    messages, _ = conversation(history, None, HERMES, traits_of(renderer(templates.HERMES)))
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == arguments
    assert messages[1]["content"] == ""
    assert f'"arguments": {arguments}' in prompt(templates.CHATML, history, None)


def test_what_is_demanded_is_said():
    for use, words in (
        (ToolUse(TOOLS), "answer in plain words"),
        (ToolUse(TOOLS, is_required=True), "must be a call of a tool."),
        (ToolUse(TOOLS, only="now"), "must be a call of the tool now."),
    ):
        assert words in prompt(templates.CHATML, HISTORY[:2], use)
    several = "For several calls"
    assert several in prompt(templates.CHATML, HISTORY[:2], ToolUse(TOOLS))
    assert several not in prompt(templates.CHATML, HISTORY[:2], ToolUse(TOOLS, is_parallel=False))


def test_no_tools_are_as_none():
    assert conversation(HISTORY[:2], ToolUse([]), GENERIC, Traits(has_system=True, has_double_turns=True)) == (
        HISTORY[:2],
        None,
    )


def test_tools_are_made_complete_where_the_template_asks_for_more():
    source = templates.HERMES.replace(
        "{{ tool | tojson }}",
        "{{ tool.function.description + tool.function.parameters.properties | tojson + tool.function.name }}",
    )
    traits = traits_of(renderer(source))
    assert not traits.takes_bare_tools
    messages, tools = conversation(HISTORY, ToolUse(TOOLS), HERMES, traits)
    assert tools[1]["function"]["parameters"] == {"type": "object", "properties": {}, "required": []}
    assert "\n{}now" in renderer(source)(messages, tools)
    assert "\né{}get_weather" in prompt(source, HISTORY, ToolUse(TOOLS))


def test_a_template_that_takes_for_ever_is_not_tried_for_ever(monkeypatch):
    monkeypatch.setattr("offgrid.dialects.traits.MOST_S", -1.0)
    tried = []
    assert traits_of(lambda messages, tools: tried.append(messages) or "") == Traits()
    assert tried == []
