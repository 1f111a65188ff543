import json
import os
import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing, contextmanager

import pytest

from offgrid.errors import ClientGone, SetupError
from offgrid.web.message import Response
from offgrid.web.server import Server
from offgrid.web.stream import Wakeup

BOUND_S = 5


class App:
    """A few paths, each for one behaviour; `engine` writes streams from a thread that is not the handler's."""

    def __init__(self):
        self.held, self.release = threading.Semaphore(0), threading.Event()
        self.gone, self.seen = threading.Semaphore(0), threading.Semaphore(0)

    def handle(self, request):
        self.seen.release()
        return getattr(self, request.path.strip("/").replace("-", "_"), self.echo)(request)

    def refuse(self, error, peer):
        return Response.json({"error": error.message, "peer": peer}, error.status, error.headers)

    def echo(self, request):
        body = {"method": request.method, "path": request.path, "body": request.body.decode(), "peer": request.peer}
        return Response.json(body | {"tls": request.is_tls})

    def hold(self, request):
        self.held.release()
        self.release.wait(BOUND_S)
        return Response(200, b"held")

    def wait(self, request):
        with Wakeup() as wakeup:
            self.held.release()
            try:
                request.wait_for(wakeup)
            except ClientGone:
                self.gone.release()
                raise

    def stream(self, request):
        writer = request.open_stream("text/event-stream", {"X-Extra": "yes"})
        size, count = int(request.query.get("size", 5)), int(request.query.get("count", 3))

        def engine():
            for n in range(count):
                writer.write(b"%d" % (n % 10) * size)
            self.seen.release()
            done.set()

        with Wakeup() as done:
            threading.Thread(target=engine, name="engine").start()
            request.wait_for(done)
        writer.close(BOUND_S)

    def broken_stream(self, request):
        request.open_stream("text/plain").write(b"half")

    def aborted(self, request):
        writer = request.open_stream("text/plain")
        writer.write(b"half")
        writer.abort(BOUND_S)

    def never_started(self, request):
        request.open_stream("text/plain")

    def taken_back(self, request):
        self.writer = request.open_stream("text/plain")
        return Response(200, b"plain")

    def raises(self, request):
        raise RuntimeError("a bug of the app")

    def bad_header(self, request):
        return Response(200, b"x", {"X-Evil": "a\r\nSet-Cookie: b"})

    def empty(self, request):
        return Response(204)


@contextmanager
def serving(**kw):
    server = Server(("127.0.0.1", 0), App(), **kw)
    server.start()
    try:
        yield server
    finally:
        server.app.release.set()
        assert server.stop(BOUND_S)


@pytest.fixture
def server():
    with serving() as server:
        yield server


class Client:
    """A raw connection that reads one answer at a time."""

    def __init__(self, server, sock=None):
        self.sock = sock or socket.create_connection(server.server_address[:2], timeout=BOUND_S)
        self.file = self.sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, data, **kw):
        self.send(data)
        return self.answer(**kw)

    def answer(self, is_head=False):
        """(status, headers by lower-case name, body)."""
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().rstrip(b"\r\n").decode():
            name, _, value = line.partition(": ")
            assert name.lower() not in headers
            headers[name.lower()] = value
        return status, headers, b"" if is_head or status in (100, 204) else self.body(headers)

    def body(self, headers):
        if "content-length" in headers:
            return self.file.read(int(headers["content-length"]))
        if "transfer-encoding" not in headers:
            return self.file.read()
        body = b""
        while size := int(self.file.readline(), 16):
            body += self.file.read(size)
            assert self.file.readline() == b"\r\n"
        assert self.file.readline() == b"\r\n"
        return body

    def is_closed(self):
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture
def client(server):
    with closing(Client(server)) as client:
        yield client


def get(path, *fields, method="GET", version="1.1"):
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *fields, "", ""]).encode()


def post(body, *fields):
    return get("/echo", f"Content-Length: {len(body)}", *fields, method="POST") + body


def until(condition):
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within the bound"
        threading.Event().wait(0.005)


def test_an_answer_carries_what_every_answer_carries(client):
    status, headers, body = client.ask(get("/a%20b", "X-Request-Id: mine-1"))
    assert status == 200
    assert json.loads(body) == {"method": "GET", "path": "/a b", "body": "", "peer": "127.0.0.1", "tls": False}
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
        assert (headers["x-request-id"], headers["x-extra"]) == ("s1", "yes")
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


def ask_once(server):
    with closing(Client(server)) as client:
        return client.ask(get("/"))[0]


def test_a_burst_of_clients_is_answered_to_the_last():
    server = Server(("127.0.0.1", 0), App())
    clients = [Client(server) for _ in range(200)]  # nobody accepts yet: only the backlog holds them
    server.start()
    try:
        for client in clients:
            client.send(get("/burst"))
        assert [client.answer()[0] for client in clients] == [200] * 200
    finally:
        for client in clients:
            client.close()
        assert server.stop(BOUND_S)


def test_beyond_the_bound_a_client_is_told_to_come_back():
    with serving(max_connections=1) as server, closing(Client(server)) as first:
        assert first.ask(get("/"))[0] == 200
        with closing(Client(server)) as second:
            status, headers, _ = second.ask(get("/"))
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert second.is_closed()
        assert first.ask(get("/"))[0] == 200
        first.close()
        until(lambda: ask_once(server) == 200)


def fds_and_threads():
    return len(os.listdir("/proc/self/fd")), sorted(thread.name for thread in threading.enumerate())


def test_stopping_leaves_no_thread_and_no_fd():
    before = fds_and_threads()
    for _ in range(20):
        with serving() as server:
            clients = [Client(server) for _ in range(5)]
            assert clients[0].ask(get("/stream"))[0] == 200
            clients[1].send(b"GET / HT")
            clients[2].send(get("/wait"))
            assert server.app.held.acquire(timeout=BOUND_S)
            clients[2].close()
        for client in clients:
            client.close()
    until(lambda: fds_and_threads() == before)


def test_stopping_closes_idle_connections_and_lets_a_running_request_end():
    with serving() as server, closing(Client(server)) as idle, closing(Client(server)) as busy:
        assert idle.ask(get("/"))[0] == 200
        busy.send(get("/hold"))
        assert server.app.held.acquire(timeout=BOUND_S)
        stopping = threading.Thread(target=server.stop, args=[BOUND_S])
        stopping.start()
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.server_address)
        server.app.release.set()
        status, headers, body = busy.answer()
        assert (status, headers["connection"], body) == (200, "close", b"held")
        stopping.join(BOUND_S)
        assert not stopping.is_alive()


def test_stopping_cuts_what_does_not_end_in_time():
    with serving() as server, closing(Client(server)) as client:
        client.send(get("/wait"))
        assert server.app.held.acquire(timeout=BOUND_S)
        assert server.stop(0)
        assert server.app.gone.acquire(blocking=False)
        assert client.is_closed()


def test_a_server_that_never_started_can_be_stopped():
    before = fds_and_threads()
    server = Server(("127.0.0.1", 0), App())
    assert server.stop() and server.stop()
    assert fds_and_threads() == before


def test_ipv6_is_served_and_ipv4_by_its_plain_address():
    server = Server(("::", 0), App())
    server.start()
    try:
        for host in ("::1", "127.0.0.1"):
            with closing(Client(None, socket.create_connection((host, server.server_port), BOUND_S))) as client:
                assert json.loads(client.ask(get("/"))[2])["peer"] == host
    finally:
        server.stop()


def test_an_address_in_use_and_a_missing_certificate_are_said_in_a_sentence(server, tmp_path):
    with pytest.raises(SetupError, match="in use"):
        Server(server.server_address, App())
    with pytest.raises(SetupError, match="certificate"):
        Server(("127.0.0.1", 0), App(), tls=(tmp_path / "no.crt", tmp_path / "no.key"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", *kind, *name, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def tls_client(server, certificate):
    context = ssl.create_default_context(cafile=certificate[0])
    sock = socket.create_connection(server.server_address, timeout=BOUND_S)
    return Client(server, context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False))


def test_tls_answers_streams_and_ends_properly(certificate):
    with serving(tls=certificate) as server, closing(tls_client(server, certificate)) as client:
        assert json.loads(client.ask(post(b"secret" * 50_000))[2])["tls"] is True
        assert client.ask(get("/stream"))[2] == b"000001111122222"
        assert len(client.ask(get("/stream?size=100000&count=10"))[2]) == 1_000_000
        client.send(get("/stream") + get("/echo", "Connection: close"))
        assert (client.answer()[0], client.answer()[0]) == (200, 200)
        assert client.is_closed()  # by close_notify: a ragged end would raise


def test_a_hang_up_over_tls_ends_the_handlers_wait(certificate):
    with serving(tls=certificate) as server:
        client = tls_client(server, certificate)
        client.send(get("/wait"))
        assert server.app.held.acquire(timeout=BOUND_S)
        client.close()
        assert server.app.gone.acquire(timeout=BOUND_S)


def test_a_tls_client_that_reads_nothing_does_not_hold_up_the_engine(certificate):
    with serving(tls=certificate) as server, closing(tls_client(server, certificate)) as client:
        client.send(get("/stream?size=1000000&count=20"))
        assert server.app.seen.acquire(timeout=BOUND_S)
        assert server.app.seen.acquire(timeout=BOUND_S)


def test_silent_and_plain_clients_on_a_tls_port_hurt_nobody(certificate):
    with serving(tls=certificate, handshake_timeout_s=0.2) as server, closing(Client(server)) as silent:
        plain = Client(server)
        plain.send(get("/"))
        with closing(tls_client(server, certificate)) as client:
            assert client.ask(get("/"))[0] == 200
        assert plain.is_closed() and silent.is_closed()
        plain.close()
