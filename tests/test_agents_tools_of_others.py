"""Runs of agents whose tools bring something from outside: MCP servers, and data stores."""

import sys

import tiny_models
from mcp_bench import PROGRAM

MCP = {"name": "small", "command": sys.executable, "args": ["-I", "-S", str(PROGRAM)]}
RUN = "/v1/agents/run"


def scripted(start_server, tmp_path, tool: tuple[str, str], arguments: str):
    """A server whose model wants to call this tool again and again."""
    (tmp_path / "models").mkdir()
    step = ["Thought", ": ", "Look.", "\nAction", f": {tool[0]}", f"{tool[1]}\nAction", " Input: ", arguments]
    tiny_models.scripted_model(tmp_path / "models" / "caller.gguf", step, n_ctx_train=8192)
    return start_server("--models-dir", str(tmp_path / "models"), "--threads", "1")


def run(server, tool: str, **more) -> dict:
    body = {"prompt": "Look.", "tools": [tool], "max_steps": 2, "temperature": 0, **more}
    status, _, answer = server.request(RUN, body)
    assert status == 200, answer
    return answer["tool_calls"][0]


def test_a_tool_of_an_mcp_server_is_called_and_its_answer_seen(start_server, tmp_path):
    server = scripted(start_server, tmp_path, ("small", "__echo"), '{"text": "hello"}')
    assert server.request("/v1/agents/mcp", MCP)[0] == 200
    call = run(server, "small__echo")
    assert call["tool"] == "small__echo" and "hello" in call["result"]
    assert server.request("/v1/agents/mcp/small", method="DELETE")[0] == 200
    status, _, answer = server.request(RUN, {"prompt": "Look.", "tools": ["small__echo"]})
    assert status == 400 and "small__echo" in answer["error"]["message"]


def test_documents_of_the_data_store_that_is_named_are_searched(start_server, tmp_path):
    server = scripted(start_server, tmp_path, ("search", "_documents"), '{"query": "captain"}')
    store = server.request("/lollms/v1/datastores", {"name": "ship"})[2]["id"]
    document = {"name": "ship.txt", "content": "The captain is called Ada.", "datastore_id": store}
    assert server.request("/v1/documents/ingest", document)[0] == 200
    assert "Ada" in run(server, "search_documents", datastore_id=store)["result"]
    assert "Ada" not in run(server, "search_documents")["result"]
