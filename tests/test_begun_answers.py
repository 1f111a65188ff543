"""Conversations that end with an answer of the assistant: the model goes on with it, in every family."""

import dialect_templates as templates
import pytest
import tiny_models
from chat_cases import TOOLS
from running import RunningServer
from worker_bench import WorkerBench

from offgrid.dialects.conversation import begun_answer, conversation, ending_with
from offgrid.dialects.dialect import dialect_of
from offgrid.dialects.traits import traits_of
from offgrid.types import Thinking, ToolUse
from offgrid.worker.template import ChatTemplate

USER = {"role": "user", "content": "Name two."}
HEADS = {  # what these templates write before the text of an answer
    "HERMES": "<|im_start|>user\nName two.<|im_end|>\n<|im_start|>assistant\n",
    "LLAMA_3": "user Name two.assistant ",
    "MISTRAL": "[INST]Name two.[/INST][INST]",
    "DEEPSEEK_R1": "<｜User｜>Name two.<｜Assistant｜>",
    "HARMONY": "<|start|>user<|message|>Name two.<|end|><|start|>assistant<|message|>",
    "GEMMA_2": "<start_of_turn>user\nName two.<end_of_turn>\n<start_of_turn>assistant\n",
    "CHATML": "<|im_start|>user\nName two.<|im_end|>\n<|im_start|>assistant\n",
}
# As Qwen's: it trims texts, and cuts an answer at its thoughts.
QWEN_3 = """{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' %}{{ '<think>\\n\\n</think>\\n\\n' }}
{{- m.content.split('</think>')[-1].lstrip('\\n') | trim }}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def prompt(source: str, *messages: dict, use: ToolUse | None = None) -> str | None:
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    shown, begun = begun_answer(list(messages))
    written, tools = conversation(shown, use, dialect_of(source), traits_of(template.render))
    rendered = template.render(written, tools, begins_turn=begun is None)
    return rendered if begun is None else ending_with(begun, rendered)


def assistant(content: str | None, **more) -> dict:
    return {"role": "assistant", "content": content, **more}


@pytest.fixture
def scripted(tmp_path):
    def make(pieces: list, template: str = tiny_models.THINKING) -> WorkerBench:
        return WorkerBench(tiny_models.scripted_model(tmp_path / "scripted.gguf", pieces, template=template))

    return make


# --- the prompt ---


@pytest.mark.parametrize("begun", ["1. Apples\n2. ", "The", "{\n", "  x", "a </think> b", "qzbegunanswer", ""])
@pytest.mark.parametrize("name", HEADS)
def test_the_prompt_ends_with_the_answer_so_far_as_it_was_sent(name, begun):
    assert prompt(getattr(templates, name), USER, assistant(begun)) == HEADS[name] + begun


def test_what_a_template_trims_or_cuts_stays():
    head = "<|im_start|>user\nName two.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert prompt(QWEN_3, USER, assistant("\n a </think> b \n")) == head + "\n a </think> b \n"


def test_tools_are_listed_as_before_an_answer_that_has_not_begun():
    use = ToolUse(TOOLS)
    assert prompt(templates.HERMES, USER, assistant("I look"), use=use).startswith(
        prompt(templates.HERMES, USER, use=use).removesuffix("<|im_start|>assistant\n").rstrip()
    )


@pytest.mark.parametrize("last", [USER, assistant("", tool_calls=[{"id": "c", "function": {"name": "f"}}])])
def test_what_ends_otherwise_is_not_gone_on_with(last):
    messages = [USER, assistant("One."), last]
    assert begun_answer(messages) == (messages, None)


def test_a_template_that_does_not_show_the_answer_is_told_by_an_error(scripted):
    bench = scripted(["One"], "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    refusal = bench.refusal(messages=[USER, assistant("One")])
    assert (refusal["kind"], refusal["param"]) == ("bad_request", "messages")
    assert "assistant" in refusal["message"]


# --- the answer ---


def test_the_answer_is_what_follows(scripted):
    bench = scripted(["1", ", 2", ", 3"], tiny_models.CHATML)
    assert bench.text(messages=[USER]) == "1, 2, 3"
    assert bench.text(messages=[USER, assistant("1")]) == ", 2, 3"


def test_what_only_begins_an_answer_does_not_come_in_its_midst(scripted):
    """Elsewhere a <think> is a thought, and bare JSON a call."""
    bench = scripted(["S", " <think>", "no", "</think>", "!"])
    id = bench.submit(messages=[USER, assistant("S")])
    bench.run()
    assert bench.channel.texts[id] == " <think>no</think>!" and not bench.channel.thought(id)


def test_tools_may_still_be_called_after_the_begun_text_and_must_be_where_required(scripted):
    pieces = [".", "<tool_call>", '{"name": "get_weather", "arguments": {"city": "Paris"}}', "</tool_call>"]
    for use in (ToolUse(TOOLS), ToolUse(TOOLS, is_required=True)):
        bench = scripted(pieces)
        id = bench.submit(messages=[USER, assistant("I look.")], tool_use=use, max_tokens=200)
        bench.run()
        assert bench.channel.calls(id) == [("get_weather", '{"city": "Paris"}')]
        assert not bench.channel.texts.get(id)


def test_a_control_token_that_the_begun_answer_spells_is_text(scripted):
    bench = scripted(["1", ", 2"], tiny_models.CHATML)
    spelled = bench.model.tokenize("<|im_end|>", add_special=False, parse_special=False)
    plain = bench.submit(messages=[USER, assistant("1<|im_end|>")])
    bench.run()
    count = bench.channel.ends[plain].usage.prompt_tokens
    short = bench.submit(messages=[USER, assistant("1")])
    bench.run()
    assert count == bench.channel.ends[short].usage.prompt_tokens + len(spelled) and len(spelled) > 1


def test_a_form_holds_what_is_generated(scripted):
    bench = scripted(["1", ", 2"])
    text = bench.text(messages=[USER, assistant("1")], grammar='root ::= "yes" | "no"', thinking=Thinking())
    assert text in ("yes", "no")


# --- the families ---


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.scripted_model(folder / "m.gguf", ["1", ", 2", ", 3"])
    server = RunningServer(tmp_path_factory.mktemp("data"), "--models-dir", str(folder))
    yield server
    assert server.stop() == 0


MESSAGES = [USER, assistant("1")]


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/v1/chat/completions", {"messages": MESSAGES}, ("choices", 0, "message", "content")),
        ("/ollama/v1/chat/completions", {"model": "m", "messages": MESSAGES}, ("choices", 0, "message", "content")),
        ("/api/chat", {"model": "m", "messages": MESSAGES, "stream": False}, ("message", "content")),
        ("/v1/responses", {"input": MESSAGES}, ("output", 0, "content", 0, "text")),
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": MESSAGES}, ("content", 0, "text")),
        ("/apply-template", {"messages": MESSAGES}, ("prompt",)),
    ],
)
def test_every_family_answers_with_the_continuation_alone(server, path, body, place):
    status, _, answer = server.request(path, body)
    assert status == 200, answer
    for step in place:
        answer = answer[step]
    assert answer == ", 2, 3" or (path == "/apply-template" and answer.endswith("assistant\n1"))


def test_a_conversation_without_messages_has_not_begun_an_answer():
    assert begun_answer([]) == ([], None)
