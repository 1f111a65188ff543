"""The benchmark's own arithmetic: what the load generator counts, and that the report is made of its JSON alone."""

import asyncio
import json
import shutil
import statistics
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from running import REPO

sys.path.insert(0, str(REPO / "bench"))  # its modules are scripts beside each other, not a package
import chart
import loadgen
import rag_report
import report
from loadgen import Request, Target

DOCS = REPO / "docs"


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def text_event(text: str) -> bytes:
    return event({"choices": [{"delta": {"content": text}}]})


def usage_event(n_tokens: int) -> bytes:
    usage = {"prompt_tokens": 30, "completion_tokens": n_tokens, "prompt_tokens_details": {"cached_tokens": 24}}
    return event({"choices": [], "usage": usage})


ROLE = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
DONE = event(b"[DONE]")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunk(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


def answer(*bodies: tuple[float, bytes], head: bytes = HEAD) -> loadgen.Answer:
    """What the load generator makes of bodies that arrive at the given times, after a request at time 10."""
    return loadgen.read_answer(10.0, [(10.0, head + b"\r\n"), *bodies])


def test_times_are_those_of_text_and_tokens_those_of_the_usage():
    read = answer((10.5, ROLE), (11.0, text_event("a")), (13.0, text_event("bc")), (14.0, usage_event(7) + DONE))
    assert (read.error, read.text, read.token_times, read.ended_at) == (None, "abc", (11.0, 13.0), 14.0)
    assert (read.ttft_s, read.gaps_s) == (1.0, [2.0])
    assert (read.completion_tokens, read.prompt_tokens, read.cached_tokens) == (7, 30, 24)


def test_chunked_text_counts_when_its_last_byte_has_arrived():
    raw = b"".join(chunk(body) for body in (text_event("one"), text_event(" two"), usage_event(2) + DONE)) + chunk(b"")
    first_ends = len(chunk(text_event("one")))
    pieces = (
        (11.0, raw[:5]),
        (12.0, raw[5 : first_ends - 3]),  # the text is there, its chunk is not
        (13.0, raw[first_ends - 3 : first_ends + 9]),
        (14.0, raw[first_ends + 9 :]),
    )
    read = answer(*pieces, head=HEAD + b"Transfer-Encoding: chunked\r\n")
    assert (read.error, read.text, read.token_times) == (None, "one two", (13.0, 14.0))


def test_an_answer_whose_only_token_is_half_a_character_is_complete():
    read = answer((11.0, ROLE), (12.0, usage_event(1) + DONE))
    assert (read.error, read.text, read.completion_tokens, read.ttft_s) == (None, "", 1, 2.0)


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        ([text_event("a"), usage_event(1)], "before its end"),
        ([text_event("a"), DONE], "before its end"),  # no usage: nothing to count
        ([text_event("a"), event({"error": {"message": "worker died"}})], "worker died"),
        ([], "before its end"),
    ],
)
def test_an_answer_that_is_not_complete_is_an_error(bodies, said):
    assert said in answer(*((11.0, body) for body in bodies)).error


def test_a_status_other_than_200_is_an_error_that_shows_the_body():
    read = loadgen.read_answer(10.0, [(11.0, b'HTTP/1.1 503 Busy\r\n\r\n{"error": "queue full"}')])
    assert "503" in read.error
    assert "queue full" in read.error


def test_figures_divide_all_tokens_by_the_time_from_the_first_request_to_the_last_byte():
    early = answer((11.0, text_event("a")), (12.0, text_event("b")), (12.0, usage_event(2) + DONE))
    late = answer((13.0, text_event("a")), (18.0, text_event("b")), (20.0, usage_event(18) + DONE))
    cut = answer((11.0, text_event("a")))
    found = loadgen.figures([early, late, cut])
    assert (found["n_requests"], found["n_errors"], found["tokens"]) == (3, 1, 20)
    assert (found["wall_s"], found["tokens_per_s"]) == (10.0, 2.0)
    assert (found["ttft_s"], found["ttft_max_s"], found["gap_s"], found["gap_max_s"]) == (2.0, 3.0, 3.0, 5.0)
    assert found["answer_tokens_per_s"] == round(statistics.median([1 / 1, 17 / 7]), 2)


def test_drafts_are_counted_from_the_timings():
    timings = event(
        {"choices": [], "usage": {"completion_tokens": 9}, "timings": {"draft_n": 8, "draft_n_accepted": 5}}
    )
    copied, plain = answer((11.0, text_event("a")), (12.0, timings + DONE)), answer((12.0, usage_event(2) + DONE))
    found = loadgen.figures([copied, plain])
    assert (found["drafted"], found["accepted"]) == (8, 5)


@contextmanager
def fake_server(n_at_once: int):
    """An OpenAI-compatible server that answers only when `n_at_once` requests are there together.

    Yields its target, the bodies it got, and the most requests it ever held.
    """
    together = threading.Barrier(n_at_once)
    held, most_held, bodies = [], [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            held.append(self)
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            most_held.append(len(held))
            together.wait(5)
            held.remove(self)
            self.wfile.write(HEAD + b"\r\n" + ROLE + text_event("a") + text_event("b"))
            self.wfile.write(usage_event(bodies[-1]["max_tokens"]) + DONE)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Target("127.0.0.1", server.server_address[1], "tiny"), bodies, most_held
        finally:
            server.shutdown()
            thread.join()


def test_each_client_has_one_request_at_a_time_and_all_of_them_are_sent():
    requests = [Request(f"text {i}", max_tokens=5, seed=i) for i in range(6)]
    with fake_server(n_at_once=3) as (target, bodies, most_held):
        answers = asyncio.run(loadgen.run(target, requests, n_clients=3))
    assert [a.error for a in answers] == [None] * 6
    assert max(most_held) == 3
    assert sorted(body["messages"][0]["content"] for body in bodies) == [f"text {i}" for i in range(6)]
    assert sorted(body["seed"] for body in bodies) == list(range(6))
    assert loadgen.figures(answers)["tokens"] == 30


def run_of(**figures) -> report.Run:
    """A run whose rounds of scenario `clients`, variant 8, are given by program."""
    return report.Run({"about": {}, "figures": {"clients": {"8": figures}}})


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    speeds = {"OffGrid": [10, 40, 90], "llama-server": [10, 20, 30]}
    run = run_of(**{name: [{"tokens_per_s": speed} for speed in values] for name, values in speeds.items()})
    assert run.lead("clients", "8", "tokens_per_s") == 2
    assert run.median("clients", "8", "OffGrid", "tokens_per_s") == 40
    assert run.lead("clients", "8", "tokens_per_s", over="who was not measured") is None


@pytest.mark.parametrize(
    ("value", "is_upper", "verdict"), [(1.0, True, "**no**"), (0.5, True, "yes"), (1.0, False, "yes")]
)
def test_a_target_says_whether_it_was_reached(value, is_upper, verdict):
    assert report.Target("", 0.5, is_upper, lambda run: value).row(run_of())[-1] == verdict


def test_what_was_not_measured_is_said_to_be_so():
    assert report.TARGETS[0].row(run_of())[2:] == ["not measured", ""]
    bars = chart.svg([chart.Panel("Speed", " s", [chart.Group("8 clients", [("OffGrid", None), ("other", 2.5)])])])
    assert "not measured" in bars
    assert "2.50 s" in bars


@pytest.mark.parametrize("name", [report.PAGE, report.CHART])
def test_the_committed_report_is_what_its_json_gives(name, tmp_path):
    for data in (report.DATA, rag_report.DATA):
        shutil.copy(DOCS / data, tmp_path)
    report.write(tmp_path)
    assert (tmp_path / name).read_bytes() == (DOCS / name).read_bytes()


def test_a_scenario_measured_by_itself_says_in_how_many_rounds():
    def pages(n_rounds: int) -> str:
        figures = {"memory": {"8": {program: [{"pss_mb": 1.0}] * n_rounds for program in (report.OURS, report.THEIRS)}}}
        about = json.loads((DOCS / report.DATA).read_text())["about"]
        return report.page(report.Run({"about": about | {"rounds": 3}, "figures": figures}))

    assert "Measured by itself; rounds: 1." in pages(1)
    assert "Measured by itself" not in pages(3)
