"""Errors of the Python library: a class for each status, when it asks again, and servers that fail or talk nonsense."""

import socket
import subprocess
import sys
import threading

import pytest
from running import REPO
from scripted_server import WAIT_S, WORDS, Handler, chat_reply, error_reply, reply, stream_reply

import offgrid


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
def test_an_error_status_is_an_exception_of_its_class(scripted, status, error_class, stream):
    fields = {"type": "t", "code": "c", "param": "p"}
    scripted.answers = [error_reply(status, "said why", x_request_id="r1", **fields)]
    with pytest.raises(error_class) as caught:
        offgrid.Client(scripted.url).chat("x", stream=stream)
    error = caught.value
    assert type(error) is error_class and isinstance(error, offgrid.OffGridError)
    assert str(error) == "said why"
    assert (error.status, error.type, error.code, error.param, error.request_id) == (status, "t", "c", "p", "r1")
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": "flat"}, "flat"),
        ({"detail": "told"}, "told"),
        (b"<h1>plain</h1>", "<h1>plain</h1>"),
        (b"", "HTTP 404"),
    ],
)
def test_errors_of_other_shapes_keep_their_words(scripted, content, message):
    scripted.answers = [reply(content, 404)]
    with pytest.raises(offgrid.NotFound, match=message):
        offgrid.Client(scripted.url).list_models()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_a_busy_server_is_asked_again_when_it_says_when(scripted, status, stream):
    busy = error_reply(status, "loading", Retry_After="0")
    scripted.answers = [busy, busy, stream_reply(*WORDS, b"data: [DONE]\n\n") if stream else chat_reply("Once upon")]
    assert "".join(offgrid.Client(scripted.url).chat("x", stream=stream)) == "Once upon"
    assert len(scripted.requests) == 3


def test_a_busy_server_is_not_asked_for_ever(scripted):
    scripted.answers = [error_reply(503, "full", Retry_After="0")]
    with pytest.raises(offgrid.ServerBusy, match="full") as caught:
        offgrid.Client(scripted.url).chat("x")
    assert caught.value.retry_after_s == 0
    assert len(scripted.requests) == 3
    with pytest.raises(offgrid.ServerBusy):
        offgrid.Client(scripted.url, max_retries=0).chat("x")
    assert len(scripted.requests) == 4


@pytest.mark.parametrize(
    "headers",
    [{}, {"Retry_After": "3600"}, {"Retry_After": "soon"}, {"Retry_After": "0", "x_should_retry": "false"}],
)
def test_a_busy_server_is_not_asked_again_unless_it_wants_it_soon(scripted, headers):
    scripted.answers = [error_reply(503, "no", **headers)]
    with pytest.raises(offgrid.ServerBusy):
        offgrid.Client(scripted.url).chat("x")
    assert len(scripted.requests) == 1


def test_nobody_listening_says_where_and_what_to_do():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(offgrid.ConnectionFailed, match=f"http://{host} .*python offgrid.py"):
            offgrid.Client(host).chat("x")


def test_a_server_that_never_answers_is_given_up(scripted):
    may_end = threading.Event()
    scripted.answers = [lambda handler: may_end.wait(WAIT_S)]
    try:
        with pytest.raises(offgrid.ConnectionFailed, match=r"did not answer within 0\.05 s"):
            offgrid.Client(scripted.url, timeout_s=0.05).chat("x")
    finally:
        may_end.set()


def test_a_server_that_hangs_up_without_an_answer_is_a_failed_connection(scripted):
    scripted.answers = [lambda handler: setattr(handler, "close_connection", True)]
    with pytest.raises(offgrid.ConnectionFailed):
        offgrid.Client(scripted.url).chat("x")
    assert len(scripted.requests) == 1


def test_an_answer_cut_in_the_middle_is_a_failed_connection(scripted):
    def answer(handler):
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"choices"')
        handler.close_connection = True

    scripted.answers = [answer]
    with pytest.raises(offgrid.ConnectionFailed):
        offgrid.Client(scripted.url).chat("x")


@pytest.mark.parametrize("content", [b"<html>", {"other": 1}, [1], {"choices": []}])
def test_an_answer_of_something_else_is_an_offgrid_error(scripted, content):
    scripted.answers = [reply(content)]
    with pytest.raises(offgrid.OffGridError):
        offgrid.Client(scripted.url).chat("x")


@pytest.mark.parametrize("embedding", ["AAA=", "not base64!", None])
def test_a_broken_vector_is_an_offgrid_error(scripted, embedding):
    scripted.answers = [reply({"data": [{"index": 0, "embedding": embedding}]})]
    with pytest.raises(offgrid.OffGridError, match="not what was expected"):
        offgrid.Client(scripted.url).embed("a")


def test_a_large_refused_body_still_shows_the_servers_answer(scripted):
    class RefusingHandler(Handler):
        def do_POST(self):
            error_reply(413, "too large")(self)
            self.close_connection = True

    scripted.RequestHandlerClass = RefusingHandler
    with pytest.raises(offgrid.ApiStatusError, match="too large"):
        offgrid.Client(scripted.url).chat("x" * 5_000_000)


def test_no_socket_is_left_open(scripted):
    scripted.answers = [chat_reply("a"), error_reply(400), stream_reply(*WORDS[:2], is_whole=False)]
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
    ran = subprocess.run([sys.executable, "-c", code, scripted.url], cwd=REPO, capture_output=True, text=True)
    assert (ran.stdout.split(), ran.stderr) == (["BadRequest", "StreamBroken"], "")
