"""HTTP for the client: one connection for each call, so any number of threads may share a `Transport`.

Knows addresses, statuses and server-sent events, nothing of chats or models. No proxy is used: the server is in the
same network.
"""

import contextlib
import http.client
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator

from .address import Address
from .errors import ApiStatusError, ConnectionFailed, OffGridError, StreamBroken, class_for

CONNECT_TIMEOUT_S = 10
LONGEST_WAIT_S = 60  # a server that asks for a longer wait than this gets no second try
_ERROR_EXCERPT_CHARS = 300
_PIECE_BYTES = 64 * 1024


class Form:
    """Fields and one file as multipart/form-data; the file is read from the disk while it is sent."""

    def __init__(self, fields: dict, path: str, n_bytes: int):
        self._path = path
        boundary = f"offgrid-{secrets.token_hex(16)}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{_text(value)}\r\n'
            for name, value in fields.items()
        ]
        filename = os.path.basename(path).replace('"', "%22").replace("\r", " ").replace("\n", " ")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
        self._head = "".join([*parts, head]).encode("utf-8", "replace")
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + n_bytes + len(self._tail)),
        }

    def pieces(self) -> Iterator[bytes]:
        yield self._head
        with open(self._path, "rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
        yield self._tail


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class Transport:
    """`timeout_s` bounds each wait for the next bytes, not the whole answer."""

    def __init__(self, address: Address, api_key: str | None, timeout_s: float, max_retries: int):
        self.address = address
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self._headers = {"User-Agent": "offgrid-python", "Connection": "close"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def call(self, method: str, path: str, body: "dict | Form | None" = None) -> dict:
        """Raises OffGridError; ApiStatusError when there was an answer."""
        with self._open(method, path, body) as response:
            content = self._read(response)
        try:
            return json.loads(content)
        except ValueError:
            raise OffGridError(
                f"{self.address.url}{path} answered with something that is not JSON. Is this an OffGrid server?"
            ) from None

    def take(self, key: str, method: str, path: str, body: "dict | Form | None" = None):
        """What stands under `key` in the reply. Raises like `call`, and OffGridError when nothing does."""
        reply = self.call(method, path, body)
        if not isinstance(reply, dict) or key not in reply:
            raise OffGridError(f"The server's answer has no {key!r}: {str(reply)[:_ERROR_EXCERPT_CHARS]}")
        return reply[key]

    def stream(self, path: str, body: dict | None = None, *, method: str = "POST") -> "EventStream":
        """Raises like `call`, before the first event."""
        return EventStream(self._open(method, path, body))

    def _open(self, method: str, path: str, body: "dict | Form | None") -> http.client.HTTPResponse:
        """The response of a successful request, its body unread. Waits and asks again where the server says when."""
        for n_tries_left in range(self.max_retries, -1, -1):
            response = self._send(method, path, body)
            if 200 <= response.status < 300:
                return response
            with response:
                error = _status_error(response, self._read(response))
            if n_tries_left == 0 or not _may_retry(error, response):
                raise error
            time.sleep(error.retry_after_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _send(self, method: str, path: str, body: "dict | Form | None") -> http.client.HTTPResponse:
        headers = dict(self._headers)
        data = None
        if isinstance(body, Form):
            headers.update(body.headers)
            data = body.pieces()
        elif body is not None:
            data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
        sock = self._connect()
        connection = http.client.HTTPConnection(self.address.host, self.address.port)
        connection.sock = sock
        try:
            # A server may refuse a body before it has read all of it: its answer is there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self.address.prefix + path, data, headers)
            return connection.getresponse()
        except TimeoutError:
            raise ConnectionFailed(f"{self.address.url} did not answer within {self.timeout_s:g} s.") from None
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionFailed(f"{self.address.url} broke the connection before an answer: {error!r}.") from error
        finally:
            sock.close()  # a response holds the socket by a file of its own: it stays open until that is closed

    def _connect(self) -> socket.socket:
        address = self.address
        try:
            sock = _open_socket(address, min(CONNECT_TIMEOUT_S, self.timeout_s))
        except OSError as error:
            raise ConnectionFailed(
                f"No OffGrid server answers at {address.url} ({error}). Start it with `python offgrid.py`, "
                "or name another one with offgrid.Client(host=…) or OFFGRID_HOST."
            ) from error
        sock.settimeout(self.timeout_s)
        return sock

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionFailed(f"{self.address.url} broke the connection in its answer: {error!r}.") from error


def _open_socket(address: Address, timeout_s: float) -> socket.socket:
    # A server listens on 127.0.0.1 by default, but "localhost" is looked up as ::1 first; where that address is not
    # refused at once (Windows: 2 s), each call would wait for it.
    hosts = ("127.0.0.1", "::1") if address.host == "localhost" else (address.host,)
    for host in hosts:
        try:
            sock = socket.create_connection((host, address.port), timeout_s)
            break
        except OSError:
            if host == hosts[-1]:
                raise
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not address.is_tls:
        return sock
    import ssl

    try:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=address.host)
    except OSError:
        sock.close()
        raise


def _status_error(response: http.client.HTTPResponse, content: bytes) -> ApiStatusError:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    error = body.get("error", body.get("detail")) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        text = error if isinstance(error, str) else content.decode(errors="replace")[:_ERROR_EXCERPT_CHARS].strip()
        error = {"message": text}
    return class_for(response.status)(
        str(error.get("message") or f"HTTP {response.status} {response.reason}"),
        status=response.status,
        code=error.get("code"),
        type=error.get("type"),
        param=error.get("param"),
        request_id=response.getheader("x-request-id"),
        retry_after_s=_seconds(response.getheader("Retry-After")),
    )


def _seconds(text: str | None) -> float | None:
    """Retry-After's number of seconds; its other form, a date, is not worth trusting between two clocks."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _may_retry(error: ApiStatusError, response: http.client.HTTPResponse) -> bool:
    return (
        error.status in (429, 503)
        and error.retry_after_s is not None
        and error.retry_after_s <= LONGEST_WAIT_S
        and response.getheader("x-should-retry") != "false"
    )


class EventStream:
    """The JSON objects of a server-sent event stream, up to `[DONE]`.

    `close()` hangs up, which makes the server stop computing; dropping the last reference does the same,
    for a response that is collected closes itself.
    Raises StreamBroken when the stream carries an error or ends without `[DONE]`.
    """

    def __init__(self, response: http.client.HTTPResponse):
        self._response = response

    def __iter__(self):
        return self

    def __next__(self) -> dict:
        if self._response.closed:
            raise StopIteration
        try:
            data = self._next_data()
            if data == b"[DONE]":
                raise StopIteration
            return _event(data)
        except BaseException:  # Ctrl-C too: whatever ends the stream ends the connection
            self.close()
            raise

    def close(self) -> None:
        self._response.close()

    def _next_data(self) -> bytes:
        """The data of the next event; comments and other fields are skipped."""
        lines = []
        while True:
            try:
                line = self._response.readline()
            except (OSError, http.client.HTTPException) as error:
                raise StreamBroken(f"The connection broke in the middle of an answer: {error!r}.") from error
            if not line:
                raise StreamBroken("The server ended the stream before the answer was complete.")
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                lines.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and lines:
                return b"\n".join(lines)


def _event(data: bytes) -> dict:
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise StreamBroken(f"The server sent an event that is no JSON object: {data[:_ERROR_EXCERPT_CHARS]!r}.")
    error = event.get("error")
    if error is None:
        return event
    if not isinstance(error, dict):
        error = {"message": str(error)}
    raise StreamBroken(
        str(error.get("message") or "The server reported an error."), code=error.get("code"), type=error.get("type")
    )
