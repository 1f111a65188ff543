"""The web server inside the test's process: an app with a few paths, and a client that shows every byte it is sent."""

import socket
import threading
from contextlib import contextmanager

from offgrid.errors import ClientGone
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

    def refuse(self, error, peer, _request):
        return Response.json({"error": error.message, "peer": peer}, error.status, error.headers)

    def streams_body(self, request):
        return request.path in ("/count", "/refuse-body")

    def count(self, request):
        sizes = [len(piece) for piece in request.incoming.pieces()]
        return Response.json({"n_bytes": sum(sizes), "largest": max(sizes, default=0)})

    def refuse_body(self, request):
        return Response(403, b"no")

    def echo(self, request):
        body = {"method": request.method, "path": request.path, "body": request.body.decode(), "peer": request.peer}
        return Response.json(body | {"tls": request.is_tls, "port": request.local_port})

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


def get(path, *fields, method="GET", version="1.1"):
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *fields, "", ""]).encode()


def post(body, *fields):
    return get("/echo", f"Content-Length: {len(body)}", *fields, method="POST") + body
