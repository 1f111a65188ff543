"""One MCP server behind a URL: MCP's Streamable HTTP.

Each request is a POST in a thread of its own, `mcp-http:<name>`, which reads the answer, as JSON or as a stream of
events; notifications are sent by whoever sends them. One more such thread listens to what a server says unasked, where
it does. Must stay true: a URL is resolved once for a connection, and what
is connected to is the address that was checked; redirects are not followed; `forget` and `close` end a thread that
still reads.
Not covered: taking up a broken stream where it broke.

Specification: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from offgrid.agents.mcp.lines import MAX_LINE_BYTES
from offgrid.agents.mcp.rpc import MAX_CALL_S, Gone, McpError, NotSent, Rpc
from offgrid.agents.mcp.stdio import MOST_UNASKED, UNASKED_WINDOW_S

CONNECT_S = 10
NOTICE_S = 5  # for what is sent without an answer to wait for
LISTENER = 0  # in the place of a request's id; those begin with 1
LONGEST_PAUSE_S = 60.0  # before listening again
N_EXCERPT_BYTES = 300


class Http:
    """A `Transport`, for any thread. `version` tells the protocol's, "" before it is agreed on."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        name: str,
        *,
        rpc: Rpc,
        version: Callable[[], str],
        ended: Callable[[str, bool], None],
    ):
        self.last_words: tuple[str, ...] = ()  # it has no stderr
        self._version = version
        self._url = urlsplit(url)
        self._headers = dict(headers)
        self._name = name
        self._rpc = rpc
        self._ended = ended
        self._session_id = ""
        self._over = threading.Event()
        self._sockets: dict[int, socket.socket | None] = {}  # of requests by id; None: not yet connected
        self._lock = threading.Lock()
        self._farewell = threading.Thread(target=self._delete, name=f"mcp-http:{name}", daemon=True)
        self._listener = threading.Thread(target=self._listen, name=f"mcp-http:{name}", daemon=True)

    def start(self) -> None:
        """Nothing to start: the first request connects."""

    def listen(self) -> None:
        """Hear what the server says unasked; once, after the handshake."""
        self._listener.start()

    def send(self, message: bytes, id: int | None) -> None:
        with self._lock:
            if self._over.is_set():
                raise NotSent("It was stopped.")
            if id is not None:
                self._sockets[id] = None
        if id is None:
            self._post(message, None)
            return
        threading.Thread(target=self._ask, args=(message, id), name=f"mcp-http:{self._name}", daemon=True).start()

    def forget(self, id: int) -> None:
        with self._lock:
            _shut(self._sockets.pop(id, None))

    def close(self) -> None:
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            sockets, self._sockets = self._sockets, {}
        for sock in sockets.values():
            _shut(sock)
        if self._session_id:
            self._farewell.start()
        self._ended("It was stopped.", False)

    def join(self, timeout_s: float) -> None:
        for thread in (self._farewell, self._listener):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(timeout_s)

    def _ask(self, message: bytes, id: int) -> None:
        try:
            self._post(message, id)
            error = Gone("It ended its answer before it was complete.")
        except McpError as failure:
            error = failure
        self._rpc.fail(id, error)  # without effect where the answer came

    def _post(self, message: bytes, id: int | None) -> None:
        """Send one message, and take in what it is answered with. Raises McpError."""
        connection = self._connect(id)
        try:
            connection.request("POST", self._path, message, self._all_headers())
            with connection.getresponse() as response:
                self._read(response, id)
        except (OSError, http.client.HTTPException) as error:
            raise Gone(f"The connection to {self._url.netloc} broke: {error!r}.") from None
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, id: int | None) -> None:
        self._session_id = self._session_id or response.getheader("Mcp-Session-Id", "")[:1000]
        kind = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
        if response.status == 404 and self._session_id:
            self._rpc.end("It no longer knows this session.", unheard=id)
            self.close()
            raise NotSent("It no longer knows this session.")
        if 300 <= response.status < 400:
            where = response.getheader("Location", "nowhere")[:200]
            raise McpError(f"{self._url.netloc} redirects to {where}, which is not followed: give that address.")
        if response.status >= 400 and kind != "application/json":
            told = response.read(N_EXCERPT_BYTES).decode("utf-8", "replace").strip()
            raise McpError(f"{self._url.netloc} answered {response.status}: {told}")
        if kind == "text/event-stream":
            self._read_events(response, id)
        elif kind == "application/json" and id is not None:
            body = response.read(MAX_LINE_BYTES + 1)
            if len(body) > MAX_LINE_BYTES:
                raise McpError(f"The answer has more than {MAX_LINE_BYTES} bytes.")
            if not self._rpc.take(body) and response.status >= 400:
                told = body[:N_EXCERPT_BYTES].decode("utf-8", "replace")
                raise McpError(f"{self._url.netloc} answered {response.status}: {told}")

    def _read_events(self, response: http.client.HTTPResponse, id: int | None) -> None:
        """Until the answer to this request has come, or the stream ends."""
        data, n_bytes, n_unasked, window_ends_at = [], 0, 0, 0.0
        while line := response.readline(MAX_LINE_BYTES + 1):
            n_bytes += len(line)
            if n_bytes > MAX_LINE_BYTES:
                raise McpError(f"An event has more than {MAX_LINE_BYTES} bytes.")
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                data.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line:
                is_asked = bool(data) and self._rpc.take(b"\n".join(data))
                if is_asked and id is not None:
                    return
                data, n_bytes = [], 0
                n_unasked += 1
            if time.monotonic() >= window_ends_at:
                n_unasked, window_ends_at = 0, time.monotonic() + UNASKED_WINDOW_S
            elif n_unasked > MOST_UNASKED:  # not read for the rest of the second: it waits, not we
                time.sleep(max(0, window_ends_at - time.monotonic()))

    def _listen(self) -> None:
        pause_s = 1.0
        while True:
            with self._lock:
                if self._over.is_set():
                    return
                self._sockets[LISTENER] = None
            try:
                if not self._hear():
                    return
                pause_s = 1.0
            except (McpError, OSError, http.client.HTTPException):
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._over.wait(pause_s)

    def _hear(self) -> bool:
        """One stream of events to its end; False when the server has none to offer."""
        connection = self._connect(LISTENER)
        try:
            connection.request("GET", self._path, headers={**self._all_headers(), "Accept": "text/event-stream"})
            with connection.getresponse() as response:
                kind = response.getheader("Content-Type", "").partition(";")[0].strip().lower()
                if response.status != 200 or kind != "text/event-stream":
                    return False
                self._read_events(response, None)
                return True
        finally:
            connection.close()

    def _delete(self) -> None:
        """Tell the server that its session is over, if it wants to know."""
        try:
            connection = self._connect(None)
            connection.request("DELETE", self._path, headers=self._all_headers())
            connection.getresponse().read(N_EXCERPT_BYTES)
            connection.close()
        except (McpError, OSError, http.client.HTTPException):
            pass  # it will notice by itself

    def _connect(self, id: int | None) -> http.client.HTTPConnection:
        host, is_tls = self._url.hostname, self._url.scheme.lower() == "https"
        port = self._url.port or (443 if is_tls else 80)
        try:
            sock = socket.create_connection((_address(host, port), port), CONNECT_S)
            sock.settimeout(NOTICE_S if id is None else MAX_CALL_S)
            if is_tls:
                sock.settimeout(CONNECT_S)
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
                sock.settimeout(NOTICE_S if id is None else MAX_CALL_S)
        except OSError as error:
            raise McpError(f"{self._url.netloc} cannot be reached: {error}.") from None
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        if id is not None:
            with self._lock:
                if id not in self._sockets:  # nobody waits any longer
                    sock.close()
                    raise Gone("It was stopped.")
                self._sockets[id] = sock
        return connection

    @property
    def _path(self) -> str:
        return (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")

    def _all_headers(self) -> dict[str, str]:
        own = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self._session_id:
            own["Mcp-Session-Id"] = self._session_id
        if version := self._version():
            own["MCP-Protocol-Version"] = version
        return {**self._headers, **own, "Host": self._url.netloc, "Connection": "close"}


def _address(host: str, port: int) -> str:
    """The address that a name stands for. Raises McpError for those that no MCP server has."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise McpError(f"{host} cannot be found: {error}.") from None
    address = ipaddress.ip_address(found.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    # Machines of the same network are what this is for; link-local is where clouds keep credentials.
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise McpError(f"{host} is {address}, which is no address of an MCP server.")
    return found


def _shut(sock: socket.socket | None) -> None:
    if sock is not None:
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # wakes the thread that reads; it closes
        except OSError:
            pass
