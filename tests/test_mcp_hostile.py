"""MCP servers that mean harm, or are badly made: clear errors, bounded memory, and nothing left behind.

That nothing is left (threads, children, open files) `mcp_bench` looks at after every test.
"""

import os
import signal
import time
from pathlib import Path

import pytest
from faults import frozen, is_running
from mcp_bench import mcp_bench, program
from running import wait_until

from offgrid.agents.mcp.lines import MAX_LINE_BYTES
from offgrid.agents.mcp.rpc import Gone, McpError, TimedOut
from offgrid.agents.mcp.spec import make_spec
from offgrid.agents.mcp.stdio import MAX_OUTBOX_BYTES, MOST_UNASKED
from offgrid.errors import BadRequest


@pytest.fixture
def bench(tmp_path):
    with mcp_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def hasty(tmp_path):
    """A bench that waits a second for anything."""
    with mcp_bench(tmp_path, mcp_timeout_s=1) as bench:
        yield bench


def check_silence(bench, **arguments) -> None:
    """A call that is not answered."""
    with pytest.raises(TimedOut, match="tools/call was not answered within 1 s"):
        bench.servers.call("small", "echo", arguments, timeout_s=1)


class PeakMemory:
    """How much more memory this process held at its peak than at the start."""

    def __init__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self._start = self._peak()

    @staticmethod
    def _peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    @property
    def growth(self) -> int:
        return self._peak() - self._start


@pytest.mark.parametrize("mode", ["garbage", "wrong-ids"])
def test_what_answers_nothing_is_passed_over(bench, mode):
    bench.servers.add("small", program(mode))
    assert bench.call("echo", text="heard") == "heard"


def test_answers_with_wrong_ids_are_no_answers(bench):
    bench.servers.add("small", program("wrong-ids"))
    with pytest.raises(TimedOut, match="not answered within 1 s"):
        bench.servers.call("small", "slow", {"steps": 1}, timeout_s=1)


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("dies", "ended with status 7.*It said last: the reason why"),
        ("old", "It speaks MCP 1999-01-01; known here are 2024-11-05, "),
        ("modern", "It speaks MCP 2026-07-28 only"),
        ("modern-says-so", "It speaks MCP 2026-07-28 only"),
        ("same-page", "tools/list has no end"),
        ("endless-pages", "tools/list has no end"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_with_the_reason(bench, mode, says):
    with pytest.raises(BadRequest, match=says) as refused:
        bench.servers.add("small", program(mode))
    assert refused.value.code == "mcp_failed"
    assert bench.servers.all() == []


def test_a_server_that_is_silent_in_the_handshake_is_refused(hasty):
    with pytest.raises(BadRequest, match="initialize was not answered within 1 s"):
        hasty.servers.add("small", program("silent"))


def test_a_program_that_is_no_server_is_refused(hasty):
    for line, says in (
        ("true", "ended with status 0"),
        ("yes", "was not answered"),
        ("no-such-program --at-all", "There is no program 'no-such-program' here"),
    ):
        with pytest.raises(BadRequest, match=says):
            hasty.servers.add("small", make_spec(url=line))


def test_a_server_that_never_answers_a_call_is_given_up(bench):
    bench.servers.add("small", program("silent-later"))
    check_silence(bench)


def test_an_answer_with_neither_result_nor_error_is_an_error(bench):
    bench.servers.add("small", program("no-result"))
    with pytest.raises(McpError, match="neither a result nor an error"):
        bench.call("echo", text="")


def test_a_line_of_100_mb_is_one_failed_call_and_costs_no_memory(bench):
    bench.servers.add("small", program("long-line"))
    memory = PeakMemory()
    with pytest.raises(McpError, match=f"The answer has 1000000.. bytes; at most {MAX_LINE_BYTES}"):
        bench.servers.call("small", "echo", {})
    assert memory.growth < 6 * MAX_LINE_BYTES
    assert bench.servers.get("small").status == "connected"


def test_a_line_without_an_end_costs_no_memory(bench):
    bench.servers.add("small", program("endless-line"))
    memory = PeakMemory()
    check_silence(bench)
    assert memory.growth < 6 * MAX_LINE_BYTES


def test_json_that_would_take_much_memory_is_not_read(bench):
    bench.servers.add("small", program("deep"))
    memory = PeakMemory()
    check_silence(bench)
    assert memory.growth < 6 * MAX_LINE_BYTES


def test_a_large_answer_is_read(bench):
    bench.servers.add("small", program())
    assert len(bench.servers.call("small", "big", {"n": 3_000_000}).text) == 3_000_000


@pytest.mark.parametrize("mode", ["flood", "ping-flood", "stderr-flood"])
def test_a_flood_is_read_slowly_and_others_are_not_kept_waiting(bench, mode):
    began = time.monotonic()
    bench.servers.add("good", program())
    bench.servers.add("small", program(mode))
    bench.servers.call("small", "echo", {"text": "begin"})
    for n in range(50):
        assert bench.call("echo", "good", text=str(n)) == str(n)
    if mode != "stderr-flood":
        n_written = int(bench.servers.call("small", "written", {}).text)
        n_in_pipes = 4 * 65536 // 50  # in the pipe, and read before they were counted
        assert n_written < MOST_UNASKED * (time.monotonic() - began + 2) + n_in_pipes
    assert sum(len(line) for line in bench.lines) < 1_000_000


def test_a_server_that_changes_its_tools_with_every_listing_is_listed_at_leisure(bench):
    bench.servers.add("small", program("changing"))
    before = int(bench.call("written"))
    for n in range(20):
        assert bench.call("echo", text=str(n)) == str(n)
    # Each listing is six pages, and each of these says that there are changes.
    assert int(bench.call("written")) - before < 100


def test_a_server_that_does_not_read_is_no_obstacle(bench):
    bench.servers.add("good", program())
    bench.servers.add("small", program())
    pid = int(bench.call("pid"))
    with frozen(pid):
        check_silence(bench, text="x" * (MAX_OUTBOX_BYTES // 2))
        with pytest.raises(McpError, match="does not read"):
            bench.call("echo", text="x" * (MAX_OUTBOX_BYTES // 2 + 200_000))
        assert bench.call("echo", "good", text="here") == "here"
    assert bench.servers.call("small", "echo", {"text": "awake"}).text == "awake"


def test_a_server_that_closes_its_output_is_ended(bench):
    bench.servers.add("small", program("closes-output"))
    with pytest.raises(Gone, match="closed its output"):
        bench.servers.call("small", "echo", {})


@pytest.mark.parametrize("is_escaped", [False, True])
def test_a_grandchild_that_keeps_the_pipes_is_ended_with_its_server(bench, is_escaped):
    bench.servers.add("small", program())
    grandchild, pid = int(bench.call("leave", is_escaped=is_escaped)), int(bench.call("pid"))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: bench.servers.get("small").status == "failed")
    wait_until(lambda: not is_running(grandchild))


def test_a_grandchild_does_not_keep_a_removal_waiting(bench):
    bench.servers.add("small", program())
    grandchild = int(bench.call("leave", is_escaped=True))
    bench.servers.remove("small")
    wait_until(lambda: not is_running(grandchild))


def test_a_server_that_hears_neither_eof_nor_sigterm_is_killed_and_whoever_comes_meanwhile_waits_for_that(tmp_path):
    with mcp_bench(tmp_path, mcp_idle_s=0.5) as bench:
        server = bench.servers.add("small", program("stubborn"))
        first = int(bench.call("pid"))
        wait_until(lambda: not server._transport._is_open)  # it was idle
        assert is_running(first)
        second = int(bench.call("pid"))
        assert second != first and not is_running(first)
        os.kill(second, signal.SIGKILL)
