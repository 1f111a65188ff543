"""Agents on the starter model: a hundred runs over six tools without a malformed step, and a factorial."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from running import STARTERS

import offgrid

RUN = "/v1/agents/run"
SIX = ["calculator", "current_time", "list_models", "search_documents", "read_file", "list_files"]
TASKS = (
    "What is 12.5 * 48?",
    "What time is it in Berlin?",
    "Which models are on this server?",
    "What is in my notes.txt?",
    "Which files do I have?",
    "What do my documents say about cats?",
    "Who are you?",
    "How much is 7 to the power of 5?",
    "Write a poem about the sea.",
    "Is 91 a prime number?",
)

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest.fixture
def server(start_server):
    # One thread: two wait for each other at every step, and crawl where something else takes a core.
    server = start_server(*STARTERS, "--threads", "1")
    server.chat("Hello!")
    return server


def test_a_hundred_runs_have_no_malformed_step_and_end_clearly(server):
    def run(i: int) -> dict:
        task = TASKS[i % len(TASKS)]
        body = {"prompt": task, "tools": SIX, "max_steps": 2, "max_tokens": 32, "seed": i, "temperature": 0.5}
        return client.agent.run(**body)

    client = offgrid.Client(host=server.url)  # of the slowest one, where others compute as well
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(run, range(100)))
    for answer in answers:
        for call in answer["tool_calls"]:
            assert call["tool"] in SIX and isinstance(call["args"], dict) and call["result"]
        assert answer["output"] or answer["error"]
    ends = Counter(answer["status"] for answer in answers)
    print(dict(ends), Counter(call["tool"] for answer in answers for call in answer["tool_calls"]))
    assert ends.keys() <= {"completed", "step_limit", "token_limit", "loop", "failed"}
    assert sum(bool(answer["tool_calls"]) for answer in answers) >= 20


def test_the_factorial_of_ten_comes_out_of_the_calculator(server):
    body = {"prompt": "Calculate the factorial of 10", "tools": SIX, "temperature": 0, "max_tokens": 100}
    answer = server.request(RUN, body)[2]
    assert {"tool": "calculator", "args": {"expression": "10!"}, "result": "3628800"} in answer["tool_calls"]
    assert "3628800" in answer["output"].replace(",", "")
