"""The Python library against a small real HTTP server that speaks the documented wire format."""

import base64
import json
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import offgrid
from offgrid.client.address import parse

ROOT = Path(__file__).parent.parent
WAIT_S = 5


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        n_bytes = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(n_bytes)) if n_bytes else None
        self.server.requests.append((self.command, self.path, body, self.headers))
        self.server.answers[min(len(self.server.requests), len(self.server.answers)) - 1](self)

    do_GET = do_POST = handle_any

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64  # with the stdlib's 5, a burst of connections waits a second for its second try


@pytest.fixture
def server(monkeypatch):
    """A server whose nth request gets the nth of `server.answers`, and every later one the last."""
    monkeypatch.delenv("OFFGRID_HOST", raising=False)
    monkeypatch.delenv("OFFGRID_API_KEY", raising=False)
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(WAIT_S)
    server.server_close()


def reply(content, status=200, **headers):
    """An answer; `content` is sent as JSON, bytes as they are."""

    def send(handler):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return send


def chat_reply(text):
    return reply({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]})


def error_reply(status, message="no", **fields):
    headers = {name: fields.pop(name) for name in list(fields) if name[0].isupper() or name.startswith("x_")}
    return reply({"error": {"message": message, **fields}}, status, **headers)


def chunk(handler, data: bytes):
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def event(delta, finish_reason=None) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": delta, "finish_reason": finish_reason}]}).encode()


def stream_reply(*pieces: bytes, is_whole=True):
    """Each piece is one HTTP chunk; without `is_whole` the connection is cut after the last one."""

    def send(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            chunk(handler, piece)
        if is_whole:
            chunk(handler, b"")
        else:
            handler.close_connection = True

    return send


WORDS = (event({"role": "assistant"}), event({"content": "Once "}), event({"content": "upon"}), event({}, "stop"))


def test_chat_answers_with_the_text(server):
    server.answers = [chat_reply("Hi!")]
    client = offgrid.Client(host=server.url)
    assert client.chat("Hello!") == "Hi!"
    method, path, body, headers = server.requests[0]
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert body == {"messages": [{"role": "user", "content": "Hello!"}]}
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] is None


def test_chat_sends_what_was_given_and_nothing_else(server):
    server.answers = [chat_reply("")]
    client = offgrid.Client(server.url)
    client.chat(
        "And now?",
        model="m",
        system="Be kind.",
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        temperature=0,
        max_tokens=5,
        stop=["x"],
        presence_penalty=0.5,
    )
    assert server.requests[0][2] == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "And now?"},
        ],
        "temperature": 0,
        "max_tokens": 5,
        "stop": ["x"],
        "presence_penalty": 0.5,
    }


def test_chat_without_anything_to_say_is_refused_before_it_is_sent(server):
    with pytest.raises(TypeError, match="prompt or messages"):
        offgrid.Client(server.url).chat()
    assert server.requests == []


def test_a_chat_without_text_is_an_empty_string(server):
    server.answers = [chat_reply(None)]
    assert offgrid.Client(server.url).chat("call a tool") == ""


def test_a_stream_yields_the_pieces_of_the_answer(server):
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    server.answers = [stream_reply(*WORDS, usage, b"data: [DONE]\n\n")]
    assert list(offgrid.Client(server.url).chat("Tell me a story", stream=True)) == ["Once ", "upon"]
    assert server.requests[0][2]["stream"] is True


def test_a_stream_is_read_however_its_bytes_are_cut(server):
    text = b": keep-alive\n\n" + b"".join(WORDS).replace(b"\n", b"\r\n") + b"event: x\ndata:[DONE]\n\n"
    server.answers = [stream_reply(*(text[i : i + 1] for i in range(len(text))))]
    assert "".join(offgrid.Client(server.url).chat("x", stream=True)) == "Once upon"


def test_pieces_arrive_while_the_answer_is_being_written(server):
    may_end = threading.Event()

    def answer(handler):
        stream_reply(*WORDS[:2], is_whole=False)(handler)
        assert may_end.wait(WAIT_S)
        chunk(handler, WORDS[2] + b"data: [DONE]\n\n")
        chunk(handler, b"")

    server.answers = [answer]
    stream = offgrid.Client(server.url, timeout_s=WAIT_S).chat("x", stream=True)
    assert next(stream) == "Once "
    may_end.set()
    assert list(stream) == ["upon"]


def test_a_stream_that_is_over_stays_over(server):
    server.answers = [stream_reply(*WORDS, b"data: [DONE]\n\n")]
    stream = offgrid.Client(server.url).chat("x", stream=True)
    assert "".join(stream) == "Once upon"
    assert list(stream) == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_stream_cut_in_the_middle_gives_its_text_and_then_an_error(server, is_whole):
    server.answers = [stream_reply(*WORDS[:2], is_whole=is_whole)]
    stream = offgrid.Client(server.url).chat("x", stream=True)
    assert next(stream) == "Once "
    with pytest.raises(offgrid.StreamBroken):
        next(stream)


def test_an_error_event_ends_the_stream_with_its_code(server):
    error = b'data: {"error": {"message": "the engine died", "type": "api_error", "code": "engine_crashed"}}\n\n'
    server.answers = [stream_reply(*WORDS[:2], error)]
    stream = offgrid.Client(server.url).chat("x", stream=True)
    assert next(stream) == "Once "
    with pytest.raises(offgrid.StreamBroken, match="the engine died") as caught:
        next(stream)
    assert (caught.value.code, caught.value.type) == ("engine_crashed", "api_error")


@pytest.mark.parametrize("leave", ["close", "with", "drop", "never start"])
def test_leaving_a_stream_early_hangs_up(server, leave):
    has_seen_hang_up = threading.Event()

    def answer(handler):
        handler.connection.settimeout(WAIT_S)
        try:
            stream_reply(*WORDS[:2], is_whole=False)(handler)
            is_gone = handler.connection.recv(1) == b""
        except (ConnectionResetError, BrokenPipeError):
            is_gone = True
        if is_gone:
            has_seen_hang_up.set()

    server.answers = [answer]
    stream = offgrid.Client(server.url).chat("x", stream=True)
    if leave != "never start":
        assert next(stream) == "Once "
    if leave == "close":
        stream.close()
        assert list(stream) == []
    elif leave == "with":
        with stream:
            pass
    else:
        del stream
    assert has_seen_hang_up.wait(WAIT_S)


def test_complete_answers_with_text_whole_and_streamed(server):
    server.answers = [
        reply({"choices": [{"text": " a time"}]}),
        stream_reply(b'data: {"choices": [{"text": " a"}]}\n\n', b"data: [DONE]\n\n"),
    ]
    client = offgrid.Client(server.url)
    assert client.complete("Once upon", max_tokens=2) == " a time"
    assert list(client.complete("Once upon", stream=True)) == [" a"]
    assert [path for _, path, _, _ in server.requests] == ["/v1/completions"] * 2
    assert server.requests[0][2] == {"prompt": "Once upon", "max_tokens": 2}


def test_embed_gives_one_vector_for_a_text_and_a_list_for_a_list(server):
    def row(index, *values):
        return {"index": index, "embedding": base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()}

    server.answers = [reply({"data": [row(0, 1.0, -0.5)]}), reply({"data": [row(1, 3.0), row(0, 2.0)]})]
    client = offgrid.Client(server.url)
    assert client.embed("a") == [1.0, -0.5]
    assert client.embed(["a", "b"], model="m") == [[2.0], [3.0]]
    assert server.requests[0][2] == {"input": "a", "encoding_format": "base64"}
    assert server.requests[1][2] == {"input": ["a", "b"], "encoding_format": "base64", "model": "m"}


def test_embed_takes_plain_numbers_too(server):
    server.answers = [reply({"data": [{"index": 0, "embedding": [0.25, 1]}]})]
    assert offgrid.Client(server.url).embed("a") == [0.25, 1]


def test_models_health_and_info_are_what_the_server_says(server):
    server.answers = [
        reply({"object": "list", "data": [{"id": "m"}]}),
        reply({"data": []}),
        reply({"status": "healthy"}),
        reply({"name": "OffGrid LLM"}),
    ]
    client = offgrid.Client(server.url)
    assert client.list_models() == [{"id": "m"}]
    assert client.models.list() == []
    assert client.health() == {"status": "healthy"}
    assert client.info() == {"name": "OffGrid LLM"}
    assert [(m, path) for m, path, _, _ in server.requests] == [
        ("GET", "/v1/models"),
        ("GET", "/v1/models"),
        ("GET", "/health"),
        ("GET", "/"),
    ]


def test_what_the_server_cannot_do_yet_says_so():
    client = offgrid.Client()
    with pytest.raises(offgrid.NotSupportedYet, match="models folder"):
        client.models.download("repo/model", "file.gguf")
    with pytest.raises(NotImplementedError, match=r"document\.txt"):
        client.kb.add("document.txt")


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, offgrid.BadRequest),
        (401, offgrid.AuthenticationError),
        (403, offgrid.PermissionDenied),
        (404, offgrid.NotFound),
        (413, offgrid.ApiStatusError),
        (429, offgrid.RateLimited),
        (500, offgrid.ServerError),
        (503, offgrid.ServerBusy),
        (507, offgrid.ServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_is_an_exception_of_its_class(server, status, error_class, stream):
    fields = {"type": "t", "code": "c", "param": "p"}
    server.answers = [error_reply(status, "said why", x_request_id="r1", **fields)]
    with pytest.raises(error_class) as caught:
        offgrid.Client(server.url).chat("x", stream=stream)
    error = caught.value
    assert type(error) is error_class and isinstance(error, offgrid.OffGridError)
    assert str(error) == "said why"
    assert (error.status, error.type, error.code, error.param, error.request_id) == (status, "t", "c", "p", "r1")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": "flat"}, "flat"),
        ({"detail": "told"}, "told"),
        (b"<h1>plain</h1>", "<h1>plain</h1>"),
        (b"", "HTTP 404"),
    ],
)
def test_errors_of_other_shapes_keep_their_words(server, content, message):
    server.answers = [reply(content, 404)]
    with pytest.raises(offgrid.NotFound, match=message):
        offgrid.Client(server.url).list_models()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_a_busy_server_is_asked_again_when_it_says_when(server, status, stream):
    busy = error_reply(status, "loading", Retry_After="0")
    server.answers = [busy, busy, stream_reply(*WORDS, b"data: [DONE]\n\n") if stream else chat_reply("Once upon")]
    assert "".join(offgrid.Client(server.url).chat("x", stream=stream)) == "Once upon"
    assert len(server.requests) == 3


def test_a_busy_server_is_not_asked_for_ever(server):
    server.answers = [error_reply(503, "full", Retry_After="0")]
    with pytest.raises(offgrid.ServerBusy, match="full") as caught:
        offgrid.Client(server.url).chat("x")
    assert caught.value.retry_after_s == 0
    assert len(server.requests) == 3
    with pytest.raises(offgrid.ServerBusy):
        offgrid.Client(server.url, max_retries=0).chat("x")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "headers",
    [{}, {"Retry_After": "3600"}, {"Retry_After": "soon"}, {"Retry_After": "0", "x_should_retry": "false"}],
)
def test_a_busy_server_is_not_asked_again_unless_it_wants_it_soon(server, headers):
    server.answers = [error_reply(503, "no", **headers)]
    with pytest.raises(offgrid.ServerBusy):
        offgrid.Client(server.url).chat("x")
    assert len(server.requests) == 1


def test_nobody_listening_says_where_and_what_to_do():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(offgrid.ConnectionFailed, match=f"http://{host} .*python offgrid.py"):
            offgrid.Client(host).chat("x")


def test_a_server_that_never_answers_is_given_up(server):
    may_end = threading.Event()
    server.answers = [lambda handler: may_end.wait(WAIT_S)]
    try:
        with pytest.raises(offgrid.ConnectionFailed, match=r"did not answer within 0\.05 s"):
            offgrid.Client(server.url, timeout_s=0.05).chat("x")
    finally:
        may_end.set()


def test_a_server_that_hangs_up_without_an_answer_is_a_failed_connection(server):
    server.answers = [lambda handler: setattr(handler, "close_connection", True)]
    with pytest.raises(offgrid.ConnectionFailed):
        offgrid.Client(server.url).chat("x")
    assert len(server.requests) == 1


def test_an_answer_cut_in_the_middle_is_a_failed_connection(server):
    def answer(handler):
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"choices"')
        handler.close_connection = True

    server.answers = [answer]
    with pytest.raises(offgrid.ConnectionFailed):
        offgrid.Client(server.url).chat("x")


@pytest.mark.parametrize("content", [b"<html>", {"other": 1}, [1], {"choices": []}])
def test_an_answer_of_something_else_is_an_offgrid_error(server, content):
    server.answers = [reply(content)]
    with pytest.raises(offgrid.OffGridError):
        offgrid.Client(server.url).chat("x")


@pytest.mark.parametrize("embedding", ["AAA=", "not base64!", None])
def test_a_broken_vector_is_an_offgrid_error(server, embedding):
    server.answers = [reply({"data": [{"index": 0, "embedding": embedding}]})]
    with pytest.raises(offgrid.OffGridError, match="not what was expected"):
        offgrid.Client(server.url).embed("a")


def test_host_and_key_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("OFFGRID_HOST", server.url + "/")
    monkeypatch.setenv("OFFGRID_API_KEY", "og_1")
    server.answers = [chat_reply("a"), stream_reply(*WORDS, b"data: [DONE]\n\n"), chat_reply("b")]
    offgrid.Client().chat("x")
    list(offgrid.Client().chat("x", stream=True))
    offgrid.Client(api_key="og_2").chat("x")
    keys = [headers["Authorization"] for _, _, _, headers in server.requests]
    assert keys == ["Bearer og_1", "Bearer og_1", "Bearer og_2"]


def test_a_path_in_front_is_kept_and_localhost_is_found_on_ipv4(server):
    server.answers = [reply({"data": []})]
    port = server.server_address[1]
    offgrid.Client(f"http://localhost:{port}/ai/").list_models()
    _, path, _, headers = server.requests[0]
    assert path == "/ai/v1/models"
    assert headers["Host"] == f"localhost:{port}"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("192.168.1.100", "http://192.168.1.100:11611"),
        ("192.168.1.100:80", "http://192.168.1.100:80"),
        ("box.local/ai", "http://box.local:11611/ai"),
        ("http://box.local", "http://box.local:80"),
        ("https://box.local", "https://box.local:443"),
        ("http://box:11611/v1", "http://box:11611"),
        ("https://box/ai/v1/", "https://box:443/ai"),
        ("::1", "http://[::1]:11611"),
        ("[fe80::1]:99", "http://[fe80::1]:99"),
        ("0.0.0.0", "http://127.0.0.1:11611"),
    ],
)
def test_a_host_is_written_in_many_ways(host, url):
    assert parse(host).url == url


@pytest.mark.parametrize(
    "host", ["", "ftp://box", "http://", "box:port", "http://box:99999", "http://u:p@box", "a?b=1"]
)
def test_what_is_no_address_is_refused(host):
    with pytest.raises(ValueError, match="is not the address of a server"):
        parse(host)


def test_one_client_serves_many_threads(server):
    class EchoHandler(Handler):
        def handle_any(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat_reply(body["messages"][0]["content"])(self)

        do_POST = handle_any

    server.RequestHandlerClass = EchoHandler
    client = offgrid.Client(server.url)
    texts = [str(i) for i in range(50)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client.chat, texts)) == texts


def test_a_large_refused_body_still_shows_the_servers_answer(server):
    class RefusingHandler(Handler):
        def do_POST(self):
            error_reply(413, "too large")(self)
            self.close_connection = True

    server.RequestHandlerClass = RefusingHandler
    with pytest.raises(offgrid.ApiStatusError, match="too large"):
        offgrid.Client(server.url).chat("x" * 5_000_000)


def test_no_socket_is_left_open(server):
    server.answers = [chat_reply("a"), error_reply(400), stream_reply(*WORDS[:2], is_whole=False)]
    code = (
        "import gc, sys, warnings; warnings.simplefilter('error')\n"
        "import offgrid\n"
        "client = offgrid.Client(sys.argv[1])\n"
        "client.chat('x')\n"
        "for stream in (False, True):\n"
        "    try: list(client.chat('x', stream=stream))\n"
        "    except offgrid.OffGridError as error: print(type(error).__name__)\n"
        "gc.collect()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, server.url], cwd=ROOT, capture_output=True, text=True)
    assert (ran.stdout.split(), ran.stderr) == (["BadRequest", "StreamBroken"], "")


def test_importing_offgrid_loads_neither_the_library_nor_the_server():
    code = "import sys, offgrid; print(offgrid.__version__, *(name for name in sys.modules if 'offgrid.' in name))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.split() == [offgrid.__version__]


def test_the_library_works_as_a_copy_in_another_project(tmp_path):
    copy = tmp_path / "ai"
    copy.mkdir()
    for path in (ROOT / "offgrid/client").glob("*.py"):
        (copy / path.name).write_bytes(path.read_bytes())
    code = "import sys, ai; ai.Client('box'); print(*(name for name in sys.modules if name.startswith('offgrid')))"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert out.strip() == ""


def test_every_name_of_the_library_is_found_in_offgrid():
    from offgrid import client

    assert all(getattr(offgrid, name) is getattr(client, name) for name in client.__all__)
    assert set(client.__all__) <= set(dir(offgrid))
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        offgrid.Clint  # noqa: B018
