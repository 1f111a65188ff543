"""Anthropic's wire format as a whole: requests, messages, streams and refusals as they stand in `golden/anthropic`."""

import json

import pytest
from anthropic_golden import (
    ANSWER,
    CASES,
    FOLDER,
    REFUSALS,
    STREAM,
    answer_of,
    flags,
    refusals_of,
    request_of,
    stream_of,
    write_models,
)
from jsonschema import validate
from running import RunningServer

from offgrid.api.answers import schema_of
from offgrid.api.anthropic.generated import EVENT, MESSAGE


@pytest.fixture(scope="module")
def scripted_server(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    write_models(models)
    running = RunningServer(tmp_path_factory.mktemp("data"), *flags(models))
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("case", CASES)
def test_a_message_is_what_it_was(scripted_server, case):
    assert answer_of(scripted_server, case) == json.loads((FOLDER / f"{case}{ANSWER}").read_text())


@pytest.mark.parametrize("case", CASES)
def test_a_stream_is_byte_for_byte_what_it_was(scripted_server, case):
    assert stream_of(scripted_server, case) == (FOLDER / f"{case}{STREAM}").read_text()


def test_what_is_refused_is_refused_in_the_words_it_was(scripted_server):
    found = refusals_of(scripted_server)
    wanted = json.loads(REFUSALS.read_text())
    assert found.keys() == wanted.keys()
    for name, refusal in found.items():
        assert refusal == wanted[name], name


@pytest.mark.parametrize("case", CASES)
def test_what_is_answered_has_the_documented_shape(scripted_server, case):
    body = request_of(case)
    status, _, answer = scripted_server.request("/v1/messages", {**body, "stream": False})
    assert status == 200
    validate(answer, schema_of(MESSAGE))
    _, _, stream = scripted_server.request("/v1/messages", {**body, "stream": True})
    for event in stream.split("\n\n")[:-1]:
        name, data = event.split("\n")
        body = json.loads(data.removeprefix("data: "))
        assert name == f"event: {body['type']}"
        validate(body, schema_of(EVENT))


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_counted_as_the_message_computes_them(scripted_server, case):
    body = request_of(case)
    usage = scripted_server.request("/v1/messages", {**body, "stream": False})[2]["usage"]
    for name in ("max_tokens", "temperature", "top_p", "top_k", "stream", "stop_sequences"):
        body.pop(name, None)
    status, _, counted = scripted_server.request("/v1/messages/count_tokens?beta=true", body)
    assert (status, counted) == (200, {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]})
