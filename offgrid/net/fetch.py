"""Fetch: one document from another machine, for somebody who may not be trusted with the network that we are in.

A URL may come from a client or a model. So every hop is checked: the URL is read strictly (`targets.py`), the host is
looked up once, every address of it must be allowed (`addresses.py`), and one of those very addresses is connected to;
a name that answers differently the next time changes nothing. Redirects are followed here, each checked the same way.
Must stay true: nothing takes longer than `timeout_s`, no more than `max_bytes` of a body are kept, nothing is unpacked.
Proxies in the environment are not used: they would do the looking up.
Not covered: what is fetched is another's text, to be treated as such; a host of the public internet that hands requests
on to somebody's private network.
"""

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import offgrid
from offgrid.errors import ApiError, BadGateway, BadRequest, TooLarge
from offgrid.net.addresses import AddressRules
from offgrid.net.connection import Connection, Deadline
from offgrid.net.names import Resolver, addresses_of, ask_system
from offgrid.net.targets import Target, read_url

MAX_REDIRECTS = 5
PIECE_BYTES = 64 * 1024
HEAD_BYTES = 1024 * 1024  # for what comes besides the body, which may come in small chunks
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came, whatever its status. `body` is empty where it was written into a file of the caller's."""

    url: str  # of the last hop
    status: int
    content_type: str  # lower case, without parameters; "" where the answer does not say
    charset: str  # as the answer names it, or ""
    n_bytes: int
    body: bytes
    headers: Mapping[str, str]  # names in lower case


def fetch(
    url: str,
    *,
    max_bytes: int,
    timeout_s: float,
    allow: AddressRules,
    accept: str = "*/*",
    method: str = "GET",
    into: BinaryIO | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
    ask: Resolver = ask_system,
) -> Fetched:
    """Ask for a document, with GET or HEAD; `into` takes its body where it is too large to be held.

    Raises BadRequest for a URL that is not fetched, PermissionDenied for an address or a port that is not allowed,
    TooLarge, BadGateway for whatever the other side does wrong or does too late, Unavailable, OSError from `into`, and
    `connection.Cancelled` within about 0.1 s when `is_cancelled` says so. The message of each is for people.
    """
    deadline = Deadline(timeout_s, is_cancelled)
    target = read_url(url)
    for _ in range(MAX_REDIRECTS + 1):
        connection = _connect(target, allow, deadline, ask, 2 * max_bytes + HEAD_BYTES)
        try:
            with _explained(target):
                response = _ask(connection, target, method, accept)
            location = response.headers.get("Location") if response.status in _REDIRECTS else None
            if location is None:
                return _take(response, target, max_bytes, into)
        finally:
            connection.close()
        target = _follow(target, location)
    raise BadGateway(f"{target.shown} redirects more than {MAX_REDIRECTS} times.", code="fetch_failed", param="url")


def _connect(target: Target, allow: AddressRules, deadline: Deadline, ask: Resolver, max_bytes: int) -> Connection:
    allow.check_port(target.port)
    addresses = [target.address] if target.address else addresses_of(target.host, target.port, ask, deadline.wait)
    allow.check_addresses(target.host, addresses)
    for address in addresses:
        if _is_own(address) and not allow.names(address):
            raise allow.refusal(target.host, address, "which is this machine's own")
    for i, address in enumerate(addresses):
        try:
            return Connection(target, address, deadline, max_bytes=max_bytes, n_left=len(addresses) - i)
        except OSError as error:
            failed = error
    raise _failed(target, failed) from failed


def _is_own(address: str) -> bool:
    """Whether a public address is this machine's: what listens here for its own network only would be reached by it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # sends nothing: it only chooses the address to send from
        except OSError:
            return False
        return probe.getsockname()[0] == address


def _ask(connection: Connection, target: Target, method: str, accept: str) -> http.client.HTTPResponse:
    fields = {
        "Host": target.authority,
        "User-Agent": f"OffGrid/{offgrid.__version__}",
        "Accept": accept,
        "Accept-Encoding": "identity",  # what is packed small may be large
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    connection.sendall(f"{method} {target.path} HTTP/1.1\r\n{head}\r\n".encode("ascii"))
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return response


def _take(response: http.client.HTTPResponse, target: Target, max_bytes: int, into: BinaryIO | None) -> Fetched:
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    transfer = response.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if coding not in ("", "identity") or transfer != "chunked":
        packed = coding if coding not in ("", "identity") else transfer
        raise BadGateway(f"{target.shown} sends it packed ({packed[:40]}), unasked.", code="fetch_failed", param="url")
    too_large = TooLarge(f"{target.shown} is larger than {max_bytes} bytes.", code="fetch_too_large", param="url")
    if (response.length or 0) > max_bytes:
        raise too_large
    kept = io.BytesIO() if into is None else into
    n_bytes = 0
    for piece in _pieces(response, target):
        n_bytes += len(piece)
        if n_bytes > max_bytes:
            raise too_large
        kept.write(piece)
    return Fetched(
        url=target.url,
        status=response.status,
        content_type=response.headers.get_content_type() if "Content-Type" in response.headers else "",
        charset=response.headers.get_content_charset("") or "",
        n_bytes=n_bytes,
        body=kept.getvalue() if into is None else b"",
        headers={name.lower(): value for name, value in response.headers.items()},
    )


def _pieces(response: http.client.HTTPResponse, target: Target) -> Iterator[bytes]:
    while True:
        with _explained(target):
            piece = response.read(PIECE_BYTES)
            if not piece and response.length:
                raise http.client.IncompleteRead(b"", response.length)
        if not piece:
            return
        yield piece


def _follow(target: Target, location: str) -> Target:
    try:
        text = location.encode("latin-1").decode()  # http.client reads it as Latin-1; what is sent is UTF-8
        found = target.follow(text)
    except (ValueError, BadRequest) as error:
        why = error.message if isinstance(error, ApiError) else "its bytes are no text"
        raise BadGateway(
            f"{target.shown} redirects to what is no good URL. {why}", code="redirect_refused", param="url"
        ) from None
    if target.scheme == "https" and found.scheme == "http":
        message = f"{target.shown} redirects from https to http, which anybody on the way could read and change."
        raise BadGateway(message, code="redirect_refused", param="url")
    return found


@contextmanager
def _explained(target: Target) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: for lengths that are none
        raise _failed(target, error) from error


def _failed(target: Target, error: Exception) -> BadGateway:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not good: {error.verify_message}"
    elif isinstance(error, http.client.IncompleteRead):
        why = "its answer ended before it was complete"
    elif isinstance(error, (http.client.HTTPException, ValueError)) and not isinstance(error, OSError):
        why = "what it answers is not HTTP"
    else:
        why = getattr(error, "strerror", None) or type(error).__name__
    return BadGateway(f"{target.shown} cannot be fetched: {why}.", code="fetch_failed", param="url")
