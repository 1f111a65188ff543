"""Limits and usage over HTTP: a real server with a tiny model."""

import http.client
import json
import socket
import threading
from collections import Counter

import openai
import pytest
from openai_calls import client_of
from people import People
from running import RunningServer, wait_until

LIMITS = "/v1/admin/limits"
SAY = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 8}


def set_limits(server: RunningServer, subject: str = "role/admin", **limits) -> None:
    status, _, answer = server.request(f"{LIMITS}/{subject}", limits, method="PUT")
    assert status == 200, answer


def quotas(server: RunningServer) -> dict[str, dict]:
    answer = server.request("/v1/quota")[2]
    return {f"{quota['type']}/{quota['period']}": quota for quota in answer["quotas"]}


def usage(server: RunningServer, query: str = "") -> dict:
    return server.request("/v1/admin/usage" + query)[2]


def open_stream(server: RunningServer, text: str = "Hello!") -> socket.socket:
    """A chat without an end, whose first bytes have arrived."""
    body = json.dumps({"messages": [{"role": "user", "content": text}], "stream": True, "ignore_eos": True})
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall((head + body).encode())
    assert b"200 OK" in sock.recv(4096)
    return sock


def await_text(sock: socket.socket) -> None:
    """Until the model has begun with a stream; before that only comments come."""
    received = b""
    while b'"content"' not in received:
        received += sock.recv(4096)


# --- without a model ---


def test_64_threads_with_100_requests_each_pass_a_limit_of_500_exactly_500_times(start_server):
    server = start_server()
    set_limits(server, requests_per_minute=500)
    statuses, lock = Counter(), threading.Lock()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        mine = Counter()
        for _ in range(100):
            connection.request("GET", "/v1/models")
            answer = connection.getresponse()
            answer.read()
            mine[answer.status] += 1
        connection.close()
        with lock:
            statuses.update(mine)

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200: 500, 429: 5900}


def test_limits_are_set_shown_and_taken_away(start_server):
    server = start_server()
    assert server.request(LIMITS)[2] == {"object": "list", "limits": []}
    assert server.request(f"{LIMITS}/role/user")[0] == 404
    none = {"requests_per_minute": None, "tokens_per_minute": None, "tokens_per_day": None, "concurrent": None}
    body = {"tokens_per_day": 1000, "concurrent": None}
    entry = {"scope": "role", "id": "user", **none, "tokens_per_day": 1000}
    status, headers, answer = server.request(f"{LIMITS}/role/user", body, method="PUT")
    assert (status, answer) == (200, entry)
    assert "x-ratelimit-limit-requests" not in headers
    set_limits(server, "role/guest", concurrent=2)
    assert server.request(f"{LIMITS}/role/user")[2] == entry
    assert [limits["id"] for limits in server.request(LIMITS)[2]["limits"]] == ["guest", "user"]
    set_limits(server, "role/user", concurrent=3)  # all limits at once: the other one is gone
    assert server.request(f"{LIMITS}/role/user")[2] == {**entry, "tokens_per_day": None, "concurrent": 3}
    assert server.request(f"{LIMITS}/role/user", method="DELETE")[2]["status"] == "deleted"
    assert server.request(f"{LIMITS}/role/user", method="DELETE")[0] == 404


def test_a_users_limit_counts_all_their_keys_and_a_keys_limit_that_key_only(tmp_path):
    with People(tmp_path) as people:
        ada, bob = people.add(), people.add()
        path = f"/v1/users/{ada.id}/api-keys"
        second = people.request(path, {"name": "second"}, headers=ada.headers)[2]
        other = {"Authorization": f"Bearer {second['api_key']}"}

        def put(subject: str, limit: int) -> int:
            body = {"requests_per_minute": limit}
            return people.request(f"{LIMITS}/{subject}", body, method="PUT", headers=people.admin)[0]

        def statuses(headers: dict, n: int) -> list[int]:
            return [people.request("/v1/models", headers=headers)[0] for _ in range(n)]

        assert put(f"key/{second['id']}", 2) == 200
        assert statuses(other, 3) == [200, 200, 429]
        assert statuses(ada.headers, 3) == [200] * 3
        assert put(f"user/{ada.id}", 5) == 200  # what was asked before there was a limit is not counted
        assert statuses(ada.headers, 6) == [200] * 5 + [429]
        assert statuses(bob.headers, 6) == [200] * 6
        assert put(f"user/{ada.id[::-1]}", 5) == put("key/999", 5) == 404
        assert people.request(LIMITS, headers=ada.headers)[0] == 403


@pytest.mark.parametrize(
    ("subject", "body", "status", "param", "words"),
    [
        ("role/admin", {"concurrent": 0}, 400, "concurrent", "at least 1"),
        ("role/admin", {"concurrent": -1}, 400, "concurrent", "from 1 to"),
        ("role/admin", {"concurrent": "many"}, 400, "concurrent", "a whole number"),
        ("role/admin", {"concurrent": False}, 400, "concurrent", "a whole number"),
        ("role/admin", {"request_per_minute": 5}, 400, "request_per_minute", "Did you mean requests_per_minute?"),
        ("role/admin", {}, 400, None, "sets no limit"),
        ("role/admin", {"concurrent": None}, 400, None, "sets no limit"),
        ("role/king", {"concurrent": 1}, 404, "id", "Roles are guest"),
        ("group/a", {"concurrent": 1}, 400, "scope", "role, user, key"),
        ("key/one", {"concurrent": 1}, 404, "id", "no key"),
        ("user/a%20b", {"concurrent": 1}, 404, "id", "no user"),
    ],
)
def test_a_wrong_limit_is_refused_with_what_would_work(server_without_models, subject, body, status, param, words):
    answered, _, answer = server_without_models.request(f"{LIMITS}/{subject}", body, method="PUT")
    assert (answered, answer["error"]["param"]) == (status, param)
    assert words in answer["error"]["message"]


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/admin/usage?from=tomorrow", "from"),
        ("/v1/admin/usage?to=2030-02-30", "to"),
        ("/v1/admin/usage?from=2030-02-02&to=2030-02-01", "from"),
        ("/v1/admin/usage?by=user,name", "by"),
        ("/v1/admin/usage?format=xml", "format"),
        ("/v1/admin/usage?until=2030-02-01", "until"),
        ("/v1/quota?user_id=a1", "user_id"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(server_without_models, path, param):
    status, _, answer = server_without_models.request(path)
    assert (status, answer["error"]["param"]) == (400, param)


@pytest.fixture(scope="module")
def server_without_models(tmp_path_factory):
    running = RunningServer(tmp_path_factory.mktemp("data"))
    yield running
    assert running.stop() == 0


def test_without_limits_an_answer_has_no_headers_about_them(server_without_models):
    headers = server_without_models.request("/v1/models")[1]
    assert not [name for name in headers if name.startswith("x-ratelimit")]
    assert quotas(server_without_models) == {}


# --- with a model ---


def test_a_refusal_says_which_limit_and_when_to_come_back_and_the_sdk_understands_it(tiny_server):
    set_limits(tiny_server, requests_per_minute=2)
    tiny_server.chat("Hello!")
    status, headers, _ = tiny_server.request("/v1/models")
    assert (status, headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == (200, "2", "0")
    with client_of(tiny_server) as sdk, pytest.raises(openai.RateLimitError) as caught:
        sdk.with_options(max_retries=0).chat.completions.create(model="tiny", messages=SAY["messages"])
    error = caught.value
    assert (error.code, error.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert "requests_per_minute is 2 for the role admin" in str(error)
    assert 1 <= int(error.response.headers["retry-after"]) <= 61
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert tiny_server.request("/health")[0] == 200


def test_tokens_of_streams_and_answers_are_charged_and_both_carry_the_headers(tiny_server):
    set_limits(tiny_server, tokens_per_minute=60)
    status, headers, answer = tiny_server.request("/v1/chat/completions", SAY)
    assert (status, headers["x-ratelimit-remaining-tokens"]) == (200, "60")
    used = answer["usage"]["total_tokens"]
    status, headers, _ = tiny_server.request(
        "/v1/chat/completions", {**SAY, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert (status, headers["x-ratelimit-remaining-tokens"]) == (200, str(60 - used))
    wait_until(lambda: quotas(tiny_server)["tokens/minute"]["current"] == 2 * used)
    set_limits(tiny_server, tokens_per_minute=2 * used)
    status, headers, answer = tiny_server.request("/v1/chat/completions", {**SAY, "stream": True})
    assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "tokens_per_minute" in answer["error"]["message"]
    quota = quotas(tiny_server)["tokens/minute"]
    assert (quota["remaining"], quota["exceeded"], quota["scope"]) == (0, True, "role")
    assert quota["reset"].endswith("Z")


def test_a_client_that_hangs_up_gives_its_place_back_and_is_charged_with_its_prompt(tiny_server):
    set_limits(tiny_server, concurrent=1, tokens_per_minute=10**9)
    before = quotas(tiny_server)["tokens/minute"]["current"]
    n_prompt = tiny_server.chat("word " * 300)["usage"]["prompt_tokens"]
    assert n_prompt > 200
    after = quotas(tiny_server)["tokens/minute"]["current"]
    with open_stream(tiny_server, "word " * 300) as stream:
        await_text(stream)
        wait_until(lambda: quotas(tiny_server)["concurrent/now"]["current"] == 1)
        status, headers, answer = tiny_server.request("/v1/chat/completions", SAY)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "concurrent is 1 for the role admin" in answer["error"]["message"]
    wait_until(lambda: quotas(tiny_server)["concurrent/now"]["current"] == 0)
    assert quotas(tiny_server)["tokens/minute"]["current"] - after > n_prompt
    assert after - before < n_prompt + 20
    tiny_server.chat("Hello!")


def test_tokens_of_the_day_survive_a_restart(tmp_path, endless_models):
    def start() -> RunningServer:
        return RunningServer(tmp_path / "data", "--models-dir", str(endless_models))

    server = start()
    set_limits(server, tokens_per_day=20)
    used = server.chat("Hello!")["usage"]["total_tokens"]
    assert used >= 20
    assert server.stop() == 0
    server = start()
    try:
        assert quotas(server)["tokens/day"]["current"] == used
        status, headers, answer = server.request("/v1/chat/completions", SAY)
        assert status == 429
        assert "tokens_per_day is 20 for the role admin" in answer["error"]["message"]
        assert 0 < int(headers["Retry-After"]) <= 86_400
    finally:
        assert server.stop() == 0


def test_usage_is_shown_by_what_is_asked_for_and_as_a_table(tiny_server):
    once = tiny_server.chat("Hello!")["usage"]
    tiny_server.chat("Hello!", stream=False)
    tiny_server.request("/v1/completions", {"prompt": "Once", "max_tokens": 4})
    answer = usage(tiny_server, "?by=service,model")
    assert [(row["service"], row["model"], row["requests"]) for row in answer["data"]] == [
        ("chat", "tiny", 3),
        ("completions", "tiny", 1),
    ]
    assert answer["data"][0]["total_tokens"] == 3 * once["total_tokens"]
    assert answer["totals"]["requests"] == 4
    [row] = usage(tiny_server, "?by=user,key")["data"]
    assert (row["user"], row["key"]) == ("127.0.0.1", None)
    assert usage(tiny_server, "?to=2001-01-01")["data"] == []
    status, headers, table = tiny_server.request("/v1/admin/usage?by=service", headers={"Accept": "text/csv"})
    assert (status, headers.get_content_type()) == (200, "text/csv")
    head, chat, completions = table.splitlines()
    assert head == "service,requests,prompt_tokens,cached_tokens,completion_tokens,total_tokens"
    assert chat.startswith("chat,3,")
    assert completions.startswith("completions,1,")
    assert tiny_server.request("/v1/admin/usage?by=service&format=csv")[2] == table
