"""One conversation with an MCP server, by the handshake of the versions below, over any transport.

Knows what MCP's methods mean, nothing of processes, HTTP or storage. What a server asks of us is answered here: ping,
and roots. Nothing else can be asked (sampling and elicitation are not announced). Lists have bounds.
Not spoken: 2026-07-28, which has no handshake; a server that knows nothing else is told apart and named as such.

Specification: https://modelcontextprotocol.io/specification/2025-11-25
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import offgrid
from offgrid.agents.mcp.results import ToolResult, read_result
from offgrid.agents.mcp.rpc import METHOD_NOT_FOUND, McpError, Progress, Refused, Rpc, TimedOut

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")  # oldest first
UNSUPPORTED_VERSION = -32022  # what servers without a handshake answer to one
PROBE_S = 5
MAX_PAGES, MAX_ENTRIES = 100, 1000
MAX_TOOLS, MAX_TOOLS_BYTES = 256, 1 << 20
MAX_NAME_CHARS = 128
CLIENT = {"name": "offgrid", "version": offgrid.__version__}


class Session:
    """For any thread. `tools_changed` is called by the thread that reads, so it must not block."""

    def __init__(self, roots: tuple[str, ...], tools_changed: Callable[[], None], log_line: Callable[[str], None]):
        self._roots = [_root(path) for path in roots]
        self._tools_changed = tools_changed
        self._log_line = log_line
        self.rpc = Rpc(self._answer, self._notice)
        self.version = ""
        self.server_name = ""
        self.instructions = ""
        self._capabilities: dict = {}

    def shake_hands(self, timeout_s: float) -> None:
        """Raises McpError."""
        asked = {"protocolVersion": VERSIONS[-1], "capabilities": {"roots": {}}, "clientInfo": CLIENT}
        try:
            # Not cancellable, as the specification has it.
            result = self.rpc.request("initialize", asked, timeout_s=timeout_s, may_cancel=False)
        except Refused as error:
            raise self._explained(error) from None
        version = result.get("protocolVersion")
        if version not in VERSIONS:
            raise McpError(f"It speaks MCP {str(version)[:40]}; known here are {', '.join(VERSIONS)}.")
        self.version = version
        self._capabilities = _dict(result, "capabilities")
        info = _dict(result, "serverInfo")
        self.server_name = " ".join(str(info[key])[:100] for key in ("name", "version") if key in info)
        instructions = result.get("instructions")
        self.instructions = instructions[:MAX_TOOLS_BYTES] if isinstance(instructions, str) else ""
        self.rpc.notify("notifications/initialized")

    def list_tools(self, timeout_s: float) -> list[dict]:
        """[{"name", "description", "inputSchema", "annotations"}]; what cannot be used is left out and logged."""
        if "tools" not in self._capabilities:
            return []
        tools: dict[str, dict] = {}
        for tool in self._list("tools/list", "tools", timeout_s):
            name, schema = tool.get("name"), tool.get("inputSchema")
            if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARS or not isinstance(schema, dict):
                self._log_line(f"a tool without a usable name or schema is left out: {str(name)[:100]!r}")
                continue
            tools.setdefault(
                name,
                {
                    "name": name,
                    "description": _text(tool, "description") or _text(tool, "title"),
                    "inputSchema": schema,
                    "annotations": _dict(tool, "annotations"),
                },
            )
        found = list(tools.values())
        if len(found) > MAX_TOOLS or len(json.dumps(found)) > MAX_TOOLS_BYTES:
            raise McpError(f"It has {len(found)} tools; at most {MAX_TOOLS} in {MAX_TOOLS_BYTES} bytes are taken.")
        return found

    def list_resources(self, timeout_s: float) -> list[dict]:
        """[{"uri", "name", "description", "mimeType"}]; of templates, "uri" has holes in braces."""
        if "resources" not in self._capabilities:
            return []
        found = self._list("resources/list", "resources", timeout_s)
        try:
            found += self._list("resources/templates/list", "resourceTemplates", timeout_s)
        except Refused as error:  # few servers have them
            if error.code != METHOD_NOT_FOUND:
                raise
        return [
            {"uri": _text(one, "uri") or _text(one, "uriTemplate")}
            | {key: _text(one, key) for key in ("name", "description", "mimeType")}
            for one in found
        ]

    def list_prompts(self, timeout_s: float) -> list[dict]:
        """[{"name", "description", "arguments": [names]}]"""
        if "prompts" not in self._capabilities:
            return []
        return [
            {
                "name": _text(one, "name"),
                "description": _text(one, "description"),
                "arguments": [_text(a, "name") for a in one.get("arguments") or [] if isinstance(a, dict)],
            }
            for one in self._list("prompts/list", "prompts", timeout_s)
            if isinstance(one.get("arguments"), list | None)
        ]

    def call_tool(
        self,
        name: str,
        arguments: dict,
        *,
        timeout_s: float,
        on_progress: Progress | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> ToolResult:
        """Raises McpError; a tool that says that it failed is a result."""
        asked = {"name": name, "arguments": arguments}
        # Progress is asked for in any case: it tells a tool that takes long from one that hangs.
        told = on_progress or (lambda done, total, text: None)
        result = self.rpc.request("tools/call", asked, timeout_s=timeout_s, on_progress=told, is_cancelled=is_cancelled)
        return read_result(result)

    def _list(self, method: str, key: str, timeout_s: float) -> list[dict]:
        """All entries of all pages, within the time for all of them."""
        deadline = time.monotonic() + timeout_s
        found, cursor, seen = [], None, set()
        for _ in range(MAX_PAGES):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimedOut(f"{method} was not answered within {timeout_s:g} s.")
            page = self.rpc.request(method, {} if cursor is None else {"cursor": cursor}, timeout_s=left_s)
            entries = page.get(key)
            found += [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or not cursor:
                return found
            if cursor in seen or len(found) > MAX_ENTRIES:
                break
            seen.add(cursor)
        raise McpError(f"{method} has no end: {len(found)} entries, and more pages.")

    def _explained(self, error: Refused) -> McpError:
        """The refusal of a handshake; where it comes from a server that knows none, in words that say so."""
        data = error.data if isinstance(error.data, dict) else {}
        versions = data.get("supported")
        if error.code != UNSUPPORTED_VERSION:
            meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
            meta |= {"io.modelcontextprotocol/clientInfo": CLIENT, "io.modelcontextprotocol/clientCapabilities": {}}
            try:
                found = self.rpc.request("server/discover", {"_meta": meta}, timeout_s=PROBE_S)
            except McpError:
                return error
            versions = found.get("supportedVersions")
        if not isinstance(versions, list) or set(map(str, versions)) & set(VERSIONS):
            return error
        told = ", ".join(str(version)[:40] for version in versions[:10])
        return McpError(f"It speaks MCP {told} only; this version of OffGrid speaks {VERSIONS[0]} to {VERSIONS[-1]}.")

    def _answer(self, method: str, params: dict) -> dict | None:
        if method == "ping":
            return {}
        if method == "roots/list":
            return {"roots": self._roots}
        return None

    def _notice(self, method: str, params: dict) -> None:
        if method == "notifications/tools/list_changed":
            self._tools_changed()
        elif method == "notifications/message":
            self._log_line(f"{str(params.get('level'))[:20]}: {str(params.get('data'))[:500]}")


def _root(path: str) -> dict:
    return {"uri": f"file://{quote(path)}", "name": Path(path).name or path}


def _dict(of: dict, key: str) -> dict:
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def _text(of: dict, key: str) -> str:
    value = of.get(key)
    return value if isinstance(value, str) else ""
