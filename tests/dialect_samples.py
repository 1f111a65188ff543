"""Answers as models of each dialect write them, and what they mean; and how tests read them."""

from dataclasses import replace
from typing import NamedTuple

from offgrid.dialects import formats
from offgrid.dialects.formats import GENERIC, HERMES, LLAMA_3
from offgrid.dialects.reply import ReplyParser
from offgrid.dialects.syntax import Dialect


class Sample(NamedTuple):
    name: str
    dialect: Dialect
    text: str
    parts: tuple[tuple[str, str], ...]  # without markup
    is_thinking: bool = False
    is_taken: bool = True  # what looks like a call, by the grammar


def parsed(
    dialect, pieces, *, has_tools=True, is_thinking=False, separates_thinking=True, on_call=lambda _: True
) -> list[tuple[str, str]]:
    """The joined parts of a text that comes in pieces. Checks that they account for every character."""
    parser = ReplyParser(
        dialect,
        has_tools=has_tools,
        is_thinking=is_thinking,
        separates_thinking=separates_thinking,
        on_call=on_call,
    )
    parts = [part for piece in pieces for part in parser.push(piece)] + parser.flush()
    text, at, joined = "".join(pieces), 0, []
    for kind, shown, n_chars in parts:
        assert shown == text[at : at + n_chars]
        at += n_chars
        if joined and joined[-1][0] == kind:
            shown = joined.pop()[1] + shown
        joined.append((kind, shown))
    assert at == len(text)
    assert sum(kind == "call" for kind, _ in joined) == parser.n_calls
    return joined


def call(name: str, arguments: str) -> tuple[tuple[str, str], ...]:
    return ("call", name), ("arguments", arguments)


_THINKING_HERMES = Dialect("hermes", HERMES.calls, ("<think>", "</think>"))
_ONE = '{"city": "Rom{e\\"}", "n": 1}'
SAMPLES = (
    Sample("plain", HERMES, " Hi, a < b\n\n", (("content", " Hi, a < b\n\n"),)),
    Sample(
        "thinking",
        _THINKING_HERMES,
        "\n<think>\nHm <b>\n</think>\n\nHi. ",
        (("thought", "Hm <b>"), ("content", "Hi. ")),
    ),
    Sample("left open", _THINKING_HERMES, "\nHm\n</think>\n\nHi", (("thought", "Hm"), ("content", "Hi")), True),
    Sample("no thought", _THINKING_HERMES, "<think>\n\n</think>\n\nHi", (("content", "Hi"),)),
    Sample("never ends", _THINKING_HERMES, "Hm <tool_call> \n", (("thought", "Hm <tool_call>"),), True),
    Sample(
        "hermes",
        _THINKING_HERMES,
        "<think>\nHm\n</think>\n\nLet me see.\n\n"
        f'<tool_call>\n{{"name": "get_weather", "arguments": {_ONE}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n',
        (("thought", "Hm"), ("content", "Let me see."), *call("get_weather", _ONE), *call("now", "{}")),
    ),
    Sample(
        "text behind",
        HERMES,
        '<tool_call>{"name":"now","arguments":{}}</tool_call> \n I called.',
        (*call("now", "{}"), ("content", "I called.")),
    ),
    Sample("bare", GENERIC, f'\n{{"name": "get_weather", "parameters": {_ONE}}}', call("get_weather", _ONE)),
    Sample("fenced", GENERIC, '```json\n{"name": "now", "arguments": {}}\n```', call("now", "{}")),
    Sample("no call", GENERIC, '{"city": "Rome"}', (("content", '{"city": "Rome"}'),)),
    Sample("llama", LLAMA_3, f'{{"name": "f", "parameters": {_ONE}}}', call("f", _ONE)),
    Sample(
        "llama with a type",
        LLAMA_3,
        '<|python_tag|>{"type": "function", "name": "f", "parameters": {}}',
        call("f", "{}"),
    ),
    Sample(
        "mistral list",
        formats.MISTRAL_LIST,
        f'Ok. [TOOL_CALLS][{{"name": "f", "arguments": {_ONE}, "id": "abc123def"}}, '
        '{"name": "now", "arguments": {}}]',
        (("content", "Ok."), *call("f", _ONE), *call("now", "{}")),
    ),
    Sample(
        "mistral",
        formats.MISTRAL,
        f"[TOOL_CALLS]f[ARGS]{_ONE}[TOOL_CALLS]now[ARGS]{{}}",
        (*call("f", _ONE), *call("now", "{}")),
    ),
    Sample("mistral ids", formats.MISTRAL, "[TOOL_CALLS]f[CALL_ID]012345678[ARGS]{}", call("f", "{}")),
    Sample(
        "mistral thinks",
        replace(formats.MISTRAL, thinking=("[THINK]", "[/THINK]")),
        "[THINK]Hm[/THINK]Ok[TOOL_CALLS]f[ARGS]{}",
        (("thought", "Hm"), ("content", "Ok"), *call("f", "{}")),
    ),
    Sample(
        "deepseek r1",
        replace(formats.DEEPSEEK_R1, thinking=("<think>", "</think>")),
        "Hm\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜>\n"
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{_ONE}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        (("thought", "Hm"), *call("f", "{}"), *call("now", _ONE)),
        True,
    ),
    Sample(
        "deepseek v3",
        formats.DEEPSEEK_V3,
        "Ok<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
        f"<｜tool▁call▁begin｜>now<｜tool▁sep｜>{_ONE}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        (("content", "Ok"), *call("f", "{}"), *call("now", _ONE)),
    ),
    Sample(
        "functionary 3.1",
        formats.FUNCTIONARY_TAGS,
        f"<function=f>{_ONE}</function><function=now>{{}}</function>",
        (*call("f", _ONE), *call("now", "{}")),
    ),
    Sample(
        "functionary text", formats.FUNCTIONARY, "all\nHi >>> you\n>>", (("content", "Hi >>> you\n>>"),), is_taken=False
    ),
    Sample(
        "functionary",
        formats.FUNCTIONARY,
        f"all\nOk\n>>>f\n{_ONE}\n>>>now\n{{}}",
        (("content", "Ok"), *call("f", _ONE), *call("now", "{}")),
    ),
    Sample("functionary call", formats.FUNCTIONARY, "f\n{}", call("f", "{}")),
    Sample(
        "harmony text",
        formats.HARMONY,
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Hi <|x|>",
        (("thought", "Hm"), ("content", "Hi <|x|>")),
    ),
    Sample(
        "harmony",
        formats.HARMONY,
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary<|message|>Ok"
        "<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>" + _ONE,
        (("thought", "Hm"), ("content", "Ok"), *call("f", _ONE)),
    ),
    Sample(
        "harmony role",
        formats.HARMONY,
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant to=functions.f"
        "<|channel|>commentary json<|message|>{}",
        (("thought", "Hm"), *call("f", "{}")),
    ),
    Sample("harmony first", formats.HARMONY, " to=functions.f<|channel|>analysis<|message|>{}", call("f", "{}")),
    Sample(
        "cohere text",
        replace(formats.COHERE, thinking=("<|START_THINKING|>", "<|END_THINKING|>")),
        "<|START_THINKING|>Hm<|END_THINKING|><|START_RESPONSE|>Hi<|END_RESPONSE|>",
        (("thought", "Hm"), ("content", "Hi")),
    ),
    Sample(
        "cohere",
        formats.COHERE,
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "f", "parameters": {}},\n'
        f'    {{"tool_call_id": "1", "tool_name": "now", "parameters": {_ONE}}}\n]<|END_ACTION|>',
        (*call("f", "{}"), *call("now", _ONE)),
    ),
    Sample(
        "kimi",
        formats.KIMI,
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}"
        f"<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{_ONE}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        (*call("f", "{}"), *call("now", _ONE)),
    ),
    Sample(
        "apertus",
        formats.APERTUS,
        f'<|tools_prefix|>[{{"f": {_ONE}}}, {{"now": {{}}}}]<|tools_suffix|>',
        (*call("f", _ONE), *call("now", "{}")),
    ),
    Sample("granite", formats.GRANITE_3, f'<|tool_call|>[{{"name": "f", "arguments": {_ONE}}}]', call("f", _ONE)),
    Sample(
        "nemotron", formats.NEMOTRON, f'<TOOLCALL>[{{"name": "f", "arguments": {_ONE}}}]</TOOLCALL>', call("f", _ONE)
    ),
    Sample(
        "apriel",
        formats.APRIEL,
        '<tool_calls>[{"name": "f", "arguments": {}, "id": "a1"}]</tool_calls>',
        call("f", "{}"),
    ),
    Sample(
        "minimax",
        formats.MINIMAX_M1,
        '<tool_calls>\n{"name": "f", "arguments": {}}\n{"name": "now", "arguments": {}}\n</tool_calls>',
        (*call("f", "{}"), *call("now", "{}")),
    ),
    Sample(
        "gigachat",
        formats.GIGACHAT,
        'Ok<|function_call|>{"name": "f", "arguments": {}}',
        (("content", "Ok"), *call("f", "{}")),
    ),
    Sample(
        "gigachat 3", formats.GIGACHAT_3, 'function call<|role_sep|>\n{"name": "f", "arguments": {}}', call("f", "{}")
    ),
)
CALLS = tuple(sample for sample in SAMPLES if "call" in dict(sample.parts) and sample.name != "text behind")
