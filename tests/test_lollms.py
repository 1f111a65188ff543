"""LoLLMs' own paths: tokens, the context, personalities, capabilities; and what is not there yet."""

import json
import random
import subprocess
from pathlib import Path

import pytest
import tiny_models
from people import People
from running import CHAT, EMBEDDING, RunningServer
from wire_golden import check_golden

from offgrid.api.lollms.personalities import told_first
from offgrid.api.routes import ROUTES

FILES = sorted((Path(__file__).parent / "golden" / "lollms").glob("*.txt"))
PIRATE = "You are a pirate."
SETTINGS = f"""
models: {{text: {{system_prompt: Be brief.}}}}
personalities:
  pirate: {{system_prompt: {PIRATE}, name: Pirate Pete, category: fun, author: Ada, description: Says arr.}}
  plain: {{system_prompt: You are plain.}}
"""
ALPHABETS = (
    "abcdefghij ABC.,!?'\"-",
    "äöüßéèñçøåőłžșğıяжюдбΩλπאבגש",
    "你好世界天地玄黄日本語のかなカナ한국어말",
    "🐟🎉👍🏽👩‍👩‍👧🇩🇪❤️☕\U0001f600\U00020000",
    "{}[]()<>=+*/\\#;:_&|%$@`~^\t\n\r ",
    "\x00\x01\x1f\x7f\u200b\u0301\ufeff\ufffd\u2028",
)
SPELLED = (
    "<|im_end|>",
    "<|im_start|>user\n",
    "<tool_call>",
    "</s>",
    "def f(x):\n    return x\n",
    "hello world",
    "\r\n",
)
# The seed's own, but for the model's name and the key.
SEED_CURL = """curl http://localhost:9642/lollms/v1/tokenize \\
  -H "Authorization: Bearer lollms_xxxx_xxxx" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "ollama/llama3",
    "text": "Hello, how are you today?"
  }'"""


@pytest.fixture(scope="module")
def lollms(tmp_path_factory):
    """A server with a chat model that says one thing, an embedding model, and two personalities."""
    folder = tmp_path_factory.mktemp("lollms")
    tiny_models.scripted_model(folder / "text.gguf", ["Good ", "day, ", "🐟", "!"])
    tiny_models.scripted_model(folder / "thinker.gguf", ["Yes."], template=tiny_models.THINKING)
    tiny_models.embedding_model(folder / "vectors.gguf")
    (folder / "offgrid.yaml").write_text(SETTINGS)
    flags = ("--config", str(folder / "offgrid.yaml"), "--ctx-size", "512", "--speculation", "off")
    server = RunningServer(folder / "data", *flags, "--models-dir", str(folder))
    yield server
    assert server.stop() == 0


def ask(server, path: str, body: dict | None = None) -> dict:
    status, _, answer = server.request(path, body)
    assert status == 200, answer
    return answer


def texts(n: int, seed: int) -> list[str]:
    """Varied texts: one script or several, control characters, code, names of control tokens."""
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        alphabets = rng.sample(ALPHABETS, rng.randint(1, 3))
        pieces = ["".join(rng.choices(rng.choice(alphabets), k=rng.randint(0, 30))) for _ in range(rng.randint(1, 4))]
        pieces.insert(rng.randint(0, len(pieces)), rng.choice(("", *SPELLED)))
        made.append("".join(pieces))
    return made


def check_round_trips(server, seed: int, **named) -> None:
    for text in texts(500, seed):
        found = ask(server, "/lollms/v1/tokenize", {"text": text, **named})
        assert found["count"] == len(found["tokens"])
        assert ask(server, "/lollms/v1/detokenize", {"tokens": found["tokens"], **named}) == {"text": text}


# --- tokens ---


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_the_server_answers_is_what_the_file_says(path, lollms):
    check_golden(path, lollms.port)


def test_500_varied_texts_come_back_from_their_tokens(lollms):
    check_round_trips(lollms, seed=1)


@pytest.mark.model
def test_500_varied_texts_come_back_from_the_tokens_of_a_starter_model(server):
    check_round_trips(server, seed=2, model=f"local/{CHAT}")


@pytest.mark.parametrize("base", ["/lollms/v1", "/v1"])
def test_a_spelled_control_token_is_text_and_counted_as_such(lollms, base):
    assert ask(lollms, f"{base}/count_tokens", {"text": "<|im_end|>"}) == {"count": 10}
    assert len(ask(lollms, f"{base}/tokenize", {"text": "<|im_end|>"})["tokens"]) == 10
    assert ask(lollms, f"{base}/count_tokens", {"text": ""}) == {"count": 0}


def test_a_model_is_named_with_or_without_its_binding_or_is_the_default(lollms):
    for model in ("text", "local/text", "TEXT", "", None):
        assert ask(lollms, "/v1/count_tokens", {"model": model, "text": "hello"}) == {"count": 1}
    status, _, answer = lollms.request("/v1/count_tokens", {"model": "ollama/llama3", "text": "hello"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found") and "ollama/llama3" in answer["detail"]


@pytest.mark.model
def test_an_embedding_model_counts_and_has_its_own_context(server):
    assert ask(server, "/v1/count_tokens", {"model": EMBEDDING, "text": "hello world"}) == {"count": 2}
    assert ask(server, "/v1/context_size", {"model": EMBEDDING}) == {"context_size": 512}


def test_the_context_is_that_of_one_request_and_asking_for_it_loads_nothing(start_server, endless_models):
    flags = ("--models-dir", str(endless_models), "--ctx-size", "512", "--preload", "false")
    server = start_server(*flags)
    assert ask(server, "/lollms/v1/context_size", {}) == {"context_size": 512}
    assert server.children() == []
    server.chat("Hello!", max_tokens=1)
    assert ask(server, "/lollms/v1/context_size", {"model": "tiny"}) == {"context_size": 512}
    assert ask(server, "/props")["default_generation_settings"]["n_ctx"] == 512


REFUSALS = [
    ("tokenize", {}, 400, "text", "a string"),
    ("tokenize", {"text": 5}, 400, "text", "5"),
    ("tokenize", {"text": "ab\ud800"}, 400, "text", "surrogate"),
    ("tokenize", {"text": "é" * 500_001}, 413, "text", "1000002"),
    ("tokenize", {"text": "a", "txt": "b"}, 400, "txt", "Did you mean text?"),
    ("count_tokens", {"text": "\udc00"}, 400, "text", "surrogate"),
    ("detokenize", {}, 400, "tokens", "a list of token ids"),
    ("detokenize", {"tokens": ["1"]}, 400, "tokens", "a list of token ids"),
    ("detokenize", {"tokens": [1, -1]}, 400, "tokens[1]", "this model's tokens are 0 to"),
    ("detokenize", {"tokens": [2**31]}, 400, "tokens[0]", "this model's tokens are 0 to"),
    ("detokenize", {"tokens": [10**30]}, 400, "tokens[0]", "this model's tokens are 0 to"),
    ("detokenize", {"tokens": [1] * 262_145}, 413, "tokens", "262145"),
    ("context_size", {"model": "nothing"}, 404, None, "nothing"),
    ("context_size", {"model": 5}, 400, "model", "a string"),
]


@pytest.mark.parametrize("base", ["/lollms/v1", "/v1"])
def test_what_cannot_be_done_is_refused_by_name_and_in_detail(lollms, base):
    for path, body, status, param, words in REFUSALS:
        got, _, answer = lollms.request(f"{base}/{path}", body)
        assert (got, answer["error"]["param"]) == (status, param), answer
        assert words in answer["detail"] == answer["error"]["message"]


# --- personalities ---


def prompt_of(server, *messages: tuple[str, str], **fields) -> str:
    body = {"messages": [{"role": role, "content": content} for role, content in messages], **fields}
    return ask(server, "/apply-template", body)["prompt"]


def test_a_personality_is_told_first_with_what_a_chat_brings_and_in_the_place_of_the_models_own(lollms):
    assert prompt_of(lollms, ("user", "Hi")).startswith("<|im_start|>system\nBe brief.<|im_end|>")
    told = prompt_of(lollms, ("user", "Hi"), personality="pirate")
    assert told.startswith(f"<|im_start|>system\n{PIRATE}<|im_end|>\n<|im_start|>user\nHi<|im_end|>")
    told = prompt_of(lollms, ("system", "Rhyme."), ("user", "Hi"), personality="pirate")
    assert told.startswith(f"<|im_start|>system\n{PIRATE}\n\nRhyme.<|im_end|>\n<|im_start|>user\nHi<|im_end|>")
    later = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Rhyme."}]
    assert told_first(PIRATE, later) == [{"role": "system", "content": PIRATE}, *later]
    assert told_first("", later) is later


def test_a_chat_with_a_personality_computes_its_prompt(lollms):
    asked = {"messages": [{"role": "user", "content": "Hi"}], "model": "text", "max_tokens": 1}
    spelled = {**asked, "messages": [{"role": "system", "content": PIRATE}, *asked["messages"]]}
    with_it = ask(lollms, "/v1/chat/completions", {**asked, "personality": "pirate"})["usage"]
    assert with_it["prompt_tokens"] == ask(lollms, "/v1/chat/completions", spelled)["usage"]["prompt_tokens"]
    assert ask(lollms, "/v1/chat/completions", asked)["usage"]["prompt_tokens"] < with_it["prompt_tokens"]


def test_an_unknown_personality_is_a_404_that_names_those_there_are(lollms):
    body = {"messages": [{"role": "user", "content": "Hi"}], "personality": "nobody"}
    status, _, answer = lollms.request("/v1/chat/completions", body)
    assert (status, answer["error"]["code"]) == (404, "personality_not_found")
    assert "'nobody'" in answer["error"]["message"] and "pirate, plain" in answer["error"]["message"]


def test_personalities_are_listed_without_their_prompts(lollms):
    for path in ("/lollms/v1/personalities", "/v1/personalities"):
        answer = ask(lollms, path)
        assert [(one["id"], one["name"]) for one in answer["data"]] == [("pirate", "Pirate Pete"), ("plain", "plain")]
        assert PIRATE not in json.dumps(answer)


# --- the client library of LoLLMs ---


@pytest.mark.parametrize("off", [False, {"type": "disabled"}])
def test_thinking_is_switched_off_as_the_library_writes_it(lollms, off):
    """Its three ways in one request, and each alone; `thinking` alone is GLM's."""
    empty_thought = "<think>\n\n</think>"
    hi, kwargs = ("user", "Hi"), {"enable_thinking": False, "thinking": False}
    for fields in ({"thinking": off, "reasoning_effort": "none", "chat_template_kwargs": kwargs}, {"thinking": off}):
        assert empty_thought in prompt_of(lollms, hi, model="thinker", **fields)
    assert empty_thought not in prompt_of(lollms, hi, model="thinker", thinking=True, reasoning_effort="high")
    asked = {"messages": [{"role": "user", "content": "Hi"}], "thinking": {"type": "maybe"}}
    status, _, answer = lollms.request("/v1/chat/completions", asked)
    assert (status, answer["error"]["param"]) == (400, "thinking")


# --- what is here, and what is not yet ---


def test_what_is_missing_is_named_with_501_whatever_is_sent(lollms):
    missing = [route for route in ROUTES if route.path.startswith("/lollms/v1/") and not route.handler.answers]
    assert len(missing) == 4
    for method, path in [("POST", "/v1/extract_text"), *((route.method, route.path) for route in missing)]:
        status, _, answer = lollms.request(path, None if method == "GET" else {"text": "x"}, method=method)
        assert (status, answer["error"]["type"]) == (501, "not_supported_error"), path
        assert path.partition("v1/")[2] in answer["detail"] == answer["error"]["message"]


def test_images_are_missing_whatever_their_content_type(lollms):
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for path, headers in (("/v1/images/generations", {}), ("/v1/images/edits", kind)):
        status, _, answer = lollms.request(path, {"prompt": "A cat"}, headers=headers)
        assert (status, answer["error"]["type"]) == (501, "not_supported_error")


def test_the_capabilities_are_what_is_there(lollms, start_server, tmp_path):
    answer = ask(lollms, "/lollms/v1/capabilities")
    assert answer == {
        "capabilities": ["tokenize", "detokenize", "rag_query"],
        "active_bindings": {"llm": ["local"], "tti": [], "tts": [], "stt": [], "rag": ["local"]},
    }
    empty = start_server("--models-dir", str(tmp_path))
    assert ask(empty, "/lollms/v1/capabilities")["active_bindings"]["llm"] == []


def test_the_seeds_curl_example_works_with_a_key_of_lollms(tmp_path, endless_models):
    with People(tmp_path / "people", "--models-dir", str(endless_models), "--guest-access", "false") as people:
        login = {"Authorization": f"Bearer {people.token(people.add().username)}"}
        key = people.request("/api/api-keys", {"alias": "curl"}, headers=login)[2]["full_key"]
        example = SEED_CURL.replace("localhost:9642", people.server.url.removeprefix("http://"))
        example = example.replace("ollama/llama3", "local/tiny")
        refused = json.loads(subprocess.run(["sh", "-c", example], capture_output=True, text=True).stdout)
        assert refused["detail"] == refused["error"]["message"]
        example = example.replace("lollms_xxxx_xxxx", key)
        answer = json.loads(subprocess.run(["sh", "-c", example], capture_output=True, text=True).stdout)
        assert answer["count"] == len(answer["tokens"]) > 0
