"""What an answer's text means, however it is cut into pieces: content, thoughts, calls; and what is no call."""

import json
import random
from dataclasses import replace

import pytest
from dialect_samples import SAMPLES, Sample, parsed

from offgrid.dialects.formats import GENERIC, HERMES
from offgrid.dialects.reply import ReplyParser

LETTERS = [
    "<",
    "<tool_call>",
    "</think>",
    "<think>",
    '{"name": "',
    "a",
    "{",
    "}",
    '"',
    "\\",
    " ",
    "\n",
    "```json\n",
    ">>>",
]


def understood(sample: Sample, pieces: list[str], **kwargs) -> list[tuple[str, str]]:
    kwargs = {"is_thinking": sample.is_thinking, "on_call": lambda _: sample.is_taken, **kwargs}
    return parsed(sample.dialect, pieces, **kwargs)


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_an_answer_is_understood(sample: Sample):
    parts = understood(sample, [sample.text])
    assert [(kind, text) for kind, text in parts if kind != "markup"] == list(sample.parts)
    for kind, text in parts:
        if kind == "arguments":
            json.loads(text)


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_every_way_to_cut_an_answer_in_three_means_the_same(sample: Sample):
    text = sample.text
    whole = understood(sample, [text])
    assert understood(sample, list(text)) == whole
    step = 1 + len(text) // 60  # of long ones every few
    for i in range(len(text) + 1):
        for j in range(i, len(text) + 1, step):
            assert understood(sample, [text[:i], text[i:j], text[j:]]) == whole, (i, j)


@pytest.mark.parametrize("has_tools", [True, False])
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_an_answer_without_tools_or_with_its_thoughts_means_the_same_in_any_two_pieces(sample: Sample, has_tools: bool):
    text, kwargs = sample.text, {"has_tools": has_tools, "separates_thinking": has_tools is False}
    whole = understood(sample, [text], **kwargs)
    for i in range(len(text) + 1):
        assert understood(sample, [text[:i], text[i:]], **kwargs) == whole, i
    kinds = {kind for kind, _ in whole}
    assert ("thought" in kinds) == (not has_tools and "thought" in dict(sample.parts))
    assert ("call" in kinds) == (has_tools and "call" in dict(sample.parts))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("takes", [True, False])
def test_garbage_is_never_lost_and_means_the_same_in_any_pieces(seed, takes):
    chance = random.Random(seed)
    sample = SAMPLES[seed % len(SAMPLES)]
    pieces = [*sample.dialect.markers, *LETTERS, sample.text[: chance.randrange(len(sample.text))]]
    text = "".join(chance.choice(pieces) for _ in range(20))
    kwargs = {"has_tools": True, "is_thinking": seed % 3 == 0, "on_call": lambda _: takes}
    whole = parsed(sample.dialect, [text], **kwargs)
    for _ in range(40):
        cuts = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(1, 30)))
        assert (
            parsed(sample.dialect, [text[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)], **kwargs)
            == whole
        )


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_a_cut_answer_never_shows_half_a_call(sample: Sample):
    """What a length limit leaves of a call that the grammar has taken is markup, or a beginning of its arguments."""
    contents = "".join(text for kind, text in sample.parts if kind == "content")
    for n in range(len(sample.text)):
        began = []
        parser = ReplyParser(
            sample.dialect,
            has_tools=True,
            is_thinking=sample.is_thinking,
            on_call=lambda text, began=began: began.append(text) or sample.is_taken,
        )
        parts = [*parser.push(sample.text[:n]), *parser.flush()]
        if began:
            shown = "".join(part.text for part in parts if part.kind == "content")
            assert contents.startswith(shown)


def test_a_call_that_the_grammar_does_not_take_is_content():
    text = 'Use <tool_call> like this:\n{"name": "x"}  <tool_call>.'
    asked = []
    parts = parsed(HERMES, [text], on_call=lambda begun: asked.append(begun) or False)
    assert parts == [("content", text)]
    assert asked == [text[4:], "<tool_call>."]


def test_a_json_object_with_a_name_is_asked_about_only_when_the_name_is_complete():
    asked = []
    parser = ReplyParser(GENERIC, has_tools=True, is_thinking=False, on_call=lambda begun: asked.append(begun) or True)
    for letter in '{"name": "Ada':
        assert parser.push(letter) == []
    assert asked == []
    assert [part.text for part in parser.push('"') if part.kind == "call"] == ["Ada"]
    assert asked == ['{"name": "Ada"']


def test_names_and_arguments_come_as_soon_as_they_are_there():
    parser = ReplyParser(HERMES, has_tools=True, is_thinking=False, on_call=lambda _: True)
    assert parser.push("Well \n") == [("content", "Well", 4)]
    assert not parser.in_call
    assert parser.push('<tool_call>{"name":"f"') == [
        ("markup", " \n", 2),
        ("markup", '<tool_call>{"name":"', 20),
        ("call", "f", 1),
    ]
    assert parser.in_call
    assert [p for p in parser.push(', "arguments": {"a": "}') if p.kind == "arguments"] == [
        ("arguments", '{"a": "}', 8)
    ]
    assert parser.n_calls == 1


def test_without_tools_the_markup_of_calls_is_content():
    text = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call> '
    assert parsed(HERMES, [text], has_tools=False) == [("content", text)]


def test_content_is_held_back_only_where_it_may_become_markup():
    parser = ReplyParser(HERMES, has_tools=True, is_thinking=False, on_call=lambda _: True)
    assert parser.push("a < b") == [("content", "a < b", 5)]
    assert parser.push(" <") == []
    assert parser.push("b") == [("content", " <b", 3)]


@pytest.mark.parametrize("dialect", [HERMES, GENERIC], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("begun", ["", "a", "{", "<think>x"])
def test_white_space_without_end_is_given_out_while_it_comes(dialect, begun):
    dialect = replace(dialect, thinking=("<think>", "</think>"))
    text = begun + "\n" * 1000 + '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    parser = ReplyParser(dialect, has_tools=True, is_thinking=False, on_call=lambda _: True)
    one_by_one = [part for letter in text[: len(begun) + 1000] for part in parser.push(letter)]
    assert sum(part.n_chars for part in one_by_one) >= 700
    assert parsed(dialect, list(text)) == parsed(dialect, [text])
