"""/v1/responses as its clients see it: requests, whole answers and streams, held against files field by field."""

from pathlib import Path

import pytest
import tiny_models
from running import RunningServer
from wire_golden import check_golden

FILES = sorted((Path(__file__).parent / "golden" / "responses").glob("*.txt"))
CALL = ["<tool_call>", '{"name": "get_weather", ', '"arguments": {"city": ', '"Paris"}', "}", "</tool_call>"]
PIECES = {
    "text": ["Good ", "day, ", "🐟", "!"],
    "tools": ["Let ", "me see.", *CALL],
    "thinking": ["<think>", "Hmm, ", "so it is.\n", "</think>", "\n\n", "Hello", "."],
    "form": ["{", '"a"', ": ", "7", "}"],
}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, pieces in PIECES.items():
        tiny_models.scripted_model(folder / f"{name}.gguf", pieces, template=tiny_models.THINKING)
    # Without guesses of text each token is a part of its own.
    flags = ("--models-dir", str(folder), "--speculation", "off")
    server = RunningServer(tmp_path_factory.mktemp("data"), *flags)
    yield server.port
    assert server.stop() == 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_the_server_answers_is_what_the_file_says(path, port):
    check_golden(path, port)
