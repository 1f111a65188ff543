"""An MCP server written with the `mcp` package: `python mcp_package_server.py [streamable-http]`."""

import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

server = MCPServer("written with mcp", version="1.2.3", instructions="Add first.")


class Sum(BaseModel):
    total: int


@server.tool()
def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


@server.tool()
async def count(n: int, ctx: Context) -> str:
    """Count, and tell how far."""
    for i in range(n):
        await ctx.report_progress(i + 1, n, f"at {i + 1}")
        await anyio.sleep(0.05)
    return f"counted to {n}"


@server.tool()
async def grow(ctx: Context) -> str:
    """Get one more tool."""
    server.add_tool(lambda: "new", name="new", description="It is new.")
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.resource("notes://{day}")
def note(day: str) -> str:
    """What was written on a day."""
    return f"nothing on {day}"


@server.prompt()
def greet(who: str) -> str:
    """Greet somebody."""
    return f"Greet {who}."


if sys.argv[1:] == ["streamable-http"]:
    server.run("streamable-http", host="127.0.0.1", port=0)
else:
    server.run("stdio")
