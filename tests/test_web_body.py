"""Bodies that a handler reads piece by piece: however long, and never mistaken for the next request."""

import json
from contextlib import closing

import pytest
from web_app import BOUND_S, Client, get, post, serving


@pytest.fixture
def client():
    with serving(max_body_bytes=1000, linger_s=BOUND_S) as server, closing(Client(server)) as client:
        yield client


def counting(*fields, path="/count"):
    return get(path, *fields, method="POST")


def counted(answer) -> dict:
    status, _, body = answer
    assert status == 200
    return json.loads(body)


@pytest.mark.parametrize("n_bytes", [1, 1000, 1001, 3_000_000])
def test_a_body_may_be_longer_than_the_limit_and_another_request_may_follow(client, n_bytes):
    client.send(counting(f"Content-Length: {n_bytes}") + b"x" * n_bytes)
    found = counted(client.answer())
    assert found["n_bytes"] == n_bytes
    assert found["largest"] <= 128 * 1024  # never all of it in memory
    assert client.ask(post(b"next"))[0] == 200


def test_so_may_a_chunked_one(client):
    chunks = b"".join(b"%x\r\n%b\r\n" % (n, b"y" * n) for n in (5, 70_000, 1)) + b"0\r\nTrailer: z\r\n\r\n"
    client.send(counting("Transfer-Encoding: chunked") + chunks)
    assert counted(client.answer())["n_bytes"] == 70_006
    assert client.ask(post(b"next"))[0] == 200


def test_an_empty_body_is_none(client):
    status, _, body = client.ask(get("/echo", "Content-Length: 0", method="POST"))
    assert (status, json.loads(body)["body"]) == (200, "")


def test_a_client_that_waits_is_told_to_go_on_when_the_handler_reads(client):
    client.send(counting("Content-Length: 4", "Expect: 100-continue"))
    assert client.answer()[0] == 100
    client.send(b"1234")
    assert counted(client.answer())["n_bytes"] == 4


def test_a_body_that_is_not_wanted_is_not_asked_for_and_ends_the_connection(client):
    client.send(counting("Content-Length: 5000", "Expect: 100-continue", path="/refuse-body"))
    status, headers, body = client.answer()
    assert (status, headers["connection"], body) == (403, "close", b"no")
    assert client.is_closed()


def test_what_is_left_of_a_body_is_never_read_as_a_request(client):
    smuggled = post(b"smuggled")
    client.send(counting(f"Content-Length: {len(smuggled)}", path="/refuse-body") + smuggled)
    assert client.answer()[0] == 403
    assert client.is_closed()


def test_other_paths_keep_the_limit(client):
    assert client.ask(get("/echo", "Content-Length: 1001", method="POST"))[0] == 413
