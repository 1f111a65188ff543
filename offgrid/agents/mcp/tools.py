"""The tools of MCP servers, as a toolbox takes them."""

from collections.abc import Iterable
from typing import Any

from offgrid.agents.mcp.rpc import McpError
from offgrid.agents.mcp.server import McpTool
from offgrid.agents.mcp.servers import Servers
from offgrid.agents.tools.tool import Context, Tool, ToolError, quoted
from offgrid.errors import ApiError


def mcp_tools(servers: Servers) -> Iterable[Tool]:
    """The tools of all servers that are enabled. Starts nothing."""
    return [_tool(servers, tool) for tool in servers.tools()]


def _tool(servers: Servers, tool: McpTool) -> Tool:
    def run(arguments: dict[str, Any], context: Context) -> str:
        try:
            found = servers.call(tool.server, tool.name, arguments, is_cancelled=context.is_cancelled)
        except McpError as error:
            raise ToolError(str(error)) from None
        except ApiError as error:  # it was removed, or is not allowed any more
            raise ToolError(error.message) from None
        if found.is_error:
            raise ToolError(found.text or "The tool failed, and says nothing about it.")
        return quoted(f"This is what {tool.full_name} says.", found.text or "(nothing)")

    return Tool(tool.wire_name, tool.description, tool.schema, run, source=f"mcp:{tool.server}")
