"""One connection to the web server: requests and answers, bodies, what is refused, time-outs, streams, hang-ups.

Crowds, starting and stopping are in `test_web_server_lifecycle.py`, TLS in `test_web_server_tls.py`.
"""

import json
from contextlib import closing

import pytest
from web_app import BOUND_S, Client, get, post, serving


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def client(server):
    with closing(Client(server)) as client:
        yield client


def test_an_answer_carries_what_every_answer_carries(client, server):
    status, headers, body = client.ask(get("/a%20b", "X-Request-Id: mine-1"))
    assert status == 200
    came = {"peer": "127.0.0.1", "port": server.server_port, "tls": False}
    assert json.loads(body) == {"method": "GET", "path": "/a b", "body": "", **came}
    assert headers["x-request-id"] == "mine-1"
    assert headers["server"] == "offgrid"
    assert headers["content-length"] == str(len(body))
    assert headers["date"].endswith(" GMT")


def test_a_connection_serves_many_requests_one_after_the_other(client):
    assert [client.ask(post(b"%d" % n))[0] for n in range(20)] == [200] * 20


def test_pipelined_requests_are_answered_in_order(client):
    client.send(b"".join(post(b"%d" % n) for n in range(10)) + get("/stream") + post(b"last"))
    bodies = [json.loads(client.answer()[2])["body"] for _ in range(10)]
    assert bodies == [str(n) for n in range(10)]
    assert client.answer()[2] == b"000001111122222"
    assert json.loads(client.answer()[2])["body"] == "last"


def test_a_request_may_come_byte_by_byte_after_empty_lines(client):
    for byte in b"\r\n\n" + post(b"slow"):
        client.send(bytes([byte]))
    assert json.loads(client.answer()[2])["body"] == "slow"


def test_connection_close_is_answered_and_done(client):
    status, headers, _ = client.ask(get("/", "Connection: close"))
    assert (status, headers["connection"]) == (200, "close")
    assert client.is_closed()


def test_http_1_0_closes_unless_it_asks_to_live(client):
    for _ in range(2):
        status, headers, _ = client.ask(get("/", "Connection: keep-alive", version="1.0"))
        assert (status, headers["connection"]) == (200, "keep-alive")
    assert client.ask(get("/", version="1.0"))[1]["connection"] == "close"
    assert client.is_closed()


def test_head_has_the_length_but_no_body(client):
    _, headers, _ = client.ask(get("/x", method="HEAD"), is_head=True)
    assert int(headers["content-length"]) > 0
    assert client.ask(get("/stream", method="HEAD"), is_head=True)[1]["content-type"] == "text/event-stream"
    assert client.ask(get("/y"))[0] == 200  # had there been a body, this would not be an answer


def test_no_content_has_neither_body_nor_length(client):
    status, headers, _ = client.ask(get("/empty"))
    assert status == 204 and "content-length" not in headers
    assert client.ask(get("/"))[0] == 200


def test_a_body_that_is_waited_for_is_continued(client):
    client.send(post(b"", "Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 5"))
    assert client.answer()[0] == 100
    assert json.loads(client.ask(b"hello")[2])["body"] == "hello"


def test_a_body_that_has_come_already_needs_no_continue(client):
    assert client.ask(post(b"hello", "Expect: 100-continue"))[0] == 200


def test_a_body_that_is_too_large_is_refused_instead_of_continued():
    with serving(max_body_bytes=10) as server, closing(Client(server)) as client:
        status, headers, body = client.ask(
            get("/echo", "Content-Length: 11", "Expect: 100-continue", "X-Request-Id: r1", method="POST")
        )
        assert (status, headers["connection"], headers["x-request-id"]) == (413, "close", "r1")
        assert b"11 bytes; 10 is the limit" in body


def test_a_body_that_is_sent_all_the_same_does_not_hide_the_answer():
    with serving(max_body_bytes=10) as server, closing(Client(server)) as client:
        big = b"x" * 8_000_000
        client.send(get("/echo", f"Content-Length: {len(big)}", method="POST") + big)
        assert client.answer()[0] == 413
        assert server.app.seen.acquire(blocking=False) is False


def test_a_chunked_upload_is_read_and_the_next_request_found(client):
    upload = get("/echo", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n"
    client.send(upload + upload)
    assert [json.loads(client.answer()[2])["body"] for _ in range(2)] == ["abcde", "abcde"]


def test_a_chunked_upload_that_grows_too_large_is_refused():
    with serving(max_body_bytes=10) as server, closing(Client(server)) as client:
        client.send(get("/echo", "Transfer-Encoding: chunked", method="POST") + b"8\r\n12345678\r\n8\r\n12345678\r\n")
        assert client.answer()[0] == 413
        assert client.is_closed()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (get("/", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + get("/smuggled"), 400),
        (get("/", "Content-Length: 0", "Content-Length: 30") + get("/smuggled"), 400),
        (get("/", "Transfer-Encoding : chunked") + get("/smuggled"), 400),
        (get("/", "Transfer-Encoding: chunked") + b"0\n\n" + get("/smuggled"), 400),
        (get("/", "Transfer-Encoding: chunked") + b"5 " * 1000, 400),
        (get("/", "Transfer-Encoding: gzip") + get("/smuggled"), 501),
        (get("/", "X: " + "a" * 70_000), 431),
        (b"GET /" + b"a" * 70_000, 431),
        (get("/", *["X: y"] * 101), 431),
        (get("/" + "a" * 9000), 431),
        (b"\x16\x03\x01\x02\x00", 400),
    ],
)
def test_what_cannot_be_read_is_refused_and_is_the_last(client, server, data, status):
    got, headers, body = client.ask(data)
    assert (got, headers["connection"]) == (status, "close")
    assert len(headers["x-request-id"]) == 16
    assert json.loads(body)["error"]
    assert client.is_closed()
    assert server.app.seen.acquire(blocking=False) is False


@pytest.mark.parametrize("data", [b"GET / HT", get("/", "Content-Length: 5") + b"12"])
def test_half_a_request_times_out(data):
    with serving(head_timeout_s=0.05, body_timeout_s=0.05) as server, closing(Client(server)) as client:
        status, headers, _ = client.ask(data)
        assert (status, headers["connection"]) == (408, "close")
        assert client.is_closed()


def test_an_idle_connection_is_closed_without_a_word():
    with serving(idle_timeout_s=0.05) as server, closing(Client(server)) as fresh, closing(Client(server)) as used:
        assert used.ask(get("/"))[0] == 200
        assert used.is_closed() and fresh.is_closed()


def test_a_header_cannot_carry_a_line_break(client):
    status, headers, _ = client.ask(get("/bad-header"))
    assert status == 500 and "set-cookie" not in headers


@pytest.mark.parametrize("path", ["/raises", "/never-started"])
def test_a_handler_without_an_answer_is_answered_for(client, path):
    status, headers, _ = client.ask(get(path))
    assert (status, headers["connection"]) == (500, "close")


@pytest.mark.parametrize(("path", "is_fault"), [("/broken-stream", True), ("/aborted", False)])
def test_a_stream_without_an_end_does_not_look_complete(client, caplog, path, is_fault):
    client.send(get(path))
    assert client.file.read().endswith(b"\r\n\r\n4\r\nhalf\r\n")
    assert ("without an end" in caplog.text) is is_fault


def test_a_stream_that_never_started_gives_way_to_an_answer(client, server):
    assert client.ask(get("/taken-back"))[2] == b"plain"
    server.app.writer.write(b"an engine that is late")
    assert client.ask(get("/"))[0] == 200


def test_a_stream_is_written_by_another_thread_and_the_connection_lives_on(client):
    for _ in range(2):
        status, headers, body = client.ask(get("/stream", "X-Request-Id: s1"))
        assert (status, body) == (200, b"000001111122222")
        assert headers["transfer-encoding"] == "chunked"
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        assert (headers["x-request-id"], headers["request-id"], headers["x-extra"]) == ("s1", "s1", "yes")
        assert "content-length" not in headers


def test_a_stream_over_http_1_0_ends_with_the_connection(client):
    _, headers, body = client.ask(get("/stream", "Connection: keep-alive", version="1.0"))
    assert body == b"000001111122222"
    assert "transfer-encoding" not in headers and headers["connection"] == "close"


def test_a_client_that_reads_nothing_does_not_hold_up_the_engine(server, client):
    client.send(get("/stream?size=1000000&count=20"))
    assert server.app.seen.acquire(timeout=BOUND_S)  # the handler runs
    assert server.app.seen.acquire(timeout=BOUND_S)  # the engine has written everything
    with closing(Client(server)) as other:
        assert other.ask(get("/stream"))[2] == b"000001111122222"


@pytest.mark.parametrize("waiting", [b"", get("/next")])
def test_a_hang_up_ends_the_handlers_wait(server, waiting):
    client = Client(server)
    client.send(get("/wait") + waiting)
    assert server.app.held.acquire(timeout=BOUND_S)
    client.close()
    assert server.app.gone.acquire(timeout=BOUND_S)
