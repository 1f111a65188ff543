"""The openai package waits and asks again where that helps, and gives up where it does not: a busy server, a limit."""

import contextlib

import openai
import pytest
from running import SIGNS_OF_LIFE, wait_until
from test_limits_server import open_stream, quotas, set_limits

MESSAGES = [{"role": "user", "content": "Hello!"}]


@contextlib.contextmanager
def watched(server, on_answer=lambda status: None, **options):
    """A client, and the list of the statuses that it has seen; `on_answer` is told of each as it comes."""
    statuses = []

    def note(response) -> None:
        statuses.append(response.status_code)
        on_answer(response.status_code)

    http_client = openai.DefaultHttpxClient(event_hooks={"response": [note]})
    options = {"api_key": "none", "max_retries": 2, "timeout": 30, **options}
    with openai.OpenAI(base_url=f"{server.url}/v1", http_client=http_client, **options) as client:
        yield client, statuses


def ask(client: openai.OpenAI, **fields):
    return client.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES, max_tokens=3, **fields)


def test_a_full_server_is_asked_again_until_there_is_room(tiny_server):
    with contextlib.ExitStack() as others:
        for _ in range(2):  # one runs, one waits
            others.enter_context(open_stream(tiny_server))
        with watched(tiny_server, lambda status: others.close()) as (client, statuses):
            raw = ask(client, stream=True)
            assert list(raw.parse())[-1].choices[0].finish_reason == "length"
    assert (statuses, raw.retries_taken) == ([503, 200], 1)


def test_a_limit_is_waited_for(tiny_server):
    set_limits(tiny_server, concurrent=1)
    with open_stream(tiny_server) as other, watched(tiny_server, lambda status: other.close()) as (client, statuses):
        assert ask(client).parse().usage.completion_tokens == 3
    assert statuses[0] == 429
    assert statuses[-1] == 200


def test_without_retries_a_full_server_is_an_error_that_says_when_to_come_back(tiny_server):
    with open_stream(tiny_server), open_stream(tiny_server), watched(tiny_server, max_retries=0) as (client, statuses):
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client)
        assert caught.value.code == "server_busy"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert statuses == [503]


def test_what_no_waiting_mends_is_asked_once(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models), "--ram-budget-mb", "1", "--preload", "false")
    with watched(server) as (client, statuses):
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client)
        assert caught.value.code == "insufficient_memory"
        assert statuses == [507]


def test_a_client_that_runs_out_of_patience_gives_its_place_back(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models), "--parallel", "1", "--max-queue", "1", *SIGNS_OF_LIFE)
    server.chat("Hello!")
    set_limits(server, concurrent=1)
    with watched(server, max_retries=0, timeout=0.2) as (client, _), pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="tiny", messages=MESSAGES, extra_body={"ignore_eos": True})
    wait_until(lambda: quotas(server)["concurrent/now"]["current"] == 0)
    server.chat("Hello!")
