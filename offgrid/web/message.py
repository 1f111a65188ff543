"""HTTP/1 messages: what a request says, read strictly (RFC 9112), and how an answer's head is written.

Bytes and text only; sockets and time-outs are `server.py`'s. Where a message could be understood in two ways it is
refused: a proxy in front of us that understands the other way would let requests be smuggled past it.
Not covered: what a path means (`..` is text here), content codings, and transfer codings other than chunked.
"""

import json
import math
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

from offgrid.errors import ApiError, BadRequest, HeadTooLarge, HttpVersionNotSupported, NotSupported
from offgrid.types import Principal, Tally

MAX_HEAD_BYTES = 64 * 1024
MAX_TARGET_BYTES = 8 * 1024
MAX_FIELDS = 100
MAX_NESTING = 200  # of JSON: what is done with it later calls itself for each level, twice or thrice

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_FIELD_LINE = re.compile(rb"(%b):([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::([0-9]{1,5}))?")
_HEAD_END = re.compile(rb"\n\r?\n")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_JSON_NAMES = {list: "list", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
_HEADER_NAME = re.compile(_TOKEN.decode())
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# A second one of these could say something else, and a proxy could believe the other one than we do.
_ONLY_ONCE = {"host", "content-length", "transfer-encoding", "content-type", "authorization", "origin"}


class Headers:
    """Header fields by name, whatever its case. Repeated fields are one value, joined by a comma."""

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()):
        self._values = {name.lower(): value for name, value in dict(fields).items()}

    def get(self, name: str, default: str | None = None) -> str | None:
        return self._values.get(name.lower(), default)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def items(self):
        """(name in lower case, value) pairs."""
        return self._values.items()


def new_request_id() -> str:
    return secrets.token_hex(8)


class Connection(Protocol):
    """What a request borrows from the connection it came by; `server.Connection` is the real one."""

    def wait_for(self, wakeup, timeout_s: float | None) -> bool: ...

    def open_stream(self, request: "Request", content_type: str, extra_headers: Mapping[str, str]): ...


class Incoming(Protocol):
    """A body that its handler reads; `body.Incoming` is the real one."""

    is_complete: bool
    n_bytes: int | None

    def pieces(self, max_bytes: int | None = None) -> Iterator[bytes]: ...


@dataclass
class Request:
    """One request, its body read; but where its route streams the body, that is `incoming` and `body` is empty.

    `path` is percent-decoded and has no query; `raw_target` is as sent, without control characters, fit for a log.
    `query` has each name once. `id` is the client's x-request-id or a fresh one. `peer` is the client's IP address.
    What stands from `route` on is filled in on the way of the request; nothing in this room looks at it, but that a
    stream takes `answer_headers` along when it is opened; `app.handle` puts them on every other answer.
    """

    method: str
    path: str
    raw_target: str = ""
    query: dict[str, str] = field(default_factory=dict)
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    incoming: Incoming | None = field(default=None, repr=False)
    id: str = field(default_factory=new_request_id)
    peer: str = ""
    http_version: str = "1.1"
    is_tls: bool = False
    local_port: int = 0  # of the server's ports the one that it came to
    connection: Connection | None = field(default=None, repr=False)
    route: str = ""  # the path as the table of routes has it, "/v1/models/{id:path}"; "" until it is found
    family: str = "openai"  # of its route: the shape of its errors
    who: Principal | None = None  # None: nobody asked, or somebody who sent no credentials where some are wanted
    params: dict[str, str] = field(default_factory=dict)  # of the path: {"id": "tiny"}
    tally: Tally = field(default_factory=Tally)
    answer_headers: dict[str, str] = field(default_factory=dict)  # go out with the answer, stream or not
    error: ApiError | None = None  # what it was answered with, if that was an error; also inside a stream
    remarks: dict[str, str | int | bool] = field(default_factory=dict)  # the handler's, for the audit log; no secrets

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises BadRequest, saying what is wrong with it."""
        return parse_json_object(self.body)

    def wait_for(self, wakeup, timeout_s: float | None = None) -> bool:
        """Wait for a `stream.Wakeup` while watching the client: see `stream.wait_for_client`. Raises ClientGone."""
        return self.connection.wait_for(wakeup, timeout_s)

    def open_stream(self, content_type: str, extra_headers: Mapping[str, str] | None = None):
        """A `stream.StreamWriter` that answers this request with status 200; nothing is sent before its first write."""
        return self.connection.open_stream(self, content_type, {**self.answer_headers, **(extra_headers or {})})

    @property
    def is_read(self) -> bool:
        """Whether it was received to its end."""
        return self.incoming is None or self.incoming.is_complete

    @property
    def keeps_alive(self) -> bool:
        """Whether the client lets its connection live after the answer."""
        options = {option.strip().lower() for option in self.headers.get("connection", "").split(",")}
        return "close" not in options and (self.http_version == "1.1" or "keep-alive" in options)

    @property
    def is_chunked(self) -> bool:
        return "transfer-encoding" in self.headers

    @property
    def content_length(self) -> int:
        """Declared bytes of the body; 0 where nothing is declared, which is what that means (RFC 9112, 6.3)."""
        return int(self.headers.get("content-length", "0"))

    @property
    def expects_continue(self) -> bool:
        return self.http_version == "1.1" and "expect" in self.headers


@dataclass
class Response:
    """One answer with all its body. The connection adds Date, Content-Length, Connection and x-request-id."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, obj: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> "Response":
        """`obj` as compact JSON. Raises ValueError for NaN and Infinity, which JSON does not have."""
        try:
            body = json.dumps(obj, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # half a surrogate pair, echoed from a request: only \u escapes can spell it
            body = json.dumps(obj, allow_nan=False, separators=(",", ":")).encode()
        return cls(status, body, {"Content-Type": "application/json", **(headers or {})})


def parse_json_object(body: bytes) -> dict[str, Any]:
    """A JSON object from UTF-8 (a byte order mark is passed over). Raises BadRequest for everything else."""
    if not body.strip():
        raise BadRequest("The body is empty; send a JSON object.")
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_finite_float)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} cannot be read.") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise BadRequest("The body's JSON is nested too deeply.") from None
    except ValueError:  # int() refuses more than 4300 digits, whose conversion time grows with their square
        raise BadRequest("The body holds a number with too many digits.") from None
    if body.count(b"{") + body.count(b"[") > MAX_NESTING and _is_deeper(value, MAX_NESTING):
        raise BadRequest(f"The body's JSON is nested too deeply: at most {MAX_NESTING} lists and objects.")
    if not isinstance(value, dict):
        raise BadRequest(f"The body must be a JSON object, and it is a {_JSON_NAMES[type(value)]}.")
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        nested = [one for one in level if isinstance(one, dict | list)]
        level = [child for one in nested for child in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def _refuse_constant(name: str):
    raise BadRequest(f"The body holds {name}, which is not JSON.")


def _finite_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise BadRequest(f"The body holds the number {text[:40]}, which is too large.")
    return value


def find_head_end(received: bytes | bytearray, n_searched: int) -> int:
    """Bytes up to and with the head's empty line, or 0 while it has not come. The first `n_searched` hold none."""
    match = _HEAD_END.search(received, max(0, n_searched - 2))  # its first bytes may be among those
    return match.end() if match else 0


def parse_head(head: bytes, *, peer: str = "", is_tls: bool = False, connection: Connection | None = None) -> Request:
    """A request without its body from a complete head (up to and with the empty line).

    A line may end in LF alone, as RFC 9112 (2.2) allows; a CR anywhere else is refused.
    Raises BadRequest, HeadTooLarge, HttpVersionNotSupported, or NotSupported for a transfer coding we do not have.
    """
    request_line, *field_lines = (line.removesuffix(b"\r") for line in head.split(b"\n")[:-2])
    method, target, version = _parse_request_line(request_line)
    fields = _parse_fields(field_lines)
    path, query, authority = _parse_target(target)
    if authority is not None:
        fields["host"] = authority  # RFC 9112, 3.2.2: the target's own authority wins over Host
    _check_framing(fields, version)
    request_id = fields.get("x-request-id", "")
    return Request(
        method=method,
        path=path,
        raw_target=target.decode("utf-8", "replace"),
        query=query,
        headers=Headers(fields),
        id=request_id if _REQUEST_ID.fullmatch(request_id) else new_request_id(),
        peer=peer,
        http_version=version,
        is_tls=is_tls,
        connection=connection,
    )


def _parse_request_line(line: bytes) -> tuple[str, bytes, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if not match:
        raise BadRequest("The request line is not of the form `METHOD /path HTTP/1.1`.")
    method, target, major, minor = match.groups()
    if (major, minor) not in ((b"1", b"0"), (b"1", b"1")):
        raise HttpVersionNotSupported(
            f"HTTP/{major.decode()}.{minor.decode()} is not spoken here; HTTP/1.1 and HTTP/1.0 are."
        )
    if len(target) > MAX_TARGET_BYTES:
        raise HeadTooLarge(f"The request target has {len(target)} bytes; {MAX_TARGET_BYTES} is the limit.")
    return method.decode(), target, f"1.{minor.decode()}"


def _parse_fields(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_FIELDS:
        raise HeadTooLarge(f"The request has {len(lines)} header fields; {MAX_FIELDS} is the limit.")
    fields: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _FIELD_LINE.fullmatch(line)
        if not match:  # also a folded line, and white space before the colon: both read differently elsewhere
            raise BadRequest(f"Header line {number} is not of the form `Name: value`.")
        name, value = match[1].decode().lower(), match[2].strip(b" \t").decode("latin-1")
        if name in fields and name in _ONLY_ONCE:
            raise BadRequest(f"The header {name} was sent twice.")
        separator = "; " if name == "cookie" else ", "
        fields[name] = f"{fields[name]}{separator}{value}" if name in fields else value
    return fields


def _parse_target(target: bytes) -> tuple[str, dict[str, str], str | None]:
    """(path, query, authority of an absolute-form target or None)."""
    authority = None
    if absolute := re.match(rb"(?i)https?://([^/?]*)", target):
        authority = absolute[1].decode("latin-1")
        target = target[absolute.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    if not target.startswith(b"/") or b"#" in target:
        raise BadRequest("The request target must be a path that starts with / and holds no #.")
    raw_path, _, raw_query = target.partition(b"?")
    try:
        path = unquote_to_bytes(raw_path).decode()
        pairs = parse_qsl(raw_query.decode(), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except UnicodeDecodeError:
        raise BadRequest("The request target is not UTF-8 once its %-escapes are decoded.") from None
    except ValueError:
        raise BadRequest("The query has more than 1000 parameters.") from None
    if _CONTROL.search(path):
        raise BadRequest("The path holds a control character.")
    query = dict(pairs)
    if len(query) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadRequest(f"The query has {next(name for name in names if names.count(name) > 1)} more than once.")
    return path, query, authority


def _check_framing(fields: dict[str, str], version: str) -> None:
    """Refuse every head whose end of body or whose host could be read in two ways."""
    if "host" not in fields and version == "1.1":
        raise BadRequest("The Host header is missing; HTTP/1.1 needs it.")
    split_host(fields.get("host", ""))
    coding = fields.get("transfer-encoding")
    if coding is not None:
        if "content-length" in fields:
            raise BadRequest("Content-Length and Transfer-Encoding exclude each other.")
        if version == "1.0":
            raise BadRequest("HTTP/1.0 has no Transfer-Encoding; send Content-Length.")
        if coding.lower() != "chunked":
            raise NotSupported(f"The transfer coding {coding!r} is not known here; chunked is.")
    if not re.fullmatch(r"[0-9]{1,18}", fields.get("content-length", "0")):
        raise BadRequest(f"Content-Length must be a number of bytes, and it is {fields['content-length'][:40]!r}.")
    if fields.get("expect", "100-continue").lower() != "100-continue":
        raise BadRequest(f"Expect can only be 100-continue, and it is {fields['expect'][:40]!r}.")


def split_host(value: str) -> tuple[str, str | None]:
    """(name in lower case, port or None) of a Host value; an IPv6 literal keeps its brackets. Raises BadRequest."""
    match = _HOST.fullmatch(value)
    if not match:
        raise BadRequest(f"Host must be `name` or `name:port`, and it is {value[:80]!r}.")
    return match[1].lower(), match[2]


def encode_head(status: int, *header_sets: Mapping[str, str]) -> bytes:
    """The head of an answer; a later set wins over an earlier one, whatever the case of the names.

    Raises ValueError for a name or value that would break the head: CR and LF can never be sent inside a field.
    """
    fields = {name.lower(): (name, value) for headers in header_sets for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    for name, value in fields.values():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name!r} cannot hold {value!r}")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
