"""What Ollama's clients send, on tiny models whose answers are known: the cases of the golden files.

`python tests/ollama_cases.py` writes the files anew; read the difference before committing it.
"""

import http.client
import json
import sys
import tempfile
from pathlib import Path

import tiny_models
from faults import running_app

GOLDEN = Path(__file__).parent / "golden" / "ollama"
MASKED = {"created_at", "modified_at", "expires_at", "digest", "size", "id", "created", "version", "modelfile"}
LONG = {"embedding", "embeddings", "context", "model_info", "template"}  # what matters of them other tests say

GREEDY = {"temperature": 0}
HELLO = [{"role": "user", "content": "Hello!"}]
SUM = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
CALLED = [
    *HELLO,
    {
        "role": "assistant",
        "content": "",
        "thinking": "I add.",
        "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1, "b": 22}}}],
    },
    {"role": "tool", "tool_name": "add", "content": "23"},
]


def chat(model="tiny", **fields) -> tuple:
    return "POST", "/api/chat", {"model": model, "messages": HELLO, "options": GREEDY, **fields}


def generate(model="tiny", **fields) -> tuple:
    return "POST", "/api/generate", {"model": model, "prompt": "Hello!", "options": GREEDY, **fields}


CASES = {
    "chat_stream": chat(),
    "chat_whole": chat("tiny:latest", stream=False, keep_alive="10m"),
    "chat_length": chat(options={**GREEDY, "num_predict": 2}),
    "chat_stop": chat(options={**GREEDY, "stop": ["there"]}, stream=False),
    "chat_calls_stream": chat("caller", tools=[SUM]),
    "chat_calls_whole": chat("caller", tools=[SUM], stream=False),
    "chat_call_cut_off": chat("caller", tools=[SUM], options={**GREEDY, "num_predict": 3}),
    "chat_result": chat(messages=CALLED, tools=[SUM], stream=False),
    "chat_thinking_stream": chat("thinker", think=True),
    "chat_thinking_whole": chat("thinker", stream=False),
    "chat_without_thinking": chat("thinker", think=False, stream=False),
    "chat_cannot_think": chat(think="high"),
    "chat_logprobs": chat("tiny", logprobs=True, top_logprobs=1, stream=False, options={**GREEDY, "num_predict": 1}),
    "chat_load": chat(messages=[]),
    "chat_unload": chat(messages=[], keep_alive=0),
    "chat_unknown_model": chat("nobody"),
    "chat_embedding_model": chat("embedder"),
    "chat_no_model": ("POST", "/api/chat", {}),
    "chat_no_body": ("POST", "/api/chat", None),
    "chat_unknown_field": chat(optoins={}),
    "chat_wrong_option": chat(options={"num_ctx": "4096"}),
    "chat_stop_as_text": chat(options={"stop": "x"}),
    "chat_wrong_role": chat(messages=[{"role": "oracle", "content": "x"}]),
    "chat_image": chat(messages=[{"role": "user", "content": "x", "images": ["aGk="]}]),
    "chat_too_long": chat(messages=[{"role": "user", "content": "ä" * 5000}]),
    "generate_stream": generate(),
    "generate_whole": generate(stream=False, system="Be kind."),
    "generate_raw": generate(raw=True, stream=False, prompt="Hello"),
    "generate_raw_and_system": generate(raw=True, system="x"),
    "generate_suffix": generate(suffix="x"),
    "generate_template": generate(stream=False, template="{{ .System }}<{{ .Prompt }}>{{ .Response }}!"),
    "generate_wrong_template": generate(template="{{ range .Tools }}{{ end }}"),
    "generate_foreign_context": generate(context=[1, 49152]),
    "generate_json": generate(format="json", options={**GREEDY, "num_predict": 1}, stream=False),
    "generate_load": generate(prompt=""),
    "embed": ("POST", "/api/embed", {"model": "embedder", "input": ["hello", "world"], "truncate": True}),
    "embed_nothing": ("POST", "/api/embed", {"model": "embedder", "input": ""}),
    "embed_wrong_input": ("POST", "/api/embed", {"model": "embedder", "input": [1, 2]}),
    "embed_chat_model": ("POST", "/api/embed", {"model": "tiny", "input": "x"}),
    "embeddings": ("POST", "/api/embeddings", {"model": "embedder", "prompt": "hello"}),
    "tags": ("GET", "/api/tags", None),
    "both_lists": ("GET", "/ollama/v1/models", None),
    "openai_chat": ("POST", "/ollama/v1/chat/completions", {"messages": HELLO, "model": "tiny", "temperature": 0}),
    "openai_unknown_model": ("POST", "/ollama/v1/chat/completions", {"messages": HELLO, "model": "nobody"}),
    "show": ("POST", "/api/show", {"model": "tiny"}),
    "show_thinker": ("POST", "/api/show", {"name": "thinker"}),
    "show_embedder": ("POST", "/api/show", {"model": "embedder"}),
    "show_unknown": ("POST", "/api/show", {"model": "nobody"}),
    "version": ("GET", "/api/version", None),
    "running": ("GET", "/ollama", None),
    "copy_unknown": ("POST", "/api/copy", {"source": "nobody", "destination": "x"}),
    "copy_wrong_name": ("POST", "/api/copy", {"source": "tiny", "destination": "../x"}),
    "delete_unknown": ("DELETE", "/api/delete", {"model": "nobody"}),
    "pull_there": ("POST", "/api/pull", {"model": "tiny"}),
    "pull_from_registry": ("POST", "/api/pull", {"model": "llama3.2"}),
    "pull_no_file": ("POST", "/api/pull", {"model": "file:///nowhere/x.gguf", "stream": False}),
    "create_from_nothing": ("POST", "/api/create", {"model": "x"}),
    "create_from_unknown": ("POST", "/api/create", {"model": "x", "from": "nobody"}),
    "create_quantized": ("POST", "/api/create", {"model": "x", "from": "tiny", "quantize": "q4_K_M"}),
    "create_without_blob": ("POST", "/api/create", {"model": "x", "files": {"a.gguf": "sha256:" + "0" * 64}}),
    "blob_wrong_digest": ("POST", "/api/blobs/sha256:12", None),
    "wrong_method": ("DELETE", "/api/tags", None),
    "push": ("POST", "/api/push", {"model": "tiny"}),
}


def models(folder: Path) -> Path:
    folder.mkdir()
    tiny_models.scripted_model(folder / "tiny.gguf", ["Hi", " there", "!"])
    call = ["<tool_call>", '{"name": "add", "arguments": {"a": 1, "b": ', "22", "}}", "</tool_call>"]
    tiny_models.scripted_model(folder / "caller.gguf", call)
    thought = ["<think>", "Hmm", ".", "</think>", "So", " it is"]
    tiny_models.scripted_model(folder / "thinker.gguf", thought, template=tiny_models.THINKING)
    tiny_models.embedding_model(folder / "embedder.gguf")
    return folder


def ask(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str, bytes]:
    """(status, content type, content), as `curl -d` would send it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    data = body if isinstance(body, bytes | None) else json.dumps(body)
    connection.request(method, path, data, {"Content-Type": "application/x-www-form-urlencoded", **headers})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers.get("Content-Type", ""), content


def transcript(port: int, case: tuple) -> str:
    """What was asked and what was answered, with what differs each time masked."""
    method, path, body = case
    status, kind, content = ask(port, *case)
    asked = "" if body is None else json.dumps(body, ensure_ascii=False) + "\n"
    if len(asked) > 2000:
        asked = asked[:200] + " … " + asked[-200:]
    lines = [masked(json.loads(line)) if "json" in kind else line.decode() for line in content.splitlines()]
    written = "".join((json.dumps(x, ensure_ascii=False) if "json" in kind else x) + "\n" for x in lines)
    return f"{method} {path}\n{asked}\n{status} {kind}\n{written}"


def masked(value: object, name: str = "") -> object:
    if name in MASKED:
        return "…"
    if name in LONG and value:
        return ["…"] if isinstance(value, list) else type(value).__name__
    if isinstance(value, dict):
        # load_duration may round to nothing, and is left out then
        kept = {key: one for key, one in value.items() if key not in ("load_duration", "timings")}
        return {key: "…" if key.endswith("_duration") else masked(one, key) for key, one in kept.items()}
    if isinstance(value, list):
        return [masked(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_app(models(Path(folder, "models")), Path(folder, "data")) as app,
    ):
        for name, case in CASES.items():
            (GOLDEN / f"{name}.txt").write_text(transcript(app.server.server_port, case))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
