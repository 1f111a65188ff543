"""Anthropic's API on a real server with a tiny model: credentials, limits, counts, faults, other people's texts."""

import http.client
import json
import os
import signal

import tiny_models
from faults import worker_of
from running import SIGNS_OF_LIFE, RunningServer, wait_until

HELLO = [{"role": "user", "content": "Hello!"}]
BODY = {"max_tokens": 8, "temperature": 0, "messages": HELLO}
ENDLESS = {**BODY, "max_tokens": 100_000, "stream": True}


class MessageStream:
    """A streamed message as its client sees it. The constructor returns when the first byte of the answer is there."""

    def __init__(self, server: RunningServer, **fields):
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = json.dumps({**ENDLESS, **fields})
        self._connection.request("POST", "/v1/messages", body, {"Content-Type": "application/json"})
        self._answer = self._connection.getresponse()

    def event(self) -> tuple[str, dict]:
        """(name, data) of the next event; ("", {}) at the end."""
        name = ""
        for line in self._answer:
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                return name, json.loads(value)
        return "", {}

    def skip_to(self, wanted: str) -> dict:
        while (found := self.event())[0] not in (wanted, ""):
            pass
        assert found[0] == wanted
        return found[1]

    def hang_up(self) -> None:
        self._answer.close()
        self._connection.close()


def check_error(answer: dict, headers, kind: str, *words: str) -> None:
    """Anthropic's envelope and nothing else."""
    assert answer.keys() == {"type", "error", "request_id"}
    assert answer["type"] == "error"
    assert answer["error"].keys() == {"type", "message"}
    assert answer["error"]["type"] == kind
    assert answer["request_id"] == headers["request-id"] == headers["x-request-id"]
    for word in words:
        assert word in answer["error"]["message"]


# --- without a model ---


def test_a_key_may_come_as_x_api_key_and_its_lack_is_told_in_the_envelope(start_server, tmp_path):
    server = start_server("--api-key", "secret-key", "--models-dir", str(tmp_path / "none"))
    for path in ("/v1/messages?beta=true", "/v1/messages/count_tokens"):
        for headers in ({}, {"x-api-key": "wrong"}, {"Authorization": "Bearer wrong"}):
            status, head, answer = server.request(path, BODY, headers=headers)
            assert status == 401
            check_error(answer, head, "authentication_error", "key")
        for more in ({"anthropic-version": "2023-06-01", "anthropic-beta": "a-1,b-2"}, {}):
            body = {name: BODY[name] for name in BODY if "count" not in path or name == "messages"}
            status, head, answer = server.request(path, body, headers={"x-api-key": "secret-key", **more})
            assert status == 404
            check_error(answer, head, "not_found_error", "models starter")


def test_what_fails_before_the_route_is_found_has_the_envelope_too(start_server):
    server = start_server("--max-body-bytes", "2000")
    status, head, answer = server.request("/v1/messages", method="GET")
    assert (status, head["Allow"]) == (405, "OPTIONS, POST")
    check_error(answer, head, "invalid_request_error", "GET")
    status, head, answer = server.request("/v1/messages", {**BODY, "system": "x" * 3000})
    assert status == 413
    check_error(answer, head, "request_too_large", "2000")
    status, head, answer = server.request("/v1/messages", BODY, headers={"Origin": "https://evil.example"})
    assert status == 403
    check_error(answer, head, "permission_error")
    status, head, answer = server.request("/v1/messages", BODY, headers={"Content-Type": "text/plain"})
    assert status == 415
    check_error(answer, head, "invalid_request_error", "text/plain")


def test_a_limit_is_told_in_the_envelope_and_when_it_passes(start_server, tmp_path):
    server = start_server("--models-dir", str(tmp_path / "none"))
    assert server.request("/v1/admin/limits/role/admin", {"requests_per_minute": 1}, method="PUT")[0] == 200
    for _ in range(3):
        status, head, answer = server.request("/v1/messages", BODY)
    assert status == 429
    assert int(head["Retry-After"]) > 0
    check_error(answer, head, "rate_limit_error", "Try again")


# --- with a tiny model ---


def test_a_name_that_a_client_insists_on_gets_a_model_by_an_alias(start_server, endless_models, tmp_path):
    body = {**BODY, "model": "claude-haiku-4-5"}
    flags = ("--models-dir", str(endless_models))
    status, head, answer = start_server(*flags).request("/v1/messages", body)
    assert status == 404
    check_error(answer, head, "not_found_error", "offgrid.yaml: aliases: {claude-haiku-4-5: MODEL}")
    (tmp_path / "offgrid.yaml").write_text("aliases: {claude-haiku-4-5: tiny}\n")
    server = start_server("--config", str(tmp_path / "offgrid.yaml"), *flags)
    status, _, answer = server.request("/v1/messages", body)
    assert (status, answer["model"], answer["stop_reason"]) == (200, "tiny", "max_tokens")


def test_the_models_are_listed_for_both_kinds_of_clients(tiny_server):
    plain = tiny_server.request("/v1/models")[2]
    [entry] = plain["data"]
    assert (entry["type"], plain["object"]) == ("llm", "list")
    assert not {"has_more", "first_id"} & plain.keys() and "display_name" not in entry
    listed = tiny_server.request("/v1/models", headers={"anthropic-version": "2023-06-01"})[2]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "tiny", "tiny")
    [same] = listed["data"]
    assert (same["type"], same["display_name"], same["created_at"][-1]) == ("model", "tiny", "Z")
    assert {**same, "type": "llm"}.items() >= entry.items()
    assert tiny_server.request("/v1/models/tiny", headers={"anthropic-version": "x"})[2] == same


def test_tokens_from_the_cache_count_apart_and_all_count_in_the_usage(tiny_server):
    def usage() -> dict:
        text = "A prompt that was not sent before, and is long enough to be kept. " * 3
        body = {**BODY, "messages": [{"role": "user", "content": text}]}
        return tiny_server.request("/v1/messages", body)[2]["usage"]

    first, second = usage(), usage()
    assert (first["cache_read_input_tokens"], first["cache_creation_input_tokens"]) == (0, 0)
    assert second["cache_read_input_tokens"] > 0
    assert second["input_tokens"] + second["cache_read_input_tokens"] == first["input_tokens"]
    rows = tiny_server.request("/v1/admin/usage")[2]["data"]
    assert sum(row["completion_tokens"] for row in rows) == 2 * 8 + 16  # and what the fixture asked


def test_counting_is_no_use_of_a_model_and_waits_for_no_text(tiny_server):
    stream = MessageStream(tiny_server)
    stream.skip_to("content_block_delta")
    counted = tiny_server.request("/v1/messages/count_tokens", {"messages": HELLO, "system": "Be kind."})[2]
    stream.hang_up()
    wait_until(lambda: not tiny_server.request("/slots")[2][0]["is_processing"])
    answer = tiny_server.request("/v1/messages", {**BODY, "system": "Be kind."})[2]
    usage = answer["usage"]
    assert counted == {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]}


def test_a_prompt_is_counted_also_where_it_would_not_fit(tiny_server):
    messages = [{"role": "user", "content": "abcdefgh " * 4000}]
    status, _, counted = tiny_server.request("/v1/messages/count_tokens", {"messages": messages})
    assert status == 200 and counted["input_tokens"] > 16_384
    status, head, answer = tiny_server.request("/v1/messages", {**BODY, "messages": messages})
    assert status == 400
    check_error(answer, head, "invalid_request_error", f"prompt is too long: {counted['input_tokens']} tokens > ")


def test_a_text_that_fills_the_context_says_so(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models), "--ctx-size", "256")
    answer = server.request("/v1/messages", {**BODY, "max_tokens": 10_000})[2]
    assert answer["stop_reason"] == "model_context_window_exceeded"


def test_a_stream_that_waits_shows_that_it_lives_by_pings(tiny_server):
    first = MessageStream(tiny_server)
    first.skip_to("content_block_delta")
    second = MessageStream(tiny_server, max_tokens=4)  # the model answers one at a time
    assert second.event() == ("ping", {"type": "ping"})
    first.hang_up()
    started = second.skip_to("message_start")["message"]
    assert started["usage"]["input_tokens"] + started["usage"]["cache_read_input_tokens"] > 0
    assert second.skip_to("message_delta")["usage"]["output_tokens"] == 4
    assert second.event() == ("message_stop", {"type": "message_stop"})
    assert second.event() == ("", {})


def test_a_full_queue_is_an_overloaded_error(tiny_server):
    first, second = MessageStream(tiny_server), MessageStream(tiny_server)
    status, head, answer = tiny_server.request("/v1/messages", BODY)
    assert status == 503 and int(head["Retry-After"]) > 0
    check_error(answer, head, "overloaded_error", "parallel")
    for stream in (first, second):
        stream.hang_up()


def test_a_worker_that_dies_ends_its_stream_with_one_error_event(tiny_server):
    stream = MessageStream(tiny_server)
    stream.skip_to("content_block_delta")
    os.kill(worker_of(tiny_server), signal.SIGKILL)
    error = stream.skip_to("error")
    assert error["type"] == "error" and error["error"]["type"] == "api_error"
    assert "starts it again" in error["error"]["message"] and error["request_id"]
    assert stream.event() == ("", {})
    assert tiny_server.request("/v1/messages", BODY)[0] == 200


def test_what_was_asked_is_in_the_audit_log_only_where_prompts_are(start_server, endless_models):
    for prompts in (False, True):
        server = start_server("--models-dir", str(endless_models), "--log-prompts", str(prompts))
        body = {**BODY, "messages": [{"role": "user", "content": "the treasure"}]}
        assert server.request("/v1/messages", body)[0] == 200
        [row] = wait_until(lambda s=server: rows_of(s))
        assert row["detail"].get("asked", "") == (json.dumps(body["messages"]) if prompts else "")
        assert row["detail"]["model"] == "tiny"


def rows_of(server: RunningServer) -> list[dict]:
    return server.request("/v1/admin/audit?action=/v1/messages")[2]["data"]


def test_an_embedding_model_writes_no_messages(start_server, tmp_path):
    tiny_models.embedding_model(tmp_path / "vectors.gguf")
    server = start_server("--models-dir", str(tmp_path), *SIGNS_OF_LIFE)
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        body = {"model": "vectors", "messages": HELLO} | ({"max_tokens": 8} if path == "/v1/messages" else {})
        status, head, answer = server.request(path, body)
        assert status == 400
        check_error(answer, head, "invalid_request_error", "embedding model")
