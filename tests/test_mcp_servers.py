"""MCP servers as the rest of the program sees them: added, asked, changed, crashed, removed."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from faults import is_running
from mcp_bench import mcp_bench, program
from running import REPO, wait_until

from offgrid.agents.mcp.rpc import Cancelled, Gone, McpError, Refused, TimedOut
from offgrid.agents.mcp.server import wire_name
from offgrid.agents.mcp.servers import Servers
from offgrid.agents.mcp.spec import make_spec
from offgrid.errors import BadRequest, Conflict, NotFound, PermissionDenied
from offgrid.sections import AgentSettings
from offgrid.store.db import Database
from offgrid.store.mcp_servers import McpServerRows


@pytest.fixture
def bench(tmp_path):
    with mcp_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def small(bench):
    """A bench with the good server, added as `small`."""
    bench.servers.add("small", program())
    return bench


def pid_of(bench) -> int:
    return int(bench.call("pid"))


def test_a_server_is_added_and_its_tools_are_listed_over_all_pages_and_called(small):
    [server] = small.servers.all()
    assert (server.status, server.session.server_name, server.session.version) == ("connected", "small 1", "2025-11-25")
    tools = {tool.full_name: tool for tool in small.servers.tools()}
    assert len(tools) == 12
    assert tools["small.echo"].wire_name == "small__echo"
    assert tools["small.echo"].description == "It is echo."
    assert small.call("echo", text="Grüße") == "Grüße"
    assert small.servers.call("small", "fail", {}).is_error
    with pytest.raises(Refused, match="no such method"):
        small.servers.get("small").session.rpc.request("nothing/there", timeout_s=5)


def test_many_threads_call_one_server_at_the_same_time(small):
    heard = []
    threads = [threading.Thread(target=lambda n=n: heard.append(small.call("echo", text=str(n)))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(map(int, heard)) == list(range(20))


def test_progress_is_told_and_starts_the_time_anew(small):
    told = []
    result = small.servers.call(
        "small", "slow", {"steps": 8}, timeout_s=0.5, on_progress=lambda *progress: told.append(progress)
    )
    assert result.text == "done"
    assert told == [(float(n), 8.0, "!") for n in range(1, 9)]


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_a_call_that_nobody_waits_for_is_cancelled_at_the_server_and_leaves_nothing(small, how):
    session = small.servers.get("small").session
    begun = threading.Event()
    asked = {"on_progress": lambda *_: begun.set(), "is_cancelled": begun.is_set} if how == "cancelled" else {}
    steps = {"steps": 100} if how == "cancelled" else {}
    with pytest.raises(Cancelled if how == "cancelled" else TimedOut):
        if how == "cancelled":
            small.servers.call("small", "slow", steps, **asked)
        else:
            session.rpc.request("tools/call", {"name": "slow", "arguments": {"steps": 100}}, timeout_s=0.2)
    assert session.rpc.n_waiting == 0
    assert wait_until(lambda: json.loads(small.call("cancelled")))


def test_tools_that_a_server_gets_later_are_there(small):
    small.call("grow", name="later")
    wait_until(lambda: "small.later" in {tool.full_name for tool in small.servers.tools()})
    [row] = small.servers._rows.all()
    assert "later" in {tool["name"] for tool in row.tools}


def test_a_server_may_ask_for_a_ping_and_for_roots_and_nothing_else(bench, tmp_path):
    bench.servers.add("small", program(roots=(str(tmp_path),)))
    answers = json.loads(bench.call("ask"))
    assert answers["ping"] == {"result": {}}
    assert answers["roots/list"]["result"]["roots"] == [{"uri": f"file://{tmp_path}", "name": tmp_path.name}]
    assert answers["sampling/createMessage"]["error"]["code"] == -32601


def test_a_server_is_told_little_of_our_environment(bench, monkeypatch):
    monkeypatch.setenv("OFFGRID_API_KEY", "canary")
    monkeypatch.setenv("AWS_SECRET", "canary")
    bench.servers.add("small", program(env={"TOKEN": "given"}))
    environment = json.loads(bench.call("environment"))
    assert environment["TOKEN"] == "given" and "PATH" in environment
    assert "canary" not in environment.values()


def test_a_server_that_is_killed_is_back_for_the_next_call(small):
    first = pid_of(small)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: small.servers.get("small").status == "failed")
    assert "was killed by SIGKILL" in small.servers.get("small").last_error
    second = pid_of(small)
    assert second != first and not is_running(first)
    assert small.servers.get("small").n_starts == 2


def test_a_server_that_dies_in_a_call_is_an_error_and_not_asked_again(small):
    with pytest.raises(Gone, match="ended with status 3"):
        small.call("die")
    assert small.servers.get("small").n_starts == 1
    assert small.call("echo", text="again") == "again"


def test_a_server_that_keeps_dying_is_given_a_rest(small):
    for _ in range(2):
        with pytest.raises(Gone):
            small.call("die")
    with pytest.raises(McpError, match=r"ended with status 3\. It is tried again in \d s"):
        small.call("echo", text="too soon")
    small.servers.test_kept("small")  # at once, as somebody wants to know
    assert small.call("echo", text="back") == "back"


def test_a_name_that_is_taken_is_refused_and_replacing_ends_the_old_process(small):
    first = pid_of(small)
    with pytest.raises(Conflict):
        small.servers.add("Small", program())
    with pytest.raises(BadRequest):
        small.servers.add("small", program("dies"), replace=True)
    assert pid_of(small) == first, "what cannot be used replaces nothing"
    small.servers.add("small", program(), replace=True)
    assert pid_of(small) != first
    wait_until(lambda: not is_running(first))
    assert len(small.servers.all()) == 1


def test_a_server_that_is_removed_is_gone_with_its_process_and_its_tools(small):
    pid = pid_of(small)
    small.servers.remove("SMALL")
    assert not is_running(pid)
    assert small.servers.tools() == [] == small.servers._rows.all()
    with pytest.raises(NotFound):
        small.call("echo", text="nobody")


def test_a_server_can_be_switched_off_and_on(small):
    pid = pid_of(small)
    assert small.servers.set_enabled("small", False).status == "disabled"
    assert not is_running(pid)
    assert small.servers.tools() == []
    with pytest.raises(McpError, match="switched off"):
        small.call("echo", text="nobody")
    small.servers.set_enabled("small", True)
    assert small.call("echo", text="on") == "on"


def test_after_a_restart_the_tools_are_known_and_nothing_runs_until_one_is_called(tmp_path):
    with mcp_bench(tmp_path) as bench:
        bench.servers.add("small", program(env={"TOKEN": "kept"}))
    with mcp_bench(tmp_path) as bench:
        assert len(bench.servers.tools()) == 12
        assert [server.status for server in bench.servers.all()] == ["stopped"]
        assert json.loads(bench.call("environment"))["TOKEN"] == "kept"
        assert [server.status for server in bench.servers.all()] == ["connected"]


def test_an_idle_server_is_stopped_and_started_again_at_need(tmp_path):
    with mcp_bench(tmp_path, mcp_idle_s=0.2) as bench:
        bench.servers.add("small", program())
        first = pid_of(bench)
        bench.call("slow", steps=5)  # longer than that, and not idle
        assert pid_of(bench) == first
        wait_until(lambda: bench.servers.get("small").status == "stopped")
        assert not is_running(first)
        assert pid_of(bench) != first
        assert bench.servers.get("small").last_error == ""


def test_a_server_that_is_only_tested_is_not_kept(bench):
    server, session = bench.servers.test(program())
    assert len(server.tools) == 12 and session.server_name == "small 1"
    assert bench.servers.all() == []


def test_what_settings_forbid_is_not_started(tmp_path):
    with mcp_bench(tmp_path, mcp_commands=("npx",)) as bench:
        with pytest.raises(PermissionDenied, match=r"agents\.mcp_commands: npx"):
            bench.servers.add("small", program())
        with pytest.raises(PermissionDenied, match=r"agents\.mcp_allow_http"):
            bench.servers.add("small", make_spec(url="http://127.0.0.1:9/mcp"))


ROUTER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from mcp_bench import mcp_bench, program
with mcp_bench(Path(sys.argv[1])) as bench:
    bench.servers.add("small", program("stubborn"))
    print(bench.call("pid"), bench.call("leave", is_escaped=True), flush=True)
    time.sleep(600)
"""


def test_what_a_killed_router_left_behind_is_ended_before_the_first_start(tmp_path):
    command = [sys.executable, "-c", ROUTER, str(tmp_path), str(REPO / "tests"), str(REPO)]
    router = subprocess.Popen(command, stdout=subprocess.PIPE)
    stubborn, escaped = map(int, router.stdout.readline().split())
    router.kill()
    router.wait()
    router.stdout.close()
    wait_until(lambda: not is_running(stubborn))  # it hears neither EOF nor SIGTERM: the kernel ended it
    assert is_running(escaped)
    with mcp_bench(tmp_path) as bench:
        bench.servers.add("other", program())
        wait_until(lambda: not is_running(escaped))


def test_odd_names_of_tools_fit_the_wire_and_stay_apart(bench):
    bench.servers.add("small", program("odd-tools"))
    tools = {tool.name: tool.wire_name for tool in bench.servers.tools()}
    assert tools.keys() == {"a b/ü", "n" * 100, "echo"}
    assert tools["a b/ü"].startswith("small__a_b___") and len(tools["n" * 100]) == 64
    assert wire_name("s", "a.b") != wire_name("s", "a/b") != wire_name("s", "a_b")
    assert any("left out" in line for line in bench.lines)


def test_a_server_starts_nothing_when_it_is_only_known(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    rows = McpServerRows(db)
    rows.put("gone", program("dies").to_json(), is_enabled=True, tools=[], replace=False)
    servers = Servers(rows, AgentSettings(), tmp_path, lambda name, text: None)
    assert servers.tools() == []
    servers.stop()
    db.close()
