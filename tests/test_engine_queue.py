"""Many clients and one engine, on a real server: full queues, sixteen streams at once, models that take turns."""

import json

import pytest
import tiny_models
from faults import ENDLESS, Stream, ask, check_one_error, frozen, in_thread, is_running, running_app, worker_of
from running import SIGNS_OF_LIFE, RunningServer, wait_until

from offgrid.errors import Unavailable
from offgrid.types import Delta

# --- full queues, many clients ---


def test_beyond_the_queue_a_client_is_told_when_to_come_back(tiny_server):
    with frozen(worker_of(tiny_server)):
        streams = [Stream(tiny_server.port, max_tokens=4), Stream(tiny_server.port, max_tokens=4)]
        status, headers, answer = ask(tiny_server)
        assert status == 503
        assert answer["error"]["code"] == "server_busy"
        assert int(headers["Retry-After"]) > 0
    for stream in streams:
        assert stream.events()[-1] == "[DONE]"  # nobody was sacrificed for the newcomer


def test_sixteen_streams_at_once_say_what_each_says_alone(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models), "--parallel", "16")
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


def test_a_choice_without_room_ends_a_stream_that_has_begun_with_one_error(endless_models, tmp_path):
    with running_app(endless_models, tmp_path / "data") as app:
        app.pool = pool = FullAfterOne()
        events = Stream(app.server.server_port, n=2).events()
    assert any("Hel" in event for event in events)
    check_one_error(events, "server_busy")
    assert pool.n_cancelled == 1


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
    thread.join(60)
    assert result[0]["model"] == "two"


def test_a_client_that_leaves_while_it_waits_for_room_is_noticed(two):
    stream = Stream(two.port, model="one", **ENDLESS)
    stream.event()
    with frozen(worker_of(two)):
        waiting = Stream(two.port, model="two")
        wait_until(lambda: two.request("/v1/loading/progress?model=two")[2]["message"] == "waits for one")
        waiting.hang_up()
        log = two.data_dir / "logs" / "access.log"
        wait_until(lambda: " 499 " in log.read_text())
    stream.hang_up()
    two.chat("Hello!", model="one")
    assert len(two.children()) == 1
