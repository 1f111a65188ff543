"""Golden wire files of Anthropic's API: what tiny scripted models answer, compared as a whole with ids masked.

`golden/anthropic/NAME.json` is a request, `NAME.answer.json` the message, `NAME.stream` the bytes of its stream;
`refusals.requests.json` are requests by name, `refusals.json` what they are answered. After a change that is meant:
`python tests/anthropic_golden.py` writes them anew, and the diff is to be read.
"""

import json
import re
import tempfile
from pathlib import Path

import tiny_models
from running import RunningServer

FOLDER = Path(__file__).parent / "golden" / "anthropic"
CASES = sorted(path.stem for path in FOLDER.glob("*.json") if "." not in path.stem and path.stem != "refusals")
ANSWER, STREAM = ".answer.json", ".stream"
REQUESTS = FOLDER / "refusals.requests.json"
REFUSALS = FOLDER / "refusals.json"
CALL = ["<tool_call>", '{"name": "add", "arg', 'uments": {"a": 1', ', "b": 2}}', "</tool_call>"]
AGAIN = ["\n<tool_call>", '{"name": "add", "arguments": {"a": 3, "b": 4}}', "\n</tool_call>"]
COMMAND = ['{"name": "Bash", "arguments": {"command"', ': "ls src"', ', "description": "List"}}']


def write_models(folder: Path) -> None:
    think, calls = tiny_models.THINKING, ["Let", " me", " add", ".", *CALL]
    tiny_models.scripted_model(folder / "plain.gguf", ["One", " two", " three", " four"])
    tiny_models.scripted_model(folder / "short.gguf", ["One"], n_ctx_train=32)
    tiny_models.scripted_model(folder / "calls.gguf", calls)
    tiny_models.scripted_model(folder / "two_calls.gguf", [*CALL, *AGAIN])
    tiny_models.scripted_model(
        folder / "thinks.gguf", ["<think>", "Hm", ", well", "</think>", "Yes", "!"], template=think
    )
    tiny_models.scripted_model(folder / "form.gguf", ['{"ok"', ": tr", "ue}"])
    agent = ["<think>", "src", "?", "</think>", "I look", ".", "<tool_call>", *COMMAND, "</tool_call>"]
    tiny_models.scripted_model(folder / "agent.gguf", agent, template=think, n_ctx_train=32_768)


def flags(models: Path) -> tuple[str, ...]:
    """One token is one event: nothing is guessed ahead."""
    return ("--models-dir", str(models), "--speculation", "off", "--ctx-size", "32768", "--parallel", "1")


def request_of(case: str) -> dict:
    return json.loads((FOLDER / f"{case}.json").read_text())


def answer_of(server: RunningServer, case: str) -> dict:
    status, _, answer = server.request("/v1/messages", {**request_of(case), "stream": False})
    assert status == 200, answer
    return json.loads(masked(json.dumps(answer)))


def stream_of(server: RunningServer, case: str) -> str:
    status, headers, text = server.request("/v1/messages?beta=true", {**request_of(case), "stream": True})
    assert (status, headers.get_content_type()) == (200, "text/event-stream"), text
    return masked(text)


def refusals_of(server: RunningServer) -> dict[str, list]:
    """By name: the status, and the body without its request's id."""
    found = {}
    for name, request in json.loads(REQUESTS.read_text()).items():
        status, headers, answer = server.request("/v1/messages", request)
        assert answer.pop("request_id") == headers["request-id"], answer
        found[name] = [status, answer]
    return found


def masked(text: str) -> str:
    """Without ids, and with a prompt's tokens together, whether they came from the cache or not."""
    text = re.sub(r"(msg|toolu)_[0-9a-f]{24}", r"\1_*", text)
    return re.sub(
        r'"input_tokens": ?(\d+), ?"cache_creation_input_tokens": ?0, ?"cache_read_input_tokens": ?(\d+)',
        lambda match: f'"input_tokens":{int(match[1]) + int(match[2])}',
        text,
    )


def write_anew() -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        write_models(models)
        server = RunningServer(Path(folder) / "data", *flags(models))
        for case in CASES:
            (FOLDER / f"{case}{ANSWER}").write_text(_json(answer_of(server, case)))
            (FOLDER / f"{case}{STREAM}").write_text(stream_of(server, case))
        REFUSALS.write_text(_json(refusals_of(server)))
        server.stop()


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_anew()
