"""What goes wrong between a client and a model, on a real server: hang-ups, killed processes, full queues, bad files.

Almost everything runs on tiny models whose texts never end by themselves, so that "in mid-stream" is no matter of luck;
a worker that is stopped by SIGSTOP computes nothing until the test is ready for it.
"""

import gc
import http.client
import json
import logging
import os
import signal
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from broken_files import write_broken_files
from gguf import GGUFReader
from running import REPO, RunningServer, children_of, wait_until

from offgrid.app import App
from offgrid.config import Config, PathSettings, ServerSettings
from offgrid.errors import Unavailable
from offgrid.logs import Logs
from offgrid.types import Delta

# A waiting stream shows by a comment that the server has accepted it.
SIGNS_OF_LIFE = ("--keep-alive-interval-s", "0.05")
ENDLESS = {"max_tokens": 100_000}
N_BLOCKS = b"llama.block_count" + (4).to_bytes(4, "little")  # as it stands in a GGUF, before the number itself


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with one chat model whose texts have no end before 16,384 tokens."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.chat_model(folder / "tiny.gguf", n_ctx_train=16_384)
    return folder


@pytest.fixture
def tiny(start_server, models) -> RunningServer:
    """A server that answers one client at a time, lets one more wait, and has its model loaded."""
    server = start_server("--models-dir", str(models), "--parallel", "1", "--max-queue", "1", *SIGNS_OF_LIFE)
    server.chat("Hello!")
    return server


class Stream:
    """A streamed chat as its client sees it. The constructor returns when the first byte of the answer is there."""

    def __init__(self, port: int, text: str = "Hello!", **fields):
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True, **fields}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        self.answer = self._connection.getresponse()

    def event(self) -> str:
        """The data of the next event; "" at the end of the stream."""
        for line in self.answer:
            if line.startswith(b"data: "):
                return line[6:].decode().strip()
        return ""

    def events(self) -> list[str]:
        """The data of all events that are still to come."""
        events = list(iter(self.event, ""))
        self.hang_up()
        return events

    def hang_up(self) -> None:
        self.answer.close()
        self._connection.close()


def worker_of(server: RunningServer) -> int:
    """Process id of its only worker."""
    [pid] = server.children()
    return pid


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def cpu_s(pid: int) -> float:
    """CPU time that a process has used: what it has computed, however busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def frozen(pid: int):
    """The process stands still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_thread(function, *args, **fields) -> "tuple[threading.Thread, list]":
    """Run it beside the test; the list will hold what it returned."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args, **fields)), daemon=True)
    thread.start()
    return thread, result


def ask(server: RunningServer, text: str = "Hello!", **fields):
    """(status, headers, answer) of a chat without stream."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 8, **fields}
    return server.request("/v1/chat/completions", body)


def check_one_error(events: list[str], code: str) -> None:
    """A stream that failed: text, then one error, and no [DONE]."""
    assert "[DONE]" not in events
    errors = [json.loads(event)["error"] for event in events if '"error"' in event]
    assert [error["code"] for error in errors] == [code]
    assert '"error"' in events[-1]


# --- clients that leave ---


def test_a_client_that_leaves_in_mid_stream_frees_the_slot(tiny):
    stream = Stream(tiny.port, **ENDLESS)
    stream.event()
    stream.hang_up()
    answer = tiny.chat("Hello!", max_tokens=5)
    assert answer["usage"]["completion_tokens"] == 5


def test_a_client_that_leaves_before_its_plain_answer_frees_the_slot(tiny):
    worker = worker_of(tiny)
    before = cpu_s(worker)
    sock = raw_chat(tiny, "Hello!", **ENDLESS)
    wait_until(lambda: cpu_s(worker) > before + 0.05)
    sock.close()
    wait_until(lambda: n_hang_ups(tiny) == 1)
    assert tiny.chat("Hello!", max_tokens=5)["usage"]["completion_tokens"] == 5


def test_clients_that_leave_while_they_wait_free_the_queue(tiny):
    with frozen(worker_of(tiny)):
        for n_left in (2, 4, 6):
            waiting = [Stream(tiny.port), Stream(tiny.port)]
            assert ask(tiny)[0] == 503
            for stream in waiting:
                stream.hang_up()
            wait_until(lambda n=n_left: n_hang_ups(tiny) == n)
    assert tiny.chat("Hello!", max_tokens=5)["usage"]["completion_tokens"] == 5


def n_hang_ups(server: RunningServer) -> int:
    return (server.data_dir / "logs" / "access.log").read_text().count(" 499 ")


@pytest.mark.model
def test_a_client_that_leaves_in_a_long_prefill_stops_the_computing_and_frees_the_slot(start_server):
    server = start_server("--models-dir", str(REPO / "models"), "--parallel", "1", *SIGNS_OF_LIFE)

    def prompt(word: str) -> str:
        return f"{word} " * 600

    server.chat("Hello!", max_tokens=1)
    worker = worker_of(server)
    before = cpu_s(worker)
    assert server.chat(prompt("one"), max_tokens=1)["usage"]["prompt_tokens"] > 600
    whole_s = cpu_s(worker) - before

    before = cpu_s(worker)
    left = raw_chat(server, prompt("two"), stream=True)
    wait_until(lambda: cpu_s(worker) > before + whole_s / 10)
    left.close()
    answer = server.chat("What is 2 + 2?", max_tokens=3)
    assert answer["usage"]["completion_tokens"] == 3
    assert cpu_s(worker) - before < whole_s / 2


def raw_chat(server: RunningServer, text: str, **fields) -> socket.socket:
    """A socket over which a chat was asked for, and nothing read."""
    body = json.dumps({"messages": [{"role": "user", "content": text}], **fields}).encode()
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body)
    return sock


# --- workers that die ---


def test_a_worker_killed_in_mid_stream_is_one_error_and_the_next_chat_works(tiny):
    stream = Stream(tiny.port, **ENDLESS)
    first = stream.event()
    os.kill(worker_of(tiny), signal.SIGKILL)
    events = [first, *stream.events()]
    check_one_error(events, "engine_crashed")
    assert "SIGKILL" in events[-1]
    assert tiny.request("/health")[0] == 200
    assert tiny.chat("Hello!")["choices"][0]["message"]["content"]


def test_a_worker_killed_under_a_plain_request_is_a_500_that_forbids_a_retry(tiny):
    worker = worker_of(tiny)
    before = cpu_s(worker)
    thread, result = in_thread(ask, tiny, **ENDLESS)
    wait_until(lambda: cpu_s(worker) > before + 0.05)
    os.kill(worker, signal.SIGKILL)
    thread.join(10)
    [(status, headers, answer)] = result
    assert status == 500
    assert answer["error"]["code"] == "engine_crashed"
    assert headers["x-should-retry"] == "false"
    assert tiny.chat("Hello!")["choices"][0]["message"]["content"]


def test_everybody_who_waits_for_a_killed_worker_gets_one_error_each(start_server, models):
    server = start_server("--models-dir", str(models), *SIGNS_OF_LIFE)
    server.chat("Hello!")
    streams = [Stream(server.port, f"Number {i}", **ENDLESS) for i in range(6)]
    os.kill(worker_of(server), signal.SIGKILL)
    for stream in streams:
        check_one_error(stream.events(), "engine_crashed")
    assert server.chat("Hello!")["usage"]["completion_tokens"] == 16


def test_a_worker_killed_while_it_has_nothing_to_do_is_not_noticed(tiny):
    worker = worker_of(tiny)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: tiny.request("/health")[2]["models_loaded"] == [])
    assert tiny.chat("Hello!")["choices"][0]["message"]["content"]
    assert worker_of(tiny) != worker


def test_a_worker_that_cannot_be_started_is_an_error_and_no_hang(models, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with running_app(models, tmp_path / "data") as app:
        status, answer = post(app, {"messages": [{"role": "user", "content": "Hello!"}]})
    # 503 when its end was seen before it could be asked: it is started again at once, and then no more for a while.
    assert status in (500, 503)
    assert answer["error"]["code"] == "engine_crashed"


# --- the router's end ---


def test_a_killed_router_leaves_no_worker_behind(tiny):
    stream = Stream(tiny.port, **ENDLESS)
    stream.event()
    worker = worker_of(tiny)
    tiny.stop(signal.SIGKILL)
    wait_until(lambda: not is_running(worker))


def test_a_stream_that_ends_within_the_grace_period_ends_well(tiny):
    stream = Stream(tiny.port, max_tokens=500)
    stream.event()
    worker = worker_of(tiny)
    tiny.process.send_signal(signal.SIGTERM)
    events = stream.events()
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    assert tiny.process.wait(15) == 0
    assert not is_running(worker)


def test_streams_that_do_not_end_in_time_get_one_error_and_nothing_is_left(start_server, models):
    server = start_server("--models-dir", str(models), "--shutdown-grace-s", "0.2", *SIGNS_OF_LIFE)
    streams = [Stream(server.port, f"Number {i}", **ENDLESS) for i in range(3)]
    for stream in streams:
        stream.event()
    worker = worker_of(server)
    server.process.send_signal(signal.SIGTERM)
    for stream in streams:
        check_one_error(stream.events(), "server_stopping")
    assert server.process.wait(15) == 0
    assert not is_running(worker)


def test_a_server_that_stops_takes_nothing_new(tiny):
    stream = Stream(tiny.port, max_tokens=16_000)
    stream.event()
    with frozen(worker_of(tiny)):
        tiny.process.send_signal(signal.SIGTERM)
        status, headers, answer = wait_until(lambda: refused(tiny))
        assert status == 503
        assert answer["error"]["code"] == "server_stopping"
        assert headers["Retry-After"]
    stream.hang_up()
    assert tiny.process.wait(15) == 0


def refused(server: RunningServer):
    """The answer to a chat that the server does not take; None while it does. Nobody waits for its text."""
    stream = Stream(server.port)
    try:
        answer = stream.answer
        return None if answer.status == 200 else (answer.status, answer.headers, json.load(answer))
    finally:
        stream.hang_up()


def test_a_server_that_is_stopped_while_its_model_loads_leaves_nothing(start_server, models):
    server = start_server("--models-dir", str(models))
    worker = wait_until(server.children)[0]
    assert server.stop() == 0
    assert not is_running(worker)


# --- full queues, many clients ---


def test_beyond_the_queue_a_client_is_told_when_to_come_back(tiny):
    with frozen(worker_of(tiny)):
        streams = [Stream(tiny.port, max_tokens=4), Stream(tiny.port, max_tokens=4)]
        status, headers, answer = ask(tiny)
        assert status == 503
        assert answer["error"]["code"] == "server_busy"
        assert int(headers["Retry-After"]) > 0
    for stream in streams:
        assert stream.events()[-1] == "[DONE]"  # nobody was sacrificed for the newcomer


def test_sixteen_streams_at_once_say_what_each_says_alone(start_server, models):
    server = start_server("--models-dir", str(models), "--parallel", "16")
    questions = [f"{i} or {i + 1}?" for i in range(16)]

    def text(question: str) -> str:
        events = Stream(server.port, question, max_tokens=8).events()
        assert events[-1] == "[DONE]"
        return "".join(json.loads(e)["choices"][0]["delta"].get("content", "") for e in events[:-1])

    alone = [text(question) for question in questions]
    running = [in_thread(text, question) for question in questions]
    for thread, _ in running:
        thread.join(30)
    assert [result for _, result in running] == [[one] for one in alone]
    assert len(set(alone)) > 8  # the model does listen to its prompt


class FullAfterOne:
    """A pool that answers the first request with a word at once, and has no room for another."""

    def __init__(self):
        self.n_asked = self.n_cancelled = 0

    def submit(self, _model, _request, sink, _keep_alive_s=None):
        self.n_asked += 1
        if self.n_asked > 1:
            raise Unavailable("The queue is full.")
        sink(Delta("Hel"))
        return self

    def cancel(self) -> None:
        self.n_cancelled += 1

    def stop(self, grace_s: float) -> None:
        pass


def test_a_choice_without_room_ends_a_stream_that_has_begun_with_one_error(models, tmp_path):
    with running_app(models, tmp_path / "data") as app:
        app.pool = pool = FullAfterOne()
        events = Stream(app.server.server_port, n=2).events()
    assert any("Hel" in event for event in events)
    check_one_error(events, "server_busy")
    assert pool.n_cancelled == 1


# --- files that are no good ---


def test_broken_files_are_listed_with_their_reasons_and_no_worker_opens_them(start_server, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    reasons = write_broken_files(folder, tiny_models.chat_model(tmp_path / "good.gguf"))
    server = start_server("--models-dir", str(folder))
    _, _, listed = server.request("/v1/models")
    assert listed["data"] == []
    given = {f"{entry['id']}.gguf": entry["reason"] for entry in listed["broken"]}
    assert set(given) == set(reasons)
    for name, reason in reasons.items():
        assert reason in given[name]
        status, _, answer = ask(server, model=name)
        assert (status, answer["error"]["code"]) == (404, "model_broken")
        assert reason in answer["error"]["message"]
    assert server.children() == []


def test_a_model_that_is_dropped_into_the_folder_is_there_at_once(start_server, tmp_path):
    folder = tmp_path / "models"
    server = start_server("--models-dir", str(folder))
    assert server.request("/ready")[0] == 503
    assert ask(server)[0] == 404
    folder.mkdir()
    tiny_models.chat_model(folder / "new.gguf")
    assert server.request("/ready")[0] == 200
    assert server.chat("Hello!")["model"] == "new"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        pytest.param(N_BLOCKS + b"\2", N_BLOCKS + b"\3", "model_load_failed", id="lacks a block: refused by llama.cpp"),
        pytest.param(b"</tool_call>", b"<|im_start|>", "engine_crashed", id="has a token twice: aborts llama.cpp"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_a_clear_error(start_server, models, tmp_path, old, new, code):
    folder = tmp_path / "models"
    folder.mkdir()
    whole = (models / "tiny.gguf").read_bytes()
    (folder / "bad.gguf").write_bytes(whole.replace(old, new, 1))
    server = start_server("--models-dir", str(folder), "--preload", "false")
    for _ in range(2):  # tried again, as the file may have been mended
        status, headers, answer = ask(server)
        assert status == 500
        assert answer["error"]["code"] == code
        assert "bad" in answer["error"]["message"]
        assert headers["x-should-retry"] == "false"
    assert server.request("/health")[0] == 200
    status, headers, _ = ask(server)
    assert status == 503  # not a third time at once
    assert int(headers["Retry-After"]) > 0


@pytest.mark.parametrize("part", ["everything", "one row"])
@pytest.mark.parametrize("stream", [False, True])
def test_weights_that_are_no_numbers_are_one_clear_error(start_server, tmp_path, part, stream):
    folder = tmp_path / "models"
    folder.mkdir()
    path = tiny_models.chat_model(folder / "damaged.gguf")
    [output] = [tensor for tensor in GGUFReader(path, "r+").tensors if tensor.name == "output.weight"]
    output.data[... if part == "everything" else ord("k")] = np.nan
    server = start_server("--models-dir", str(folder))
    status, _, answer = ask(server, stream=stream)
    assert status == 500
    assert "damaged" in answer["error"]["message"]
    assert len(server.children()) == 1  # the worker is still there: it was the file


def test_an_embedding_model_whose_weights_are_no_numbers_is_one_clear_error(start_server, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    path = tiny_models.embedding_model(folder / "damaged.gguf")
    [embedding] = [tensor for tensor in GGUFReader(path, "r+").tensors if tensor.name == "token_embd.weight"]
    embedding.data[...] = np.nan
    status, _, answer = start_server("--models-dir", str(folder)).request("/v1/embeddings", {"input": ["cat", "dog"]})
    assert status == 500
    assert "damaged" in answer["error"]["message"]


# --- several models ---


@pytest.fixture
def two(start_server, tmp_path) -> RunningServer:
    """A server with two chat models, "one" and "two", and room for one of them; "one" is loaded."""
    folder = tmp_path / "models"
    folder.mkdir()
    for seed, name in enumerate(("one", "two")):
        tiny_models.chat_model(folder / f"{name}.gguf", seed=seed, n_ctx_train=16_384)
    room = ("--ram-budget-mb", "75", "--ctx-size", "2048", "--cache-ram-mb", "0")
    server = start_server("--models-dir", str(folder), *room, *SIGNS_OF_LIFE)
    server.chat("Hello!", model="one")
    return server


def test_an_idle_model_makes_room_for_another(two):
    first = worker_of(two)
    text = two.chat("Hello!", model="one")["choices"][0]["message"]["content"]
    assert two.chat("Hello!", model="two")["choices"][0]["message"]["content"] != text
    assert not is_running(first)
    assert two.request("/health")[2]["models_loaded"] == ["two"]
    assert len(two.children()) == 1
    assert two.chat("Hello!", model="one")["choices"][0]["message"]["content"] == text


def test_a_busy_model_is_not_ended_for_another(two):
    stream = Stream(two.port, model="one", max_tokens=500)
    stream.event()
    thread, result = in_thread(two.chat, "Hello!", model="two")
    events = stream.events()
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    thread.join(20)
    assert result[0]["model"] == "two"


def test_a_client_that_leaves_while_it_waits_for_room_is_noticed(two):
    stream = Stream(two.port, model="one", **ENDLESS)
    stream.event()
    with frozen(worker_of(two)):
        waiting = raw_chat(two, "Hello!", model="two")
        wait_until(lambda: two.request("/v1/loading/progress?model=two")[2]["phase"] == "unloading")
        waiting.close()
        wait_until(lambda: n_hang_ups(two) == 1)
    stream.hang_up()
    two.chat("Hello!", model="one")
    assert len(two.children()) == 1


# --- starting and stopping, over and over ---


@contextmanager
def running_app(models: Path, data: Path):
    """The whole server inside this process."""
    config = Config(server=ServerSettings(port=0), paths=PathSettings(models_dir=models, data_dir=data))
    logs = Logs(config.log, data / "logs")
    app = App(config, logs)
    try:
        app.start()
        yield app
    finally:
        app.stop()
        logs.close()


def post(app: App, body: dict) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", app.server.server_port, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    with connection.getresponse() as answer:
        content = json.load(answer)
    connection.close()
    return answer.status, content


def test_twenty_starts_and_stops_leave_no_file_thread_or_child(models, tmp_path):
    def cycle() -> None:
        with running_app(models, tmp_path / "data") as app:
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
    assert baseline[2] == []


def test_a_stopped_server_leaves_the_loggers_as_it_found_them(tmp_path):
    loggers = [logging.getLogger(name) for name in ("offgrid", "offgrid.access", "offgrid.worker")]

    def state() -> list:
        return [(logger.handlers, logger.level, logger.propagate, logger.disabled) for logger in loggers]

    before = state()
    with running_app(tmp_path, tmp_path / "data"):
        assert state() != before
    assert state() == before
