"""What goes wrong between a client and a model, on a real server: hang-ups, killed workers, bad model files.

Almost everything runs on tiny models whose texts never end by themselves, so that "in mid-stream" is no matter of luck;
a worker that is stopped by SIGSTOP computes nothing until the test is ready for it. Full queues are in
`test_engine_queue.py`, a server that stops is in `test_engine_stopping.py`.
"""

import json
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from broken_files import write_broken_files
from faults import ENDLESS, Stream, ask, check_one_error, frozen, in_thread, post, running_app, worker_of
from gguf import GGUFReader
from running import SIGNS_OF_LIFE, STARTERS, RunningServer, wait_until

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own

N_BLOCKS = b"llama.block_count" + (4).to_bytes(4, "little")  # as it stands in a GGUF, before the number itself


def cpu_s(pid: int) -> float:
    """CPU time that a process has used: what it has computed, however busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- clients that leave ---


def test_a_client_that_leaves_in_mid_stream_frees_the_slot(tiny_server):
    stream = Stream(tiny_server.port, **ENDLESS)
    stream.event()
    stream.hang_up()
    answer = tiny_server.chat("Hello!", max_tokens=5)
    assert answer["usage"]["completion_tokens"] == 5


def test_a_client_that_leaves_before_its_plain_answer_frees_the_slot(tiny_server):
    worker = worker_of(tiny_server)
    before = cpu_s(worker)
    sock = raw_chat(tiny_server, "Hello!", **ENDLESS)
    wait_until(lambda: cpu_s(worker) > before + 0.05)
    sock.close()
    wait_until(lambda: n_hang_ups(tiny_server) == 1)
    assert tiny_server.chat("Hello!", max_tokens=5)["usage"]["completion_tokens"] == 5


def test_clients_that_leave_while_they_wait_free_the_queue(tiny_server):
    with frozen(worker_of(tiny_server)):
        for n_left in (2, 4, 6):
            waiting = [Stream(tiny_server.port), Stream(tiny_server.port)]
            assert ask(tiny_server)[0] == 503
            for stream in waiting:
                stream.hang_up()
            wait_until(lambda n=n_left: n_hang_ups(tiny_server) == n)
    assert tiny_server.chat("Hello!", max_tokens=5)["usage"]["completion_tokens"] == 5


def n_hang_ups(server: RunningServer) -> int:
    return (server.data_dir / "logs" / "access.log").read_text().count(" 499 ")


def test_a_client_that_leaves_in_a_long_prefill_stops_the_computing_and_frees_the_slot(start_server):
    server = start_server(*STARTERS, "--parallel", "1", *SIGNS_OF_LIFE)

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


def test_a_worker_killed_in_mid_stream_is_one_error_and_the_next_chat_works(tiny_server):
    stream = Stream(tiny_server.port, **ENDLESS)
    first = stream.event()
    os.kill(worker_of(tiny_server), signal.SIGKILL)
    events = [first, *stream.events()]
    check_one_error(events, "engine_crashed")
    assert "SIGKILL" in events[-1]
    assert tiny_server.request("/health")[0] == 200
    assert tiny_server.chat("Hello!")["choices"][0]["message"]["content"]


def test_a_worker_killed_under_a_plain_request_is_a_500_that_forbids_a_retry(tiny_server):
    worker = worker_of(tiny_server)
    before = cpu_s(worker)
    thread, result = in_thread(ask, tiny_server, **ENDLESS)
    wait_until(lambda: cpu_s(worker) > before + 0.05)
    os.kill(worker, signal.SIGKILL)
    thread.join(10)
    [(status, headers, answer)] = result
    assert status == 500
    assert answer["error"]["code"] == "engine_crashed"
    assert headers["x-should-retry"] == "false"
    assert tiny_server.chat("Hello!")["choices"][0]["message"]["content"]


def test_everybody_who_waits_for_a_killed_worker_gets_one_error_each(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models), *SIGNS_OF_LIFE)
    server.chat("Hello!")
    streams = [Stream(server.port, f"Number {i}", **ENDLESS) for i in range(6)]
    os.kill(worker_of(server), signal.SIGKILL)
    for stream in streams:
        check_one_error(stream.events(), "engine_crashed")
    assert server.chat("Hello!")["usage"]["completion_tokens"] == 16


def test_a_worker_killed_while_it_has_nothing_to_do_is_not_noticed(tiny_server):
    worker = worker_of(tiny_server)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: tiny_server.request("/health")[2]["models_loaded"] == [])
    assert tiny_server.chat("Hello!")["choices"][0]["message"]["content"]
    assert worker_of(tiny_server) != worker


def test_a_worker_that_cannot_be_started_is_an_error_and_no_hang(endless_models, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with running_app(endless_models, tmp_path / "data") as app:
        status, answer = post(app, {"messages": [{"role": "user", "content": "Hello!"}]})
    # 503 when its end was seen before it could be asked: it is started again at once, and then no more for a while.
    assert status in (500, 503)
    assert answer["error"]["code"] == "engine_crashed"


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
def test_a_model_that_cannot_be_loaded_is_a_clear_error(start_server, endless_models, tmp_path, old, new, code):
    folder = tmp_path / "models"
    folder.mkdir()
    whole = (endless_models / "tiny.gguf").read_bytes()
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
