"""/v1/agents/mcp: MCP servers, which bring tools for models."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from offgrid.agents.mcp.config_file import read_entry
from offgrid.agents.mcp.rpc import McpError
from offgrid.agents.mcp.server import McpServer, McpTool
from offgrid.agents.mcp.spec import NAME, ServerSpec, make_spec
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Ignored, required
from offgrid.api.shapes import Flag, ListOf, Shape, Text, wrong
from offgrid.errors import ApiError, BadRequest
from offgrid.web.message import Request, Response

MAX_ARGS, MAX_ROOTS, MAX_NAMES, MAX_IMPORTED = 256, 32, 64, 32
MAX_CHARS = 32_768


@dataclass(frozen=True)
class TextsByName(Shape):
    """An object of any names with texts below them."""

    wanted = f"an object of up to {MAX_NAMES} names, each with a string"

    def read(self, value: Any, path: str) -> dict[str, str]:
        if not isinstance(value, dict) or len(value) > MAX_NAMES:
            raise wrong(path, self.wanted, value)
        for name, text in value.items():
            if not isinstance(text, str) or len(text) > MAX_CHARS:
                raise wrong(f"{path}.{name[:80]}", "a string", text)
        return value

    def schema(self) -> dict:
        return {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": MAX_CHARS},
            "maxProperties": MAX_NAMES,
        }


class Entries(Shape):
    """The servers of an mcp.json by their names; each is read on its own, so that one does not stop the others."""

    wanted = f"an object of up to {MAX_IMPORTED} servers by their names"

    def read(self, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > MAX_IMPORTED:
            raise wrong(path, self.wanted, value)
        return value

    def schema(self) -> dict:
        return {"type": "object", "maxProperties": MAX_IMPORTED}


NAME_SHAPE = Text(1, 32, NAME, "1 to 32 letters, digits, _ and -, without two _ in a row or one at the end")
LINE = Text(1, MAX_CHARS, is_unicode=True)
HOW = (
    Field("url", LINE, "The address of a server, or a command line to start one, with quotes as in a shell."),
    Field("command", LINE, "The program to start; without args a command line."),
    Field("args", ListOf(Text(0, MAX_CHARS, is_unicode=True), MAX_ARGS), "The program's arguments, as they are."),
    Field("env", TextsByName(), "What the program finds in its environment, besides PATH, HOME and the like.", {}),
    Field("cwd", LINE, "The folder that the program is started in."),
    Field("roots", ListOf(LINE, MAX_ROOTS), "Folders that the server is told to work in.", []),
    Field("headers", TextsByName(), "Headers for every request to a server by URL.", {}),
)
NEW_NAME = required("name", NAME_SHAPE, "What it is called; its tools are called `name.tool`.", "memory")
KEPT_NAME = Field("name", NAME_SHAPE, "A server that is there, in the place of url and command.")
ENABLED = Field("enabled", Flag(), "Whether its tools may be used; without, it is kept and not connected to.", True)
REPLACE = Field("replace", Flag(), "Put it in the place of a server of the same name, which ends.", False)
SERVER = {
    "name": str,
    "url": str,
    "transport": ("stdio", "http"),
    "tools": int,
    "status": ("connected", "starting", "stopped", "failed", "disabled"),
    "enabled": bool,
    "error": (str, None),
    "command": [str],
    "env": [str],
    "cwd": str,
    "roots": [str],
    "headers": [str],
    "server": str,
    "protocol_version": str,
    "starts": int,
}
TOOL = {
    "name": str,
    "full_name": str,
    "wire_name": str,
    "description": str,
    "parameters": {str: object},
    "annotations": {str: object},
}
RESOURCE = {"uri": str, "name": str, "description": str, "mimeType": str}
PROMPT = {"name": str, "description": str, "arguments": [str]}
OFFERED = {"tool_list": [TOOL], "resources": [RESOURCE], "prompts": [PROMPT], "instructions": str}


@endpoint(answer={"servers": [SERVER], "count": int})
def list_servers(_request: Request, app) -> Response:
    """All MCP servers, by name. Nothing is started for it."""
    servers = sorted(app.mcp.all(), key=lambda server: server.name.lower())
    return Response.json({"servers": [_as_json(server) for server in servers], "count": len(servers)})


@endpoint(
    body=(NEW_NAME, *HOW, ENABLED, REPLACE),
    answer={"status": ("connected", "disabled"), "server": str, "tools_added": int},
    errors=(409,),
)
def add_server(request: Request, app, asked: Asked) -> Response:
    """Connect to an MCP server and keep it; one that cannot be connected to is not kept."""
    spec = _spec(request, asked)
    server = app.mcp.add(asked["name"], spec, is_enabled=asked["enabled"], replace=asked["replace"])
    status = "connected" if server.is_enabled else "disabled"
    return Response.json({"status": status, "server": server.name, "tools_added": len(server.tools)})


@endpoint(
    body=(KEPT_NAME, *HOW),
    answer={"status": "ok", "tools_count": int, "server": str, "protocol_version": str, "tools": [str]},
    errors=(404,),
)
def test_server(request: Request, app, asked: Asked) -> Response:
    """Connect to an MCP server once, to see whether it works and what it brings."""
    if asked["name"] is None:
        server, session = app.mcp.test(_spec(request, asked))
    elif asked.keys() != {"name"}:
        raise BadRequest("Say either the name of a server that is there, or how one is reached.", param="name")
    else:
        server, session = app.mcp.test_kept(asked["name"])
    return Response.json(
        {
            "status": "ok",
            "tools_count": len(server.tools),
            "server": session.server_name,
            "protocol_version": session.version,
            "tools": [tool.name for tool in server.tools],
        }
    )


@endpoint(answer=SERVER | OFFERED)
def get_server(_request: Request, app, name: str) -> Response:
    """An MCP server and what it offers; it is connected to, if it is enabled. A failure is in `error`."""
    server = app.mcp.get(name)
    resources, prompts, instructions, failure = [], [], "", None
    if server.is_enabled:
        try:
            session = server.connect()
            timeout_s = app.config.agents.mcp_timeout_s
            resources, prompts = session.list_resources(timeout_s), session.list_prompts(timeout_s)
            instructions = session.instructions
        except (McpError, ApiError) as error:
            failure = str(error)
    offered = {
        "tool_list": [_tool(tool) for tool in server.tools],
        "resources": resources,
        "prompts": prompts,
        "instructions": instructions,
    }
    return Response.json(_as_json(server) | offered | ({"error": failure} if failure else {}))


@endpoint(
    body=(required("enabled", Flag(), "Whether its tools may be used.", True),),
    answer={"status": ("enabled", "disabled"), "server": str},
)
def switch_server(_request: Request, app, asked: Asked, name: str) -> Response:
    """Switch an MCP server on or off; its process ends, and is started when a tool is needed."""
    server = app.mcp.set_enabled(name, asked["enabled"])
    return Response.json({"status": "enabled" if server.is_enabled else "disabled", "server": server.name})


@endpoint(answer={"status": "removed", "server": str, "success": True})
def remove_server(_request: Request, app, name: str) -> Response:
    """End an MCP server and forget it."""
    app.mcp.remove(name)
    return Response.json({"status": "removed", "server": name, "success": True})


@endpoint(
    body=(
        Field("mcpServers", Entries(), "The servers, as Claude writes them."),
        Field("servers", Entries(), "The servers, as VS Code writes them."),
        Ignored("inputs", "What VS Code asks its user; an entry that uses it is refused."),
        REPLACE,
    ),
    answer={"imported": [{"server": str, "tools_added": int}], "failed": [{"server": str, "error": str}]},
)
def import_servers(request: Request, app, asked: Asked) -> Response:
    """Add the servers of an mcp.json, each as by itself: one that fails does not stop the others."""
    if ("mcpServers" in asked) == ("servers" in asked):
        raise BadRequest("Send an mcp.json: an object with mcpServers or servers.", param="mcpServers")
    imported, failed = [], []
    for name, entry in asked.get("mcpServers", asked.get("servers")).items():
        try:
            spec, is_enabled = read_entry(name, entry)
            server = app.mcp.add(name, spec, is_enabled=is_enabled, replace=asked["replace"])
            imported.append({"server": server.name, "tools_added": len(server.tools)})
        except ApiError as error:
            failed.append({"server": name[:80], "error": error.message})
    request.remarks |= {"servers": " ".join(one["server"] for one in imported)[:200], "failed": len(failed)}
    return Response.json({"imported": imported, "failed": failed})


def _spec(request: Request, asked: Asked) -> ServerSpec:
    spec = make_spec(
        url=asked["url"] or "",
        command=asked["command"] or "",
        args=asked["args"],
        env=asked["env"],
        cwd=asked["cwd"] or "",
        roots=asked["roots"],
        headers=asked["headers"],
    )
    started = urlsplit(spec.url).netloc if spec.url else spec.command[0]  # not its arguments: they may hold secrets
    request.remarks |= {"server": asked["name"] or "", "reached": started[:200]}
    return spec


def _as_json(server: McpServer) -> dict:
    spec, session = server.spec, server.session
    return {
        "name": server.name,
        "url": spec.url,
        "transport": spec.transport,
        "tools": len(server.tools),
        "status": server.status,
        "enabled": server.is_enabled,
        "error": server.last_error or None,
        "command": list(spec.command),
        "env": sorted(spec.env),
        "cwd": spec.cwd,
        "roots": list(spec.roots),
        "headers": sorted(spec.headers),
        "server": session.server_name if session else "",
        "protocol_version": session.version if session else "",
        "starts": server.n_starts,
    }


def _tool(tool: McpTool) -> dict:
    return {
        "name": tool.name,
        "full_name": tool.full_name,
        "wire_name": tool.wire_name,
        "description": tool.description,
        "parameters": tool.schema,
        "annotations": tool.annotations,
    }
