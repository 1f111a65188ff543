"""Answers as models of each dialect write them, and what they mean; and how tests read them."""

from typing import NamedTuple

from offgrid.dialects.formats import GENERIC, HERMES, LLAMA_3
from offgrid.dialects.reply import ReplyParser
from offgrid.dialects.syntax import Dialect


class Sample(NamedTuple):
    name: str
    dialect: Dialect
    text: str
    parts: tuple[tuple[str, str], ...]  # without markup
    is_thinking: bool = False


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
_ONE = '{"city": "Rom{e\\"}", "n": {"a": [1, {}]}}'
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
)
