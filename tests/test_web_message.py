import json

import pytest

from offgrid.errors import BadRequest, HeadTooLarge, HttpVersionNotSupported, NotSupported, TooLarge
from offgrid.web.body import Incoming
from offgrid.web.message import (
    Headers,
    Request,
    Response,
    encode_head,
    find_head_end,
    parse_head,
    parse_json_object,
)


def parse(*lines, end=b"\r\n"):
    return parse_head(end.join([*lines, b"", b""]))


def parse_target(target):
    return parse(b"GET " + target + b" HTTP/1.1", b"Host: localhost")


def parse_with(*field_lines, version=b"1.1"):
    return parse(b"POST / HTTP/" + version, b"Host: localhost", *field_lines)


class Source:
    """The bytes of a body, all there."""

    def __init__(self, data):
        self.data = data

    def read_some(self, max_bytes):
        taken, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return taken

    def read_line(self, max_bytes):
        return self.read_some(self.data.index(b"\n") + 1)[:-2]


def read_chunked(source, max_bytes):
    request = Request("POST", "/", headers=Headers({"Transfer-Encoding": "chunked"}))
    return Incoming(source, request).read(max_bytes)


def test_a_head_is_taken_apart():
    request = parse(b"GET /v1/models/a%2Fb%20c?limit=5&q=%C3%A9&empty= HTTP/1.1", b"Host: Box:11611", b"X-A:  b c \t")
    assert (request.method, request.path, request.http_version) == ("GET", "/v1/models/a/b c", "1.1")
    assert request.query == {"limit": "5", "q": "é", "empty": ""}
    assert request.raw_target == "/v1/models/a%2Fb%20c?limit=5&q=%C3%A9&empty="
    assert request.headers.get("HOST") == "Box:11611"
    assert request.headers.get("x-a") == "b c"
    assert request.headers.get("missing") is None and "X-a" in request.headers


def test_lines_may_end_in_lf_alone():
    assert parse(b"GET /x HTTP/1.1", b"Host: localhost", end=b"\n").path == "/x"


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\nHost: a\n\n", b"A\r\n\n"])
def test_the_end_of_a_head_is_found_however_its_bytes_come(head):
    assert find_head_end(head + b"rest", 0) == len(head)
    ends = [find_head_end(head[:n], max(0, n - 1)) for n in range(1, len(head) + 1)]
    assert ends == [0] * (len(head) - 1) + [len(head)]


def test_an_absolute_target_brings_its_own_host():
    request = parse(b"GET http://Box.local:80?x=1 HTTP/1.1", b"Host: other")
    assert (request.path, request.query, request.headers.get("host")) == ("/", {"x": "1"}, "Box.local:80")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.10",
        b"G(T / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\r HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /%00 HTTP/1.1",
        b"GET /%0d%0aX:y HTTP/1.1",
        b"GET /%ff HTTP/1.1",
        b"GET /?q=%ff HTTP/1.1",
        b"GET /?a=1&a=2 HTTP/1.1",
        b"GET /#top HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT box:443 HTTP/1.1",
        b"GET http://user@box/ HTTP/1.1",
        b"GET ftp://box/ HTTP/1.1",
    ],
)
def test_a_wrong_request_line_is_refused(line):
    with pytest.raises(BadRequest):
        parse(line, b"Host: localhost")


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0"])
def test_other_versions_are_refused(version):
    with pytest.raises(HttpVersionNotSupported):
        parse(b"GET / HTTP/" + version, b"Host: localhost")


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length : 5",),
        (b"X: a", b" folded"),
        (b"X: a", b"\tfolded"),
        (b"no colon",),
        (b": no name",),
        (b"X: a\rb",),
        (b"X: a\r",),
        (b"X: \x00",),
        (b"Host: again",),
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5, 5",),
        (b"Content-Length: +5",),
        (b"Content-Length: -1",),
        (b"Content-Length: 0x10",),
        (b"Content-Length:",),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Expect: a miracle",),
    ],
)
def test_fields_that_could_be_read_in_two_ways_are_refused(fields):
    with pytest.raises(BadRequest):
        parse_with(*fields)


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"chunked, chunked", b"xchunked"])
def test_other_transfer_codings_are_not_supported(coding):
    with pytest.raises(NotSupported):
        parse_with(b"Transfer-Encoding: " + coding)


def test_http_1_0_has_no_transfer_encoding_and_needs_no_host():
    assert parse(b"GET / HTTP/1.0").headers.get("host") is None
    with pytest.raises(BadRequest):
        parse(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("host", [b"a b", b"user@a", b"a/b", b"a:port", b"a,b", b"[::1", b"\xe9"])
def test_a_host_that_is_no_host_is_refused(host):
    with pytest.raises(BadRequest):
        parse(b"GET / HTTP/1.1", b"Host: " + host)


def test_http_1_1_needs_a_host():
    with pytest.raises(BadRequest, match="Host"):
        parse(b"GET / HTTP/1.1")


def test_too_many_fields_and_too_long_targets_are_refused():
    with pytest.raises(HeadTooLarge):
        parse_with(*[b"X-%d: y" % n for n in range(100)])
    with pytest.raises(HeadTooLarge):
        parse_target(b"/" + b"a" * 8192)
    assert len(parse_with(*[b"X-%d: y" % n for n in range(99)]).headers.items()) == 100
    assert len(parse_target(b"/" + b"a" * 8191).path) == 8192


def test_repeated_fields_become_one_value():
    headers = parse_with(b"Accept: a", b"accept: b", b"Cookie: x=1", b"Cookie: y=2").headers
    assert (headers.get("accept"), headers.get("cookie")) == ("a, b", "x=1; y=2")


@pytest.mark.parametrize(
    ("version", "connection", "lives"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Close", False),
        (b"1.1", b"x, close", False),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
    ],
)
def test_a_connection_lives_as_the_client_says(version, connection, lives):
    assert parse_with(b"Connection: " + connection, version=version).keeps_alive is lives


@pytest.mark.parametrize("good", ["a", "req_1.2-3", "x" * 128])
def test_a_safe_request_id_is_kept(good):
    assert parse_with(b"X-Request-Id: " + good.encode()).id == good


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "é", '"', "a,b"])
def test_any_other_request_id_is_replaced(bad):
    fresh = parse_with(b"X-Request-Id: " + bad.encode()).id
    assert len(fresh) == 16 and int(fresh, 16) >= 0
    assert fresh != parse_with(b"X-Request-Id: " + bad.encode()).id


def test_a_chunked_body_is_put_together():
    data = b'4\r\nWiki\r\n6;ext="1"\r\npedia \r\n0\r\nTrailer: x\r\n\r\nnext'
    source = Source(data)
    assert read_chunked(source, 10) == b"Wikipedia "
    assert source.data == b"next"


@pytest.mark.parametrize(
    "data",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"11111111111111111\r\n"],
)
def test_wrong_chunks_are_refused(data):
    with pytest.raises(BadRequest):
        read_chunked(Source(data), 100)


def test_a_chunk_that_would_be_too_much_is_refused_before_it_is_read():
    with pytest.raises(TooLarge, match="10 is the limit"):
        read_chunked(Source(b"4\r\nWiki\r\n7\r\n"), 10)


def test_endless_trailers_are_refused():
    with pytest.raises(HeadTooLarge):
        read_chunked(Source(b"0\r\n" + b"A: b\r\n" * 102), 10)


def test_json_reads_an_object():
    assert Request("POST", "/", body='\ufeff {"a": ["é", 1.5]}'.encode()).json() == {"a": ["é", 1.5]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff{}", "not UTF-8: byte 0"),
        (b'{"a":\n  oops}', "line 2, column 3"),
        (b'{"a":1} x', "Extra data"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"[" * 200_000, "nested"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply: at most 200"),
        (b"[1]", "a list"),
        (b'"x"', "a string"),
        (b"null", "a null"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_why(body, says):
    with pytest.raises(BadRequest) as caught:
        parse_json_object(body)
    assert says in caught.value.message


def test_json_may_be_long_and_nested_as_deep_as_the_limit():
    body = b'{"a":' + b"[" * 198 + b"[],{}," * 300 + b"1" + b"]" * 198 + b"}"
    assert parse_json_object(body)["a"]


def test_a_json_response_is_compact_and_readable():
    response = Response.json({"a": ["é", 1]}, 201, {"X-A": "b"})
    assert (response.status, response.body) == (201, '{"a":["é",1]}'.encode())
    assert response.headers == {"Content-Type": "application/json", "X-A": "b"}


def test_a_json_response_can_echo_half_a_surrogate_pair():
    assert json.loads(Response.json({"a": "\ud800"}).body) == {"a": "\ud800"}


def test_a_json_response_never_holds_nan():
    with pytest.raises(ValueError):
        Response.json({"a": float("nan")})


def test_a_later_header_wins_whatever_its_case():
    assert encode_head(404, {"A": "1", "B": "2"}, {"a": "3"}) == b"HTTP/1.1 404 Not Found\r\na: 3\r\nB: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "value"), [("A", "x\r\nB: y"), ("A", "x\n"), ("A", "x\x00"), ("A b", "x"), ("A:", "x"), ("A", "日本")]
)
def test_a_header_can_never_break_the_head(name, value):
    with pytest.raises(ValueError):
        encode_head(200, {name: value})


def test_headers_fold_the_case_of_names():
    assert Headers({"Content-Type": "a/b"}).get("content-TYPE") == "a/b"
