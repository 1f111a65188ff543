"""Streams of the Python library: pieces as they come, however the bytes are cut, and how a stream ends or is left."""

import threading

import pytest
from scripted_server import WAIT_S, WORDS, chunk, stream_reply

import offgrid


def test_a_stream_yields_the_pieces_of_the_answer(scripted):
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    scripted.answers = [stream_reply(*WORDS, usage, b"data: [DONE]\n\n")]
    assert list(offgrid.Client(scripted.url).chat("Tell me a story", stream=True)) == ["Once ", "upon"]
    assert scripted.requests[0][2]["stream"] is True


def test_a_stream_is_read_however_its_bytes_are_cut(scripted):
    text = b": keep-alive\n\n" + b"".join(WORDS).replace(b"\n", b"\r\n") + b"event: x\ndata:[DONE]\n\n"
    scripted.answers = [stream_reply(*(text[i : i + 1] for i in range(len(text))))]
    assert "".join(offgrid.Client(scripted.url).chat("x", stream=True)) == "Once upon"


def test_pieces_arrive_while_the_answer_is_being_written(scripted):
    may_end = threading.Event()

    def answer(handler):
        stream_reply(*WORDS[:2], is_whole=False)(handler)
        assert may_end.wait(WAIT_S)
        chunk(handler, WORDS[2] + b"data: [DONE]\n\n")
        chunk(handler, b"")

    scripted.answers = [answer]
    stream = offgrid.Client(scripted.url, timeout_s=WAIT_S).chat("x", stream=True)
    assert next(stream) == "Once "
    may_end.set()
    assert list(stream) == ["upon"]


def test_a_stream_that_is_over_stays_over(scripted):
    scripted.answers = [stream_reply(*WORDS, b"data: [DONE]\n\n")]
    stream = offgrid.Client(scripted.url).chat("x", stream=True)
    assert "".join(stream) == "Once upon"
    assert list(stream) == []


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_stream_cut_in_the_middle_gives_its_text_and_then_an_error(scripted, is_whole):
    scripted.answers = [stream_reply(*WORDS[:2], is_whole=is_whole)]
    stream = offgrid.Client(scripted.url).chat("x", stream=True)
    assert next(stream) == "Once "
    with pytest.raises(offgrid.StreamBroken):
        next(stream)


def test_an_error_event_ends_the_stream_with_its_code(scripted):
    error = b'data: {"error": {"message": "the engine died", "type": "api_error", "code": "engine_crashed"}}\n\n'
    scripted.answers = [stream_reply(*WORDS[:2], error)]
    stream = offgrid.Client(scripted.url).chat("x", stream=True)
    assert next(stream) == "Once "
    with pytest.raises(offgrid.StreamBroken, match="the engine died") as caught:
        next(stream)
    assert (caught.value.code, caught.value.type) == ("engine_crashed", "api_error")


@pytest.mark.parametrize("leave", ["close", "with", "drop", "never start"])
def test_leaving_a_stream_early_hangs_up(scripted, leave):
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

    scripted.answers = [answer]
    stream = offgrid.Client(scripted.url).chat("x", stream=True)
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
