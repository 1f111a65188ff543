"""/v1/agents/mcp over HTTP, and `client.agent.mcp`."""

import os
import signal
import sys

import pytest
from faults import is_running
from mcp_bench import PROGRAM
from running import RunningServer, wait_until

import offgrid
from offgrid.store.db import Database

PATH = "/v1/agents/mcp"
SMALL = {"command": sys.executable, "args": ["-I", "-S", str(PROGRAM)]}


@pytest.fixture
def server(start_server) -> RunningServer:
    return start_server("--preload", "false")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server for tests that add nothing."""
    running = RunningServer(tmp_path_factory.mktemp("data"), "--preload", "false")
    yield running
    assert running.request(PATH)[2]["servers"] == [] == running.children()
    assert running.stop() == 0


def add(server: RunningServer, **more):
    return server.request(PATH, {"name": "small", **SMALL, **more})


def test_a_server_is_tested_added_listed_switched_and_removed(server):
    status, _, answer = server.request(f"{PATH}/test", SMALL)
    assert (status, answer["status"], answer["tools_count"], answer["server"]) == (200, "ok", 12, "small 1")
    assert server.children() == []
    assert add(server)[2] == {"status": "connected", "server": "small", "tools_added": 12}
    [child] = server.children()
    status, _, answer = server.request(PATH)
    [listed] = answer["servers"]
    assert (status, answer["count"]) == (200, 1)
    assert (listed["name"], listed["url"], listed["transport"], listed["tools"]) == ("small", "", "stdio", 12)
    assert (listed["status"], listed["command"][0], listed["error"]) == ("connected", sys.executable, None)
    answer = server.request(f"{PATH}/small")[2]
    assert answer["tool_list"][0] == {
        "name": "echo",
        "full_name": "small.echo",
        "wire_name": "small__echo",
        "description": "It is echo.",
        "parameters": {"type": "object"},
        "annotations": {},
    }
    assert server.request(f"{PATH}/test", {"name": "small"})[2]["tools_count"] == 12
    off = server.request(f"{PATH}/small", {"enabled": False}, method="PATCH")[2]
    assert off == {"status": "disabled", "server": "small"}
    wait_until(lambda: not is_running(child))
    assert server.request(PATH)[2]["servers"][0]["status"] == "disabled"
    assert server.request(f"{PATH}/small", {"enabled": True}, method="PATCH")[2]["status"] == "enabled"
    assert server.request(f"{PATH}/small", method="DELETE")[2]["success"] is True
    assert server.request(PATH)[2] == {"servers": [], "count": 0}
    assert server.children() == []
    for method in ("GET", "DELETE"):
        status, _, answer = server.request(f"{PATH}/small", method=method)
        assert (status, answer["error"]["code"]) == (404, "mcp_server_not_found")


def test_what_is_secret_is_kept_and_never_shown(server):
    assert add(server, env={"TOKEN": "canary"})[0] == 200
    for path in (PATH, f"{PATH}/small", "/v1/admin/audit"):
        assert "canary" not in str(server.request(path)[2])
    assert server.request(PATH)[2]["servers"][0]["env"] == ["TOKEN"]
    [row] = [row for row in server.request("/v1/admin/audit")[2]["data"] if row["action"] == f"POST {PATH}"]
    assert row["detail"] == {"server": "small", "reached": sys.executable}
    db = Database(server.data_dir / "offgrid.db")
    assert "canary" in db.row("SELECT spec FROM mcp_servers")["spec"]
    db.close()


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"name": "small"}, "url", "either url or command"),
        ({"name": "small", "url": "x", "command": "y"}, "url", "either url or command"),
        ({"name": "a__b", "url": "x"}, "name", "two _ in a row"),
        ({"name": "a_", "url": "x"}, "name", "at the end"),
        ({"name": "x" * 33, "url": "x"}, "name", "1 to 32"),
        ({"name": "small", "url": "npx 'unclosed"}, "url", "No closing quotation"),
        ({"name": "small", "url": "/no/such/program"}, "command", "no program '/no/such/program'"),
        ({"name": "small", "command": "true", "env": {"A=B": "x"}}, "env", "env.A=B cannot be set"),
        ({"name": "small", "command": "true", "env": {"A": 1}}, "env.A", "must be a string"),
        ({"name": "small", "command": "true", "cwd": "no/such"}, "cwd", "no absolute path"),
        ({"name": "small", "command": "true", "headers": {"A": "b"}}, "headers", "are for a url"),
        ({"name": "small", "url": "http://user:secret@host/"}, "url", "belongs into headers"),
        ({"name": "small", "url": "http://host/", "args": ["x"]}, "url", "are for programs"),
        ({"name": "small", "url": "http://host/", "headers": {"Host": "x"}}, "headers", "headers.Host cannot be set"),
        ({"name": "small", "command": "true", "timeout": 5}, "timeout", "no field timeout"),
        ({"name": "small", "command": "false"}, None, "ended with status 1"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_field(shared, body, param, says):
    status, _, answer = shared.request(PATH, body)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert says in answer["error"]["message"]


def test_every_refusal_is_an_answer(server):
    assert add(server)[0] == 200
    status, _, answer = add(server)
    assert (status, answer["error"]["code"]) == (409, "mcp_server_exists")
    assert add(server, replace=True)[0] == 200
    status, _, answer = server.request(PATH, {"name": "far", "url": "http://127.0.0.1:9/mcp"})
    assert (status, answer["error"]["code"]) == (403, "mcp_http_off")
    status, _, answer = server.request(f"{PATH}/test", {"name": "small", **SMALL})
    assert (status, answer["error"]["param"]) == (400, "name")


def test_a_url_may_be_a_command_line_with_quotes(server, tmp_path):
    folder = tmp_path / "with a space"
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM.read_text())
    status, _, answer = server.request(PATH, {"name": "small", "url": f"{sys.executable} -I '{folder}/program.py'"})
    assert (status, answer["tools_added"]) == (200, 12)


def test_an_mcp_json_is_imported_entry_by_entry(server):
    good = {"command": sys.executable, "args": SMALL["args"], "env": {"TOKEN": "x"}, "alwaysAllow": ["echo"]}
    claude = {
        "mcpServers": {
            "good": good,
            "off": {**good, "disabled": True},
            "dies": {**good, "args": [*SMALL["args"], "dies"]},
            "odd name": good,
            "asks": {**good, "env": {"TOKEN": "${input:token}"}},
            "strange": {**good, "envFile": ".env"},
        }
    }
    status, _, answer = server.request(f"{PATH}/import", claude)
    assert status == 200
    assert answer["imported"] == [{"server": "good", "tools_added": 12}, {"server": "off", "tools_added": 0}]
    failed = {one["server"]: one["error"] for one in answer["failed"]}
    assert failed.keys() == {"dies", "odd name", "asks", "strange"}
    assert "It said last: the reason why" in failed["dies"] and "envFile" in failed["strange"]
    listed = {one["name"]: one["status"] for one in server.request(PATH)[2]["servers"]}
    assert listed == {"good": "connected", "off": "disabled"}
    code = {"servers": {"good": {"type": "stdio", **good}}, "inputs": []}
    answer = server.request(f"{PATH}/import", code)[2]
    assert answer["imported"] == [] and "already" in answer["failed"][0]["error"]
    assert server.request(f"{PATH}/import", {**code, "replace": True})[2]["failed"] == []
    assert server.request(f"{PATH}/import", {})[0] == 400


def test_servers_are_there_after_a_restart_and_nothing_is_left_after_a_stop(server):
    add(server)
    [child] = server.children()
    assert server.stop() == 0
    assert not is_running(child)
    again = RunningServer(server.data_dir, "--preload", "false")
    try:
        assert again.children() == []
        [listed] = again.request(PATH)[2]["servers"]
        assert (listed["status"], listed["tools"]) == ("stopped", 12)
        assert again.request(f"{PATH}/small")[2]["status"] == "connected"
        [child] = again.children()
        again.process.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_running(child))
    finally:
        again.stop()


def test_a_server_that_is_killed_is_shown_as_failed_and_is_back_when_asked(server):
    add(server)
    [child] = server.children()
    os.kill(child, signal.SIGKILL)
    shown = wait_until(lambda: (one := server.request(PATH)[2]["servers"][0])["status"] == "failed" and one)
    assert "was killed by SIGKILL" in shown["error"]
    answer = server.request(f"{PATH}/small")[2]
    assert (answer["status"], answer["starts"]) == ("connected", 2)


def test_the_python_library_manages_servers(server):
    mcp = offgrid.Client(host=server.url).agent.mcp
    assert mcp.list() == []
    line = " ".join([sys.executable, *SMALL["args"]])
    assert mcp.test(url=line)["tools_count"] == 12
    assert mcp.add("small", line)["tools_added"] == 12
    assert mcp.test(name="small")["status"] == "ok"
    assert [one["name"] for one in mcp.list()] == ["small"]
    assert (
        mcp.add("small", command=sys.executable, args=SMALL["args"], env={"A": "b"}, replace=True)["tools_added"] == 12
    )
    assert mcp.remove("small")["success"] is True
    with pytest.raises(offgrid.client.NotFound):
        mcp.remove("small")
