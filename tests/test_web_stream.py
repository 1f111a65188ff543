import os
import select
import socket
import threading

import pytest

from offgrid.errors import ClientGone
from offgrid.web.stream import StreamWriter, Wakeup, wait_for_client

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
BOUND_S = 5


@pytest.fixture
def pair():
    """(server's side, non-blocking; client's side with small buffers) of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.settimeout(BOUND_S)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    server.setblocking(False)
    with server, client:
        yield server, client


@pytest.fixture
def wakeup():
    with Wakeup() as wakeup:
        yield wakeup


def in_thread(function, *args):
    """Run it beside the test, which joins within the bound; what it raised or returned is in the list."""
    outcome = []

    def run():
        try:
            outcome.append(function(*args))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def ended(thread):
    thread.join(BOUND_S)
    return not thread.is_alive()


def read_to_end(client):
    data = bytearray()
    while piece := client.recv(65536):
        data += piece
    return bytes(data)


def read_until(client, end):
    data = bytearray()
    while not data.endswith(end):
        piece = client.recv(65536)
        assert piece, "the connection ended early"
        data += piece
    return bytes(data)


def unchunked(data):
    body = bytearray()
    while data:
        size, _, data = data.partition(b"\r\n")
        n = int(size, 16)
        assert data[n : n + 2] == b"\r\n"
        body += data[:n]
        data = data[n + 2 :]
    return bytes(body)


def test_a_wakeup_stays_set_until_it_is_cleared(wakeup):
    assert not wakeup.wait(0)
    wakeup.set()
    wakeup.set()
    assert wakeup.wait() and wakeup.wait(0)
    wakeup.clear()
    wakeup.clear()
    assert not wakeup.wait(0)


def test_setting_a_closed_wakeup_writes_into_nobody_elses_fd():
    closed = Wakeup()
    closed.close()
    with Wakeup() as reuses_the_fd:
        assert reuses_the_fd.read_fd == closed.read_fd
        closed.set()
        closed.clear()
        closed.close()
        assert not reuses_the_fd.wait(0)


def test_a_wakeup_works_over_a_pipe(monkeypatch):
    monkeypatch.delattr(os, "eventfd")
    with Wakeup() as wakeup:
        wakeup.set()
        assert wakeup.wait(0)
        wakeup.clear()
        assert not wakeup.wait(0)


@pytest.mark.parametrize("has_rdhup", [True, False])
def test_waiting_ends_when_woken(pair, wakeup, has_rdhup):
    thread, outcome = in_thread(lambda: wait_for_client(pair[0], wakeup, has_rdhup=has_rdhup))
    wakeup.set()
    assert ended(thread) and outcome == [True]


@pytest.mark.parametrize("has_rdhup", [True, False])
def test_waiting_ends_at_the_time_out(pair, wakeup, has_rdhup):
    assert wait_for_client(pair[0], wakeup, 0.01, has_rdhup=has_rdhup) is False
    assert wait_for_client(pair[0], wakeup, -1, has_rdhup=has_rdhup) is False


@pytest.mark.parametrize("has_rdhup", [True, False])
@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_waiting_ends_when_the_client_hangs_up(pair, wakeup, has_rdhup, how):
    server, client = pair
    thread, outcome = in_thread(lambda: wait_for_client(server, wakeup, has_rdhup=has_rdhup))
    if how == "half-close":
        client.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    assert ended(thread) and isinstance(outcome[0], ClientGone)


@pytest.mark.parametrize("has_rdhup", [True, False])
def test_pipelined_bytes_are_neither_eaten_nor_a_hang_up(pair, wakeup, has_rdhup):
    server, client = pair
    client.sendall(b"GET /next")
    assert select.select([server], [], [], BOUND_S)[0]
    assert wait_for_client(server, wakeup, 0.01, has_rdhup=has_rdhup) is False
    assert server.recv(100) == b"GET /next"


def test_a_hang_up_behind_pipelined_bytes_is_seen(pair, wakeup):
    server, client = pair
    client.sendall(b"GET /next")
    client.close()
    with pytest.raises(ClientGone):
        wait_for_client(server, wakeup, BOUND_S)


def test_an_answer_that_is_ready_wins_over_a_client_that_left(pair, wakeup):
    wakeup.set()
    pair[1].close()
    assert wait_for_client(pair[0], wakeup, BOUND_S)


def test_the_first_write_brings_the_head_along(pair):
    writer = StreamWriter(pair[0], HEAD)
    assert not writer.started
    writer.write(b"one")
    assert writer.started
    assert pair[1].recv(1000) == HEAD + b"3\r\none\r\n"
    writer.write(b"")  # an empty chunk would be the end
    writer.write(b"two")
    assert not writer.is_complete
    writer.close()
    writer.close()
    writer.abort()
    assert writer.is_complete
    pair[0].close()
    assert read_to_end(pair[1]) == b"3\r\ntwo\r\n0\r\n\r\n"


def test_a_stream_without_writes_is_an_empty_answer(pair):
    StreamWriter(pair[0], HEAD).close()
    assert pair[1].recv(1000) == HEAD + b"0\r\n\r\n"


def test_without_chunks_the_bytes_go_as_they_are(pair):
    writer = StreamWriter(pair[0], HEAD, is_chunked=False)
    writer.write(b"one")
    writer.close()
    pair[0].close()
    assert read_to_end(pair[1]) == HEAD + b"one"


def test_head_gets_no_body(pair):
    writer = StreamWriter(pair[0], HEAD, is_head_only=True)
    writer.write(b"one")
    writer.write(b"two")
    writer.close()
    pair[0].close()
    assert read_to_end(pair[1]) == HEAD


def test_a_slow_reader_never_blocks_the_writer_and_loses_nothing(pair):
    server, client = pair
    writer = StreamWriter(server, HEAD)
    lines = [b"%06d" % n * 700 for n in range(200)]  # 0.8 MB, far more than the sockets' buffers
    engine, _ = in_thread(lambda: [writer.write(line) for line in lines])
    assert ended(engine)  # the client has read nothing yet
    closer, outcome = in_thread(writer.close, BOUND_S)
    received = read_until(client, b"\r\n0\r\n\r\n")
    assert ended(closer) and outcome == [None]
    assert unchunked(received.removeprefix(HEAD)) == b"".join(lines)


def test_a_reader_that_caught_up_gets_later_writes_in_order(pair):
    server, client = pair
    writer = StreamWriter(server, HEAD)
    received = b""
    for n in range(20):
        writer.write(b"%02d" % n * 200_000)  # more than the sockets' buffers
        received += read_until(client, b"%02d\r\n" % n)
    assert unchunked(received.removeprefix(HEAD)) == b"".join(b"%02d" % n * 200_000 for n in range(20))


def test_many_threads_write_whole_pieces(pair):
    server, client = pair
    writer = StreamWriter(server, HEAD)
    reader, outcome = in_thread(read_to_end, client)
    writers = [in_thread(lambda n=n: [writer.write(b"%d" % n * 99) for _ in range(300)])[0] for n in range(8)]
    assert all(ended(thread) for thread in writers)
    writer.close(BOUND_S)
    server.close()
    assert ended(reader)
    body = unchunked(outcome[0].removeprefix(HEAD))
    assert sorted(body[at : at + 99] for at in range(0, len(body), 99)) == sorted(
        b"%d" % n * 99 for n in range(8) for _ in range(300)
    )


def test_a_reader_far_too_slow_is_hung_up_on(pair, wakeup):
    writer = StreamWriter(pair[0], HEAD)
    for _ in range(40):
        writer.write(b"x" * 100_000)
    with pytest.raises(ClientGone):
        wait_for_client(pair[0], wakeup, BOUND_S)
    writer.write(b"more")  # dropped in silence
    with pytest.raises(ClientGone):
        writer.close(BOUND_S)
    assert not writer.is_complete


def test_one_write_may_be_larger_than_the_buffer(pair):
    writer = StreamWriter(pair[0], HEAD)
    writer.write(b"x" * 3_000_000)
    writer.write(b"y")
    closer, outcome = in_thread(writer.close, BOUND_S)
    received = read_until(pair[1], b"\r\n0\r\n\r\n")
    assert ended(closer) and outcome == [None]
    assert len(unchunked(received.removeprefix(HEAD))) == 3_000_001


def test_a_reader_that_takes_nothing_is_hung_up_on_after_a_while(pair, wakeup):
    writer = StreamWriter(pair[0], HEAD, stall_s=0.05)
    writer.write(b"x" * 500_000)
    with pytest.raises(ClientGone):
        wait_for_client(pair[0], wakeup, BOUND_S)


def test_closing_gives_up_at_its_time_out_and_leaves_no_thread(pair):
    before = set(threading.enumerate())
    writer = StreamWriter(pair[0], HEAD)
    writer.write(b"x" * 500_000)
    assert len(set(threading.enumerate()) - before) == 1
    with pytest.raises(ClientGone):
        writer.close(0.05)
    assert not set(threading.enumerate()) - before


def test_an_aborted_stream_has_no_end_but_all_that_was_written(pair):
    writer = StreamWriter(pair[0], HEAD)
    writer.write(b"x" * 500_000)
    reader, outcome = in_thread(read_to_end, pair[1])
    writer.abort(BOUND_S)
    assert ended(reader)
    assert unchunked(outcome[0].removeprefix(HEAD)) == b"x" * 500_000
    assert not outcome[0].endswith(b"0\r\n\r\n")
    with pytest.raises(ClientGone):
        writer.close()


def test_writing_to_a_client_that_left_is_harmless_and_closing_says_so(pair):
    server, client = pair
    writer = StreamWriter(server, HEAD)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    writer.write(b"one")
    writer.write(b"two")
    with pytest.raises(ClientGone):
        writer.close()


def test_a_stream_can_be_taken_back_until_it_has_started(pair):
    writer = StreamWriter(pair[0], HEAD)
    assert writer.retract()
    writer.write(b"late")
    assert not writer.started
    started = StreamWriter(pair[0], HEAD)
    started.write(b"one")
    assert not started.retract()
    assert pair[1].recv(1000) == HEAD + b"3\r\none\r\n"
