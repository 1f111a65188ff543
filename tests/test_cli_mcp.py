"""`offgrid.py mcp`: driven by the client of the `mcp` package, by our own client, and by hand."""

import json
import os
import subprocess
import sys

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp_bench import mcp_bench
from running import REPO, wait_until

from offgrid.agents.mcp.rpc import Cancelled
from offgrid.agents.mcp.spec import make_spec

PROGRAM = [str(REPO / "offgrid.py"), "mcp"]


def test_the_client_of_the_python_package_chats_with_a_model(tiny_server):
    document = {"name": "water.txt", "content": "Water boils at one hundred degrees.", "replace": True}
    assert tiny_server.request("/v1/documents/ingest", document)[0] in (200, 409)  # 409: from an earlier test

    async def talk() -> None:
        env = {"OFFGRID_HOST": tiny_server.url}
        program = StdioServerParameters(command=sys.executable, args=PROGRAM, env=env)
        async with Client(stdio_client(program)) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == ["chat", "search_documents", "list_models"]
            found = await client.call_tool("search_documents", {"query": "water boils"})
            assert found.structured_content["passages"][0]["document_name"] == "water.txt"
            assert "Water boils" in found.content[0].text
            listed = await client.call_tool("list_models", {})
            assert listed.structured_content["models"][0]["id"] == "tiny"
            answer = await client.call_tool("chat", {"prompt": "Hello!", "max_tokens": 5})
            assert not answer.is_error and answer.content[0].text
            told = []

            async def tell(done, total, message) -> None:
                told.append(done)

            await client.call_tool("chat", {"prompt": "Hello!", "max_tokens": 40}, progress_callback=tell)
            assert told
            wrong = await client.call_tool("chat", {"prompt": "Hello!", "model": "nobody"})
            assert wrong.is_error and "nobody" in wrong.content[0].text

    anyio.run(talk)


def test_our_own_client_cancels_a_chat_and_the_model_stops(tiny_server, tmp_path):
    begun = []
    with mcp_bench(tmp_path) as bench:
        spec = make_spec(command=sys.executable, args=(*PROGRAM, "--host", tiny_server.url))
        bench.servers.add("offgrid", spec)
        with pytest.raises(Cancelled):
            bench.servers.call(
                "offgrid",
                "chat",
                {"prompt": "Hello!", "max_tokens": 16_000},
                on_progress=lambda *progress: begun.append(progress),
                is_cancelled=lambda: bool(begun),
            )
        # The server answers one at a time: another one only when it has stopped.
        assert bench.servers.call("offgrid", "chat", {"prompt": "Hello!", "max_tokens": 3}).text


def test_everything_wrong_is_answered_and_the_end_of_stdin_is_the_end():
    lines = [
        b"not JSON",
        b'{"jsonrpc": "2.0", "id": null, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}}',
        b'{"jsonrpc": "2.0", "id": 2, "method": "nothing/there"}',
        b'{"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "nothing"}}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": [1]}}',
        b'{"jsonrpc": "2.0", "id": "ping", "method": "ping"}',
    ]
    env = {**os.environ, "OFFGRID_HOST": "http://127.0.0.1:9"}
    command = [sys.executable, *PROGRAM]
    done = subprocess.run(command, input=b"\n".join(lines) + b"\n", env=env, capture_output=True, timeout=30)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and done.stderr == b""
    assert [(one["id"], one.get("error", {}).get("code")) for one in answers] == [
        (None, -32700),
        (1, None),
        (2, -32601),
        (3, -32602),
        ("ping", None),
    ]
    assert answers[1]["result"]["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "prompt is missing"),
        ({"prompt": 5}, "prompt must be of the type string"),
        ({"prompt": "x", "temperature": 1}, "no temperature"),
        ({"prompt": "x", "max_tokens": True}, "max_tokens must be of the type integer"),
        ({"prompt": "x"}, "No OffGrid server answers at http://127.0.0.1:9"),
    ],
)
def test_a_call_that_fails_says_why(arguments, says):
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "chat", "arguments": arguments}}
    command = [sys.executable, *PROGRAM, "--host", "http://127.0.0.1:9"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(json.dumps(call).encode() + b"\n")
        process.stdin.flush()
        result = json.loads(process.stdout.readline())["result"]
        process.stdin.close()
        wait_until(lambda: process.poll() is not None)
    assert result["isError"] is True and says in result["content"][0]["text"]
