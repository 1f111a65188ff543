"""Answers of models that think first, on real tiny models: what is told apart, cut short, and held to a form."""

import json
import re
from dataclasses import asdict

import jsonschema
import pytest
import tiny_models
from chat_cases import ASK, CLOCK, THOUGHT, TOOLS, answered
from worker_bench import WorkerBench

from offgrid.types import CountRequest, RenderRequest, Thinking, ToolUse


@pytest.fixture
def scripted(tmp_path):
    def make(pieces: list, template: str = tiny_models.THINKING) -> WorkerBench:
        return WorkerBench(tiny_models.scripted_model(tmp_path / "scripted.gguf", pieces, template=template))

    return make


def test_thinking_is_told_apart_from_the_answer_and_counted(scripted):
    bench = scripted(THOUGHT)
    id = answered(bench)
    assert bench.channel.thought(id) == "Hmm, so it is."
    assert bench.channel.texts[id] == "Hello"
    assert bench.channel.ends[id].usage.thinking_tokens == 4


def test_thinking_stays_in_the_text_where_that_is_asked_for(scripted):
    bench = scripted(THOUGHT)
    id = answered(bench, thinking=Thinking(is_separate=False))
    assert bench.channel.texts[id] == "".join(THOUGHT)


def test_a_prompt_that_leaves_the_thinking_open_begins_in_it(scripted):
    bench = scripted(THOUGHT[1:], template=tiny_models.THINKING.replace("assistant\n' }}", "assistant\n<think>\n' }}"))
    id = answered(bench)
    assert (bench.channel.thought(id), bench.channel.texts[id]) == ("Hmm, so it is.", "Hello")


def test_thinking_switched_off_is_the_templates_own_way(scripted):
    bench = scripted(THOUGHT)
    thinking = Thinking(is_enabled=False)
    asked = asdict(RenderRequest(ASK, thinking=thinking))
    assert bench.service.preparer.prompt(asked).endswith("<think>\n\n</think>\n\n")
    id = answered(bench, thinking=thinking)
    assert bench.channel.thought(id) == ""


@pytest.mark.parametrize("budget", [0, 1, 2])
def test_a_budget_ends_the_thinking_and_the_answer_follows(scripted, budget):
    bench = scripted(THOUGHT)
    id = answered(bench, thinking=Thinking(budget=budget))
    assert bench.channel.thought(id) in ("", "Hmm,", "Hmm, so it is.")[: budget + 1]
    assert bench.channel.ends[id].usage.thinking_tokens <= budget + 3  # and the end of it, which is forced
    assert "Hmm" not in bench.channel.texts[id]
    assert "think>" not in bench.channel.texts[id]


def test_a_form_holds_the_answer_also_where_the_thinking_stays_in_the_text(scripted):
    bench = scripted([*THOUGHT[:3], "</think>\n\ny", "x"])
    id = answered(bench, thinking=Thinking(is_separate=False), grammar='root ::= "yes" | "no"')
    assert bench.channel.texts[id] == "<think>Hmm, so it is.\n</think>\n\nyes"
    id = answered(bench, grammar='root ::= "yes" | "no"')
    assert (bench.channel.thought(id), bench.channel.texts[id]) == ("Hmm, so it is.", "yes")


def test_a_grammar_holds_the_answer_and_not_the_thinking(scripted):
    bench = scripted(THOUGHT)
    id = answered(bench, grammar='root ::= "yes" | "no"')
    assert bench.channel.thought(id) == "Hmm, so it is."
    assert bench.channel.texts[id] in ("yes", "no")


def test_a_required_call_comes_after_the_thinking(scripted):
    bench = scripted(THOUGHT)
    id = answered(bench, tool_use=ToolUse(TOOLS, only="get_time"), max_tokens=900)
    assert bench.channel.thought(id) == "Hmm, so it is."
    ((name, arguments),) = bench.channel.calls(id)
    assert name == "get_time"
    jsonschema.validate(json.loads(arguments), CLOCK)


@pytest.mark.parametrize("is_open", [True, False])
def test_a_model_that_ends_in_its_thinking_still_owes_an_answer_of_the_form(scripted, is_open):
    opened = tiny_models.THINKING.replace("assistant\n' }}", "assistant\n<think>\n' }}")
    bench = scripted(THOUGHT[1:3], template=opened) if is_open else scripted(THOUGHT[:3])
    id = answered(bench, grammar='root ::= "yes"')
    assert (bench.channel.thought(id), bench.channel.texts[id]) == ("Hmm, so it is.", "yes")
    id = answered(bench)
    assert bench.channel.ends[id].usage.thinking_tokens == 3 - is_open
    assert id not in bench.channel.texts


def test_a_grammar_may_spell_the_thinking_itself(scripted):
    bench = scripted(["<thi", "nk>", "so it", " is", "</thi", "nk>yes", "!"])  # in which no token is told for a mark
    for budget in (None, 1):
        id = answered(bench, grammar='root ::= "<think>" [a-z ]* "</think>" "yes!"', thinking=Thinking(budget=budget))
        assert (bench.channel.thought(id), bench.channel.texts[id]) == ("so it is", "yes!")


def test_stop_strings_and_tool_calls_in_thinking_are_thinking(scripted):
    bench = scripted(["<think>", "a <tool_call> ", "b", "</think>", "Hello"])
    id = answered(bench, tool_use=ToolUse(TOOLS), stop=("b",))
    assert re.sub(r"\s+", " ", bench.channel.thought(id)) == "a <tool_call> b"
    assert bench.channel.texts[id] == "Hello"


@pytest.mark.parametrize(
    "fields",
    [{"messages": ASK}, {"messages": ASK, "tool_use": ToolUse(TOOLS), "thinking": Thinking(is_enabled=False)}, {}],
    ids=["messages", "tools", "prompt"],
)
def test_a_prompt_is_counted_as_it_would_be_computed(scripted, fields):
    bench = scripted(THOUGHT)
    id = bench.submit("hello <|im_end|> world", max_tokens=1, **fields)
    bench.run()
    asked = CountRequest(**(fields or {"prompt": "hello <|im_end|> world"}))
    assert bench.service.count(asdict(asked)) == bench.channel.ends[id].usage.prompt_tokens
