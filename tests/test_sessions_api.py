"""/v1/sessions over HTTP, as the original's clients use it."""

import re
import threading
from urllib.parse import quote

import pytest
from running import RunningServer

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "models").mkdir()
    running = RunningServer(folder / "data", "--models-dir", str(folder / "models"))
    yield running
    assert running.stop() == 0


def check_error(answer, status: int, *words: str, param: str | None = None) -> None:
    assert answer[0] == status, answer
    error = answer[2]["error"]
    for word in words:
        assert word in error["message"]
    if param:
        assert error["param"] == param


def test_a_session_is_made_filled_read_and_deleted(server):
    status, _, made = server.request("/v1/sessions", {"name": "my chat", "model_id": "tiny"})
    assert status == 201
    assert made == {**made, "name": "my chat", "model_id": "tiny", "messages": []}
    path = "/v1/sessions/my%20chat"
    for role, content in (("user", "What is 2 + 2?"), ("assistant", "")):
        status, _, answer = server.request(f"{path}/messages", {"role": role, "content": content})
        assert (status, answer["success"]) == (200, True)
        assert isinstance(answer["message"], str)
    _, _, found = server.request(path)
    assert [(m["role"], m["content"]) for m in found["messages"]] == [("user", "What is 2 + 2?"), ("assistant", "")]
    for time in (found["created_at"], found["updated_at"], found["messages"][0]["timestamp"]):
        assert RFC3339.fullmatch(time)
    status, _, answer = server.request(path, method="DELETE")
    assert (status, answer["success"]) == (200, True)
    check_error(server.request(path), 404, "'my chat'")
    check_error(server.request(path, method="DELETE"), 404)
    check_error(server.request(f"{path}/messages", {"role": "user", "content": "?"}), 404)


def test_a_taken_name_is_a_conflict_and_keeps_what_was_there(server):
    messages = [{"role": "user", "content": "kept"}]
    assert server.request("/v1/sessions", {"name": "twice", "messages": messages})[0] == 201
    check_error(server.request("/v1/sessions", {"name": "twice"}), 409, "'twice'", param="name")
    _, _, found = server.request("/v1/sessions/twice")
    assert [m["content"] for m in found["messages"]] == ["kept"]


def test_the_list_is_newest_first_in_pages_and_never_null(start_server, tmp_path):
    fresh = start_server("--models-dir", str(tmp_path))
    assert fresh.request("/v1/sessions")[2] == {"sessions": [], "count": 0, "total": 0}
    for name in "abc":
        fresh.request("/v1/sessions", {"name": name})
    fresh.request("/v1/sessions/a/messages", {"role": "user", "content": "hi"})
    answer = fresh.request("/v1/sessions")[2]
    assert [s["name"] for s in answer["sessions"]] == ["a", "c", "b"]
    assert answer["sessions"][0]["messages"][0]["content"] == "hi"
    answer = fresh.request("/v1/sessions?limit=1&offset=1")[2]
    assert ([s["name"] for s in answer["sessions"]], answer["count"], answer["total"]) == (["c"], 1, 3)


@pytest.mark.parametrize("name", ["数学", "Übung 1", "हिन्दी", "v1.2_b-c", "7", "x" * 128])
def test_a_name_may_be_of_any_script(server, name):
    assert server.request("/v1/sessions", {"name": name})[0] == 201
    assert server.request(f"/v1/sessions/{quote(name)}")[2]["name"] == name


def test_two_spellings_of_one_letter_are_one_name(server):
    one, other = "cafe\u0301", "caf\u00e9"
    assert server.request("/v1/sessions", {"name": one})[2]["name"] == other
    assert server.request("/v1/sessions", {"name": other})[0] == 409
    assert server.request(f"/v1/sessions/{quote(one)}")[0] == 200


@pytest.mark.parametrize(
    "name", [None, "", " ", "..", ".hidden", "a/b", "../users", "a\\b", "a\nb", "a\x00", "a ", "x" * 129, 7, "a\ud800"]
)
def test_a_name_that_could_mean_something_else_is_refused(server, name):
    check_error(server.request("/v1/sessions", {"name": name}), 400, "name must be", param="name")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"role": "user"}, "content"),
        ({"role": "user", "content": ""}, "content"),
        ({"role": "user", "content": ["text"]}, "content"),
        ({"role": "user", "content": "half \ud83d"}, "content"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"content": "x"}, "role"),
        ({"role": "user", "content": "x", "name": "Ada"}, "name"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user"}]}, "messages[1].content"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": "x"}], "role": "user"}, "role"),
    ],
)
def test_a_wrong_message_is_named_and_nothing_is_kept_of_it(server, body, param):
    server.request("/v1/sessions", {"name": "wrong"})
    check_error(server.request("/v1/sessions/wrong/messages", body), 400, param=param)
    assert server.request("/v1/sessions/wrong")[2]["messages"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=many", "limit=1001", "offset=-1", "limit=1.5", "page=2"])
def test_a_wrong_page_is_refused(server, query):
    check_error(server.request(f"/v1/sessions?{query}"), 400, query.partition("=")[0])


def test_too_large_a_session_is_refused_with_the_number(server):
    server.request("/v1/sessions", {"name": "large"})
    message = {"role": "user", "content": "x" * 3_000_000}
    assert server.request("/v1/sessions/large/messages", message)[0] == 200
    check_error(server.request("/v1/sessions/large/messages", message), 413, "6000000", "4194304")


def test_many_clients_append_to_one_session_at_once(server):
    server.request("/v1/sessions", {"name": "class"})

    def write(who: int) -> None:
        for i in range(10):
            server.request("/v1/sessions/class/messages", {"role": "user", "content": f"{who} {i}"})

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [m["content"] for m in server.request("/v1/sessions/class")[2]["messages"]]
    assert len(kept) == 80
    for who in range(8):
        assert [t for t in kept if t.startswith(f"{who} ")] == [f"{who} {i}" for i in range(10)]
