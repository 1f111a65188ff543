"""MCP servers by URL: what they answer with, and what can go wrong on the way."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mcp_bench import mcp_bench

from offgrid.agents.mcp.lines import MAX_LINE_BYTES
from offgrid.agents.mcp.rpc import Cancelled, Gone, McpError, TimedOut
from offgrid.agents.mcp.spec import make_spec
from offgrid.errors import BadRequest

TOOLS = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}


class Handler(BaseHTTPRequestHandler):
    """Answers as `server.mode` says; keeps (method, headers, message) of each request in `server.heard`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(405, b"")

    def do_DELETE(self) -> None:
        self.server.heard.append(("DELETE", self._lowered(), {}))
        self._answer(200, b"")

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append(("POST", self._lowered(), message))
        if "id" not in message:
            self._answer(202, b"")
            return
        is_call = message["method"] == "tools/call"
        session = self.headers.get("Mcp-Session-Id")
        if self.server.mode == "forgets" and is_call and session == "session 1":
            self._answer(404, b"")
        elif self.server.mode == "redirects":
            self._answer(307, b"", Location="http://169.254.169.254/")
        elif self.server.mode == "fails" and is_call:
            self._answer(500, b"the reason", "text/plain")
        elif self.server.mode == "hangs" and is_call:
            self.server.is_over.wait()
        elif self.server.mode == "breaks" and is_call:
            self._answer(200, b"data: {}\n\n", "text/event-stream")
        elif self.server.mode == "large" and is_call:
            self._answer(200, b"x" * (MAX_LINE_BYTES + 10))
        elif self.server.mode == "large-event" and is_call:
            self._answer(200, b"data: " + b"x" * (MAX_LINE_BYTES + 10), "text/event-stream")
        else:
            self._good(message)

    def _lowered(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _good(self, message: dict) -> None:
        result = TOOLS
        more = {}
        if message["method"] == "initialize":
            self.server.n_sessions += 1
            more = {"Mcp-Session-Id": f"session {self.server.n_sessions}"}
            info = {"name": "by url", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        elif message["method"] == "tools/call":
            result = {"content": [{"type": "text", "text": message["params"]["arguments"]["text"]}]}
        self._answer(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode(), **more)

    def _answer(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # whoever asked has heard enough
            pass


@pytest.fixture
def remote():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.mode, server.heard, server.n_sessions, server.is_over = "good", [], 0, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/mcp?x=1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="remote")
    thread.start()
    yield server
    server.is_over.set()
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def bench(remote, tmp_path):
    """A bench with that server, added as `small`."""
    with mcp_bench(tmp_path, mcp_allow_http=True) as bench:
        bench.servers.add("small", make_spec(url=remote.url, headers={"Authorization": "Bearer key"}))
        yield bench
        remote.is_over.set()


def test_a_server_by_url_is_asked_with_its_session_version_and_headers(bench, remote):
    assert bench.call("echo", text="heard") == "heard"
    _, headers, message = remote.heard[-1]
    assert (message["method"], headers["mcp-session-id"]) == ("tools/call", "session 1")
    assert (headers["mcp-protocol-version"], headers["authorization"]) == ("2025-06-18", "Bearer key")
    assert headers["accept"] == "application/json, text/event-stream"
    bench.servers.remove("small")
    assert remote.heard[-1][0] == "DELETE" and remote.heard[-1][1]["mcp-session-id"] == "session 1"


def test_a_session_that_the_server_forgot_is_begun_anew(bench, remote):
    remote.mode = "forgets"
    assert bench.call("echo", text="again") == "again"
    assert remote.n_sessions == 2


@pytest.mark.parametrize(
    ("mode", "error", "says"),
    [
        ("fails", McpError, "answered 500: the reason"),
        ("hangs", TimedOut, "not answered within 0.3 s"),
        ("breaks", Gone, "ended its answer before"),
        ("large", McpError, f"more than {MAX_LINE_BYTES} bytes"),
        ("large-event", McpError, f"more than {MAX_LINE_BYTES} bytes"),
    ],
)
def test_what_goes_wrong_is_an_error_of_that_call(bench, remote, mode, error, says):
    remote.mode = mode
    with pytest.raises(error, match=says):
        bench.servers.call("small", "echo", {"text": "x"}, timeout_s=0.3 if mode == "hangs" else 20)
    remote.mode = "good"
    assert bench.call("echo", text="still there") == "still there"


def test_a_call_that_is_cancelled_is_told_so_and_its_connection_ends(bench, remote):
    remote.mode = "hangs"
    with pytest.raises(Cancelled):
        bench.servers.call("small", "echo", {}, is_cancelled=lambda: remote.heard[-1][2]["method"] == "tools/call")
    assert remote.heard[-1][2]["method"] == "notifications/cancelled"


def test_redirects_are_not_followed_and_link_local_addresses_not_asked(remote, tmp_path):
    with mcp_bench(tmp_path, mcp_allow_http=True) as bench:
        remote.mode = "redirects"
        with pytest.raises(BadRequest, match=r"redirects to http://169\.254\.169\.254/, which is not followed"):
            bench.servers.add("small", make_spec(url=remote.url))
        for url in ("http://169.254.169.254/", "http://[fe80::1]/", "http://0.0.0.0/", "http://[::ffff:a9fe:a9fe]/"):
            with pytest.raises(BadRequest, match="no address of an MCP server"):
                bench.servers.add("small", make_spec(url=url))
        with pytest.raises(BadRequest, match="cannot be reached"):
            bench.servers.add("small", make_spec(url="http://127.0.0.1:9/"))
