"""The server: accepts connections and serves each in a thread of its own, request after request.

Owns the listening sockets, the connections' sockets and threads, every time-out and size limit. Knows nothing of routes
or API families: `App` answers. Must stay true: the accept thread never waits for one client; after `stop` no socket of
ours is open; a request whose end is not certain is the last one of its connection.
"""

import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from typing import Protocol

from offgrid.errors import (
    ApiError,
    BadRequest,
    ClientGone,
    HeadTooLarge,
    InternalError,
    RequestTimeout,
    Unavailable,
)
from offgrid.web import listening, message, stream
from offgrid.web.body import Incoming
from offgrid.web.message import Request, Response

_log = logging.getLogger("offgrid.web")

# Connections beyond the bound that still get a thread, to be told 503 properly; those beyond them are closed unheard.
_N_SURPLUS = 64
_SURPLUS_TIMEOUT_S, _CUT_GRACE_S = 2.0, 2.0
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TLS_HANDSHAKE = 0x16  # first byte of a client that speaks TLS to a plain port


class App(Protocol):
    """What answers. Called from many threads at once."""

    def handle(self, request: Request) -> Response | None:
        """The answer, or None when a stream of the request was the answer. Raises nothing but ClientGone."""

    def refuse(self, error: ApiError, peer: str, request: Request | None) -> Response:
        """The answer to what `handle` is not given, or has not answered; None: there is no more than a peer."""

    def streams_body(self, request: Request) -> bool:
        """Whether the body is read by what answers the request, without a limit of ours."""


@dataclass(frozen=True, slots=True)
class Limits:
    max_body_bytes: int = 32 * 1024 * 1024
    idle_timeout_s: float = 75.0  # without a request; longer than a browser's or a proxy's own
    head_timeout_s: float = 30.0  # from a head's first byte to its last
    body_timeout_s: float = 30.0  # without a byte
    write_timeout_s: float = 30.0  # without the client taking a byte
    handshake_timeout_s: float = 10.0
    linger_s: float = 5.0  # for a client to read the last answer while we drop what it still sends


class Server(ThreadingHTTPServer):
    """Listens from construction on; serves from `start` to `stop`, which both belong to one owner.

    `address` is (host, port), IPv4 or IPv6; port 0 picks a free one (`server_port` tells). It is the same server, with
    the same limits, on each of `extra_ports`; `ports` are all of them. `tls` is (certificate, key), paths of PEM files.
    `limits` are the fields of `Limits`. Raises SetupError for an address, port or certificate that cannot be used.
    """

    def __init__(
        self,
        address: tuple[str, int],
        app: App,
        *,
        extra_ports: tuple[int, ...] = (),
        tls=None,
        max_connections: int = 1024,
        **limits,
    ):
        self.app = app
        self.limits = Limits(**limits)
        self.is_stopping = False
        self.max_connections = max_connections
        self._tls = stream.tls_context(*tls) if tls else None
        self._lock = threading.Lock()  # of the connections, and of is_stopping against their is_idle
        self._connections: set[Connection] = set()
        self._accept_thread: threading.Thread | None = None
        listeners = listening.listen_all(*address, extra_ports)
        # Not bound by the stdlib: it knows one socket, and asks the DNS for its name, which takes seconds offline.
        super().__init__(address, Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = listeners[0]
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]
        self._listeners = {listener: listener.getsockname()[1] for listener in listeners}
        self.ports = list(self._listeners.values())
        self._wakeup = stream.Wakeup()

    def start(self) -> None:
        self._accept_thread = threading.Thread(target=self.serve_forever, name="offgrid-web-accept", daemon=True)
        self._accept_thread.start()

    def serve_forever(self) -> None:
        """Accept until `stop`; run by `start`. Sleeps in poll(), where the stdlib's looks around twice a second."""
        while not self.is_stopping:
            for listener in stream.wait_readable(self._listeners, self._wakeup):
                try:
                    sock, address = self._accept(listener)
                except OSError as error:  # BlockingIOError, too: the client has left already
                    if error.errno in _NO_RESOURCES:
                        _log.warning("cannot accept a connection: %s", error)
                        self._wakeup.wait(0.1)  # it is still waiting, so poll() would return at once, again and again
                    continue
                self.process_request(sock, address, self._listeners[listener])

    def _accept(self, listener: socket.socket) -> tuple[socket.socket, tuple]:
        sock, address = listener.accept()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:  # no byte is exchanged here: the handshake belongs to the connection's thread
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            sock.close()
            raise
        return sock, address

    def process_request(self, sock: socket.socket, address: tuple, port: int) -> None:
        peer = address[0].removeprefix("::ffff:") if "." in address[0] else address[0]
        with self._lock:
            n_open = len(self._connections)
            if n_open >= self.max_connections + _N_SURPLUS:
                sock.close()
                return
            connection = Connection(self, sock, peer, port, is_surplus=n_open >= self.max_connections)
            self._connections.add(connection)
        try:
            connection.thread.start()
        except RuntimeError as error:
            _log.warning("cannot serve a connection: %s", error)
            self.forget(connection)
            sock.close()

    def mark_idle(self, connection: "Connection") -> bool:
        """Note that `stop` may cut this connection; False when the server is stopping already."""
        with self._lock:
            connection.is_idle = not self.is_stopping
            return connection.is_idle

    def forget(self, connection: "Connection") -> None:
        with self._lock:
            self._connections.discard(connection)

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Accept nothing more, let running requests end within `timeout_s`, then cut them.

        Idle connections are closed at once. Not from a connection's own thread. Returns whether every thread ended:
        one that neither writes nor waits for its client cannot be cut.
        """
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self.is_stopping = True
        self._wakeup.set()
        if self._accept_thread:
            self._accept_thread.join()
        for listener in self._listeners:
            listener.close()
        self._wakeup.close()
        with self._lock:
            connections = list(self._connections)
            for connection in connections:
                if connection.is_idle:
                    stream.shut(connection.sock)
        _join(connections, deadline)
        for connection in connections:
            stream.shut(connection.sock)
        _join(connections, time.monotonic() + _CUT_GRACE_S)
        return not any(connection.thread.is_alive() for connection in connections)

    shutdown = stop  # the stdlib's would wait for a loop that is not run here


class Connection:
    """One client's connection: its socket (non-blocking), what was received but not yet used, and its thread."""

    def __init__(self, server: Server, sock: socket.socket, peer: str, port: int, *, is_surplus: bool):
        self.sock = sock
        self.is_idle = True  # stop() may cut it; written by this thread, under the server's lock when set
        self.thread = threading.Thread(target=self._run, name="offgrid-web-connection", daemon=True)
        self._server = server
        self._limits = server.limits
        self._peer = peer
        self._local_port = port
        self._is_surplus = is_surplus
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._inbox = bytearray()
        self._request: Request | None = None  # the one being answered
        self._stream: stream.StreamWriter | None = None

    def wait_for(self, wakeup: stream.Wakeup, timeout_s: float | None) -> bool:
        return stream.wait_for_client(self.sock, wakeup, timeout_s)

    def open_stream(self, request: Request, content_type: str, extra_headers: Mapping[str, str]) -> stream.StreamWriter:
        if self._stream:
            raise RuntimeError("a request has one stream")
        is_chunked = request.http_version == "1.1"
        framing = {"Transfer-Encoding": "chunked"} if is_chunked else {}
        if not (is_chunked and self._will_live()):
            framing["Connection"] = "close"
        own = {"Content-Type": content_type, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        self._stream = stream.StreamWriter(
            self.sock,
            message.encode_head(200, self._own_headers(), own, extra_headers, framing),
            is_chunked=is_chunked,
            is_head_only=request.method == "HEAD",
            stall_s=self._limits.write_timeout_s,
        )
        return self._stream

    def read_line(self, max_bytes: int) -> bytes:
        """A line of a body's framing, without its CRLF."""
        while (end := self._inbox.find(b"\n", 0, max_bytes)) < 0:
            if len(self._inbox) >= max_bytes:
                raise BadRequest(f"The chunked body has a line of more than {max_bytes} bytes.")
            self._receive_body()
        line = self._take(end + 1)
        if not line.endswith(b"\r\n"):
            raise BadRequest("The chunked body has a line that ends without CR LF.")
        return line[:-2]

    def read_some(self, max_bytes: int) -> bytes:
        if not self._inbox:
            self._receive_body()
        return self._take(min(max_bytes, len(self._inbox)))

    def send_continue(self) -> None:
        if not self._inbox:  # else it did not wait
            stream.send_all(self.sock, b"HTTP/1.1 100 Continue\r\n\r\n", self._limits.write_timeout_s)

    def _run(self) -> None:
        """Thread: serve until the connection ends, whatever the reason, and leave nothing open."""
        try:
            if self._is_tls:
                stream.shake_hands(self.sock, self._limits.handshake_timeout_s)
            while self._serve_one():
                pass
            self._linger()
        except (ClientGone, TimeoutError) as gone:
            _log.debug("%s: connection ended: %s", self._peer, gone)
        except Exception:
            _log.exception("%s: connection ended by a fault", self._peer)
        finally:
            if self._stream:
                self._stream.abort(timeout_s=0)
            self.sock.close()
            self._server.forget(self)

    def _serve_one(self) -> bool:
        """Read and answer one request; False when it was the last."""
        self._request = self._stream = None
        self._await_request()
        try:
            self._read_request()
        except ApiError as error:
            return self._send(self._server.app.refuse(error, self._peer, self._request), is_last=True)
        try:
            response = self._server.app.handle(self._request)
        except ClientGone:
            raise
        except Exception:
            _log.exception("%s %s: the handler raised", self._request.method, self._request.raw_target)
            response = None
        return self._answer(response)

    def _await_request(self) -> None:
        """Wait for the first byte. Raises ClientGone when there will be none."""
        if not self._server.mark_idle(self):
            raise ClientGone("the server is stopping")
        if self._inbox:
            return
        try:
            self._inbox += self._receive(_SURPLUS_TIMEOUT_S if self._is_surplus else self._limits.idle_timeout_s)
        except TimeoutError:
            raise ClientGone("idle for too long") from None

    def _read_request(self) -> None:
        """Fill `_request`. Raises ApiError for what cannot be read or is not wanted."""
        head = self._read_head()
        self.is_idle = False  # only now: stop() need not wait for somebody's half-made head
        request = message.parse_head(head, peer=self._peer, is_tls=self._is_tls, connection=self)
        request.local_port = self._local_port
        self._request = request
        if self._is_surplus:
            raise Unavailable(f"All {self._server.max_connections} connections of this server are in use.")
        incoming = Incoming(self, request)
        if not incoming.is_complete and self._server.app.streams_body(request):
            request.incoming = incoming
        else:
            request.body = incoming.read(self._limits.max_body_bytes)

    def _read_head(self) -> bytes:
        """The bytes of a head, with its empty line. Raises HeadTooLarge, RequestTimeout."""
        deadline = time.monotonic() + self._limits.head_timeout_s
        n_searched = 0
        while True:
            if self._inbox[:1] in (b"\r", b"\n"):  # empty lines before a request are passed over (RFC 9112, 2.2)
                self._inbox, n_searched = self._inbox.lstrip(b"\r\n"), 0
            if self._inbox and self._inbox[0] == _TLS_HANDSHAKE:
                raise BadRequest("This port speaks plain HTTP, and TLS was spoken to it; use http:// here.")
            end = message.find_head_end(self._inbox, n_searched)
            if (end or len(self._inbox)) > message.MAX_HEAD_BYTES:
                raise HeadTooLarge(f"The head of the request has more than {message.MAX_HEAD_BYTES} bytes.")
            if end:
                return self._take(end)
            n_searched = len(self._inbox)
            try:
                self._inbox += self._receive(deadline - time.monotonic())
            except TimeoutError:
                raise RequestTimeout("The head of the request did not arrive in time.") from None

    def _receive(self, timeout_s: float) -> bytes:
        if data := stream.receive(self.sock, timeout_s):
            return data
        raise ClientGone("hung up")

    def _receive_body(self) -> None:
        try:
            self._inbox += self._receive(self._limits.body_timeout_s)
        except TimeoutError:
            raise RequestTimeout("The rest of the body did not arrive in time.") from None

    def _take(self, n_bytes: int) -> bytes:
        taken = bytes(self._inbox[:n_bytes])
        del self._inbox[:n_bytes]
        return taken

    def _answer(self, response: Response | None) -> bool:
        """See the request to exactly one answer; False when it was the connection's last."""
        if response is None and self._stream and self._stream.is_complete:
            return self._will_live() and self._request.http_version == "1.1"
        if self._stream and not self._stream.retract():
            if not self._stream.is_aborted:
                _log.error("%s: the handler left its stream without an end", self._request.raw_target)
            raise ClientGone("the stream was broken off")
        if response is None:
            error = InternalError("The request was not answered.")
            response = self._server.app.refuse(error, self._peer, self._request)
            return self._send(response, is_last=True)
        return self._send(response, is_last=False)

    def _send(self, response: Response, *, is_last: bool) -> bool:
        is_last = is_last or not self._will_live()
        has_body = response.status >= 200 and response.status not in (204, 304)
        framing = {"Connection": "close" if is_last else "keep-alive"}
        if has_body:
            framing["Content-Length"] = str(len(response.body))
        try:
            head = message.encode_head(response.status, self._own_headers(), response.headers, framing)
        except ValueError:
            _log.exception("a handler's answer cannot be sent")
            response = self._server.app.refuse(InternalError("The answer broke a rule of HTTP."), self._peer, None)
            return self._send(response, is_last=True)
        is_head_only = self._request is not None and self._request.method == "HEAD"
        body = response.body if has_body and not is_head_only else b""
        stream.send_all(self.sock, head + body, self._limits.write_timeout_s)
        return not is_last

    def _own_headers(self) -> dict[str, str]:
        request_id = self._request.id if self._request else message.new_request_id()
        # The second is Anthropic's name for it.
        ids = {"x-request-id": request_id, "request-id": request_id}
        return {"Date": formatdate(usegmt=True), "Server": "offgrid", **ids}

    def _will_live(self) -> bool:
        """Whether another request may follow on this connection."""
        request = self._request
        return request is not None and request.is_read and request.keeps_alive and not self._server.is_stopping

    def _linger(self) -> None:
        """Close so that the client can read the last answer: closing over unread bytes would reset the connection."""
        deadline = time.monotonic() + self._limits.linger_s
        with suppress(OSError):
            if self._is_tls:
                self.sock.unwrap()  # close_notify: without it the client must think that the answer was cut off
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        with suppress(TimeoutError):
            while (left_s := deadline - time.monotonic()) > 0 and self._server.mark_idle(self):
                if not stream.discard(self.sock, left_s):
                    return


def _join(connections: list[Connection], deadline: float) -> None:
    for connection in connections:
        connection.thread.join(max(0.0, deadline - time.monotonic()))
