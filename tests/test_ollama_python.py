"""The ollama package for Python against a real server with the starter models: OLLAMA_HOST is all that it is told."""

import json

import httpx
import ollama
import pytest
from running import CHAT, EMBEDDING, wait_until

pytestmark = pytest.mark.model

SAID = [{"role": "user", "content": "Say hello."}]
SHORT = {"temperature": 0, "num_predict": 12}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first one.
        b: The second one.
    """
    return a + b


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    return ollama.Client()


def test_models_are_listed_and_shown(client):
    models = {model.model: model for model in client.list().models}
    assert models.keys() >= {f"{CHAT}:latest", f"{EMBEDDING}:latest"}
    assert models[f"{CHAT}:latest"].details.family == "llama"
    assert models[f"{CHAT}:latest"].details.parameter_size == "134.52M"
    shown = client.show(CHAT)
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None
    assert shown.capabilities == ["completion", "tools"]
    assert "<|im_start|>" in shown.template
    assert client.show(EMBEDDING).capabilities == ["embedding"]


def test_a_chat_whole_and_as_a_stream_say_the_same(client):
    whole = client.chat(CHAT, SAID, options=SHORT)
    parts = list(client.chat(CHAT, SAID, options=SHORT, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content != ""
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    for last in (whole, parts[-1]):
        assert last.eval_count <= 12 and last.eval_duration > 0 and last.total_duration > last.eval_duration
        assert last.done_reason in ("stop", "length") and last.prompt_eval_count > 0
    assert client.ps().models[0].model == f"{CHAT}:latest"


def test_a_text_goes_on_with_its_context(client):
    first = client.generate(CHAT, "My name is Ada.", options=SHORT)
    second = client.generate(CHAT, "What is my name?", context=first.context, options=SHORT)
    assert second.prompt_eval_count > first.prompt_eval_count + first.eval_count
    parts = list(client.generate(CHAT, "1, 2, 3, 4,", raw=True, stream=True, options=SHORT))
    assert "".join(part.response for part in parts).startswith(" 5, 6")
    assert parts[-1].context is None


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_has_the_form_that_is_asked_for(client, stream):
    asked = client.chat(CHAT, SAID, format=PERSON, options={"temperature": 0}, stream=stream)
    text = "".join(part.message.content for part in asked) if stream else asked.message.content
    person = json.loads(text)
    assert person.keys() == {"name", "age"} and 0 <= person["age"] <= 99


@pytest.mark.parametrize("stream", [False, True])
def test_functions_are_tools_and_calls_come_with_objects(client, server, stream):
    question = [{"role": "user", "content": "What is 2 + 3?"}]
    # tool_choice, which Ollama does not have, because so small a model calls when it must only
    body = {"model": CHAT, "messages": question, "tools": [_tool(add)], "stream": stream, "options": {"temperature": 0}}
    asked = {**body, "tool_choice": "required"}
    with httpx.stream("POST", f"{server.url}/api/chat", json=asked, timeout=60) as answer:
        lines = [ollama.ChatResponse(**json.loads(line)) for line in answer.iter_lines()]
    [call] = [call for line in lines for call in line.message.tool_calls or ()]
    assert call.function.name == "add" and call.function.arguments.keys() == {"a", "b"}
    result = {"role": "tool", "tool_name": "add", "content": str(add(**call.function.arguments))}
    turn = {"role": "assistant", "content": "", "tool_calls": [call.model_dump()]}
    after = client.chat(CHAT, [*question, turn, result], tools=[add], options=SHORT)
    assert after.message.content or after.message.tool_calls


def _tool(function) -> dict:
    from ollama._utils import convert_function_to_tool

    return convert_function_to_tool(function).model_dump(exclude_none=True)


def test_texts_are_embedded(client):
    embedded = client.embed(EMBEDDING, ["Hello", "Good morning", ""])
    assert [len(vector) for vector in embedded.embeddings] == [384, 384, 384]
    assert sum(x * x for x in embedded.embeddings[0]) == pytest.approx(1, abs=1e-4)
    assert client.embeddings(EMBEDDING, "Hello").embedding == pytest.approx(embedded.embeddings[0], abs=1e-5)


def test_a_model_is_made_asked_copied_and_deleted(client):
    steps = list(client.create("poet", from_=CHAT, system="You rhyme.", parameters={"num_predict": 3}, stream=True))
    assert [step.status for step in steps][-2:] == ["writing manifest", "success"]
    try:
        assert client.chat("poet", SAID).eval_count <= 3
        assert client.show("poet").parameters.split() == ["num_predict", "3"]
        assert client.copy("poet", "bard:v1").status == "success"
        assert {"poet:latest", "bard:v1"} <= {model.model for model in client.list().models}
    finally:
        for name in ("poet", "bard:v1"):
            assert client.delete(name).status == "success"
    assert not {"poet:latest", "bard:v1"} & {model.model for model in client.list().models}


def test_a_file_is_sent_and_made_a_model(start_server, tmp_path, monkeypatch):
    import tiny_models

    (tmp_path / "models").mkdir()
    server = start_server("--models-dir", str(tmp_path / "models"))
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    client = ollama.Client()
    file = tiny_models.scripted_model(tmp_path / "sent.gguf", ["Sent", "!"])
    digest = client.create_blob(file)
    assert client.create_blob(file) == digest
    assert client.create("mine", files={"sent.gguf": digest}).status == "success"
    assert client.chat("mine", SAID, options={"temperature": 0}).message.content == "Sent!"
    assert [step.status for step in client.pull("mine", stream=True)][-1] == "success"


@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        (lambda c: c.chat("nobody", SAID), 404, "model 'nobody' not found"),
        (lambda c: list(c.chat("nobody", SAID, stream=True)), 404, "model 'nobody' not found"),
        (lambda c: c.pull("llama3.2"), 404, "pull model manifest: model 'llama3.2' is not on this server"),
        (lambda c: list(c.pull("llama3.2", stream=True)), 404, "pull model manifest"),
        (lambda c: c.delete("nobody"), 404, "model 'nobody' not found"),
        (lambda c: c.copy("nobody", "x"), 404, 'model "nobody" not found'),
        (lambda c: c.show("nobody"), 404, "model 'nobody' not found"),
        (lambda c: c.push("nobody"), 501, "push is not supported"),
        (lambda c: c.chat(CHAT, SAID, think=True), 400, f'"{CHAT}" does not support thinking'),
        (lambda c: c.generate(CHAT, "x", suffix="y"), 400, f'"{CHAT}" does not support insert'),
        (lambda c: c.chat(CHAT, SAID, options={"seed": "x"}), 400, 'option "seed" must be of type integer'),
        (lambda c: c.chat(CHAT, [{"role": "user", "content": "word " * 9000}]), 400, "context here is"),
    ],
)
def test_errors_are_those_of_the_package(client, call, status, message):
    with pytest.raises(ollama.ResponseError) as caught:
        call(client)
    assert caught.value.status_code == status
    assert message in caught.value.error


def test_old_options_of_the_package_do_no_harm(client):
    options = ollama.Options(
        numa=False, num_ctx=2048, f16_kv=True, mirostat=0, tfs_z=1.0, penalize_newline=False, **SHORT
    )
    assert client.chat(CHAT, SAID, options=options).message.content


def test_a_model_is_loaded_and_unloaded_by_an_empty_request(client):
    assert client.generate(CHAT, keep_alive="5m").done_reason == "load"
    assert any(model.model == f"{CHAT}:latest" for model in client.ps().models)
    assert client.chat(CHAT, keep_alive=0).done_reason == "unload"
    wait_until(lambda: all(model.model != f"{CHAT}:latest" for model in client.ps().models))


def test_the_client_for_many_requests_at_once_works_too(server, monkeypatch):
    import anyio

    monkeypatch.setenv("OLLAMA_HOST", f"{server.url}/ollama")
    found = []

    async def ask(client) -> None:
        parts = [part async for part in await client.chat(CHAT, SAID, options=SHORT, stream=True)]
        found.append("".join(part.message.content for part in parts))

    async def main() -> None:
        client = ollama.AsyncClient()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask, client)

    anyio.run(main)
    assert len(found) == 4 and all(found)
