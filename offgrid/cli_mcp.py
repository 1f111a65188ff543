"""offgrid.py mcp: a running OffGrid as an MCP server on stdin and stdout, for programs that start such servers.

Asks that server over HTTP, as any client with the Python library does, and knows nothing of its inside. Must stay true:
nothing but messages goes to stdout; a call that is cancelled hangs up at the next piece of its answer, and all do with
the end of stdin, so that the server stops computing; a tool that fails is a result that says so.
OFFGRID_HOST and OFFGRID_API_KEY say which server, and with which key.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import offgrid
from offgrid.agents.mcp.lines import Cut, Lines
from offgrid.agents.mcp.rpc import METHOD_NOT_FOUND, parse
from offgrid.agents.mcp.session import VERSIONS
from offgrid.client import Client, OffGridError
from offgrid.errors import SetupError
from offgrid.procs import lifeline

READ_BYTES = 64 * 1024
MAX_RUNNING = 16  # calls at the same time
PROGRESS_INTERVAL_S = 0.5
PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, BUSY = -32700, -32600, -32602, -32000
TEXT = {"type": "string"}
CHAT = {
    "type": "object",
    "properties": {
        "prompt": TEXT | {"description": "What to say to the model."},
        "system": TEXT | {"description": "How the model is to behave."},
        "model": TEXT | {"description": "The model to ask, by its id; without it, the server's default."},
        "max_tokens": {"type": "integer", "minimum": 1, "description": "The longest answer, in tokens."},
    },
    "required": ["prompt"],
    "additionalProperties": False,
}
SEARCH = {
    "type": "object",
    "properties": {
        "query": TEXT | {"description": "What is looked for: a question or some words."},
        "top_k": {"type": "integer", "minimum": 1, "maximum": 50, "description": "How many passages at most."},
        "datastore_id": TEXT | {"description": "The data store; without it, one's own knowledge base."},
    },
    "required": ["query"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
KINDS = {"string": str, "integer": int}


class Call:
    """One call of a tool: whether it is still wanted, and how far it is."""

    def __init__(self, tell: Callable[[int], None] | None):
        self.is_cancelled = False
        self._tell = tell
        self._told_at = 0.0

    def note(self, n_done: int) -> None:
        """Tell the client, now and then."""
        if self._tell is not None and time.monotonic() - self._told_at >= PROGRESS_INTERVAL_S:
            self._told_at = time.monotonic()
            self._tell(n_done)


def chat(client: Client, arguments: dict, call: Call) -> tuple[str, dict | None]:
    pieces, n_chars = [], 0
    with client.chat(stream=True, **arguments) as stream:
        for piece in stream:
            if call.is_cancelled:
                break
            pieces.append(piece)
            n_chars += len(piece)
            call.note(n_chars)
    return "".join(pieces), None


def search_documents(client: Client, arguments: dict, _call: Call) -> tuple[str, dict | None]:
    store = arguments.pop("datastore_id", None)
    knowledge = client.kb if store is None else client.kb.store(store)
    passages = knowledge.search(**arguments)
    text = "\n\n".join(f"[{one['document_name']}]\n{one['content']}" for one in passages)
    return text or "Nothing was found.", {"passages": passages}


def list_models(client: Client, _arguments: dict, _call: Call) -> tuple[str, dict | None]:
    models = [{key: model[key] for key in ("id", "state") if key in model} for model in client.list_models()]
    return "\n".join(model["id"] for model in models), {"models": models}


# name → (what it does, its arguments, its function). A new tool is a new row.
TOOLS: dict[str, tuple[str, dict, Callable[[Client, dict, Call], tuple[str, dict | None]]]] = {
    "chat": ("Ask a language model that runs on this server, without internet.", CHAT, chat),
    "search_documents": ("Search the documents that are kept on this server.", SEARCH, search_documents),
    "list_models": ("List the models of this server.", NOTHING, list_models),
}


class Service:
    """Answers one client: `serve` reads, and each call has a thread of its own."""

    def __init__(self, client: Client, sink: BinaryIO):
        self._client = client
        self._sink = sink
        self._write_lock = threading.Lock()
        self._calls: dict[str | int, Call] = {}
        self._lock = threading.Lock()  # of the calls

    def serve(self, source: BinaryIO) -> None:
        """Until the client closes its side."""
        lines = Lines()
        while data := os.read(source.fileno(), READ_BYTES):
            for line in lines.take(data):
                self._take(line)
        for call in list(self._calls.values()):
            call.is_cancelled = True

    def _take(self, line: bytes | Cut) -> None:
        message = None if isinstance(line, Cut) else parse(line)
        if not isinstance(message, dict):
            self._refuse(None, PARSE_ERROR, "This is no JSON object, or it is too large.")
            return
        id, method = message.get("id"), message.get("method")
        params = message.get("params") if isinstance(message.get("params"), dict) else {}
        if method == "notifications/cancelled":
            call = self._calls.get(params["requestId"]) if isinstance(params.get("requestId"), str | int) else None
            if call is not None:
                call.is_cancelled = True
        elif isinstance(method, str) and isinstance(id, str | int):
            self._answer(id, method, params)
        elif id is not None and not ("result" in message or "error" in message):
            self._refuse(None, INVALID_REQUEST, "A request has a method, and an id that is a string or a number.")

    def _answer(self, id: str | int, method: str, params: dict) -> None:
        if method == "initialize":
            self._send(id=id, result=_introduction(params))
        elif method == "ping":
            self._send(id=id, result={})
        elif method == "tools/list":
            listed = [{"name": n, "description": about, "inputSchema": s} for n, (about, s, _) in TOOLS.items()]
            self._send(id=id, result={"tools": listed})
        elif method == "tools/call":
            self._begin(id, params)
        else:
            self._refuse(id, METHOD_NOT_FOUND, f"There is no method {method[:80]} here.")

    def _begin(self, id: str | int, params: dict) -> None:
        name, arguments = params.get("name"), params.get("arguments") or {}
        if not isinstance(name, str) or name not in TOOLS:
            self._refuse(id, INVALID_PARAMS, f"There is no tool {str(name)[:80]!r}; there are {', '.join(TOOLS)}.")
            return
        meta = params.get("_meta") if isinstance(params.get("_meta"), dict) else {}
        token = meta.get("progressToken")
        call = Call(None if token is None else lambda n: self._tell_progress(token, n))
        with self._lock:
            if id in self._calls or len(self._calls) >= MAX_RUNNING:
                self._refuse(id, BUSY, f"{MAX_RUNNING} calls are at work, or one of this id.")
                return
            self._calls[id] = call
        threading.Thread(target=self._run, args=(id, name, arguments, call), name=f"call:{name}", daemon=True).start()

    def _run(self, id: str | int, name: str, arguments: Any, call: Call) -> None:
        _, schema, function = TOOLS[name]
        try:
            text, data = function(self._client, _checked(arguments, schema), call)
            result = {"content": [{"type": "text", "text": text}], "isError": False}
            result |= {"structuredContent": data} if data is not None else {}
        except (OffGridError, ValueError) as error:
            result = {"content": [{"type": "text", "text": str(error)}], "isError": True}
        finally:
            with self._lock:
                del self._calls[id]
        if not call.is_cancelled:
            self._send(id=id, result=result)

    def _tell_progress(self, token: Any, n_done: int) -> None:
        self._send(method="notifications/progress", params={"progressToken": token, "progress": n_done})

    def _refuse(self, id: str | int | None, code: int, message: str) -> None:
        self._send(id=id, error={"code": code, "message": message})

    def _send(self, **message: Any) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        with self._write_lock:
            try:
                self._sink.write(data)
                self._sink.flush()
            except OSError:  # the client is gone, which its end of stdin will tell
                pass


def _introduction(params: dict) -> dict:
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in VERSIONS else VERSIONS[-1],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "offgrid", "version": offgrid.__version__},
    }


def _checked(arguments: Any, schema: dict) -> dict:
    """Raises ValueError, in words for the model that called."""
    known = schema["properties"]
    if not isinstance(arguments, dict) or (unknown := [name for name in arguments if name not in known]):
        named = f" and no {unknown[0][:80]}" if isinstance(arguments, dict) else ""
        raise ValueError(f"The arguments are an object of {', '.join(known) or 'nothing'}{named}.")
    for name in schema.get("required", []):
        if name not in arguments:
            raise ValueError(f"{name} is missing.")
    for name, value in arguments.items():
        if type(value) is not KINDS[known[name]["type"]]:
            raise ValueError(f"{name} must be of the type {known[name]['type']}.")
    return arguments


def run(argv: list[str]) -> int:
    """The command `mcp`: serves until stdin ends. Raises SetupError."""
    parser = argparse.ArgumentParser(
        prog="offgrid.py mcp",
        description="Be an MCP server on stdin and stdout, with the models of a running OffGrid as tools.",
        epilog="OFFGRID_HOST and OFFGRID_API_KEY say which server, and with which key.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", help="address or URL of the running server [OFFGRID_HOST; http://localhost:11611]")
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        raise SetupError(f"There is no flag {unknown[0]} of `mcp`; there is --host.")
    try:
        client = Client(host=options.host)
    except ValueError as error:  # an address that is none
        raise SetupError(f"{error}.") from None
    source, sink = lifeline.take_pipes()
    Service(client, sink).serve(source)
    return 0
