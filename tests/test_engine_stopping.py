"""The end of a server that has a model: killed, asked to stop in mid-stream, and twenty times started and stopped."""

import gc
import json
import logging
import os
import signal
import threading

import pytest
from faults import ENDLESS, Stream, check_one_error, frozen, is_running, post, running_app, worker_of
from running import SIGNS_OF_LIFE, RunningServer, children_of, wait_until

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own

# --- the router's end ---


def test_a_killed_router_leaves_no_worker_behind(tiny_server):
    stream = Stream(tiny_server.port, **ENDLESS)
    stream.event()
    worker = worker_of(tiny_server)
    tiny_server.stop(signal.SIGKILL)
    wait_until(lambda: not is_running(worker))


def test_a_stream_that_ends_within_the_grace_period_ends_well(tiny_server):
    stream = Stream(tiny_server.port, max_tokens=500)
    stream.event()
    worker = worker_of(tiny_server)
    tiny_server.process.send_signal(signal.SIGTERM)
    events = stream.events()
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    assert tiny_server.process.wait(15) == 0
    assert not is_running(worker)


def test_streams_that_do_not_end_in_time_get_one_error_and_nothing_is_left(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models), "--shutdown-grace-s", "0.2", *SIGNS_OF_LIFE)
    streams = [Stream(server.port, f"Number {i}", **ENDLESS) for i in range(3)]
    for stream in streams:
        stream.event()
    worker = worker_of(server)
    server.process.send_signal(signal.SIGTERM)
    for stream in streams:
        check_one_error(stream.events(), "server_stopping")
    assert server.process.wait(15) == 0
    assert not is_running(worker)


def test_a_server_that_stops_takes_nothing_new(tiny_server):
    stream = Stream(tiny_server.port, max_tokens=16_000)
    stream.event()
    with frozen(worker_of(tiny_server)):
        tiny_server.process.send_signal(signal.SIGTERM)
        status, headers, answer = wait_until(lambda: refused(tiny_server))
        assert status == 503
        assert answer["error"]["code"] == "server_stopping"
        assert headers["Retry-After"]
    stream.hang_up()
    assert tiny_server.process.wait(15) == 0


def refused(server: RunningServer):
    """The answer to a chat that the server does not take; None while it does. Nobody waits for its text."""
    stream = Stream(server.port)
    try:
        answer = stream.answer
        return None if answer.status == 200 else (answer.status, answer.headers, json.load(answer))
    finally:
        stream.hang_up()


def test_a_server_that_is_stopped_while_its_model_loads_leaves_nothing(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models))
    worker = wait_until(server.children)[0]
    assert server.stop() == 0
    assert not is_running(worker)


# --- starting and stopping, over and over ---


def test_twenty_starts_and_stops_leave_no_file_thread_or_child(endless_models, tmp_path):
    def cycle() -> None:
        with running_app(endless_models, tmp_path / "data") as app:
            status, _ = post(app, {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2})
            assert status == 200
            assert children_of(os.getpid())

    def held() -> tuple:
        return len(os.listdir("/proc/self/fd")), threading.active_count(), children_of(os.getpid())

    gc.collect()  # what other tests left to it
    n_threads = threading.active_count()
    cycle()  # what is loaded once and stays
    wait_until(lambda: threading.active_count() == n_threads)
    baseline = held()
    for _ in range(20):
        cycle()
    wait_until(lambda: held() == baseline)


def test_a_stopped_server_leaves_the_loggers_as_it_found_them(tmp_path):
    loggers = [logging.getLogger(name) for name in ("offgrid", "offgrid.access", "offgrid.worker")]

    def state() -> list:
        return [(logger.handlers, logger.level, logger.propagate, logger.disabled) for logger in loggers]

    before = state()
    with running_app(tmp_path, tmp_path / "data"):
        assert state() != before
    assert state() == before
