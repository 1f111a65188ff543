"""The pure parts of the MCP client: lines, messages, results, how servers are written down."""

import pytest

from offgrid.agents.mcp.lines import Cut, Lines
from offgrid.agents.mcp.results import Image, ToolResult, read_result
from offgrid.agents.mcp.rpc import McpError, Rpc, parse
from offgrid.agents.mcp.server import wire_name
from offgrid.agents.mcp.spec import ServerSpec, make_spec


def test_lines_come_out_whole_however_they_came_in():
    text = b'{"a": 1}\r\n\n  \n\xc3\xa9\n{"b": 2}\nrest'
    for size in (1, 2, 3, 7, 100):
        lines = Lines()
        found = [line for i in range(0, len(text), size) for line in lines.take(text[i : i + size])]
        assert found == [b'{"a": 1}\r', b"\xc3\xa9", b'{"b": 2}']


@pytest.mark.parametrize("size", [1, 10, 1000, 5000])
def test_a_line_that_is_too_long_is_its_ends_and_what_follows_is_whole(size):
    text = b"A" * 600 + b"-" * 2000 + b"Z" * 600 + b"\nnext\n"
    lines = Lines(max_bytes=1000)
    found = [line for i in range(0, len(text), size) for line in lines.take(text[i : i + size])]
    assert found == [Cut(3200, b"A" * 512, b"Z" * 512), b"next"]


class Wire:
    """A transport that answers with what it is given."""

    def __init__(self, *lines: bytes):
        self.rpc = Rpc(lambda method, params: {} if method == "ping" else None, lambda method, params: None)
        self.rpc.transport = self
        self.sent: list[bytes] = []
        self._lines = lines

    def send(self, message: bytes, id: int | None) -> None:
        self.sent.append(message)
        if b'"request"' in message:
            for line in self._lines:
                self.rpc.take(line)

    def forget(self, id: int) -> None:
        pass


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[[[[",
        b"[" * 100_000,
        b"[{}, null, 5]",
        b'{"id": 1.0, "result": {}}',
        b'{"id": true, "result": {}}',
        b'{"id": "1", "result": {}}',
        b'{"id": [1], "result": {}}',
        b'{"id": {}, "method": "ping"}',
        b'{"id": 99999999999999999999999, "result": {}}',
        b'{"method": "notifications/progress", "params": {"progressToken": [1]}}',
        b'{"method": "notifications/progress", "params": {"progressToken": 1, "progress": "x"}}',
        b'{"method": 5, "id": 7}',
        b'{"id": 1, "result": NaN}',
        b'{"id": 1, "result": 1e999}',
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_what_is_no_answer_settles_nothing(line):
    wire = Wire(line, b'{"jsonrpc": "2.0", "id": 1, "result": {"right": 1}}', line)
    assert wire.rpc.request("request", timeout_s=0.01, on_progress=lambda *_: None) == {"right": 1}
    assert wire.rpc.n_waiting == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"id": 1, "error": {"code": -5, "message": "no"}}', "request was refused: no"),
        (b'{"id": 1, "error": "no"}', "request was refused: no"),
        (b'{"id": 1, "error": {}}', "no reason given"),
        (b'{"id": 1, "result": 5}', "neither a result nor an error"),
        (b"[]", "not answered within 0.01 s"),
        (Cut(9_000_000, b'{"jsonrpc":"2.0","id":1,"result":{"content"', b"xxx"), "The answer has 9000000 bytes"),
        (Cut(9_000_000, b'{"result":{"content"', b'"}]},"jsonrpc":"2.0","id":1}'), "The answer has 9000000 bytes"),
    ],
)
def test_an_answer_that_is_none_is_an_error(line, says):
    wire = Wire(line)
    with pytest.raises(McpError, match=says):
        wire.rpc.request("request", timeout_s=0.01)
    assert wire.rpc.n_waiting == 0


def test_answers_in_one_batch_are_all_taken():
    wire = Wire(b'[{"id": 9, "method": "ping"}, {"id": 1, "result": {"right": 1}}]')
    assert wire.rpc.request("request", timeout_s=0.01) == {"right": 1}
    assert b'{"jsonrpc":"2.0","id":9,"result":{}}' in wire.sent


def test_what_cannot_be_json_is_not_sent():
    wire = Wire()
    with pytest.raises(McpError, match="cannot be sent as JSON"):
        wire.rpc.request("request", {"x": float("nan")}, timeout_s=0.01)
    assert wire.rpc.n_waiting == 0 and wire.sent == []


def test_a_message_that_would_take_much_memory_is_none():
    assert parse(b"[" + b"[]," * 150_000 + b"[]]") is not None
    assert parse(b"[" + b"[]," * 250_000 + b"[]]") is None


PNG = "iVBORw0KGgo="


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "image", "data": "!", "mimeType": "image/png"}], "[a broken picture]"),
        ([{"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}], "[a sound, 3 bytes of audio/wav]"),
        ([{"type": "resource", "resource": {"uri": "a://b", "text": "c"}}], "[a://b]\nc"),
        ([{"type": "resource", "resource": {"uri": "a://b", "blob": "AAAA"}}], "[a://b, 3 bytes of an unknown kind]"),
        ([{"type": "resource_link", "uri": "a://b", "name": "c"}], "[a link: c, a://b]"),
        ([{"type": "video"}], "[content of the kind video, which is not read here]"),
        (
            ["text", {"type": "text"}],
            "[content of the kind nothing, which is not read here]\n[content of the kind text, which is not read here]",
        ),
        ("text", ""),
    ],
)
def test_every_block_of_a_result_is_in_its_text(content, text):
    assert read_result({"content": content}) == ToolResult(text)


def test_pictures_and_data_of_a_result_are_kept():
    png = {"type": "image", "data": PNG, "mimeType": "image/png"}
    result = read_result({"content": [png], "structuredContent": {"n": 1}, "isError": True})
    image = Image("image/png", b"\x89PNG\r\n\x1a\n")
    assert result == ToolResult("[a picture, 8 bytes of image/png]", True, (image,), {"n": 1})
    assert read_result({"structuredContent": {"ü": 1}}).text == '{"ü": 1}'
    in_resource = {"type": "resource", "resource": {"uri": "a://b", "blob": PNG, "mimeType": "image/png"}}
    assert read_result({"content": [in_resource]}).images == (image,)


@pytest.mark.parametrize(
    ("given", "argv"),
    [
        ({"url": "npx -y server 'a b' c\\ d"}, ("npx", "-y", "server", "a b", "c d")),
        ({"command": "npx -y server"}, ("npx", "-y", "server")),
        ({"command": "/a program/here", "args": ()}, ("/a program/here",)),
        ({"command": "uvx", "args": ("a b", "$HOME", "")}, ("uvx", "a b", "$HOME", "")),
    ],
)
def test_a_command_is_a_line_or_a_program_with_its_arguments(given, argv):
    spec = make_spec(**given)
    assert spec.command == argv
    assert ServerSpec.from_json(spec.to_json()) == spec


def test_wire_names_fit_openais_pattern_and_come_apart_again():
    assert wire_name("files", "read_file") == "files__read_file"
    for tool in ("a.b", "x" * 200, "ü", "a b", "\ud800"):
        name = wire_name("files", tool)
        assert len(name) <= 64 and name.isascii() and name.startswith("files__")
