"""The HTTP around the API, by the openai package and by hand: keys, sizes, methods, types, hosts, request ids."""

import http.client

import openai
import pytest
from openai_calls import chat, client_of
from running import CHAT, STARTERS, RunningServer

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with a key and a small limit for bodies. No model is loaded."""
    flags = ("--api-key", "open-sesame", "--max-body-bytes", "2048", "--preload", "false")
    running = RunningServer(tmp_path_factory.mktemp("locked"), *STARTERS, *flags)
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("key", ["wrong", "open-sesam", "open-sesame2"])
def test_a_wrong_key_is_an_authentication_error(locked, key):
    with pytest.raises(openai.AuthenticationError) as caught:
        client_of(locked, key).models.list()
    assert caught.value.code == "invalid_api_key"


def test_the_right_key_opens_and_health_needs_none(locked):
    assert client_of(locked, "open-sesame").models.list().data
    status, headers, answer = locked.request("/v1/models")
    assert status == 401
    assert headers["WWW-Authenticate"] == "Bearer"
    assert answer["error"]["code"] == "missing_api_key"
    assert locked.request("/v1/models", headers={"X-Api-Key": "open-sesame"})[0] == 200
    assert locked.request("/health")[0] == 200


def test_a_body_over_the_limit_is_413_and_the_server_goes_on(locked):
    with pytest.raises(openai.APIStatusError) as caught:
        chat(client_of(locked, "open-sesame"), "x" * 3000)
    assert caught.value.status_code == 413
    assert "2048" in caught.value.message
    assert locked.request("/health")[0] == 200


def test_another_method_is_405_with_those_that_work(server):
    for method, path, allow in (
        ("GET", "/v1/chat/completions", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", f"/v1/models/{CHAT}", "GET, HEAD, OPTIONS"),
    ):
        status, headers, answer = server.request(path, method=method)
        assert status == 405
        assert headers["Allow"] == allow
        assert answer["error"]["type"] == "invalid_request_error"


def test_an_unknown_path_is_404_and_the_nearest_one_is_named(server):
    status, _, answer = server.request("/v1/chat/completion", {})
    assert status == 404
    assert "/v1/chat/completions" in answer["error"]["message"]


def test_another_content_type_is_415_and_curls_own_is_taken_for_json(server):
    body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 1}
    status, _, answer = server.request("/v1/chat/completions", body, headers={"Content-Type": "text/xml"})
    assert status == 415
    assert "application/json" in answer["error"]["message"]
    curls = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.request("/v1/chat/completions", body, headers=curls)[0] == 200


def test_a_foreign_host_name_is_421_and_the_setting_is_named(server):
    status, _, answer = server.request("/v1/models", headers={"Host": f"evil.example:{server.port}"})
    assert status == 421
    assert "allowed_hosts" in answer["error"]["message"]


def test_a_body_that_is_no_json_object_is_400(server):
    for body, expected in ((b"", "empty"), (b"{", "not JSON"), (b"[]", "list"), (b"\xff", "UTF-8")):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        with connection.getresponse() as answer:
            text = answer.read().decode()
        connection.close()
        assert answer.status == 400
        assert expected in text


def test_head_is_get_without_the_body(server):
    status, headers, body = server.request("/v1/models", method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


def test_options_says_what_a_path_takes(server):
    status, headers, _ = server.request("/v1/chat/completions", method="OPTIONS")
    assert status == 204
    assert headers["Allow"] == "OPTIONS, POST"


def test_every_answer_has_a_request_id_and_the_clients_own_is_kept(server):
    assert server.request("/nothing")[1]["x-request-id"]
    assert server.request("/health", headers={"x-request-id": "mine-1"})[1]["x-request-id"] == "mine-1"
