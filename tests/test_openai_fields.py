"""docs/openai-fields.md says what becomes of every field of the openai package's requests, and it is so."""

import importlib.util

import pytest
import tiny_models
from running import REPO, RunningServer

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
# What a client may send; what a field needs beside it stands in WITH.
VALUES = {
    "messages": [{"role": "user", "content": "Hi"}],
    "prompt": "Hi",
    "input": "Hi",
    "access_programs": {},
    "audio": {"voice": "alloy", "format": "wav"},
    "background": True,
    "background_options": {},
    "best_of": 3,
    "context_management": [{"type": "compaction"}],
    "conversation": "conv_1",
    "dimensions": 64,
    "echo": True,
    "encoding_format": "base64",
    "frequency_penalty": 0.5,
    "function_call": {"name": "add"},
    "functions": [{"name": "add"}],
    "image": {},
    "include": ["reasoning.encrypted_content"],
    "instructions": "Be kind.",
    "logit_bias": {"5": -100},
    "max_completion_tokens": 1,
    "max_output_tokens": 1,
    "max_tokens": 1,
    "max_tool_calls": 1,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "Hi"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low", "summary": "auto"},
    "reasoning_effort": "low",
    "response_format": {"type": "text"},
    "safety_identifier": "s",
    "seed": 7,
    "service_tier": "flex",
    "stop": ["x"],
    "store": True,
    "stream": True,
    "stream_options": {"include_usage": True},
    "suffix": "end",
    "temperature": 0.5,
    "text": {"format": {"type": "json_object"}},
    "tool_choice": "none",
    "tools": [TOOL],
    "top_logprobs": 2,
    "top_p": 0.5,
    "truncation": "auto",
    "user": "u",
    "verbosity": "high",
    "web_search_options": {},
}
LOGPROBS = {"/v1/chat/completions": True, "/v1/completions": 2}
WITH = {"stream_options": {"stream": True}, "top_logprobs": {"logprobs": True}, "tools": {"tool_choice": "none"}}
RESPONSES = "/v1/responses"
# The same of requests that have another form.
OWN_VALUES = {
    RESPONSES: {
        "prompt": {"id": "pmpt_1"},
        "stream_options": {"include_obfuscation": False},
        "tools": [{**TOOL["function"], "type": "function"}],
    }
}
OWN_WITH = {RESPONSES: {"top_logprobs": {"include": ["message.output_text.logprobs"]}}}
NEEDED = {
    RESPONSES: {"input": "Hi", "max_output_tokens": 1},
    "/v1/chat/completions": {"messages": VALUES["messages"], "max_tokens": 1},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 1},
    "/v1/embeddings": {"input": "Hi"},
}


def script():
    spec = importlib.util.spec_from_file_location("openai_fields", REPO / "scripts" / "openai_fields.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIELDS = script()
TOP_LEVEL = [
    pytest.param(request, row, id=f"{request} {row.path}")
    for request in FIELDS.REQUESTS
    for row in FIELDS.rows_of(request)
    if not set(".[") & set(row.path)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    tiny_models.chat_model(models / "tiny.gguf", n_ctx_train=256)
    tiny_models.embedding_model(models / "embed.gguf")
    server = RunningServer(tmp_path_factory.mktemp("data"), "--models-dir", str(models))
    yield server
    assert server.stop() == 0


def test_the_page_is_as_it_would_be_written_now(capsys):
    assert FIELDS.main(["--check"]) == 0


def test_a_page_that_is_not_true_is_told(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(FIELDS.page().replace("refused", "honoured", 1))
    monkeypatch.setattr(FIELDS, "PAGE", page)
    assert FIELDS.main(["--check"]) == 1


@pytest.mark.parametrize(("request_path", "row"), TOP_LEVEL)
def test_what_the_page_says_of_a_field_is_what_a_server_does(tiny, request_path, row):
    model = "embed" if request_path == "/v1/embeddings" else "tiny"
    values = {**VALUES, "model": model, "logprobs": LOGPROBS.get(request_path), **OWN_VALUES.get(request_path, {})}
    if row.path == "previous_response_id":
        values[row.path] = tiny.request(RESPONSES, NEEDED[RESPONSES])[2]["id"]
    beside = {**WITH, **OWN_WITH.get(request_path, {})}.get(row.path, {})
    body = {"model": model, **NEEDED[request_path], **beside, row.path: values[row.path]}
    if row.path == "max_completion_tokens":
        del body["max_tokens"]
    status, _, answer = tiny.request(request_path, body)
    if row.effect == "refused":
        assert (status, answer["error"]["param"]) == (400, row.path)
    else:
        assert status == 200, answer


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, "content[0]"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "colour": 1}]}, "content[0].colour"),
        ({"role": "user", "content": "x", "tool_call_id": "1"}, "tool_call_id"),
        ({"role": "assistant", "function_call": {"name": "add"}}, "function_call"),
        ({"role": "assistant", "tool_calls": [{"type": "custom"}]}, "tool_calls[0].type"),
        ({"role": "function", "content": "x", "name": "add"}, "role"),
    ],
)
def test_a_part_of_a_message_that_is_not_read_is_refused_with_its_place(tiny, message, param):
    status, _, answer = tiny.request("/v1/chat/completions", {"messages": [message]})
    assert (status, answer["error"]["param"]) == (400, f"messages[0].{param}")


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/infill", "/lora-adapters"])
def test_what_comes_later_says_so(tiny, path):
    status, _, answer = tiny.request(path, {"query": "x"})
    assert (status, answer["error"]["type"]) == (501, "not_supported_error")
    assert "later" in answer["error"]["message"]
